"""The two kinds of streams between members.

A dialled stream (`Outbound`) only sends, an accepted one (`Inbound`) only receives; the first
frame in each direction is a hello. `link.py` uses them.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog

from stationkeep.node.peers.frames import BadFrame, FrameReader
from stationkeep.node.peers.sessions import Incoming, Outgoing, Papers
from stationkeep.node.security.handshake import REFUSED_BY_PEER, facts_shown
from stationkeep.node.security.identity import Word
from stationkeep.node.system.streams import tune

if TYPE_CHECKING:
    from stationkeep.node.peers.link import Link
    from stationkeep.node.peers.network import PeerNetwork as Network

HELLO_SECONDS = 3.0
FRAMES_AT_ONCE = 32
"""Frames taken from a stream before others have their turn."""
USER_TIMEOUT_MS = 10_000
MORTAL = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
)
"""Hazard L9: a dead peer is detected within seconds instead of hours. Its streams are thin as well:
at 20 % loss a doubled retransmission timeout is longer than an election timeout."""

log = structlog.get_logger("node.peers")


class Pulse(NamedTuple):
    """The state of a stream. `outstanding`: whether it has unacknowledged data; `unanswered`:
    retransmission time-outs in a row without an acknowledgement, 0 if the system does not tell."""

    outstanding: bool
    unanswered: int


class Inbound(asyncio.Protocol):
    """An accepted stream: a hello, then messages of that peer's session."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._reader = FrameReader()
        self._timeout: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self.address = "?"
        self._certified: str | None = None
        """The node of the peer's certificate; None without TLS."""
        self.papers = Papers(era=network.era())
        self._unread, self._in_line = b"", False
        self.link: Link | None = None
        """The link to the peer, once its hello has arrived."""
        self.session: Incoming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.address = _address(self.transport)
        self._certified, serial = _certified(self.transport)
        self.papers = self.papers._replace(serial=serial)
        if not self._network.admit(self):
            return
        tune(self.transport, MORTAL)
        self._timeout = self._network.loop.call_later(
            HELLO_SECONDS, self._network.reject, self, "hello_timeout"
        )

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._in_line:
            self._queue()
        if self._in_line and not self.transport.is_closing():  # this turn's budget is used up
            self.transport.pause_reading()

    def _queue(self) -> None:
        self._in_line = True
        self._network.turns.take(self._take)

    def _take(self) -> None:
        """Handles a few of the messages that have arrived, and queues itself again for more."""
        self._in_line = False
        data, self._unread = self._unread, b""
        taken = 0
        try:
            for number, message in islice(self._reader.feed(data), FRAMES_AT_ONCE):
                if self.transport.is_closing():
                    return
                taken += 1
                if self.link is None:
                    self._hello(message)
                else:
                    self.link.take_frame(self.session, number, message)
        except BadFrame as error:
            self._network.reject(self, error.reason)
            return
        if taken == FRAMES_AT_ONCE:
            self._queue()
        elif not self.transport.is_reading() and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.settle()
        self._network.inbound_lost(self)

    def settle(self) -> None:
        """Stops waiting for a hello."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def dismiss(self, frame: bytes) -> None:
        """Turns the peer away with an explanation."""
        self.settle()
        self.transport.write(frame)
        self.transport.close()

    def _hello(self, hello: dict[str, Any]) -> None:
        reason = self._network.wrong_with(hello)
        if self._certified not in (None, hello.get("node")):
            reason = Word.WRONG_NODE
        if reason is not None:
            self._network.refuse(self, hello, reason)
            return
        self.settle()
        self._reader.greeted()
        self.transport.write(self._network.hello.frame())
        self._network.welcome(self, hello)


class Outbound(asyncio.Protocol):
    """A dialled stream: after a hello in both directions, we send on it."""

    def __init__(self, network: "Network", peer: str, era: int = 0) -> None:
        """`era`: `network.era()` when it was decided whom to trust."""
        self._network = network
        self.address = self.peer = peer
        self.session = Outgoing()
        self.began_at = network.loop.time()
        self._reader = FrameReader()
        self.ready = False
        self.why: str = REFUSED_BY_PEER
        """It will not be ready: all that one sees who is refused is that the stream ends."""
        self.greeted: asyncio.Future[None] = network.loop.create_future()
        self.on_lost: Callable[[Outbound], None] = lambda _: None
        self.papers = Papers(era=era)
        self.destination: Any = None
        """The peer's address as the system names it; None if the connection was lost at once."""
        self.transport: asyncio.Transport
        self._frames: list[bytes] = []
        self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        # Read now: after a reset the connection does not know it any more.
        self.destination = self.transport.get_extra_info("peername")
        self.papers = self.papers._replace(serial=_certified(self.transport)[1])
        tune(self.transport, MORTAL)
        self.transport.write(self._network.hello.frame(self.session))

    def data_received(self, data: bytes) -> None:
        try:
            for _, message in self._reader.feed(data):
                if self.ready:
                    raise BadFrame("unexpected_message")
                if message.get("kind") == "removed":
                    self.why = "removed"
                    self._network.dismissed(self, message)
                    return
                reason = self._network.wrong_with(message, self.peer)
                if reason is not None:
                    self.why = reason
                    self._network.turned_away(self, message, reason)
                    return
                self._network.noted(self.peer, message)
                self.ready = True
                self.settle()
        except BadFrame as error:
            self.why = error.reason
            self._network.reject(self, error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        self._frames.clear()
        if not self.greeted.done():
            self._network.unanswered(self)
        self.settle()
        self.on_lost(self)

    def push(self, frame: bytes) -> bool:
        """Queues a frame until the end of this loop turn; False when there is no room."""
        if not self._frames:
            self._network.loop.call_soon(self.flush)
            self._bytes = self.transport.get_write_buffer_size()
        self._bytes += len(frame)
        if self._bytes > self._network.send_buffer:
            self._network.count("send_buffer_full")
            log.warning("link_reset", peer=self.peer, reason="send_buffer_full")
            self.ready = False
            self._frames.clear()
            self.transport.abort()
            return False
        self._frames.append(frame)
        return True

    def flush(self) -> None:
        """Writes what is queued."""
        if self._frames and not self.transport.is_closing():
            self.transport.write(b"".join(self._frames))
        self._frames.clear()

    def pulse(self) -> Pulse:
        waits = self.transport.get_write_buffer_size() > 0
        info = _tcp_info(self.transport)
        if info is None:
            return Pulse(waits, 0)
        return Pulse(waits or info.unacknowledged > 0, info.retransmits)

    def settle(self) -> None:
        """Stops waiting for a hello."""
        if not self.greeted.done():
            self.greeted.set_result(None)


class _TcpInfo(NamedTuple):
    """Parts of Linux's struct tcp_info (linux/tcp.h): retransmission time-outs since the last
    acknowledgement, and segments that are not acknowledged."""

    retransmits: int
    unacknowledged: int


_TCP_INFO = struct.Struct("=2xB21xI")


def _tcp_info(transport: asyncio.Transport) -> _TcpInfo | None:
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform != "linux":
        return None
    try:
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    return _TcpInfo(*_TCP_INFO.unpack(found)) if len(found) == _TCP_INFO.size else None


def _certified(transport: asyncio.Transport) -> tuple[str | None, str]:
    """The node whose certificate was accepted in the handshake, and its serial number; None and ""
    without TLS."""
    tls = transport.get_extra_info("ssl_object")
    facts = None if tls is None else facts_shown(tls)
    identity = None if facts is None else facts.identity
    return (None, "") if facts is None or identity is None else (identity.name, facts.serial)


def _address(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "?"
