"""Coroutines of whoever embeds the agent."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def result_of(work: Awaitable[T]) -> T:
    """Its result. That something was cancelled which it waited for is an error of its own, and
    does not end the agent's task that runs it. Raises RuntimeError for that."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("what it waited for was cancelled") from error
