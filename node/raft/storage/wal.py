"""Tells a torn end of an SQLite write-ahead log from damage in its middle.

SQLite reads a WAL up to the first frame whose checksum fails and silently ignores the rest. That
is right for a transaction that a crash tore, and wrong for rot in the middle: synced
transactions behind it would vanish, and with them votes and acknowledged entries (hazard S5).
As every transaction is synced before the next one begins, a crash can tear only the last one,
and that has one commit frame. Two commit frames behind the first bad one prove damage.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682


def damage_in(wal: Path) -> str | None:
    """What is wrong with the middle of this WAL, or None."""
    try:
        data = wal.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEADER.size:
        return None
    magic, _version, page, _sequence, salt1, salt2, sum1, sum2 = _HEADER.unpack_from(data)
    if magic & ~1 != _MAGIC or not 512 <= page <= 65536:
        return "its header is not that of a write-ahead log" if any(data) else None
    order = ">" if magic & 1 else "<"
    running = _checksum(data[:24], order, (0, 0))
    if running != (sum1, sum2):
        return "its header fails its checksum"
    size = _FRAME.size + page
    bad, commits = None, 0
    for number in range((len(data) - _HEADER.size) // size):
        start = _HEADER.size + number * size
        _page, pages, s1, s2, c1, c2 = _FRAME.unpack_from(data, start)
        if bad is None:
            running = _checksum(data[start : start + 8], order, running)
            running = _checksum(data[start + _FRAME.size : start + size], order, running)
            if (s1, s2) == (salt1, salt2) and running == (c1, c2):
                continue
            bad = number
        if (s1, s2) == (salt1, salt2) and pages:
            commits += 1
    if commits >= 2:
        return f"frame {bad} fails its checksum and {commits} later transactions depend on it"
    return None


def _checksum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    """The WAL's own checksum over pairs of 32-bit words."""
    s0, s1 = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x0, x1 in zip(words[::2], words[1::2], strict=True):
        s0 = (s0 + x0 + s1) & 0xFFFFFFFF
        s1 = (s1 + x1 + s0) & 0xFFFFFFFF
    return s0, s1
