"""Turns a node's synchronous loop on the event loop: on messages, on proposals, on time."""

import asyncio
import time
from collections.abc import Callable

from stationkeep.node.loop import NodeLoop


class Driver:
    """Runs `loop.turn` whenever it is due, until told to stop.

    An exception in a turn ends `run` with it: a node that cannot trust its own state must not
    go on, and the supervisor starts it again from what is durable.
    """

    def __init__(self) -> None:
        self._awake = asyncio.Event()
        self._stopping = False
        self._worst_lag = 0.0
        self.last_lag = 0.0
        self.turns = 0

    def wake(self) -> None:
        """There is work: the next turn comes as soon as the event loop gets to it."""
        self._awake.set()

    def stop(self) -> None:
        """Ends `run` before its next turn."""
        self._stopping = True
        self._awake.set()

    async def run(self, loop: NodeLoop, after_turn: Callable[[], None] = lambda: None) -> None:
        """The node's life; `after_turn` is called after every turn."""
        event_loop = asyncio.get_running_loop()
        clock = loop.clock
        while not self._stopping:
            self._awake.clear()
            began = time.perf_counter()
            loop.turn()
            after_turn()
            self.turns += 1
            self._note(time.perf_counter() - began)
            wanted = loop.next_wakeup()
            delay = wanted - clock.monotonic()
            if delay <= 0:
                await asyncio.sleep(0)
                continue
            timer = event_loop.call_later(delay, self._awake.set)
            await self._awake.wait()
            timer.cancel()
            self._note(clock.monotonic() - wanted)

    def _note(self, lag: float) -> None:
        if lag > 0:
            self.last_lag = lag
            self._worst_lag = max(self._worst_lag, lag)

    def take_worst_lag(self) -> float:
        """Seconds: the worst delay of a turn since the previous call."""
        worst, self._worst_lag = self._worst_lag, 0.0
        return worst
