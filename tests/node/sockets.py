"""Connections of this process as the system knows them, whatever objects hold them."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from stationkeep.node.system.streams import UNNAMED


class Ends(NamedTuple):
    """Of the connections to a port."""

    dialled: list[socket.socket]
    accepted: list[socket.socket]


@contextmanager
def connections_to(port: int) -> Iterator[Ends]:
    """Copies of both ends, as far as they are in this process."""
    ends = Ends([], [])
    with ExitStack() as stack:
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    continue
                sock = stack.enter_context(socket.socket(fileno=os.dup(number)))
                ours, theirs = sock.getsockname()[1], sock.getpeername()[1]
            except (OSError, IndexError, TypeError):  # gone, not connected, or of another family
                continue
            if theirs == port:
                ends.dialled.append(sock)
            elif ours == port:
                ends.accepted.append(sock)
        yield ends


def is_thin(sock: socket.socket) -> bool:
    """Whether small messages go out at once, and are sent again without backing off."""
    options = (socket.TCP_NODELAY, UNNAMED["TCP_THIN_LINEAR_TIMEOUTS"])
    return all(sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
