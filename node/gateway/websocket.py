"""One device's WebSocket: handshake, frames, limits, orderly close.

There is no ASGI, no task and no queue per connection: the sans-I/O protocol of `websockets` sits
directly on the transport. Memory of an idle connection and CPU time of a message, measured with
Python 3.11, uvloop, 2,000 connections, and statuses of 350 bytes one by one:

    uvicorn's websockets            26 kB   124 µs
    uvicorn's websockets-sansio     19 kB    46 µs
    uvicorn's wsproto               17 kB    53 µs
    this                             6 kB    23 µs

The library judges whether frames are valid. Only frames that are a whole message, as nearly all
are, bypass it and are unmasked here.

Buffered for a device are at most one incomplete message (64 KiB) and what its socket has not sent
yet (`MAX_UNSENT`). A device that does not read loses its connection.
"""

import asyncio
import enum
import logging
import socket as sockets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol, cast

from starlette.responses import Response as Answer
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # compiled, where there is a compiler
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from stationkeep.node.http.access import Caller
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.security.handshake import facts_of
from stationkeep.node.security.identity import Facts
from stationkeep.node.system.turns import Turns
from stationkeep.node.wire.messages import CODECS, FAULTS, JSON, MAX_FRAME_BYTES, Close, Codec

MAX_UNSENT = 16 * 1024
"""Bytes waiting to be sent to a device, in addition to the system's buffer."""
SYSTEM_BUFFER = 32 * 1024
"""Bytes of the system's send buffer. By default it can grow to megabytes if a device does not
read."""
CLOSE_SECONDS = 5.0
"""Within which a device must answer a close frame."""
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60.0
"""Frames a second that a connection may send, and how many at once after a pause."""

_log = logging.getLogger("websockets.server")
_log.setLevel(logging.CRITICAL)  # protocol errors of clients are counted, not logged


class Handler(Protocol):
    """Receives the messages of one connection, an `AgentSocket`."""

    def received(self, data: bytes) -> None:
        """A whole message has arrived."""
        ...

    def too_fast(self) -> None:
        """The device exceeded the message rate; the connection is about to be closed."""
        ...

    def lost(self) -> None:
        """The connection is gone. Called once, last, and never from within a call to the socket."""
        ...


class Gateway(Protocol):
    """Accepts connections; implemented by `node.gateway.sessions.Sessions`."""

    def admit(self, request: Request, address: str, shown: Facts | None) -> Caller:
        """Who connects; raises `Problem` for who may not, now or ever. `shown`: their
        certificate."""
        ...

    def admitted(self, socket: "AgentSocket", codec: Codec, caller: Caller) -> Handler:
        """A device has connected; the handler returned receives its messages."""
        ...

    def closed(self, socket: "AgentSocket", why: str) -> None:
        """A connection has ended. `why`: one of `node.gateway.sessions.ENDS`."""
        ...


class Stage(enum.IntEnum):
    """The life of a connection."""

    HANDSHAKE = 0
    UNREGISTERED = 1
    REGISTERED = 2
    CLOSING = 3


_TALKING = frozenset({Stage.UNREGISTERED, Stage.REGISTERED})
_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
_WHOLE_MESSAGE = frozenset({0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY})
"""First bytes of frames that are a whole message: final, without extensions (RFC 6455, 5.2)."""
_MASKED, _LENGTH = 0x80, 0x7F
_MASK_AT = {126: 4, 127: 10}
"""Offset of the masking key, by the length in the second byte; for other lengths it is 2."""
LONGEST_FRAME = 14 + MAX_FRAME_BYTES
"""Bytes of a frame with its head."""


class AgentSocket(asyncio.Protocol):
    """The connection. uvicorn creates one when a request asks for a WebSocket, and feeds it that
    request again."""

    __slots__ = (
        "_allowance",
        "_codec",
        "_gateway",
        "_handler",
        "_loop",
        "_partial",
        "_parts",
        "_peer",
        "_queued",
        "_transport",
        "_turns",
        "_why",
        "due",
        "last_frame_at",
        "stage",
    )
    _transport: asyncio.Transport

    def __init__(self, gateway: Gateway, turns: Turns) -> None:
        self._gateway, self._turns, self._queued = gateway, turns, False
        self._loop = asyncio.get_running_loop()
        self._peer = _Peer(select_subprotocol=_choose, max_size=MAX_FRAME_BYTES, logger=_log)
        self._handler: Handler | None = None
        self._codec = JSON
        self._partial = self._parts = b""
        self._allowance = MESSAGE_BURST
        self._why = "gone"
        self.stage = Stage.HANDSHAKE
        self.last_frame_at = self._loop.time()
        """Loop time at which the newest frame was complete."""
        self.due = float("inf")
        """Loop time at which the gateway has to check this connection."""

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(MAX_UNSENT)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SYSTEM_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._partial += data
        if not self._queued:
            self._queued = True
            self._turns.take(self._read)
        if self._queued and not self._transport.is_closing():  # this turn's budget is used up
            self._transport.pause_reading()

    def _read(self) -> None:
        """Handles the frames that are complete. The rate limit bounds their number. The library
        closes the connection for one that is too long, without waiting for its end."""
        self._queued = False
        self._transport.resume_reading()
        data, at = self._partial, 0
        size = _frame_size(data, at)
        while self.stage in _TALKING and size <= min(len(data) - at, LONGEST_FRAME):
            self._frame(data[at : at + size])
            at += size
            size = _frame_size(data, at)
        self._partial = data[at:]
        if self.stage not in _TALKING or size > LONGEST_FRAME:
            rest, self._partial = self._partial, b""
            self._parse(rest)

    def pause_writing(self) -> None:
        """The device does not read what it is sent."""
        self.end(Close.POLICY, "too_slow", "reads too slowly")

    def connection_lost(self, exc: Exception | None) -> None:
        self.stage = Stage.CLOSING
        handler, self._handler = self._handler, None
        if handler is not None:
            self._gateway.closed(self, self._why)
            handler.lost()

    # -- called by the gateway ------------------------------------------------------------------

    def admit(self, silence: float) -> None:
        """Its device is registered. Sets the deadline to `silence` seconds after its last frame."""
        if self.stage is Stage.UNREGISTERED:
            self.stage, self.due = Stage.REGISTERED, self.last_frame_at + silence

    def send(self, message: bytes) -> None:
        """Sends a message, unless the connection is closing."""
        if self._peer.state is not State.OPEN:
            return
        if self._codec.binary:
            self._peer.send_binary(message)
        else:
            self._peer.send_text(message)
        self._flush()

    def ping(self) -> None:
        """Sends a ping; the answer updates `last_frame_at`."""
        if self._peer.state is State.OPEN:
            self._peer.send_ping(b"")
            self._flush()

    def end(self, code: Close, why: str, reason: str) -> None:
        """Closes the connection: `code` and `reason` for the device, `why` for the counter."""
        if self._peer.state is not State.OPEN:
            return
        self._closing(why)
        self._peer.send_close(code, reason)
        self._flush()

    def abort(self) -> None:
        """Drops the connection at once."""
        self._transport.abort()

    # -- frames ---------------------------------------------------------------------------------

    def _frame(self, data: bytes) -> None:
        """Handles one complete frame."""
        if not self._allowed():
            return
        whole = data[0] in _WHOLE_MESSAGE and data[1] & _MASKED
        if whole and self._peer.current_size is None:
            mask = _MASK_AT.get(data[1] & _LENGTH, 2)
            self._message(apply_mask(data[mask + 4 :], data[mask : mask + 4]))
        else:
            self._parse(data)

    def _allowed(self) -> bool:
        """Counts a frame against the rate limit; closes the connection if it is exceeded."""
        now = self._loop.time()
        earned = (now - self.last_frame_at) * MESSAGE_RATE
        self._allowance = min(self._allowance + earned, MESSAGE_BURST) - 1
        self.last_frame_at = now
        if self._allowance >= 0:
            return True
        if self._handler is not None:
            self._handler.too_fast()
        self.end(Close.POLICY, "too_fast", f"more than {MESSAGE_RATE:g} messages a second")
        return False

    def _parse(self, data: bytes) -> None:
        """Leaves to the library the handshake, control frames, fragments and invalid frames."""
        self._peer.receive_data(data)
        for event in self._peer.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame) and event.opcode in _DATA:
                self._fragment(event)
        if self._peer.parser_exc is not None and self.stage is not Stage.CLOSING:
            self._closing("invalid_frames")
        self._flush()

    def _answer(self, request: Request) -> None:
        """Accepts or refuses the handshake."""
        peer = self._transport.get_extra_info("peername")
        try:
            shown = facts_of(self._transport)
            caller = self._gateway.admit(request, peer[0] if peer else "unknown", shown)
            response = self._peer.accept(request)
            if response.status_code != 101:
                raise Problem(Kind.INVALID, _broken(self._peer.handshake_exc))
        except Problem as refusal:
            self._peer.send_response(_http(refusal.response()))
            self._closing("refused")
            return
        self._peer.send_response(response)
        if self._peer.subprotocol is not None:
            self._codec = CODECS[self._peer.subprotocol]
        self.stage = Stage.UNREGISTERED
        self._handler = self._gateway.admitted(self, self._codec, caller)

    def _fragment(self, frame: Frame) -> None:
        """Collects a part of a message; the library limits the total length."""
        self._parts += frame.data
        if frame.fin:
            message, self._parts = self._parts, b""
            self._message(message)

    def _message(self, data: bytes) -> None:
        if self._handler is not None and self.stage in _TALKING:
            self._handler.received(data)

    def _closing(self, why: str) -> None:
        self._why, self.stage = why, Stage.CLOSING
        self.due = self._loop.time() + CLOSE_SECONDS

    def _flush(self) -> None:
        """Writes what the library wants to send; an empty piece means to close the transport.

        What is said to a device whose connection is lost (an answer that came out of the log, a
        pong to what it had sent before) is dropped: uvloop's transports raise when they are closed.
        """
        for piece in self._peer.data_to_send():
            if self._transport.is_closing():
                return
            if piece:
                self._transport.write(piece)
            else:
                self.stage = Stage.CLOSING
                self._transport.close()


def _frame_size(data: bytes, at: int) -> int:
    """Length of the frame at `at`; while its head is incomplete, the bytes needed to go on."""
    if len(data) - at < 2:
        return 2
    length = data[at + 1] & _LENGTH
    key = 4 if data[at + 1] & _MASKED else 0
    body = _MASK_AT.get(length, 2)
    if body == 2:
        return 2 + key + length
    if len(data) - at < body:
        return body
    return body + key + int.from_bytes(data[at + 2 : at + body])


def _choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first of our subprotocols that the device offers; JSON when it offers none."""
    for name in offered:
        if name in CODECS:
            return name
    if offered:
        raise NegotiationError(f"Sec-WebSocket-Protocol: none of {', '.join(CODECS)}")
    return None


class _Peer(ServerProtocol):
    """The library's protocol, with our own texts in close frames."""

    def fail(self, code: int, reason: str = "") -> None:
        super().fail(code, FAULTS.get(code, ""))


def _broken(error: Exception | None) -> str:
    """The rule that a handshake broke."""
    if isinstance(error, NegotiationError):  # raised by `_choose`
        return str(error)
    return "not a WebSocket handshake (RFC 6455, 4.1)"


def _http(answer: Answer) -> Response:
    """A refusal in the library's own type."""
    headers = Headers(
        (name.decode(), value.decode("latin-1")) for name, value in answer.raw_headers
    )
    headers["Connection"] = "close"
    status = HTTPStatus(answer.status_code)
    return Response(status.value, status.phrase, headers, bytes(answer.body))
