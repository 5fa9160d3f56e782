"""Frames on a link: a 4-byte big-endian length, then a msgpack map. Never pickle.

Arrays arrive as tuples. The limits hold before anything is buffered or built: whoever announces
2 GB is refused after four bytes.
"""
# ruff: noqa: N818  (exceptions say what is the case)

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

MAX_FRAME = 8 * 1024 * 1024
MAX_HELLO = 4 * 1024

_LENGTH = struct.Struct(">I")
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


class BadFrame(ValueError):
    """Bytes that are not a frame of ours; `reason` is a short word for the counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def pack(message: Mapping[str, Any]) -> bytes:
    """A frame; raises `ValueError` above `MAX_FRAME`."""
    body: bytes = _packer.pack(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message may take {MAX_FRAME} bytes, this one takes {len(body)}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come, gives whole messages: dicts with string keys, arrays as tuples.

    A length above the limit is refused as soon as it is read, before its body is buffered.
    """

    def __init__(self) -> None:
        self.limit = MAX_HELLO
        self._buffer = bytearray()
        self._unpacker = msgpack.Unpacker(
            raw=False,
            use_list=False,
            strict_map_key=True,
            max_buffer_size=MAX_FRAME,
            max_str_len=64 * 1024,
            max_bin_len=MAX_FRAME,
            max_array_len=64 * 1024,
            max_map_len=16 * 1024,
            max_ext_len=0,
        )
        self._fed = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages completed by `data`; raises `BadFrame`."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > self.limit:
                    raise BadFrame("frame_too_large")
                end = start + _LENGTH.size + length
                if len(buffer) < end:
                    break
                body = buffer[start + _LENGTH.size : end]
                start = end
                yield self._decode(body)
        finally:
            del buffer[:start]

    def _decode(self, body: bytearray) -> dict[str, Any]:
        try:
            self._unpacker.feed(body)
            message = self._unpacker.unpack()
        except (ValueError, msgpack.UnpackException) as error:
            raise BadFrame("garbage") from error
        self._fed += len(body)
        if not isinstance(message, dict) or self._unpacker.tell() != self._fed:
            raise BadFrame("garbage")
        return message
