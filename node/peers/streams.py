"""The two kinds of connections between members, and how their sockets are tuned.

A dialled connection (`Outbound`) only sends, an accepted one (`Inbound`) only receives; the first
frame each way is a hello. What is done with them is `network.py`'s.
"""

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any, cast

import structlog

from node.peers.frames import MAX_FRAME, BadFrame, FrameReader

if TYPE_CHECKING:
    from node.peers.network import TcpNetwork as Network

HELLO_SECONDS = 3.0
USER_TIMEOUT_MS = 10_000
THIN_STREAM = (16, 17)
"""Linux: TCP_THIN_LINEAR_TIMEOUTS, TCP_THIN_DUPACK (tcp(7)); the second does nothing since 4.16,
where loss detection by time (RACK) does better."""

log = structlog.get_logger("node.peers")


class Inbound(asyncio.Protocol):
    """An accepted connection: a hello, then messages from that peer."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._reader = FrameReader()
        self._timeout: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self.address = "?"
        self.peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.address = _address(self.transport)
        if not self._network.admit(self):
            return
        tune(self.transport)
        self._timeout = self._network.loop.call_later(
            HELLO_SECONDS, self._network.reject, self, "hello_timeout"
        )

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if self.transport.is_closing():
                    return
                if self.peer is None:
                    self._hello(message)
                else:
                    self._network.deliver(self.peer, message)
        except BadFrame as error:
            self._network.reject(self, error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.settle()
        self._network.inbound_lost(self)

    def settle(self) -> None:
        """No hello is awaited any more."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def dismiss(self, frame: bytes) -> None:
        """Turned away with a word of explanation."""
        self.settle()
        self.transport.write(frame)
        self.transport.close()

    def _hello(self, hello: dict[str, Any]) -> None:
        reason = self._network.wrong_with(hello)
        if reason is not None:
            self._network.refuse(self, hello, reason)
            return
        self.peer = hello["node"]
        self.settle()
        self._reader.limit = MAX_FRAME
        self.transport.write(self._network.hello.frame())
        self._network.welcome(self)


class Outbound(asyncio.Protocol):
    """A dialled connection: hello both ways, then ours to send on."""

    def __init__(self, network: "Network", peer: str) -> None:
        self._network = network
        self.peer = peer
        self.address = peer
        self._reader = FrameReader()
        self.ready = False
        self.lost: asyncio.Future[None] = network.loop.create_future()
        self.greeted: asyncio.Future[None] = network.loop.create_future()
        self.transport: asyncio.Transport
        self._frames: list[bytes] = []
        self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        tune(self.transport)
        self.transport.write(self._network.hello.frame())

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if self.ready:
                    raise BadFrame("unexpected_message")
                if message.get("kind") == "removed":
                    self._network.dismissed(self, message)
                    return
                reason = self._network.wrong_with(message, self.peer)
                if reason is not None:
                    raise BadFrame(reason)
                self.ready = True
                self._settle(self.greeted)
        except BadFrame as error:
            self._network.reject(self, error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        self._frames.clear()
        self._settle(self.greeted)
        self._settle(self.lost)

    def push(self, frame: bytes) -> bool:
        """Queues a frame until the end of this loop turn; False when there is no room."""
        if not self._frames:
            self._network.loop.call_soon(self._flush)
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


def _address(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "?"


def tune(transport: asyncio.Transport) -> None:
    """HAZARDS L9: no delay, a dead peer noticed within seconds instead of hours, and, where the
    system has them, retransmissions that do not back off: Raft's messages are few and small (a
    "thin stream"), and at 20 % loss a doubled retransmission timeout outlasts an election's.
    What a system does not know is left out; what it refuses is no reason to do without a link.
    """
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
    known = [
        (level, getattr(socket, n), value) for level, n, value in options if hasattr(socket, n)
    ]
    if sys.platform == "linux":  # Python does not name these
        known += [(socket.IPPROTO_TCP, option, 1) for option in THIN_STREAM]
    for level, number, value in known:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, number, value)
