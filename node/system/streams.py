"""What TCP is told about connections that cross networks, and about long-lived streams of small
messages: those between members, of devices, and of whoever follows events.

Such a stream is thin (Linux, Documentation/networking/tcp-thin.rst): with few packets under way
no later one shows that an earlier one was lost. Only a timeout makes that good, and it doubles
each time; where a fifth of all packets is lost, a word is then late by many seconds.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterable

Option = tuple[int, str, int]
"""Level, name, and value."""

THIN: tuple[Option, ...] = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_THIN_LINEAR_TIMEOUTS", 1),
    (socket.IPPROTO_TCP, "TCP_THIN_DUPACK", 1),
)
"""Nothing waits for more, and retransmissions do not back off. The last has no effect since Linux
4.16, where time-based loss detection (RACK) replaced it."""
SEGMENT = 1_280 - 60
"""Bytes of a packet without the heads of IPv6 and TCP, on any path (minimum MTU: RFC 8200)."""
UNNAMED = {"TCP_THIN_LINEAR_TIMEOUTS": 16, "TCP_THIN_DUPACK": 17}
"""Of Linux (tcp(7)); Python does not name these."""


def tune(transport: asyncio.BaseTransport, more: Iterable[Option] = ()) -> None:
    """Sets `THIN`, and `more`. Options that the system does not know or refuses are skipped."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    for level, name, value in (*THIN, *more):
        number = getattr(socket, name, None)
        if number is None and sys.platform == "linux":
            number = UNNAMED.get(name)
        if number is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(level, number, value)


def narrow(listening: socket.socket) -> None:
    """Has the connections of a listening socket send no packet that is too long for any path, in
    either direction. In front of a tunnel a longer one is lost, and the message that says so often
    is, too (RFC 2923, 2.1): then not even a handshake gets through, which has certificates."""
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
