"""Frames on a stream: a 4-byte big-endian length, then a msgpack map. Never pickle.

After the handshake, the number of the message (8 bytes; see `sessions.py`) precedes each map.
Arrays arrive as tuples. Limits apply before anything is buffered or built: a peer that announces
2 GB is refused after four bytes.

One byte can encode an object, and an object costs as much time and memory as a hundred bytes of
data. So the total number of objects in a frame is limited, too: limits per container would multiply
in nested containers.
"""
# ruff: noqa: N818  (exceptions are named after what is the case)

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

MAX_FRAME = 8 * 1024 * 1024
MAX_HELLO = 4 * 1024
MAX_OBJECTS = 32 * 1024
"""Objects in one frame: twice as many as a message with the most entries has."""

_LENGTH = struct.Struct(">I")
_NUMBERED = struct.Struct(">IQ")
_TLS = (b"\x16\x03", b"\x15\x03")
"""Begin the hello of TLS and its alerts (RFC 8446, 5.1): the peer has certificates, and we have
none."""
_NUMBER_BYTES = _NUMBERED.size - _LENGTH.size
_LIMITS = {
    "raw": False,
    "use_list": False,
    "strict_map_key": True,
    "max_str_len": 64 * 1024,
    "max_bin_len": MAX_FRAME,
    "max_array_len": 4 * 1024,  # the most entries of a message; allocated when announced
    "max_map_len": 4 * 1024,
    "max_ext_len": 0,
}
_HELLO_LIMITS = {**_LIMITS, "max_array_len": 16, "max_map_len": 32}
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


class BadFrame(ValueError):
    """Bytes that are not a valid frame; `reason` is a short word for the counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(message: Mapping[str, Any]) -> bytes:
    """The message's bytes; raises `ValueError` above `MAX_FRAME`."""
    body: bytes = _packer.pack(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message may take {MAX_FRAME} bytes, this one takes {len(body)}")
    return body


class _Counter:
    """Hooks that count the objects of every container, and abort the decoding of a frame that has
    too many."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_OBJECTS

    def array(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        self._count(len(items))
        return items

    def map(self, items: dict[str, Any]) -> dict[str, Any]:
        self._count(2 * len(items))
        return items

    def _count(self, objects: int) -> None:
        self._left -= objects
        if self._left < 0:
            raise BadFrame("too_many_objects")


def decode(body: bytes) -> dict[str, Any]:
    """The message in `body`; raises `BadFrame`."""
    if len(body) <= MAX_OBJECTS:  # it cannot have more objects
        return _map(body, _LIMITS)
    counter = _Counter()
    hooks = {"list_hook": counter.array, "object_hook": counter.map}
    return _map(body, {**_LIMITS, **hooks})


def decode_hello(body: bytes) -> dict[str, Any]:
    """The message in a frame of the handshake, which anybody can send; raises `BadFrame`."""
    return _map(body, _HELLO_LIMITS)


def _map(body: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, **options)
    except BadFrame:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame("garbage") from error
    if not isinstance(message, dict):
        raise BadFrame("garbage")
    return message


def pack(message: Mapping[str, Any]) -> bytes:
    """A frame of the handshake."""
    body = encode(message)
    return _LENGTH.pack(len(body)) + body


def numbered(number: int, body: bytes) -> bytes:
    """A frame with an encoded message, for use after the handshake."""
    return _NUMBERED.pack(len(body) + _NUMBER_BYTES, number) + body


class FrameReader:
    """Turns a stream of bytes into messages: dicts with string keys, arrays as tuples.

    A length above the limit is refused as soon as it is read, before the body is buffered.
    """

    def __init__(self) -> None:
        self._limit, self._skipped = MAX_HELLO, 0
        self._buffer = bytearray()

    def greeted(self) -> None:
        """Call after the handshake: from now on frames are longer, and numbered."""
        self._limit, self._skipped = MAX_FRAME + _NUMBER_BYTES, _NUMBER_BYTES

    def feed(self, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
        """The messages completed by `data`, each with its number, 0 for a hello. Messages that the
        caller does not take are returned by the next call. Raises `BadFrame`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            if length > self._limit:
                is_tls = not self._skipped and buffer.startswith(_TLS)
                raise BadFrame("tls" if is_tls else "frame_too_large")
            if length < self._skipped:
                raise BadFrame("garbage")
            end = _LENGTH.size + length
            if len(buffer) < end:
                return
            number = _NUMBERED.unpack_from(buffer)[1] if self._skipped else 0
            body = bytes(memoryview(buffer)[_LENGTH.size + self._skipped : end])
            del buffer[:end]
            yield number, decode(body) if self._skipped else decode_hello(body)
