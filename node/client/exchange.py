"""Requests to nodes, bounded in bytes and in time whatever answers.

A timeout for each read alone would let a server drip one byte at a time for ever, hence a second
one over everything; compressed answers are not asked for and not taken, so that the bytes counted
are all there are. httpx is imported when the first request is made, so that `stationkeep --help`
need not wait for it.
"""

import asyncio
import getpass
import re
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from stationkeep.node.client.errors import OutcomeUnknownError, UnreachableError
from stationkeep.node.system.addresses import URL_RULE, split_url
from stationkeep.node.system.printable import printable

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8701"
CONNECT_SECONDS = 2.0
WHOLE_SECONDS = 60.0
"""From the first byte sent to the last one received."""
MOST_BYTES = 16 << 20
"""Of an answer; a page of 200 devices with all the text that they may have takes half of it."""
MAX_ACTOR = 128
MAX_KEY = 128
"""Characters of a name, and of an idempotency key, that a node takes."""
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}

_URL = re.compile(r"[!-~]+")
_KEY = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!-~])?")
_PLAIN = "".join(map(chr, range(ord(" "), ord("~") + 1)))


class Call(NamedTuple):
    """One request. `silence`: seconds in which something of the answer must come. `operation`: the
    idempotency key of a change; empty where nothing is changed, so that a lost answer is no harm.
    """

    method: str
    path: str
    actor: str
    silence: float
    params: Mapping[str, str | int | bool] = {}
    body: bytes | None = None
    operation: str = ""
    most: int = MOST_BYTES

    def headers(self) -> dict[str, str]:
        found = {"X-Stationkeep-Actor": self.actor}
        if self.body is not None:
            found["Content-Type"] = "application/json"
        if self.operation:
            found["Idempotency-Key"] = self.operation
        return found


class Answer(NamedTuple):
    """What was answered at `url`, whatever it may be worth; `node`: the address of who did."""

    url: str
    status: int
    content: bytes
    node: str = ""


def actor() -> str:
    """Who asks, as the history will show it: `user@host`. What a header cannot carry stands as in
    a URL: nobody is kept from asking by a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such uid in the password file, as in many containers
        user = "unknown"
    return plain(f"{user}@{socket.gethostname()}")


def plain(name: str) -> str:
    """A name of an actor as a header can carry it."""
    return quote(name, safe=_PLAIN, errors="surrogateescape")[:MAX_ACTOR].strip()


def checked_url(url: str) -> str:
    """The address of a node; raises `ValueError` for what is none."""
    parts = split_url(url)
    if parts is None or parts.query or parts.fragment or not _URL.fullmatch(url):
        raise ValueError(f"{printable(repr(url))} refused: {URL_RULE}")
    return url.rstrip("/")


def checked_key(key: str) -> str:
    """An idempotency key; raises `ValueError` for one that no node takes."""
    if not _KEY.fullmatch(key):
        rule = f"1 to {MAX_KEY} printable characters of ASCII"
        raise ValueError(f"key: {printable(repr(key))} refused: {rule}")
    return key


def part(text: str) -> str:
    """A name as one part of a path, and never as the step up that `..` would be. Raises
    `UnicodeEncodeError` for what is not UTF-8."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def open_http(silence: float = WHOLE_SECONDS) -> "httpx.AsyncClient":
    """A pool of connections; tests put theirs here."""
    import httpx  # noqa: PLC0415

    timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(headers=HEADERS, timeout=timeout)


async def exchange(http: "httpx.AsyncClient", url: str, call: Call) -> Answer:
    """The answer of the node at `url`. Raises `httpx.HTTPError` when there is none, when nothing
    comes for too long, or when it is too large."""
    import httpx  # noqa: PLC0415

    from stationkeep.node.wire.http_body import read  # noqa: PLC0415

    where = f"{url}{call.path}"
    try:
        async with (
            asyncio.timeout(WHOLE_SECONDS),
            http.stream(
                call.method,
                where,
                params=dict(call.params) or None,
                content=call.body,
                headers=call.headers(),
                timeout=httpx.Timeout(call.silence, connect=CONNECT_SECONDS),
            ) as response,
        ):
            return Answer(where, response.status_code, await read(response, call.most), url)
    except TimeoutError as error:
        raise httpx.ReadTimeout("the answer does not end") from error


async def ask(http: "httpx.AsyncClient", urls: Iterable[str], call: Call) -> Answer:
    """The answer of the first of these nodes that gives one.

    A change goes on to another node only if it cannot have reached the one before;
    `OutcomeUnknownError` where it may have. Raises `UnreachableError` when nobody answers.
    """
    import httpx  # noqa: PLC0415

    from stationkeep.node.wire.unreached import why  # noqa: PLC0415

    failed: dict[str, str] = {}
    for url in urls:
        try:
            return await exchange(http, url, call)
        except httpx.HTTPError as error:
            failed[url] = why(error)
            arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            if call.operation and arrived:
                raise OutcomeUnknownError(call.operation, f"{url}: {failed[url]}") from error
    raise UnreachableError(failed)
