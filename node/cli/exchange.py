"""Requests of the command line, which has no event loop, and the checking of answers."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.client.exchange import Answer, Call, ask, open_http

MOST_LEVELS = 32
"""Levels of nesting accepted in an answer; real ones have 8."""


def answer_of(urls: Iterable[str], call: Call) -> Answer:
    """`node.client.exchange.ask`, for synchronous callers."""

    async def answered() -> Answer:
        async with open_http() as http:
            return await ask(http, urls, call)

    return asyncio.run(answered())


def answer_of_anybody(url: str, call: Call) -> Answer:
    """The same of whoever is there, who proves nothing."""

    async def answered() -> Answer:
        from stationkeep.node.security.inspection import curious  # noqa: PLC0415

        async with open_http(verify=curious()) as http:
            return await ask(http, [url], call)

    return asyncio.run(answered())


def understood(answer: Answer, shape: Any) -> dict[str, Any]:
    """The JSON object in an answer, checked against a shape (`node.cli.shapes`).

    Fields that the shape does not have are kept. Raises `CommandError`.
    """
    try:
        found = msgspec.json.decode(answer.content)
    except UNREADABLE as error:
        why = explain(error, "json")
        raise CommandError(f"{answer.url} answered something that is not JSON: {why}") from error
    if not isinstance(found, dict):
        raise CommandError(f"{answer.url} answered {type(found).__name__}, not an object")
    if deeper_than(found, MOST_LEVELS):
        raise CommandError(f"{answer.url} answered JSON of more than {MOST_LEVELS} levels")
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        why = explain(error, "json")
        raise CommandError(f"{answer.url}: {why}; is that a Stationkeep node?") from error
    return found


def deeper_than(value: Any, levels: int) -> bool:
    """Whether JSON is nested deeper than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(deeper_than(item, levels - 1) for item in inner)
