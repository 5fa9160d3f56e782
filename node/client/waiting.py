"""Waiting until something is over, through the loss of nodes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from stationkeep.node.client.errors import (
    BusyError,
    NoQuorumError,
    StillOpenError,
    UnreachableError,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two looks: the pause doubles."""
OUTAGE_SECONDS = 60.0
"""For which a wait goes on while no node answers."""


class Ending(Protocol):
    """What has an end."""

    @property
    def is_over(self) -> bool: ...


S = TypeVar("S", bound=Ending)


async def until_over(
    look: Callable[[], Awaitable[S]],
    name: str,
    timeout: float | None,  # noqa: ASYNC109
) -> S:
    """What `look` returns once it is over. Raises `StillOpenError` after `timeout` seconds. Goes on
    through an outage of all nodes of up to a minute."""
    try:
        async with asyncio.timeout(timeout):
            return await _until_over(look)
    except TimeoutError:
        raise StillOpenError(f"{name} is open after {timeout:g} s") from None


async def _until_over(look: Callable[[], Awaitable[S]]) -> S:
    pause, answered = FIRST_PAUSE, time.monotonic()
    while True:
        try:
            found = await look()
        except (UnreachableError, NoQuorumError, BusyError):
            if time.monotonic() - answered > OUTAGE_SECONDS:
                raise
        else:
            if found.is_over:
                return found
            answered = time.monotonic()
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
