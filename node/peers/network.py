"""`PeerNetwork`: messages between the members of one cluster.

Every node dials every peer. A dialled stream only sends, an accepted one only receives, so there
is no tie to break when two nodes dial each other. A lane of datagrams complements the stream, on
the same port number (UDP): a stream that loses a fifth of its packets loses no messages but stalls,
for a minute and more; a datagram either arrives or does not. `link.py` decides which message goes
on which lane, `sessions.py` numbers and encrypts them.

With certificates (`tls`) every stream is TLS, and a peer is who its certificate says; its hello
must say the same. The key of its datagrams comes over the stream, so that they are protected, too.
Without certificates nothing leaves this machine.

Everything is bounded: frames, nesting, unauthenticated connections, the time for a hello, the
bytes that wait for a slow peer, datagrams a second (hazard L8). A full buffer resets the stream,
and Raft continues from what the peer is known to have.
"""
# ruff: noqa: N818  (exceptions are named after what is the case)

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import Any

from stationkeep.cluster.names import is_loopback
from stationkeep.node.peers.datagrams import DatagramSockets
from stationkeep.node.peers.frames import MAX_FRAME
from stationkeep.node.peers.hello import ANSWERED, Hello, Refusals, digest_of
from stationkeep.node.peers.link import Link
from stationkeep.node.peers.sessions import BadDatagram, address_of
from stationkeep.node.peers.streams import Inbound, Outbound
from stationkeep.node.peers.whereabouts import Address, Changes, Whereabouts, checked_table
from stationkeep.node.ports import LinkFigures
from stationkeep.node.security.accepting import Acceptor
from stationkeep.node.security.contexts import RAFT, Contexts
from stationkeep.node.security.handshake import REFUSED_BY_PEER, word_for
from stationkeep.node.system.addresses import bind_problem, join_address, split_address
from stationkeep.node.system.resolver import Resolver
from stationkeep.node.system.streams import narrow
from stationkeep.node.system.turns import Turns

MAX_STRANGERS = 32
"""Accepted connections that have not said hello yet."""
SEND_BUFFER = 32 * 1024 * 1024
"""Bytes that may wait for one peer; beyond it the connection is reset."""
TICK_SECONDS = 1.0
BACKLOG = 64
ANY_PORT_TRIES = 16
"""Attempts to find a port that is free on both lanes, when none is configured."""

OnMessage = Callable[[str, dict[str, Any]], None]
OnPeer = Callable[[str], None]


class LinkError(Exception):
    """Base of the errors at the start of the network."""


class PortInUse(LinkError):
    """Another process listens there; the message names it if it is known."""


class NotLoopback(LinkError):
    """Without certificates the Raft port may only be on loopback."""


class PeerNetwork:
    """`node.ports.Network` between the members of `cluster`."""

    def __init__(
        self,
        *,
        node_id: str,
        cluster: str,
        listen: str,
        peers: Mapping[str, str],
        founds: bool = False,
        tls: Contexts | None = None,
        insecure: bool = False,
        send_buffer: int = SEND_BUFFER,
    ) -> None:
        """`listen`: "host:port". `peers`: id → "host:port" of the members; `node_id` may be
        among them and is left out. `founds`: they may found the cluster, if there is none yet.
        `tls`: None: in clear, and on loopback alone unless `insecure`."""
        self.node_id = node_id
        self.send_buffer = send_buffer
        self.tls = tls
        self._reaches_out = tls is not None or insecure
        self.hello = Hello(cluster, node_id, digest_of({node_id, *peers}) if founds else "")
        self._refusals = Refusals()
        self.rejected = self._refusals.counted
        """Refused connections and datagrams, and reset links, by reason."""
        self._host, self._port = split_address(listen, lowest_port=0)
        self._listening = join_address(self._host, self._port)
        self._where = Whereabouts(node_id, peers)
        self._links: dict[str, Link] = {}
        self.sessions: dict[int, Link] = {}
        """The link to which each session belongs, for datagrams."""
        self.turns = Turns()
        """Schedules the messages of all streams."""
        self._strangers: dict[Inbound, None] = {}
        """Connections without a hello yet, in order of arrival."""
        self._server: asyncio.Server | None = None
        self.acceptor: Acceptor | None = None
        """Of connections with TLS."""
        self._sockets: Sequence[Any] = ()
        self._datagrams: DatagramSockets
        self._ticking: asyncio.TimerHandle | None = None
        self._closing = False
        self.loop: asyncio.AbstractEventLoop
        self._on_message: OnMessage = lambda *_: None
        self._on_connected: OnPeer = lambda _: None
        self._on_disconnected: OnPeer = lambda _: None
        self.removed: Callable[[str], int | None] = lambda _: None
        """The log index at which a name was removed; None if it was not. Set by the owner."""
        self.on_removed: Callable[[str, int], None] = lambda *_: None
        """Called with the peer that says that we were removed, and the log index of that."""

    # -- node.ports.Network --------------------------------------------------------------------

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """See `node.ports.Network.send`. On the stream, messages of one loop turn are sent in one
        write."""
        link = self._links.get(peer)
        return link is not None and link.send(message)

    def connected(self, peer: str) -> bool:
        link = self._links.get(peer)
        return link is not None and link.up

    def comfortable(self, peer: str) -> int:
        """See `node.ports.Network.comfortable`."""
        link = self._links.get(peer)
        return MAX_FRAME if link is None else link.comfortable()

    def subscribe(
        self, on_message: OnMessage, on_connected: OnPeer, on_disconnected: OnPeer
    ) -> None:
        """See `node.ports.Network.subscribe`. Call before `start`."""
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, then starts dialling. Raises `PortInUse`, `NotLoopback`, `LinkError`."""
        if not self.may_reach(self._host):
            raise NotLoopback(
                f"raft: {self._listening} refused: without certificates a node listens "
                "on loopback only (127.0.0.1, ::1, localhost)"
            )
        self.loop = asyncio.get_running_loop()
        self.names = Resolver()
        self._datagrams = DatagramSockets(self.loop, self._on_datagram)
        for tries_left in reversed(range(1 if self._port else ANY_PORT_TRIES)):
            try:
                await self._listen()
                break
            except OSError as error:
                if self._port or not tries_left or error.errno != errno.EADDRINUSE:
                    kind = PortInUse if error.errno == errno.EADDRINUSE else LinkError
                    raise kind(bind_problem(self._listening, self._port, error)) from error
        for peer in sorted(self._where.peers):
            self._links[peer] = Link(self, peer)
        self._tick()

    def revoked(self) -> Container[str]:
        """Serial numbers of certificates that were revoked."""
        return () if self.tls is None else self.tls.revoked()

    def era(self) -> int:
        """How often a CA that had been trusted was not any more."""
        return 0 if self.tls is None else self.tls.narrowed

    def may_reach(self, host: str) -> bool:
        """Whether to speak with a host: nothing is said in clear beyond this machine."""
        return self._reaches_out or is_loopback(host)

    async def _listen(self) -> None:
        """Binds both lanes, or none."""
        # Whoever listens on all addresses of IPv6 means those of IPv4, too.
        host = None if self._host == "::" else self._host
        if self.tls is None:
            self._server = server = await self.loop.create_server(
                lambda: Inbound(self), host, self._port, backlog=BACKLOG
            )
            self._sockets, close = server.sockets, server.close
        else:
            self.tls.members = self._may_dial
            self.acceptor = Acceptor(
                self.tls.server, lambda: Inbound(self), self.tls.handshakes[RAFT], self._unshaken
            )
            self._sockets, close = await self._bound(host), self.acceptor.close
            self.acceptor.open(self._sockets)
        if not is_loopback(self._host):
            for sock in self._sockets:
                narrow(sock)
        try:
            self._datagrams.open([sock.getsockname() for sock in self._sockets])
        except OSError:
            close()
            raise

    async def _bound(self, host: str | None) -> list[socket.socket]:
        """Listening sockets on every address of the host, or of this machine."""
        found = await self.loop.getaddrinfo(
            host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets: list[socket.socket] = []
        try:
            for family, *_, address in dict.fromkeys(found):
                sock = socket.create_server(address, family=family, backlog=BACKLOG)
                sock.setblocking(False)
                sockets.append(sock)
        except OSError:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    @property
    def port(self) -> int:
        """The port that is listened on; differs from the configured one only if that is 0."""
        return int(self._sockets[0].getsockname()[1])

    def _tick(self) -> None:
        self._ticking = self.loop.call_later(TICK_SECONDS, self._tick)
        for link in list(self._links.values()):
            link.tick()

    async def close(self) -> None:
        """Sends what can be sent without waiting, and closes everything."""
        self._closing = True
        if self._ticking is not None:
            self._ticking.cancel()
        links = [*self._links.values()]
        for link in links:
            link.close()
        for stranger in self._strangers:
            stranger.settle()
            stranger.transport.close()
        for listening in (self._server, self.acceptor):
            if listening is not None:
                listening.close()
        if self._sockets:
            self._datagrams.close()
        for link in links:
            await link.closed()
        if self.acceptor is not None:
            await self.acceptor.closed()

    # -- peers ---------------------------------------------------------------------------------

    @property
    def peers(self) -> dict[str, str]:
        """Id → address of every peer that this node dials and accepts."""
        return self._where.peers

    def set_peers(self, peers: Mapping[str, str], version: int) -> None:
        """Replaces the peers; `node_id` is ignored. Links to others are closed, new ones dialled.
        All are told, with the `version` of the list (the applied index)."""
        self._adopt(self._where.replace(peers, version))
        for peer in self._where.peers:
            self.tell_peers(peer)

    def know(self, uid: str) -> None:
        """The cluster is founded, and this is its uid: whoever is of another one is cut off."""
        self.hello.uid, self.hello.founders = uid, ""
        for link in self._links.values():
            if link.uid not in ("", uid):
                link.cut()

    def _adopt(self, changes: Changes) -> None:
        for peer in changes.gone:
            link = self._links.pop(peer)
            link.close()
            if link.up:
                self._on_disconnected(peer)
        for peer in changes.new:
            self._links[peer] = Link(self, peer)

    def ways_to(self, peer: str) -> list[Address]:
        """Where to dial a peer, one after another."""
        return self._where.ways_to(peer)

    def tell_peers(self, peer: str) -> None:
        """Sends our list of peers and its version, once there is one."""
        table = self._where.table
        if table is not None:
            self.send(peer, {"kind": "peers", **table._asdict()})

    def deliver(self, peer: str, message: dict[str, Any]) -> None:
        """Delivers a message of a peer; lists of peers are handled here."""
        if message.get("kind") != "peers":
            self._on_message(peer, message)
            return
        table = checked_table(message)
        if table is None:
            self.count("bad_peers")
        else:
            self._adopt(self._where.hear(peer, table, self.loop.time()))

    # -- called by links -----------------------------------------------------------------------

    def went_up(self, peer: str) -> None:
        """A link came up, or is up and has a new stream."""
        self._where.met(peer)
        self._on_connected(peer)

    def went_down(self, peer: str) -> None:
        self._on_disconnected(peer)

    def task_ended(self, task: "asyncio.Task[None]") -> None:
        """Passes an exception raised by a callback to the loop's handler."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.call_exception_handler({"message": str(error), "exception": error})

    def dismissed(self, stream: Outbound, farewell: dict[str, Any]) -> None:
        """A peer turned us away because we were removed from the cluster."""
        index = self.hello.removed_at(farewell, stream.peer)
        if index is None:
            self.reject(stream, "bad_removed")
            return
        if stream.peer in self._links:
            self._links[stream.peer].dismissed = True
        stream.transport.close()
        self.on_removed(stream.peer, index)

    def send_datagram(self, datagram: bytes, address: Any) -> bool:
        return self._datagrams.send(datagram, address)

    def _on_datagram(self, datagram: bytes) -> None:
        try:
            session, counter = address_of(datagram)
        except BadDatagram as error:
            self.count(f"datagram_{error.reason}")
            return
        link = self.sessions.get(session)
        if link is None:
            self.count("datagram_unknown_key")
        else:
            link.take_datagram(session, counter, datagram)

    def figures(self) -> list[LinkFigures]:
        """The figures of each link at this end, sorted by peer."""
        return [self._links[peer].figures() for peer in sorted(self._links)]

    def unresolved(self) -> str | None:
        """Which names of members do not resolve here, in a sentence; None if all do."""
        found = [
            f"{link.dialling.unresolved} of {peer}"
            for peer, link in sorted(self._links.items())
            if link.dialling.unresolved
        ]
        return f"does not resolve: {', '.join(found)}" if found else None

    # -- accepting -----------------------------------------------------------------------------

    def admit(self, inbound: Inbound) -> bool:
        """Whether a new connection may send a hello. When all places are taken, the connection that
        has waited longest is closed: a member sends its hello at once, and so gets in however many
        strangers connect."""
        if self._closing:
            self.reject(inbound, "closing")
            return False
        if len(self._strangers) >= MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self.reject(oldest, "too_many_strangers")
        self._strangers[inbound] = None
        return True

    def welcome(self, inbound: Inbound, hello: dict[str, Any]) -> None:
        """A hello is valid: begins the peer's session."""
        self._strangers.pop(inbound, None)
        link = self._links[hello["node"]]
        link.uid = hello["uid"]
        link.accept(inbound, hello["life"], hello["session"], hello["key"])

    def inbound_lost(self, inbound: Inbound) -> None:
        self._strangers.pop(inbound, None)
        if inbound.link is not None:
            inbound.link.inbound_lost(inbound)

    def _may_dial(self) -> Container[str]:
        """Those whose certificates we accept: also of a node that was removed, to tell it so."""
        return _MayDial(self._links.keys() - self._where.hearsay, self.removed)

    def wrong_with(self, hello: dict[str, Any], expected: str | None = None) -> str | None:
        """Why a hello is refused, as a word for the counter; None if it is valid."""
        known = self._links if expected is not None else self._links.keys() - self._where.hearsay
        wrong = self.hello.wrong_with(hello, known, expected)
        if wrong is None and expected is None and hello["session"] in self.sessions:
            return "session_in_use"  # names are sent in clear: nobody may take over another's
        return wrong

    def refuse(self, inbound: Inbound, hello: dict[str, Any], reason: str) -> None:
        """Turns away a connection; a node that was removed while it was away is told so."""
        if reason in ANSWERED:
            self._note_refusal(inbound, hello, reason)
            inbound.dismiss(self.hello.frame())
            return
        index = self.removed(str(hello.get("node"))) if reason == "not_member" else None
        if index is None:
            self.reject(inbound, reason)
            return
        self._refusals.note(inbound.address, "removed_member")
        inbound.dismiss(self.hello.farewell(index))

    def _unshaken(self, address: str, word: str, why: str) -> None:
        self._refusals.note(address, word, why)

    def undialled(self, peer: str, error: OSError) -> None:
        """A member was dialled, and TLS with it failed."""
        if self.tls is not None and isinstance(error, ssl.SSLError):
            self._refusals.note(peer, word_for(error), str(error))

    def unanswered(self, stream: Outbound) -> None:
        """A peer that we dialled ended the stream before its hello: with TLS 1.3 that is all that
        one sees who is refused."""
        if self.tls is not None and not self._closing:
            self._refusals.note(stream.peer, REFUSED_BY_PEER, "its own log has the reason")

    def noted(self, peer: str, hello: dict[str, Any]) -> None:
        """Whom we dialled has answered."""
        if peer in self._links:
            self._links[peer].uid = hello["uid"]

    def turned_away(self, outbound: Outbound, hello: dict[str, Any], reason: str) -> None:
        """Whom we dialled will not do. Of another cluster nothing counts that came before; whoever
        dials us may only claim to be it."""
        outbound.settle()
        outbound.transport.abort()
        if reason == "wrong_cluster" and outbound.peer in self._links:
            self._links[outbound.peer].cut()
        self._note_refusal(outbound, hello, reason)

    def _note_refusal(self, stream: Inbound | Outbound, hello: dict[str, Any], reason: str) -> None:
        why = ""
        if reason == "founders_differ":
            ours, theirs = self.hello.founders, hello["founders"]
            why = f"its file lists {theirs} members, ours {ours} (number:digest)"
        self._refusals.note(stream.address, reason, why)

    def reject(self, stream: Inbound | Outbound, reason: str) -> None:
        stream.settle()
        stream.transport.abort()
        self._refusals.note(stream.address, reason)

    def count(self, reason: str) -> None:
        self._refusals.count(reason)


class _MayDial:
    """The names of members, and of those that were."""

    def __init__(self, members: Set[str], removed_at: Callable[[str], int | None]) -> None:
        self._members, self._removed_at = members, removed_at

    def __contains__(self, name: object) -> bool:
        return name in self._members or self._removed_at(str(name)) is not None
