"""One request to a node, limited in bytes and in time whatever answers.

With a timeout for each read alone, a server could send one byte at a time for ever; so there is a
second one for the whole. Compressed answers are neither requested nor accepted, so that the bytes
counted are all there are. httpx is imported only when it is needed: `stationkeep --help` is quick.
"""

import asyncio
import getpass
import re
import socket
import ssl
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from stationkeep.node.client.errors import OutcomeUnknownError, UnreachableError
from stationkeep.node.security.credentials import bearer
from stationkeep.node.security.trust import verification
from stationkeep.node.system.addresses import URL_RULE, split_url
from stationkeep.node.system.printable import printable

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8701"
CONNECT_SECONDS = 2.0
WHOLE_SECONDS = 60.0
"""From the first byte sent to the last one received."""
MOST_BYTES = 16 << 20
"""Of an answer. A page of 200 devices with texts of full length takes half of it."""
MAX_ACTOR = 128
MAX_KEY = 128
"""Characters of an actor's name and of an idempotency key that a node accepts."""
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}

_URL = re.compile(r"[!-~]+")
_KEY = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!-~])?")
_PLAIN = "".join(map(chr, range(ord(" "), ord("~") + 1)))


class Call(NamedTuple):
    """One request.

    `silence`: seconds without any byte of the answer before it is given up. `operation`: the
    idempotency key of a write; empty for a read, whose answer may get lost without harm. `token`:
    what shows who asks; empty where nobody wants to know.
    """

    method: str
    path: str
    actor: str
    silence: float
    params: Mapping[str, str | int | bool] = {}
    body: bytes | None = None
    operation: str = ""
    most: int = MOST_BYTES
    token: str = ""

    def headers(self) -> dict[str, str]:
        found = {"X-Stationkeep-Actor": self.actor}
        if self.token:
            found["Authorization"] = bearer(self.token)
        if self.body is not None:
            found["Content-Type"] = "application/json"
        if self.operation:
            found["Idempotency-Key"] = self.operation
        return found

    def __repr__(self) -> str:
        return f"Call({self.method} {self.path})"


class Answer(NamedTuple):
    """What came back from `url`, unchecked. `node`: the address that was asked."""

    url: str
    status: int
    content: bytes
    node: str = ""


def actor() -> str:
    """Who asks, as the history will show it: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such uid in the password file, as in many containers
        user = "unknown"
    return plain(f"{user}@{socket.gethostname()}")


def plain(name: str) -> str:
    """An actor's name as a header can carry it: other characters are percent-encoded, so that no
    name keeps anybody from asking."""
    return quote(name, safe=_PLAIN, errors="surrogateescape")[:MAX_ACTOR].strip()


def checked_url(url: str) -> str:
    """The address of a node, without a slash at its end. Raises `ValueError`."""
    parts = split_url(url)
    if parts is None or parts.query or parts.fragment or not _URL.fullmatch(url):
        raise ValueError(f"{printable(repr(url))} refused: {URL_RULE}")
    return url.rstrip("/")


def operation_of(key: str | None) -> str:
    """The idempotency key of a write: the one given or a new one. Raises `ValueError`."""
    if key is None:
        return f"op-{uuid.uuid4().hex}"
    if not _KEY.fullmatch(key):
        rule = f"1 to {MAX_KEY} printable characters of ASCII"
        raise ValueError(f"key: {printable(repr(key))} refused: {rule}")
    return key


def operation_after(operation: str) -> str:
    """The key of a second write that belongs to the first: the same whenever that is repeated."""
    return f"op-{uuid.uuid5(uuid.NAMESPACE_OID, operation).hex}"


def part(text: str) -> str:
    """A name as one segment of a path, where `..` does not mean the one above. Raises
    `UnicodeEncodeError` if it cannot be UTF-8."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def open_http(
    silence: float = WHOLE_SECONDS, verify: ssl.SSLContext | bool | None = None
) -> "httpx.AsyncClient":
    """A pool of connections, which lead to the nodes themselves: with a transport that is given,
    no proxy is taken from the environment. `verify`: whom they trust, by default what the
    environment says. Tests replace this function. Raises `TrustError`."""
    import httpx  # noqa: PLC0415

    timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS)
    direct = httpx.AsyncHTTPTransport(verify=verification() if verify is None else verify)
    return httpx.AsyncClient(headers=HEADERS, timeout=timeout, transport=direct)


async def exchange(http: "httpx.AsyncClient", url: str, call: Call) -> Answer:
    """The answer of the node at `url`. Raises `httpx.HTTPError` if there is none, or if it takes
    too long or is too large."""
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
                timeout=httpx.Timeout(call.silence, connect=CONNECT_SECONDS, pool=None),
            ) as response,
        ):
            return Answer(where, response.status_code, await read(response, call.most), url)
    except TimeoutError as error:
        raise httpx.ReadTimeout("the answer does not end") from error


async def ask(http: "httpx.AsyncClient", urls: Iterable[str], call: Call) -> Answer:
    """The answer of the first of these nodes that gives one.

    A write goes on to the next node only if it cannot have reached the one before, and raises
    `OutcomeUnknownError` if it may have. Raises `UnreachableError` if no node answers.
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
