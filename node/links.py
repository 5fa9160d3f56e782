"""`TcpNetwork`: messages between the members of one cluster, on asyncio TCP.

Every node dials every peer. A dialled connection only sends, an accepted one only receives, so
there is no tie to break when two nodes dial each other. A frame is a 4-byte big-endian length
and a msgpack body; never pickle. The first frame each way is a hello (protocol version, cluster,
node), verified by both. Whoever is not a member, or does not speak like one, is disconnected,
counted in `rejected` and logged once in a while; nothing else happens.

Everything is bounded: frames, nesting, unauthenticated connections, the time for a hello, the
bytes that wait for a slow peer (HAZARDS L8, Security). A full buffer resets the connection, and
Raft goes on from what the peer is known to have.
"""
# ruff: noqa: N818  (exceptions say what is the case)

import asyncio
import errno
import ipaddress
import random
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import psutil
import structlog

from node.frames import MAX_FRAME, BadFrame, FrameReader, pack

PROTOCOL = 1
MAX_STRANGERS = 32
"""Accepted connections that have not said hello yet."""
HELLO_SECONDS = 3.0
SEND_BUFFER = 32 * 1024 * 1024
"""Bytes that may wait for one peer; beyond it the connection is reset."""
BACKOFF_FIRST, BACKOFF_LAST = 0.05, 1.0
USER_TIMEOUT_MS = 10_000
WARN_EVERY_SECONDS = 10.0
MAX_WARNED = 256

log = structlog.get_logger(__name__)

OnMessage = Callable[[str, dict[str, Any]], None]
OnPeer = Callable[[str], None]


class LinkError(Exception):
    """Base of what can go wrong when the network is started."""


class PortInUse(LinkError):
    """Someone else listens there; the message says who, when that can be known."""


class NotLoopback(LinkError):
    """Without certificates the Raft port may only be on loopback."""


class _Inbound(asyncio.Protocol):
    """An accepted connection: a hello, then messages from that peer."""

    def __init__(self, network: "TcpNetwork") -> None:
        self._network = network
        self._reader = FrameReader()
        self._timeout: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self.address = "?"
        self.peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.address = _address(self.transport)
        if not self._network._admit(self):
            return
        _tune(self.transport)
        self._timeout = self._network._loop.call_later(
            HELLO_SECONDS, self._network._reject, self, "hello_timeout"
        )

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if self.transport.is_closing():
                    return
                if self.peer is None:
                    self._hello(message)
                else:
                    self._network._on_message(self.peer, message)
        except BadFrame as error:
            self._network._reject(self, error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.settle()
        self._network._inbound_lost(self)

    def settle(self) -> None:
        """No hello is awaited any more."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _hello(self, hello: dict[str, Any]) -> None:
        reason = self._network._wrong_with(hello)
        if reason is not None:
            self._network._reject(self, reason)
            return
        self.peer = hello["node"]
        self.settle()
        self._reader.limit = MAX_FRAME
        self.transport.write(self._network._hello_frame())
        self._network._welcome(self)


class _Outbound(asyncio.Protocol):
    """A dialled connection: hello both ways, then ours to send on."""

    def __init__(self, network: "TcpNetwork", peer: str) -> None:
        self._network = network
        self.peer = peer
        self.address = peer
        self._reader = FrameReader()
        self.ready = False
        self.lost: asyncio.Future[None] = network._loop.create_future()
        self.greeted: asyncio.Future[None] = network._loop.create_future()
        self.transport: asyncio.Transport
        self._frames: list[bytes] = []
        self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        _tune(self.transport)
        self.transport.write(self._network._hello_frame())

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if self.ready:
                    raise BadFrame("unexpected_message")
                reason = self._network._wrong_with(message, self.peer)
                if reason is not None:
                    raise BadFrame(reason)
                self.ready = True
                self._settle(self.greeted)
        except BadFrame as error:
            self._network._reject(self, error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        self._frames.clear()
        self._settle(self.greeted)
        self._settle(self.lost)

    def push(self, frame: bytes) -> bool:
        """Queues a frame until the end of this loop turn; False when there is no room."""
        if not self._frames:
            self._network._loop.call_soon(self._flush)
            self._bytes = self.transport.get_write_buffer_size()
        self._bytes += len(frame)
        if self._bytes > self._network.send_buffer:
            self._network._count("send_buffer_full")
            log.warning("link_reset", peer=self.peer, reason="send_buffer_full")
            self.ready = False
            self._frames.clear()
            self.transport.abort()
            return False
        self._frames.append(frame)
        return True

    def _flush(self) -> None:
        if self._frames and not self.transport.is_closing():
            self.transport.write(b"".join(self._frames))
        self._frames.clear()

    def flush(self) -> None:
        """Hands over what waits, before a graceful close."""
        self._flush()

    @staticmethod
    def _settle(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)


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
        self.rejected: dict[str, int] = {}
        """Refused connections and reset links, by reason."""
        self._cluster = cluster
        self._host, self._port = split_address(listen)
        self._peers = {p: split_address(a) for p, a in peers.items() if p != node_id}
        self._outbound: dict[str, _Outbound] = {}
        self._inbound: dict[str, _Inbound] = {}
        self._strangers: set[_Inbound] = set()
        self._dialling: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._warned: dict[str, float] = {}
        self._closing = False
        self._loop: asyncio.AbstractEventLoop
        self._on_message: OnMessage = lambda *_: None
        self._on_connected: OnPeer = lambda _: None
        self._on_disconnected: OnPeer = lambda _: None

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
                f"raft: {self._host}:{self._port} refused: without certificates a node listens "
                "on loopback only (127.0.0.1, ::1, localhost)"
            )
        self._loop = asyncio.get_running_loop()
        try:
            self._server = await self._loop.create_server(
                lambda: _Inbound(self), self._host, self._port, backlog=64
            )
        except OSError as error:
            raise _bind_error(self._host, self._port, error) from error
        self._dialling = [
            self._loop.create_task(self._keep_dialling(peer), name=f"link-{peer}")
            for peer in sorted(self._peers)
        ]
        for task in self._dialling:
            task.add_done_callback(self._dialler_ended)

    @property
    def port(self) -> int:
        """The port listened on; differs from the configured one only when that was 0."""
        assert self._server is not None, "started"
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Sends what waits, as far as the peers take it at once, and closes everything."""
        self._closing = True
        for task in self._dialling:
            task.cancel()
        for link in list(self._outbound.values()):
            link.flush()
            link.transport.close()
        for inbound in [*self._inbound.values(), *self._strangers]:
            inbound.settle()
            inbound.transport.close()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close their sockets
        for link in self._outbound.values():
            link.transport.abort()

    # -- dialling ------------------------------------------------------------------------------

    async def _keep_dialling(self, peer: str) -> None:
        """One connection to a peer after another, with bounded back-off and jitter."""
        pause = BACKOFF_FIRST
        while not self._closing:
            if await self._dial(peer):
                pause = BACKOFF_FIRST
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, BACKOFF_LAST)

    def _dialler_ended(self, task: "asyncio.Task[None]") -> None:
        """A callback raised: that is the owner's to hear, not to be lost with the task."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": str(error), "exception": error})

    async def _dial(self, peer: str) -> bool:
        """Connects, greets, and stays until the connection is lost; whether it ever was up."""
        host, port = self._peers[peer]
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                _, link = await self._loop.create_connection(
                    lambda: _Outbound(self, peer), host, port
                )
        except OSError:  # TimeoutError is one
            return False
        self._outbound[peer] = link
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await link.greeted
        except TimeoutError:
            self._reject(link, "hello_timeout")
        if link.ready:
            self._on_connected(peer)
            await link.lost
            self._on_disconnected(peer)
            return True
        await link.lost
        return False

    # -- accepting -----------------------------------------------------------------------------

    def _admit(self, inbound: _Inbound) -> bool:
        if self._closing or len(self._strangers) >= MAX_STRANGERS:
            self._reject(inbound, "too_many_strangers")
            return False
        self._strangers.add(inbound)
        return True

    def _welcome(self, inbound: _Inbound) -> None:
        """A restarted peer's new connection replaces its old one."""
        assert inbound.peer is not None, "it has said hello"
        self._strangers.discard(inbound)
        older = self._inbound.pop(inbound.peer, None)
        if older is not None:
            older.transport.abort()
        self._inbound[inbound.peer] = inbound

    def _inbound_lost(self, inbound: _Inbound) -> None:
        self._strangers.discard(inbound)
        if inbound.peer is not None and self._inbound.get(inbound.peer) is inbound:
            del self._inbound[inbound.peer]

    def _hello_frame(self) -> bytes:
        return pack({
            "kind": "hello", "version": PROTOCOL, "cluster": self._cluster, "node": self.node_id,
        })  # fmt: skip

    def _wrong_with(self, hello: dict[str, Any], expected: str | None = None) -> str | None:
        """Why this hello is refused, as a word for the counter; None when it is right."""
        if hello.get("kind") != "hello" or set(hello) != {"kind", "version", "cluster", "node"}:
            return "no_hello"
        if hello["version"] != PROTOCOL or type(hello["version"]) is not int:
            return "wrong_version"
        if hello["cluster"] != self._cluster:
            return "other_cluster"
        node = hello["node"]
        if not isinstance(node, str) or node not in self._peers:
            return "unknown_member"
        if expected is not None and node != expected:
            return "other_member"
        return None

    def _reject(self, link: _Inbound | _Outbound, reason: str) -> None:
        self._count(reason)
        link.transport.abort()
        host = link.address.rpartition(":")[0] or link.address
        now = time.monotonic()
        if now - self._warned.get(host, -WARN_EVERY_SECONDS) < WARN_EVERY_SECONDS:
            return
        if len(self._warned) >= MAX_WARNED:
            self._warned.clear()
        self._warned[host] = now
        log.warning("connection_refused", remote=link.address, reason=reason)

    def _count(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


def split_address(address: str) -> tuple[str, int]:
    """`"127.0.0.1:7701"` → `("127.0.0.1", 7701)`; brackets around IPv6 are taken off."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} refused: an address is host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind_error(host: str, port: int, error: OSError) -> LinkError:
    if error.errno != errno.EADDRINUSE:
        return LinkError(f"cannot listen on {host}:{port}: {error.strerror or error}")
    return PortInUse(f"{host}:{port} is in use{holder_of(port)}")


def holder_of(port: int) -> str:
    """ " by process 4711 (command line)", or "" when that cannot be known."""
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status != psutil.CONN_LISTEN or not address or address.port != port:
                continue
            if connection.pid is None:
                break
            command = " ".join(psutil.Process(connection.pid).cmdline())
            return f" by process {connection.pid} ({command[:200]})"
    except (psutil.Error, OSError):
        pass
    return ""


def _address(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "?"


def _tune(transport: asyncio.Transport) -> None:
    """No delay, and a dead peer noticed within seconds instead of hours (L9)."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ]
    for level, name, value in options:
        if hasattr(socket, name):
            sock.setsockopt(level, getattr(socket, name), value)
