"""One HTTP exchange of the command line, bounded in bytes and in time whatever answers.

A timeout for each read alone would let a server drip one byte at a time for ever, hence a second
one over everything; compressed answers are not asked for and not taken, so that the bytes counted
are all there are. httpx is imported when the first request is made.
"""

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.cli.failures import CommandError

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 2.0
WHOLE_SECONDS = 60.0
"""From the first byte sent to the last one received."""
MOST_BYTES = 16 << 20
"""Of an answer; a page of 200 devices with all the text that they may have takes half of it."""
MOST_LEVELS = 32
"""Of nesting in an answer; ours have 8."""
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Answer(NamedTuple):
    """What the node at `url` answered, whatever it may be worth."""

    url: str
    status: int
    content: bytes


def open_http(url: str, seconds: float) -> "httpx.AsyncClient":
    """A connection pool for one node that waits so long for each read; tests put theirs here."""
    import httpx  # noqa: PLC0415

    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(base_url=url, timeout=timeout, headers=HEADERS)


def exchange(
    url: str, method: str, path: str, *, silence: float, most: int = MOST_BYTES, **request: Any
) -> Answer:
    """The answer to one request. Raises `httpx.HTTPError` when there is none, when nothing comes
    for `silence` seconds, or when it is larger than `most` bytes."""
    import httpx  # noqa: PLC0415

    from stationkeep.node.wire.http_body import read  # noqa: PLC0415

    async def answered() -> Answer:
        async with (
            asyncio.timeout(WHOLE_SECONDS),
            open_http(url, silence) as http,
            http.stream(method, path, **request) as response,
        ):
            return Answer(f"{url}{path}", response.status_code, await read(response, most))

    try:
        return asyncio.run(answered())
    except TimeoutError as error:
        raise httpx.ReadTimeout("the answer does not end") from error


def understood(answer: Answer, shape: Any) -> dict[str, Any]:
    """The JSON object that an answer holds, if it is one of this shape (`node.cli.shapes`).

    Fields that the shape does not name stay in it. Raises `CommandError`.
    """
    try:
        found = msgspec.json.decode(answer.content)
    except UNREADABLE as error:
        why = explain(error, "json")
        raise CommandError(f"{answer.url} answered something that is not JSON: {why}") from error
    if not isinstance(found, dict):
        raise CommandError(f"{answer.url} answered {type(found).__name__}, not an object")
    if _deeper_than(found, MOST_LEVELS):
        raise CommandError(f"{answer.url} answered JSON of more than {MOST_LEVELS} levels")
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        why = explain(error, "json")
        raise CommandError(f"{answer.url}: {why}; is that a Stationkeep node?") from error
    return found


def _deeper_than(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper_than(item, levels - 1) for item in inner)
