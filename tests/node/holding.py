"""How long an event loop is held at most by one callback, in processor time of its thread.

Processor time and not the clock's, since a busy machine may take the processor away at any
moment; what blocks without using it is not seen.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time

import msgspec


class Hold(msgspec.Struct):
    """Seconds."""

    longest: float = 0.0


@contextmanager
def holding() -> Iterator[Hold]:
    """Notes the longest callback of asyncio's own loop while in the block."""
    hold, run = Hold(), asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = thread_time()
        run(handle)
        hold.longest = max(hold.longest, thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    # As a node does (`node.system.garbage`): what lives by now is not the loop's. It stays frozen,
    # or all tests that follow would look at the garbage of those before.
    gc.freeze()
    try:
        yield hold
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
