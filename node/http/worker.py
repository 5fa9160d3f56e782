"""Work on the whole state, which would hold up the event loop: on a thread, one after the other.

The state itself is taken on the loop (`cluster.state.codec.FrozenState`), when the turn has come:
what a thread sees never changes, and hundreds who wait hold no state each.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """One at a time: several would take the interpreter from the loop in turns. Who waits is a
    request, so that there are no more of them than `limits.py` lets in."""

    def __init__(self) -> None:
        self._free = asyncio.Lock()

    async def run(self, take: Callable[[], Callable[[], T]]) -> T:
        """`take` is called here and returns the work; what that returns, on the thread."""
        async with self._free:
            return await asyncio.to_thread(take())
