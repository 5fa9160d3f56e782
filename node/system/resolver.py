"""Host names resolved on dedicated threads.

A lookup blocks its thread for many seconds if the name server does not answer. In a shared pool,
such as the event loop's, a few dead names would block all other lookups, and keep the process from
exiting. Here each name has at most one thread, and the threads are daemons.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading

MOST_LOOKUPS = 64
"""Lookups in flight; further names are refused."""


class Resolver:
    """Resolves names for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of a host, best first; raises OSError. Cancelling the call leaves the
        lookup running: the next call for the same name waits for its answer."""
        if is_address(host):
            return [host]
        if host not in self._asked:
            if len(self._asked) >= MOST_LOOKUPS:
                raise OSError(f"{host}: not looked up, {MOST_LOOKUPS} lookups are in flight")
            self._asked[host] = self._loop.create_future()
            threading.Thread(
                target=self._look_up, args=(host,), name=f"name {host}", daemon=True
            ).start()
        return await asyncio.shield(self._asked[host])

    def _look_up(self, host: str) -> None:
        """On the thread."""
        found: list[str] | OSError
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for *_, address in answers))
        except (OSError, UnicodeError) as error:
            found = OSError(f"{host}: {getattr(error, 'strerror', None) or 'not a host name'}")
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._answer, host, found)

    def _answer(self, host: str, found: list[str] | OSError) -> None:
        asked = self._asked.pop(host)
        if isinstance(found, OSError):
            asked.set_exception(found)
            asked.exception()  # retrieved, in case nobody waits any more
        else:
            asked.set_result(found)


def is_address(host: str) -> bool:
    """Whether a host is an IP address already."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
