"""Accepts connections with TLS: one loop for every port, which knows why a handshake failed.

asyncio's own servers tell nobody. Here each handshake is awaited by a task, so that its end is
logged and counted under one word.

Handshakes cost: half a millisecond of the event loop each, and a place until they end. So they are
limited a second, and an address; and where all places are taken, the one that has lasted longest
goes. Who means it is through in one round trip. And strangers take neither the seconds nor the
places of those who have proved who they are, members by certificate and people by token.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from stationkeep.node.security.handshake import (
    ACCEPTED,
    BROKEN_OFF,
    SECONDS,
    SHUTDOWN_SECONDS,
    word_for,
)
from stationkeep.node.system.addresses import subscriber

MAX_AT_ONCE = 256
"""Handshakes under way. At `MAX_A_SECOND` each has more than a second, as long as a round trip over
a satellite takes."""
MAX_A_SECOND, MAX_OF_ADDRESS = 200, 20
"""Handshakes begun in a second: by all, and by one address."""
ACCEPTED_AT_ONCE = 16
"""Connections taken in before others have their turn."""
RETRY_SECONDS = 0.1
"""Until the next try when no connection can be accepted."""
MAX_KNOWN = 256
"""Addresses of callers that proved who they are."""

OnRefused = Callable[[str, str, str], None]
"""Called with address, word and sentence of each that is refused, and has not broken off."""


class Acceptor:
    """`made`: a protocol for each connection; `current`: the context to be used now; `outcomes`:
    where the ends of handshakes are counted."""

    def __init__(
        self,
        current: Callable[[], ssl.SSLContext],
        made: Callable[[], asyncio.Protocol],
        outcomes: Counter[str],
        on_refused: OnRefused = lambda *_: None,
    ) -> None:
        self._current, self._made, self._on_refused = current, made, on_refused
        self.outcomes = outcomes
        self._rate = Rate()
        self._under_way: dict[asyncio.Task[bool], bool] = {}
        """Oldest first, and whether it is of a known address."""
        self._sockets: Sequence[socket.socket] = ()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._loop: asyncio.AbstractEventLoop

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to accept on listening sockets, which are closed with it."""
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        for listening in sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # as when descriptors are short
                self._rest(listening)
                return
            connection.setblocking(False)
            self._begin(connection, address)

    def _rest(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)

        def again() -> None:
            self._loop.add_reader(listening, self._accept, listening)

        self._resting[listening] = self._loop.call_later(RETRY_SECONDS, again)

    def _begin(self, connection: socket.socket, address: tuple[str, int]) -> None:
        if not self._rate.admits(address[0], self._loop.time()):
            connection.close()
            self._refuse(address, "too_many", "too many handshakes a second")
            return
        self._make_room()
        task = self._loop.create_task(self._shake_hands(connection, address))
        self._under_way[task] = self._rate.knows(address[0])

        def ended(done: asyncio.Task[bool]) -> None:
            self._under_way.pop(done, None)
            fault = None if done.cancelled() else done.exception()
            if fault is not None:
                self._loop.call_exception_handler({"message": str(fault), "exception": fault})
            if done.cancelled() or fault is not None or not done.result():
                connection.close()  # also when it never came to a transport

        task.add_done_callback(ended)

    def _make_room(self) -> None:
        if len(self._under_way) >= MAX_AT_ONCE:
            strangers = (task for task, known in self._under_way.items() if not known)
            leaves = next(strangers, None) or next(iter(self._under_way))
            del self._under_way[leaves]
            leaves.cancel()

    async def _shake_hands(self, connection: socket.socket, address: tuple[str, int]) -> bool:
        """Whether there is a connection now."""
        current = self._current()
        try:
            await self._loop.connect_accepted_socket(
                self._made,
                connection,
                ssl=current,
                ssl_handshake_timeout=SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:
            self._refuse(address, word_for(error), str(error))
            return False
        except asyncio.CancelledError:
            self._refuse(address, "too_many", f"{MAX_AT_ONCE} handshakes are under way")
            raise
        self.outcomes[ACCEPTED] += 1
        if current.verify_mode is ssl.CERT_REQUIRED:
            self.know(address[0])
        return True

    def know(self, address: str) -> None:
        """Whoever is there has proved to be one of us, by a certificate, or by what it has said
        since."""
        self._rate.know(address)

    def _refuse(self, address: tuple[str, int], word: str, why: str) -> None:
        self.outcomes[word] += 1
        if word != BROKEN_OFF:  # as members do who were quicker by another way
            self._on_refused(f"{address[0]}:{address[1]}", word, why)

    def close(self) -> None:
        """Accepts no more, and breaks off what has not ended."""
        self._on_refused = lambda *_: None
        for timer in self._resting.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        for task in list(self._under_way):
            task.cancel()

    async def closed(self) -> None:
        """Call after `close`; returns when everything has ended."""
        await asyncio.gather(*self._under_way, return_exceptions=True)


class Rate:
    """How many begin in each second, by the clock of the event loop."""

    def __init__(self) -> None:
        self._second = 0
        self._begun: Counter[str] = Counter()
        self._strangers = 0
        """Of those begun in this second, how many were of no known address."""
        self._known: dict[str, None] = {}
        """Oldest first."""

    def know(self, address: str) -> None:
        """Whoever is there has proved to be one of us."""
        who = subscriber(address)
        self._known.pop(who, None)
        self._known[who] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def knows(self, address: str) -> bool:
        """Whether somebody there has proved to be one of us."""
        return subscriber(address) in self._known

    def admits(self, address: str, now: float) -> bool:
        """Whether one more of this address may begin; then it is counted."""
        if int(now) != self._second:
            self._second, self._begun, self._strangers = int(now), Counter(), 0
        who = subscriber(address)
        stranger = who not in self._known
        if self._begun[who] >= MAX_OF_ADDRESS or (stranger and self._strangers >= MAX_A_SECOND):
            return False
        self._begun[who] += 1
        self._strangers += stranger
        return True
