"""Datagram sockets on the address of the listening stream socket. `sessions.py` defines the content
of datagrams."""

import contextlib
import errno
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from typing import Any

from stationkeep.node.peers.sessions import MAX_DATAGRAM

AT_ONCE = 64
"""Datagrams received at a time, so that the event loop gets to other work."""
RECEIVE_BUFFER = 1024 * 1024
"""Bytes that the system may buffer while the event loop is busy; it may grant less."""


class DatagramSockets:
    """One socket for each address that is listened on. Sending never blocks: what the system does
    not accept is lost, like any datagram."""

    def __init__(self, loop: AbstractEventLoop, on_datagram: Callable[[bytes], None]) -> None:
        self._loop, self._on_datagram = loop, on_datagram
        self._sockets: dict[int, socket.socket] = {}
        """By address family."""

    def open(self, addresses: Iterable[Any]) -> None:
        """`addresses`: those of the listening stream sockets. Raises OSError if one is in use; then
        none is open."""
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
                if family not in self._sockets:
                    self._open(family, address)
        except OSError:
            self.close()
            raise

    def _open(self, family: int, address: Any) -> None:
        sock = self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        if family == socket.AF_INET6:  # that of IPv4 is another
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind(address)
        self._loop.add_reader(sock, self._readable, sock)

    def send(self, datagram: bytes, address: Any) -> bool:
        """Whether the system accepted it. `address` is None if it is unknown."""
        if address is None:
            return False
        sock = self._sockets.get(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if sock is None:
            return False
        try:
            sock.sendto(datagram, address)
        except OSError:  # buffer full, or an earlier datagram was refused
            return False
        return True

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                datagram = sock.recv(MAX_DATAGRAM + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno != errno.ECONNREFUSED:  # a datagram that we sent was refused
                    return
                continue
            self._on_datagram(datagram)
            if sock.fileno() < 0:
                return

    def close(self) -> None:
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()
