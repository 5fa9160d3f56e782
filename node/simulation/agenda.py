"""What happens when: virtual time, and the calls that are due in it."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

At = Callable[..., None]
"""`at(moment, function, *arguments)` puts a call on the agenda."""


class Time:
    """True time of a world, in seconds since it began."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class Agenda:
    """Calls in the order of their moments; at the same moment, in the order of planning."""

    def __init__(self) -> None:
        self.time = Time()
        self.events = 0
        """Calls made so far."""
        self._calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def at(self, moment: float, function: Callable[..., None], *arguments: Any) -> None:
        """Plans a call; one in the past is made next."""
        heapq.heappush(self._calls, (moment, next(self._order), function, arguments))

    def run(self, seconds: float) -> None:
        """Lets time pass. What a call raises ends it there."""
        self.run_to(self.time.now + seconds)

    def run_to(self, end: float) -> None:
        """Lets time pass until `end`."""
        calls, time, pop = self._calls, self.time, heapq.heappop
        while calls and calls[0][0] <= end:
            moment, _, function, arguments = pop(calls)
            time.now = max(time.now, moment)
            self.events += 1
            function(*arguments)
        time.now = max(time.now, end)
