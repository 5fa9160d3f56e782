"""One device's WebSocket: handshake, frames, limits, an end in good order.

No ASGI, no task and no queue for each connection: the sans-I/O protocol of `websockets` sits
right on the transport. Measured (Python 3.11, uvloop, 2,000 connections, statuses of 350 bytes
one by one), memory of an idle connection and processor time of a message:

    uvicorn's websockets            26 kB   124 µs
    uvicorn's websockets-sansio     19 kB    46 µs
    uvicorn's wsproto               17 kB    53 µs
    this                             6 kB    23 µs

The library decides what is a valid frame; only whole data frames, which nearly all are, are
unmasked here without it.

Nothing is buffered for a device but one incomplete message (64 KiB) and what its socket has not
taken yet (`MAX_UNSENT`); one that does not read loses its connection, not the node its memory.
"""

import asyncio
import enum
import logging
import socket as sockets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import urlsplit

from starlette.responses import Response as Answer
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # compiled, where there is a compiler
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.system.turns import Turns
from stationkeep.node.wire.messages import CODECS, FAULTS, JSON, MAX_FRAME_BYTES, Close, Codec

MAX_UNSENT = 16 * 1024
"""Bytes that wait for a device to read, beyond the system's own buffer."""
SYSTEM_BUFFER = 32 * 1024
"""That of the system; by default it would take megabytes for a device that does not read."""
CLOSE_SECONDS = 5.0
"""For a device to answer that the connection ends."""
MESSAGE_RATE, MESSAGE_BURST = 20.0, 60.0
"""Frames a second that a connection may send, and at once after a pause."""

_log = logging.getLogger("websockets.server")
_log.setLevel(logging.CRITICAL)  # what a stranger sends is counted, not logged


class Talk(Protocol):
    """What is said over a connection; its other half is `AgentSocket`."""

    def received(self, data: bytes) -> None:
        """A whole message."""
        ...

    def hurried(self) -> None:
        """More frames came than the limit; the connection is being closed."""
        ...

    def lost(self) -> None:
        """The connection is gone. Comes once, last, and never from within a call to the socket."""
        ...


class Door(Protocol):
    """What admits connections; implemented by `node.gateway.sessions.Sessions`."""

    def refusal(self, path: str, origin: str | None) -> Problem | None:
        """Why a device may not connect now, or None."""
        ...

    def admitted(self, socket: "AgentSocket", codec: Codec) -> Talk:
        """A device is connected; what it says goes to the result."""
        ...

    def closed(self, socket: "AgentSocket", why: str) -> None:
        """It is no longer. `why`: one of `agents.ENDS`."""
        ...


class Stage(enum.IntEnum):
    """The life of a connection."""

    HANDSHAKE = 0
    STRANGER = 1  # has registered nothing
    DEVICE = 2
    CLOSING = 3


_TALKING = frozenset({Stage.STRANGER, Stage.DEVICE})
_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
_WHOLE_MESSAGE = frozenset({0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY})
"""First bytes of frames that are a message each: final, without extensions (RFC 6455, 5.2)."""
_MASKED, _LENGTH = 0x80, 0x7F
_MASK_AT = {126: 4, 127: 10}
"""Where the masking key begins, by the length in the second byte; else at 2."""
LONGEST_HEAD = 14


class AgentSocket(asyncio.Protocol):
    """uvicorn makes one when a request asks for a WebSocket, and feeds it that request again."""

    __slots__ = (
        "_allowance",
        "_codec",
        "_door",
        "_in_line",
        "_loop",
        "_partial",
        "_parts",
        "_peer",
        "_talk",
        "_transport",
        "_turns",
        "_why",
        "due",
        "heard_at",
        "stage",
    )
    _transport: asyncio.Transport

    def __init__(self, door: Door, turns: Turns) -> None:
        self._door, self._turns, self._in_line = door, turns, False
        self._loop = asyncio.get_running_loop()
        self._peer = _Peer(select_subprotocol=_choose, max_size=MAX_FRAME_BYTES, logger=_log)
        self._talk: Talk | None = None
        self._codec = JSON
        self._partial = self._parts = b""
        self._allowance = MESSAGE_BURST
        self._why = "gone"
        self.stage = Stage.HANDSHAKE
        self.heard_at = self._loop.time()
        """Loop time of the newest whole frame."""
        self.due = float("inf")
        """Loop time at which the door is to look after this connection."""

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(MAX_UNSENT)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SYSTEM_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._partial += data
        if not self._in_line:
            self._in_line = True
            self._turns.take(self._read)
        if self._in_line and not self._transport.is_closing():  # still: the turn is used up
            self._transport.pause_reading()

    def _read(self) -> None:
        """What has arrived: no more frames than the limit of their rate."""
        self._in_line = False
        self._transport.resume_reading()
        data, at, size = self._partial, 0, 0
        while self.stage in _TALKING and len(data) - at >= (size := _frame_size(data, at)):
            self._frame(data[at : at + size])
            at += size
        self._partial = data[at:]
        if self.stage not in _TALKING or size > MAX_FRAME_BYTES + LONGEST_HEAD:
            rest, self._partial = self._partial, b""
            self._parse(rest)

    def eof_received(self) -> None:
        """The device ended its half; the transport then closes ours."""
        self._peer.receive_eof()

    def pause_writing(self) -> None:
        """It does not read what it is sent."""
        self.end(Close.POLICY, "too_slow", "reads too slowly")

    def connection_lost(self, exc: Exception | None) -> None:
        self.stage = Stage.CLOSING
        talk, self._talk = self._talk, None
        if talk is not None:
            self._door.closed(self, self._why)
            talk.lost()

    # -- what the door does ---------------------------------------------------------------------

    def admit(self, silence: float) -> None:
        """Its device is registered, and looked after when silent for so many seconds."""
        if self.stage is Stage.STRANGER:
            self.stage, self.due = Stage.DEVICE, self.heard_at + silence

    def send(self, message: bytes) -> None:
        """Sends a message, unless the connection ends anyway."""
        if self._peer.state is not State.OPEN:
            return
        if self._codec.binary:
            self._peer.send_binary(message)
        else:
            self._peer.send_text(message)
        self._flush()

    def ping(self) -> None:
        """Asks for a sign of life: see `heard_at`."""
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
        """Ends the connection at once."""
        self._transport.abort()

    # -- inside ---------------------------------------------------------------------------------

    def _frame(self, data: bytes) -> None:
        """One frame, whole."""
        if not self._allowed():
            return
        whole = data[0] in _WHOLE_MESSAGE and data[1] & _MASKED
        if whole and self._peer.current_size is None:
            mask = _MASK_AT.get(data[1] & _LENGTH, 2)
            self._message(apply_mask(data[mask + 4 :], data[mask : mask + 4]))
        else:
            self._parse(data)

    def _allowed(self) -> bool:
        """Counts a frame; closes when it is one too many."""
        now = self._loop.time()
        earned = (now - self.heard_at) * MESSAGE_RATE
        self._allowance = min(self._allowance + earned, MESSAGE_BURST) - 1
        self.heard_at = now
        if self._allowance >= 0:
            return True
        if self._talk is not None:
            self._talk.hurried()
        self.end(Close.POLICY, "too_fast", f"more than {MESSAGE_RATE:g} messages a second")
        return False

    def _parse(self, data: bytes) -> None:
        """What only the library understands: the handshake, control frames, fragments, faults."""
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
        path, origin = urlsplit(request.path).path, request.headers.get("Origin")
        refusal = self._door.refusal(path, origin)
        response = self._peer.accept(request) if refusal is None else None
        if response is None or response.status_code != 101:
            fault = refusal or Problem(Kind.INVALID, _broken(self._peer.handshake_exc))
            self._peer.send_response(_http(fault.response()))
            self._closing("refused")
            return
        self._peer.send_response(response)
        if self._peer.subprotocol is not None:
            self._codec = CODECS[self._peer.subprotocol]
        self.stage = Stage.STRANGER
        self._talk = self._door.admitted(self, self._codec)

    def _fragment(self, frame: Frame) -> None:
        """A part of a message; the library has bounded their sum."""
        self._parts += frame.data
        if frame.fin:
            message, self._parts = self._parts, b""
            self._message(message)

    def _message(self, data: bytes) -> None:
        if self._talk is not None and self.stage in _TALKING:
            self._talk.received(data)

    def _closing(self, why: str) -> None:
        self._why, self.stage = why, Stage.CLOSING
        self.due = self._loop.time() + CLOSE_SECONDS

    def _flush(self) -> None:
        """Hands over what the library wants sent; an empty piece ends the connection."""
        for piece in self._peer.data_to_send():
            if piece:
                self._transport.write(piece)
            else:
                self.stage = Stage.CLOSING
                self._transport.close()


def _frame_size(data: bytes, at: int) -> int:
    """Bytes of the frame that begins at `at`, or of its head while that is incomplete."""
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
    """The first subprotocol of ours that the device offers; JSON when it offers none."""
    for name in offered:
        if name in CODECS:
            return name
    if offered:
        raise NegotiationError(f"Sec-WebSocket-Protocol: none of {', '.join(CODECS)}")
    return None


class _Peer(ServerProtocol):
    """The library's protocol, which ends a connection in our words."""

    def fail(self, code: int, reason: str = "") -> None:
        super().fail(code, FAULTS.get(code, ""))


def _broken(error: Exception | None) -> str:
    """The rule that a handshake broke."""
    if isinstance(error, NegotiationError):  # of `_choose`
        return str(error)
    return "no handshake of a WebSocket (RFC 6455, 4.1)"


def _http(answer: Answer) -> Response:
    """A refusal as the library sends it."""
    headers = Headers(
        (name.decode(), value.decode("latin-1")) for name, value in answer.raw_headers
    )
    headers["Connection"] = "close"
    status = HTTPStatus(answer.status_code)
    return Response(status.value, status.phrase, headers, bytes(answer.body))
