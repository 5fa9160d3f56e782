"""The HTTP client of the command line: one request at a time, and `CommandError`s for problems."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stationkeep.node.cli import contexts, shapes
from stationkeep.node.cli.exchange import answer_of, understood
from stationkeep.node.cli.failures import (
    CommandError,
    MissingError,
    NoQuorumError,
    NotAuthorisedError,
    OutcomeUnknownError,
    UnreachableError,
    UsageError,
    see,
)
from stationkeep.node.cli.output import note
from stationkeep.node.client import errors, exchange
from stationkeep.node.client.exchange import DEFAULT_URL
from stationkeep.node.client.problems import problem_of
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR, http_addresses
from stationkeep.node.system.printable import printable

READ_SECONDS = 4.0
"""A frozen node accepts connections and never answers; after this time reads go to another."""
WRITE_SECONDS = 30.0
"""Longer than a node waits for a commit (profile orbit: 14 s), so that its answer arrives."""
PAGE = 200
MAX_PAGES = 60
"""More than the decision log has at 200 a page; protects from a server that pages for ever."""
Param = str | int | Sequence[str] | None
"""Of a query; several values are sent one by one, and None is not."""


def named(url: str) -> str:
    """The address given with `--url`, checked."""
    try:
        return exchange.checked_url(url)
    except ValueError as error:
        raise UsageError(f"--url {error}") from error


def part(text: str) -> str:
    """A name, escaped as one segment of a path."""
    try:
        return exchange.part(text)
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r}: must be UTF-8") from error


class Page(NamedTuple):
    """Items of a list, whether there are more, and the server's warnings about the query."""

    items: list[dict[str, Any]]
    more: bool
    warnings: list[str]


class Client:
    """Talks to the node at `url`.

    When no `url` is given and the node does not answer, another one is asked, and stderr says so:
    of those that the context knows, if it may be shown the token, or without one of the local
    cluster in `./.stationkeep`. A write is sent to another node only if it cannot have reached the
    first.
    """

    def __init__(
        self, url: str | None = None, data_dir: Path = DEFAULT_DATA_DIR, token: str | None = None
    ) -> None:
        """`token`: None: that of the environment or the context, if there is one."""
        access = contexts.access(url) if token is None else contexts.Access(url, token)
        if access.url is not None:
            access = access._replace(url=named(access.url))
        self._access, self._token = access, access.token
        self.url = access.url or DEFAULT_URL
        self._data_dir = data_dir

    def at(self, address: str) -> "Client":
        """Of a member at an address, `host:port`, that this one has told."""
        url = f"{self.url.partition('://')[0]}://{address}"
        return Client(url, self._data_dir, self._access.credentials.token_for(url))

    def get(self, path: str, shape: Any, **params: Param) -> dict[str, Any]:
        """The JSON body of a read, checked against `shape` (`node.cli.shapes`)."""
        given = {name: value for name, value in params.items() if value is not None}
        return understood(self._request(self._call("GET", path, params=given)), shape)

    def find(self, path: str, shape: Any) -> dict[str, Any] | None:
        """As `get`; None if there is no such thing."""
        try:
            return self.get(path, shape)
        except MissingError:
            return None

    def items(self, path: str, shape: Any, limit: int, **params: Param) -> list[dict[str, Any]]:
        """Up to `limit` items of a paged list, in as many requests as that takes."""
        return self.page(path, shape, limit, **params).items

    def page(self, path: str, shape: Any, limit: int, **params: Param) -> Page:
        """Up to `limit` items of a paged list, checked against `shape`, and whether there are more.

        A page may be short, even empty, and still have a next one: the server examines only a
        limited number of items per request.
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
        """A POST that changes nothing and returns what an order would do."""
        return understood(self._request(self._call("POST", path, body=body)), shape)

    def download(self, path: str, most: int) -> bytes:
        """The raw body of a read, of at most `most` bytes."""
        return self._request(self._call("GET", path, most=most)).content

    def write(
        self, method: str, path: str, body: dict[str, Any] | None, key: str | None
    ) -> dict[str, Any]:
        """Sends a command; the answer has `operation`, `status: done` and `result`.

        Raises `OutcomeUnknownError` when the command may have arrived but was not confirmed.
        """
        try:
            operation = exchange.operation_of(key)
        except ValueError as error:
            raise UsageError(f"--idempotency-{error}") from error
        response = self._request(self._call(method, path, body=body, operation=operation))
        try:
            answer = understood(response, shapes.Written)
        except CommandError as error:
            raise OutcomeUnknownError(operation, str(error)) from error
        if answer.get("status") == "unknown":
            why = answer.get("detail") or "the cluster did not confirm it in time"
            raise OutcomeUnknownError(
                printable(answer.get("operation") or operation), printable(why)
            )
        return answer

    def _call(
        self, method: str, path: str, *, body: Any = None, operation: str = "", **more: Any
    ) -> exchange.Call:
        """With `operation` it is a write, which may not simply be sent again."""
        seconds = WRITE_SECONDS if operation else READ_SECONDS
        try:
            content = None if body is None else msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object[error.start :]!r}: must be UTF-8") from error
        return exchange.Call(
            method, path, exchange.actor(), seconds, body=content, operation=operation,
            token=self._token, **more,
        )  # fmt: skip

    def _request(self, call: exchange.Call) -> exchange.Answer:
        """The answer; a problem document is raised as an error."""
        try:
            answer = answer_of(self.addresses, call)
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object[error.start :]!r}: must be UTF-8") from error
        except errors.OutcomeUnknownError as error:
            raise OutcomeUnknownError(error.operation, error.why) from error
        except errors.UnreachableError as error:
            raise UnreachableError(self._nobody_answers(error)) from error
        self._moved_to(answer.node)
        problem = problem_of(answer)
        if problem is None:
            return answer
        if problem.status in (401, 403):
            raise NotAuthorisedError(problem.line + see("access"))
        if call.operation and not problem.undone:
            raise OutcomeUnknownError(call.operation, problem.line)
        if problem.status == 503:
            raise NoQuorumError(problem.line + see("failover"))
        raise (MissingError if problem.status == 404 else CommandError)(problem.line)

    @property
    def addresses(self) -> list[str]:
        """Whom this one asks: the one that answered last, and then the others."""
        return list(dict.fromkeys([self.url, *self._access.addresses(self._data_dir)]))

    def _moved_to(self, url: str) -> None:
        if url != self.url:
            note(f"{self.url} does not answer; asked {url} instead")
            self.url = url

    def _nobody_answers(self, error: errors.UnreachableError) -> str:
        """Which nodes were asked, and which others could be."""
        line, failed = str(error), error.failed
        known = http_addresses(self._data_dir)
        others = [f"{node} {url}" for node, url in known.items() if url not in failed]
        if others:
            return f"{line}\n  nodes of the local cluster to try with --url: {', '.join(others)}"
        if known:
            return f"{line}\n  `stationkeep up` starts the local cluster in {self._data_dir}"
        return f"{line}\n  `stationkeep up` starts a local cluster; --url selects another node"
