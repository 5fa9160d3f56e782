"""Dials one peer, by all the ways to it that are known.

An address is only a hint: whoever told it may have lied, or not know better. So when one takes
long the next one is dialled beside it, and the first stream to complete the handshake wins.
"""

import asyncio
from typing import TYPE_CHECKING

from stationkeep.node.peers.obstacles import NotSecured, met, named
from stationkeep.node.peers.streams import HELLO_SECONDS, Outbound
from stationkeep.node.ports import Obstacle
from stationkeep.node.security.handshake import client_options
from stationkeep.node.system.addresses import join_address

if TYPE_CHECKING:
    from stationkeep.node.peers.network import PeerNetwork

RACE_SECONDS = 0.4
"""Seconds until another dial is started beside one that takes long: TCP repeats a lost SYN only
after 1 s, and then after 3."""
ADDRESS_SECONDS = 1.0
"""For each address of a name but the last: what a firewall drops is refused by nobody."""
MAX_DIALS = 4


class Dialling:
    """What comes of dialling one peer."""

    def __init__(self, network: "PeerNetwork", peer: str) -> None:
        self._network, self._peer, self._loop = network, peer, network.loop
        self._round = 0
        """Which of the ways to the peer is dialled first; the next one after a failure."""
        self.refused = False
        """Whether nobody listens where the cluster has the peer, when it was last dialled."""
        self.tried = ""
        """Where the cluster has the peer."""
        self.obstacle: Obstacle | None = None
        """What was met there; None once the peer is reached."""
        self.unresolved = ""
        """The host there, if its name did not resolve the last time."""

    async def race(self) -> Outbound | None:
        """The first stream to complete the handshake; None if no way led to one."""
        self.refused = False
        fresh = await self._race()
        if fresh is None:
            self._round += 1
        else:
            self.obstacle, self.unresolved = None, ""
        return fresh

    async def _race(self) -> Outbound | None:
        running: set[asyncio.Task[Outbound | None]] = set()
        started = 0
        try:
            while True:
                if started < MAX_DIALS and not self.refused:
                    running.add(self._loop.create_task(self._dial(self._round + started)))
                    started += 1
                patience = RACE_SECONDS if started < MAX_DIALS else None
                done, running = await asyncio.wait(
                    running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                greeted = [stream for task in done if (stream := task.result()) is not None]
                for late in greeted[1:]:
                    late.transport.abort()
                if greeted:
                    return greeted[0]
                if done and not running:
                    return None
        finally:
            for task in running:
                task.cancel()

    async def _dial(self, turn: int) -> Outbound | None:
        """Connects and shakes hands; None if there was no valid answer in time. `turn`: whose of
        the ways to the peer it is."""
        ways = self._network.ways_to(self._peer)
        if not ways:  # it was dropped just now
            return None
        host, port = way = ways[turn % len(ways)]
        is_known = way == ways[0]
        if is_known:
            self.tried = join_address(host, port)
        found: list[str] = []
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                found = await self._network.names.addresses(host)
                begin = turn // len(ways) % len(found)  # each dial with another one
                stream = await self._connect(found[begin:] + found[:begin], port)
        except OSError as error:  # TimeoutError is one
            if is_known:  # elsewhere it only is not
                self.obstacle = met(error) if found else Obstacle.NO_SUCH_HOST
                self.refused |= self.obstacle is Obstacle.CONNECTION_REFUSED
                self.unresolved = "" if found else host
            self._network.undialled(self._peer, error)
            return None
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await stream.greeted
        except TimeoutError:
            stream.why = Obstacle.HELLO_TIMEOUT
            self._network.reject(stream, stream.why)
        except asyncio.CancelledError:
            stream.transport.abort()
            raise
        if not stream.ready:
            self.obstacle = named(stream.why) if is_known else self.obstacle
            return None
        return stream

    async def _connect(self, hosts: list[str], port: int) -> Outbound:
        """Connects to the first of the addresses that accepts; raises the error of the last."""
        for host in hosts[:-1]:
            try:
                async with asyncio.timeout(ADDRESS_SECONDS):
                    return await self._connect([host], port)
            except OSError:
                continue
        if not self._network.may_reach(hosts[-1]):
            self._network.count("not_secured")
            raise NotSecured(f"{hosts[-1]} is not on loopback, and there are no certificates")
        tls, era = self._network.tls, self._network.era()
        secured = {} if tls is None else client_options(tls.client(self._peer))
        _, stream = await self._loop.create_connection(
            lambda: Outbound(self._network, self._peer, era), hosts[-1], port, **secured
        )
        return stream
