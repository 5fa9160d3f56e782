"""The HTTP client of the command line: one request at a time, problems turned into `CommandError`s.

httpx is imported when the first request is made, so that `stationkeep --help` need not wait.
"""

import getpass
import socket
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.cli import shapes
from stationkeep.node.cli.exchange import MOST_BYTES, Answer, exchange, understood
from stationkeep.node.cli.failures import (
    CommandError,
    NoQuorumError,
    OutcomeUnknownError,
    UnreachableError,
    UsageError,
    see,
)
from stationkeep.node.cli.output import note
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR, http_addresses
from stationkeep.node.system.printable import printable

DEFAULT_URL = "http://127.0.0.1:8701"
READ_SECONDS = 4.0
"""A frozen node accepts connections and says nothing; reads then go to another."""
WRITE_SECONDS = 30.0
"""Longer than a node waits for the log (profile orbit: 14 s), so that its answer is heard."""
PAGE = 200
MAX_PAGES = 60
"""More than the decision log holds at 200 a page; a server that pages for ever is cut off."""


_PLAIN = "".join(map(chr, range(ord(" "), ord("~") + 1)))
MAX_ACTOR = 128
"""Characters of a name that a node takes."""


def actor() -> str:
    """Who asks, as the history will show it: `user@host`. What a header cannot carry stands as in
    a URL: nobody is kept from asking by a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such uid in the password file, as in many containers
        user = "unknown"
    named = f"{user}@{socket.gethostname()}"
    return quote(named, safe=_PLAIN, errors="surrogateescape")[:MAX_ACTOR].strip()


def part(text: str) -> str:
    """A name as one part of a path."""
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r}: must be UTF-8") from error


def problem_line(status: int, body: object) -> str:
    """A problem document (RFC 9457) as one line: what was wrong, and the rule that says so."""
    if not isinstance(body, dict):
        return f"the node answered {status} without saying why"
    said = [body.get(name) for name in ("detail", "title")]
    words = next((text for text in said if text and isinstance(text, str)), "")
    text = printable(words) or f"the node answered {status}"
    rule = body.get("rule")
    named = printable(rule) if isinstance(rule, str) else ""
    return f"{text} (rule: {named})" if named not in text else text


class Page(NamedTuple):
    """Items of a list, whether it goes on after them, and what is odd about the question."""

    items: list[dict[str, Any]]
    more: bool
    warnings: list[str]


class Client:
    """Talks to the node at `url`.

    When the caller named no node (`named=False`) and the default one does not answer, a node of
    the local cluster in `./.stationkeep` is asked in its stead, and stderr says so. A write goes
    on to another node only if it cannot have reached the first.
    """

    def __init__(self, url: str | None = None, data_dir: Path = DEFAULT_DATA_DIR) -> None:
        self.url = (url or DEFAULT_URL).rstrip("/")
        self._named = url is not None
        self._data_dir = data_dir

    def get(self, path: str, shape: Any, **params: str | int | None) -> dict[str, Any]:
        """The JSON body of a read, of which `shape` (`node.cli.shapes`) holds."""
        given = {name: value for name, value in params.items() if value is not None}
        headers = {"X-Stationkeep-Actor": actor()}  # of operations under one id, the own
        return understood(self._request("GET", path, params=given, headers=headers), shape)

    def items(
        self, path: str, shape: Any, limit: int, **params: str | None
    ) -> list[dict[str, Any]]:
        """Up to `limit` items of a paged list, as many requests as that takes."""
        return self.page(path, shape, limit, **params).items

    def page(self, path: str, shape: Any, limit: int, **params: str | None) -> Page:
        """Up to `limit` items, of which `shape` holds, of a paged list; and whether there are more.

        A page may be short, even empty, and still name a next one: a filter that hardly anything
        passes is looked through in parts.
        """
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            most = min(limit - len(found), PAGE)
            page = self.get(path, shapes.Page[shape], limit=most, cursor=cursor, **params)
            found.extend(page["items"])
            cursor = page.get("next")
            if cursor is None or len(found) >= limit:
                break
        more = cursor is not None or len(found) > limit
        return Page(found[:limit], more, page.get("warnings", []))

    def plan(self, path: str, shape: Any, body: dict[str, Any]) -> dict[str, Any]:
        """What an order would do: a POST that changes nothing."""
        return understood(self._request("POST", path, body=body), shape)

    def download(self, path: str, most: int) -> bytes:
        """The raw body of a read, of so many bytes at the most."""
        return self._request("GET", path, most=most).content

    def write(
        self, method: str, path: str, body: dict[str, Any] | None, key: str | None
    ) -> dict[str, Any]:
        """Sends a command; the answer says `operation`, `status: done` and its `result`.

        Raises `OutcomeUnknownError` when the command may have arrived and nothing confirms it.
        """
        operation = key or f"op-{uuid.uuid4().hex}"
        headers = {"Idempotency-Key": operation, "X-Stationkeep-Actor": actor()}
        response = self._request(method, path, body=body, headers=headers, operation=operation)
        try:
            answer = understood(response, shapes.Written)
        except CommandError as error:
            raise OutcomeUnknownError(operation, str(error)) from error
        if answer.get("status") == "unknown":
            why = answer.get("detail") or "the cluster did not confirm it in time"
            said = answer.get("operation") or operation
            raise OutcomeUnknownError(printable(said), printable(why))
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        operation: str | None = None,
        most: int = MOST_BYTES,
    ) -> Answer:
        """One request; with `operation` it is a write, whose loss on the way is not harmless."""
        import httpx  # noqa: PLC0415

        from stationkeep.node.wire.unreached import ADDRESS, why  # noqa: PLC0415

        failed: dict[str, str] = {}
        seconds = READ_SECONDS if operation is None else WRITE_SECONDS
        for url in self._addresses():
            try:
                answer = exchange(
                    url, method, path, silence=seconds, most=most,
                    params=params, json=body, headers=headers,
                )  # fmt: skip
            except UnicodeEncodeError as error:
                raise UsageError(f"{error.object[error.start :]!r}: must be UTF-8") from error
            except httpx.InvalidURL as error:
                raise UsageError(f"--url {url}: {ADDRESS}") from error
            except httpx.UnsupportedProtocol as error:
                raise UsageError(f"--url {url}: must begin with http:// or https://") from error
            except httpx.HTTPError as error:
                arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if operation is not None and arrived:
                    raise OutcomeUnknownError(operation, f"{url}: {why(error)}") from error
                failed[url] = why(error)
                continue
            self._moved_to(url)
            return _checked(answer)
        raise UnreachableError(self._nobody_answers(failed))

    def _addresses(self) -> list[str]:
        others = [] if self._named else http_addresses(self._data_dir).values()
        return [self.url, *(url for url in others if url != self.url)]

    def _moved_to(self, url: str) -> None:
        if url != self.url:
            note(f"{self.url} does not answer; asked {url} instead")
            self.url = url

    def _nobody_answers(self, failed: dict[str, str]) -> str:
        """Who was asked, and whom one could ask."""
        line = "; ".join(f"no answer from {url}: {reason}" for url, reason in failed.items())
        known = http_addresses(self._data_dir)
        others = [f"{node} {url}" for node, url in known.items() if url not in failed]
        if others:
            return f"{line}\n  nodes of the local cluster that --url may name: {', '.join(others)}"
        if known:
            return f"{line}\n  `stationkeep up` starts the local cluster in {self._data_dir}"
        return f"{line}\n  `stationkeep up` starts a local cluster, --url names a node elsewhere"


def _checked(answer: Answer) -> Answer:
    """The answer, unless it is a problem."""
    if answer.status < 400:
        return answer
    try:
        body = msgspec.json.decode(answer.content)
    except UNREADABLE:
        body = None
    line = problem_line(answer.status, body)
    if answer.status == 503:
        raise NoQuorumError(line + see("failover"))
    raise CommandError(line)
