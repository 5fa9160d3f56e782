"""`TcpNetwork`: messages between the members of one cluster, on asyncio TCP.

Every node dials every peer. A dialled connection only sends, an accepted one only receives, so
there is no tie to break when two nodes dial each other. A frame is a 4-byte big-endian length
and a msgpack body; never pickle (`frames.py`). The first frame each way is a hello, verified by
both (`handshake.py`).

Everything is bounded: frames, nesting, unauthenticated connections, the time for a hello, the
bytes that wait for a slow peer (HAZARDS L8, Security). A full buffer resets the connection, and
Raft goes on from what the peer is known to have.
"""
# ruff: noqa: N818  (exceptions say what is the case)

import asyncio
import errno
import random
from collections.abc import Callable, Mapping
from typing import Any

from node.addresses import bind_problem, is_loopback, join_address, split_address
from node.peers.frames import pack
from node.peers.handshake import Hello, Refusals
from node.peers.streams import HELLO_SECONDS, Inbound, Outbound

MAX_STRANGERS = 32
"""Accepted connections that have not said hello yet."""
SEND_BUFFER = 32 * 1024 * 1024
"""Bytes that may wait for one peer; beyond it the connection is reset."""
BACKOFF_FIRST, BACKOFF_LAST = 0.05, 1.0
BACKOFF_REMOVED = 60.0
"""Seconds until a peer is dialled again that said that we were removed. Long, since it dials us
when that has changed."""
MAX_PEERS = 256

OnMessage = Callable[[str, dict[str, Any]], None]
OnPeer = Callable[[str], None]


class LinkError(Exception):
    """Base of what can go wrong when the network is started."""


class PortInUse(LinkError):
    """Someone else listens there; the message says who, when that can be known."""


class NotLoopback(LinkError):
    """Without certificates the Raft port may only be on loopback."""


class TcpNetwork:
    """`node.ports.Network` between the members of `cluster`."""

    def __init__(
        self,
        *,
        node_id: str,
        cluster: str,
        listen: str,
        peers: Mapping[str, str],
        send_buffer: int = SEND_BUFFER,
    ) -> None:
        """`listen`: "host:port". `peers`: id → "host:port" of the members; `node_id` may be
        among them and is left out."""
        self.node_id = node_id
        self.send_buffer = send_buffer
        self.hello = Hello(cluster, node_id)
        self._refusals = Refusals()
        self.rejected = self._refusals.counted
        """Refused connections and reset links, by reason."""
        self._host, self._port = split_address(listen, lowest_port=0)
        self._listening = join_address(self._host, self._port)
        self._peers = {p: split_address(a) for p, a in peers.items() if p != node_id}
        self._outbound: dict[str, Outbound] = {}
        self._inbound: dict[str, Inbound] = {}
        self._strangers: dict[Inbound, None] = {}
        """Who has not said hello yet, in order of arrival."""
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._version = -1
        self._server: asyncio.Server | None = None
        self._closing = False
        self.loop: asyncio.AbstractEventLoop
        self._on_message: OnMessage = lambda *_: None
        self._on_connected: OnPeer = lambda _: None
        self._on_disconnected: OnPeer = lambda _: None
        self._resting: dict[str, asyncio.Event] = {}
        self._dismissed: set[str] = set()
        """Who said that we were removed, when we dialled last."""
        self.removed: Callable[[str], int | None] = lambda _: None
        """The log index at which a name is known to be removed; None when it is not. Set by the
        owner."""
        self.on_removed: Callable[[str, int], None] = lambda *_: None
        """Told who says that we were removed, and at which log index that is so."""

    # -- node.ports.Network --------------------------------------------------------------------

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """See `node.ports.Network.send`. Messages of one loop turn leave in one write."""
        link = self._outbound.get(peer)
        if link is None or not link.ready:
            return False
        return link.push(pack(message))

    def connected(self, peer: str) -> bool:
        link = self._outbound.get(peer)
        return link is not None and link.ready

    def subscribe(
        self, on_message: OnMessage, on_connected: OnPeer, on_disconnected: OnPeer
    ) -> None:
        """See `node.ports.Network.subscribe`. Before `start`."""
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, then begins to dial. Raises `PortInUse`, `NotLoopback`, `LinkError`."""
        if not is_loopback(self._host):
            raise NotLoopback(
                f"raft: {self._listening} refused: without certificates a node listens "
                "on loopback only (127.0.0.1, ::1, localhost)"
            )
        self.loop = asyncio.get_running_loop()
        try:
            self._server = await self.loop.create_server(
                lambda: Inbound(self), self._host, self._port, backlog=64
            )
        except OSError as error:
            kind = PortInUse if error.errno == errno.EADDRINUSE else LinkError
            raise kind(bind_problem(self._listening, self._port, error)) from error
        for peer in sorted(self._peers):
            self._begin_dialling(peer)

    @property
    def port(self) -> int:
        """The port listened on; differs from the configured one only when that was 0."""
        assert self._server is not None, "started"
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Sends what waits, as far as the peers take it at once, and closes everything."""
        self._closing = True
        dialling = [*self._dialling.values()]
        for task in dialling:
            task.cancel()
        for link in list(self._outbound.values()):
            link.flush()
            link.transport.close()
        for inbound in [*self._inbound.values(), *self._strangers]:
            inbound.settle()
            inbound.transport.close()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*dialling, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close their sockets
        for link in self._outbound.values():
            link.transport.abort()

    # -- who the peers are ---------------------------------------------------------------------

    @property
    def peers(self) -> dict[str, str]:
        """Id → address of every peer that this node dials and listens to."""
        return {peer: join_address(*address) for peer, address in self._peers.items()}

    def set_peers(self, peers: Mapping[str, str], version: int) -> None:
        """From now on these; `node_id` is left out. Links to others are closed, new ones dialled.

        `version` (the applied index) is told to the peers with the table: who was away when
        somebody joined must be able to hear that one, or a leader that it never heard of could
        not reach it.
        """
        self._version = max(self._version, version)
        wanted = {p: split_address(a) for p, a in peers.items() if p != self.node_id}
        for peer in [p for p, address in self._peers.items() if wanted.get(p) != address]:
            self._drop(peer)
        for peer in sorted(set(wanted) - set(self._peers)):
            self._peers[peer] = wanted[peer]
            self._begin_dialling(peer)
        for peer in self._peers:
            self._tell_peers(peer)

    def _drop(self, peer: str) -> None:
        del self._peers[peer]
        task = self._dialling.pop(peer, None)
        if task is not None:
            task.cancel()
        outbound = self._outbound.pop(peer, None)
        if outbound is not None:
            was_ready, outbound.ready = outbound.ready, False
            outbound.flush()
            outbound.transport.close()
            if was_ready:
                self._on_disconnected(peer)
        inbound = self._inbound.pop(peer, None)
        if inbound is not None:
            inbound.transport.abort()

    def _tell_peers(self, peer: str) -> None:
        if self._version >= 0:
            table = {**self.peers, self.node_id: self._listening}
            self.send(peer, {"kind": "peers", "version": self._version, "peers": table})

    def deliver(self, peer: str, message: dict[str, Any]) -> None:
        """A message of a peer; what it says of other peers concerns nobody but this class."""
        if message.get("kind") != "peers":
            self._on_message(peer, message)
            return
        table = _checked_table(message)
        if table is None:
            self.count("bad_peers")
        elif message["version"] > self._version:
            for name in sorted(set(table) - set(self._peers) - {self.node_id})[:MAX_PEERS]:
                if len(self._peers) < MAX_PEERS:
                    self._peers[name] = split_address(table[name])
                    self._begin_dialling(name)

    def _begin_dialling(self, peer: str) -> None:
        task = self.loop.create_task(self._keep_dialling(peer), name=f"link-{peer}")
        task.add_done_callback(self._dialler_ended)
        self._dialling[peer] = task

    # -- dialling ------------------------------------------------------------------------------

    async def _keep_dialling(self, peer: str) -> None:
        """One connection to a peer after another, with bounded back-off and jitter."""
        pause = BACKOFF_FIRST
        while not self._closing:
            self._dismissed.discard(peer)
            if await self._dial(peer):
                pause = BACKOFF_FIRST
            removed = peer in self._dismissed and peer not in self._inbound
            rest = BACKOFF_REMOVED if removed else pause
            await self._rest(peer, rest * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, BACKOFF_LAST)

    async def _rest(self, peer: str, seconds: float) -> None:
        """Waits, but no longer than until the peer reaches us: then we reach it as well, and if
        we had been removed we are not any more."""
        reached = self._resting[peer] = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await reached.wait()
        except TimeoutError:
            pass
        finally:
            del self._resting[peer]

    def _dialler_ended(self, task: "asyncio.Task[None]") -> None:
        """A callback raised: that is the owner's to hear, not to be lost with the task."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.call_exception_handler({"message": str(error), "exception": error})

    async def _dial(self, peer: str) -> bool:
        """Connects, greets, and stays until the connection is lost; whether it ever was up."""
        host, port = self._peers[peer]
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                _, link = await self.loop.create_connection(
                    lambda: Outbound(self, peer), host, port
                )
        except OSError:  # TimeoutError is one
            return False
        self._outbound[peer] = link
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await link.greeted
        except TimeoutError:
            self.reject(link, "hello_timeout")
        if link.ready:
            self._tell_peers(peer)
            self._on_connected(peer)
            await link.lost
            self._on_disconnected(peer)
            return True
        await link.lost
        return False

    def dismissed(self, link: Outbound, farewell: dict[str, Any]) -> None:
        """A peer turns us away and says why: we were removed from the cluster."""
        index = self.hello.removed_at(farewell, link.peer)
        if index is None:
            self.reject(link, "bad_removed")
            return
        self._dismissed.add(link.peer)
        link.transport.close()
        self.on_removed(link.peer, index)

    # -- accepting -----------------------------------------------------------------------------

    def admit(self, inbound: Inbound) -> bool:
        """Whether a new connection may say hello. When all places are taken the one that has
        been silent longest loses its own: a member says hello at once, and so gets in however
        many strangers hold their places."""
        if self._closing:
            self.reject(inbound, "closing")
            return False
        if len(self._strangers) >= MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self.reject(oldest, "too_many_strangers")
        self._strangers[inbound] = None
        return True

    def welcome(self, inbound: Inbound) -> None:
        """A restarted peer's new connection replaces its old one."""
        assert inbound.peer is not None, "it has said hello"
        self._strangers.pop(inbound, None)
        older = self._inbound.pop(inbound.peer, None)
        if older is not None:
            older.transport.abort()
        self._inbound[inbound.peer] = inbound
        if inbound.peer in self._resting:
            self._resting[inbound.peer].set()

    def inbound_lost(self, inbound: Inbound) -> None:
        self._strangers.pop(inbound, None)
        if inbound.peer is not None and self._inbound.get(inbound.peer) is inbound:
            del self._inbound[inbound.peer]

    def wrong_with(self, hello: dict[str, Any], expected: str | None = None) -> str | None:
        """Why this hello is refused, as a word for the counter; None when it is right."""
        return self.hello.wrong_with(hello, self._peers, expected)

    def refuse(self, inbound: Inbound, hello: dict[str, Any], reason: str) -> None:
        """Turns away who said hello; who was removed while it was away is told so."""
        index = self.removed(hello["node"]) if reason == "unknown_member" else None
        if index is None:
            self.reject(inbound, reason)
            return
        self._refusals.note(inbound.address, "removed_member")
        inbound.dismiss(self.hello.farewell(index))

    def reject(self, link: Inbound | Outbound, reason: str) -> None:
        link.transport.abort()
        self._refusals.note(link.address, reason)

    def count(self, reason: str) -> None:
        self._refusals.count(reason)


def _checked_table(message: dict[str, Any]) -> dict[str, str] | None:
    """Ids and addresses of a message of kind "peers"; None when they make no sense."""
    version, table = message.get("version"), message.get("peers")
    if type(version) is not int or not isinstance(table, dict) or len(table) > MAX_PEERS:
        return None
    for name, address in table.items():
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not isinstance(address, str):
            return None
        try:
            host, _ = split_address(address)
        except ValueError:
            return None
        if not is_loopback(host):  # as everything, until there are certificates
            return None
    return table
