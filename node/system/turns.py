"""A time budget for parsing input, in each turn of the event loop.

In one turn of the event loop every connection may have something to read, and a few bytes can be
much work. So input is parsed in steps, and the steps run here: once the budget of a turn is used
up, the remaining steps are queued until everything else, above all Raft, has had its turn. A step
that leads to another one queues it at the end.

The queue is bounded by its users: each connection has at most one step in it, and does not read
while it has. A step that fails is reported to the event loop, and is not the trouble of whoever
queued another one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

SHARE = 0.008
"""Seconds of one turn of the event loop. The last step may overrun it."""

Step = Callable[[], None]


class Turns:
    """One queue of steps. `share`: seconds for them in one turn of the event loop."""

    __slots__ = ("_left", "_line", "_running", "_share", "_ticking")

    def __init__(self, share: float = SHARE) -> None:
        self._share = self._left = share
        self._line: deque[Step] = deque()
        self._ticking = self._running = False

    def take(self, step: Step) -> None:
        """Runs the step now, or as soon as its turn comes."""
        self._line.append(step)
        if not self._ticking:
            self._begin()
        if not self._running:
            self._run()

    def _begin(self) -> None:
        self._ticking, self._left = True, self._share
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """A turn of the event loop is over."""
        self._ticking = False
        if self._line:
            self._begin()
            self._run()

    def _run(self) -> None:
        self._running, began = True, perf_counter()
        end = began + self._left
        now = began
        try:
            while self._line and now < end:
                self._take_step(self._line.popleft())
                now = perf_counter()
        finally:
            self._running = False
            self._left -= perf_counter() - began

    def _take_step(self, step: Step) -> None:
        try:
            step()
        except Exception as error:  # not the trouble of whoever queued another one
            context = {"message": f"a step failed: {step!r}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


class Gate:
    """Lets `at_once` tasks begin in each turn of the event loop; the others are queued."""

    __slots__ = ("_at_once", "_left", "_line", "_ticking")

    def __init__(self, at_once: int) -> None:
        self._at_once = self._left = at_once
        self._line: deque[asyncio.Future[None]] = deque()
        self._ticking = False

    async def wait(self) -> None:
        """Returns when it is the caller's turn."""
        if not self._ticking:
            self._begin()
        if self._left:
            self._left -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        await turn

    def _begin(self) -> None:
        self._ticking, self._left = True, self._at_once
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._ticking = False
        if self._line:
            self._begin()
        while self._line and self._left:
            turn = self._line.popleft()
            if not turn.done():  # else its task was cancelled while it waited
                turn.set_result(None)
                self._left -= 1
