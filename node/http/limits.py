"""Limits in front of every handler: body size, time for a body to arrive, requests in flight.

Pure ASGI, so that a refused request costs next to nothing. Health probes, metrics and event
streams are not counted among the requests in flight: the first must be answered under load, the
last are long-lived by nature. Each sort has places of its own (`Sort`): what waits for the log is
counted apart from local reads, which go on when there is no quorum and writes pile up; an order
that ends trouble finds a place when other writes have none. Of no sort one address has more than
its share.

Of those in flight only so many begin in one turn of the event loop. A read is served in one go and
may take milliseconds; one after the other they leave room for the node's own work between them.
Writes are short, and those that come together are written to the disk together.
"""

import asyncio
import enum
from collections import Counter
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stationkeep.node.http.crowd import share
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.system.turns import Gate

MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
"""Of the bodies that carry many payloads."""
MAX_IN_FLIGHT = 256
"""Requests being served at once: as many that wait for the log, and as many others."""
MAX_RESCUES = 32
"""Beyond those: orders that end trouble."""
MAX_SCRAPES = 16
"""Of the metrics, at once."""
MAX_FOLLOWERS = 500
"""Of the events, at once."""
READS_IN_A_TURN, WRITES_IN_A_TURN = 1, 64
"""Requests that begin in one turn of the event loop; what waits for the log counts as a write."""
BODY_TIMEOUT = 10.0
"""Seconds for a request's body to arrive."""
RETRY_AFTER = "1"
"""Seconds after which a client that was told to wait may come again."""


class Sort(enum.Enum):
    """What is counted together."""

    READ = enum.auto()
    WRITE = enum.auto()
    RESCUE = enum.auto()
    SCRAPE = enum.auto()
    FOLLOW = enum.auto()


class Places:
    """So many places, of which one address has its share at the most."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Whether there is one left for this address; then it is taken."""
        if self._taken.total() >= self.most or self._taken[address] >= share(self.most):
            return False
        self._taken[address] += 1
        return True

    def give_back(self, address: str) -> None:
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]


class Limits:
    """ASGI middleware. `scrapes`, `follows`, `rescues`: the paths of those sorts; `exempt` ones are
    free of every limit, and `bodies` says of how many bytes a body may be on paths that take more
    than others."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        scrapes: Iterable[str] = (),
        follows: Iterable[str] = (),
        rescues: Iterable[str] = (),
        exempt: Iterable[str] = (),
        bodies: Mapping[str, int] | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        self._app = app
        self._exempt = frozenset(exempt)
        self._sorts = {
            **dict.fromkeys(scrapes, Sort.SCRAPE),
            **dict.fromkeys(follows, Sort.FOLLOW),
            **dict.fromkeys(rescues, Sort.RESCUE),
        }
        self._bodies = dict(bodies or {})
        self._body_timeout = body_timeout
        self._places = {
            Sort.READ: Places(max_in_flight),
            Sort.WRITE: Places(max_in_flight),
            Sort.RESCUE: Places(MAX_RESCUES),
            Sort.SCRAPE: Places(MAX_SCRAPES),
            Sort.FOLLOW: Places(MAX_FOLLOWERS),
        }
        self._gates = {False: Gate(READS_IN_A_TURN), True: Gate(WRITES_IN_A_TURN)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        sort = self._sort(scope)
        places = self._places[sort]
        taken = places.take(address)
        if not taken and sort is Sort.WRITE and self._sorts.get(scope["path"]) is Sort.RESCUE:
            places = self._places[Sort.RESCUE]
            taken = places.take(address)
        if not taken:
            await _too_many(places.most)(scope, receive, send)
            return
        try:
            await self._serve(sort, scope, receive, send)
        finally:
            places.give_back(address)

    def _sort(self, scope: Scope) -> Sort:
        """Of an order that ends trouble: a write, as long as there are places for those."""
        sort = self._sorts.get(scope["path"])
        if sort in (Sort.SCRAPE, Sort.FOLLOW):
            return sort
        return Sort.WRITE if _waits(scope) else Sort.READ

    async def _serve(self, sort: Sort, scope: Scope, receive: Receive, send: Send) -> None:
        if sort in (Sort.SCRAPE, Sort.FOLLOW):
            await self._gates[False].wait()
            await self._app(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._body(scope, receive)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is not None:
            await self._gates[_waits(scope)].wait()
            message = {"type": "http.request", "body": body, "more_body": False}
            await self._app(scope, replay(message, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None when the client left; raises `Problem` beyond a limit."""
        most = self._bodies.get(scope["path"], MAX_BODY_BYTES)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 15 or int(announced) > most):
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._body_timeout):
                return await _read(receive, most)
        except TimeoutError:
            raise Problem(
                Kind.SLOW, f"a body may take {self._body_timeout:g} s to arrive"
            ) from None


def _waits(scope: Scope) -> bool:
    """Whether a request may have to wait for the log: a write, or a strong read."""
    return scope["method"] not in ("GET", "HEAD") or b"strong" in scope["query_string"]


async def _read(receive: Receive, most: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def replay(message: Message, receive: Receive) -> Receive:
    """A `receive` that hands over this message first, then whatever the server has to say."""
    pending = [message]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _too_large(most: int) -> Problem:
    return Problem(Kind.TOO_LARGE, f"a body may take {most} bytes", headers={"Connection": "close"})


def _too_many(limit: int) -> ASGIApp:
    return Problem(
        Kind.BUSY,
        f"{limit} requests are already being served, or too many of your address",
        headers={"Retry-After": RETRY_AFTER},
    ).response()
