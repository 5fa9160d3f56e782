"""Which node a request goes to, and how often it is repeated.

A request goes to the node that answered last, and to the next one if that does not answer. A write
carries an idempotency key and takes effect once however often it is sent. So a write whose answer
was lost is sent again under its key, to the next node, until an answer says what became of it or
time is up.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator

from stationkeep.node.client.errors import (
    OutcomeUnknownError,
    StationkeepError,
    UnreachableError,
)
from stationkeep.node.client.exchange import Answer, Call, ask, checked_url, open_http
from stationkeep.node.client.problems import error_of, problem_of
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.system.printable import printable

MAX_ADDRESSES = 128
UNAUTHENTICATED = 401
ROUNDS = 2
"""Attempts on all nodes before a request fails because none answers. A write in doubt goes on."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two attempts: the pause doubles from one to the other."""


class Addresses:
    """Those of one cluster's nodes, each once and at least one, and which is to be asked first."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.urls = list(dict.fromkeys(urls))
        self._at = 0

    @property
    def first(self) -> str:
        return self.urls[self._at]

    def in_order(self) -> list[str]:
        """All of them, in the order in which to ask."""
        return self.urls[self._at :] + self.urls[: self._at]

    def prefer(self, url: str) -> None:
        """It has answered."""
        self._at = self.urls.index(url)

    def move(self) -> None:
        """The first has not answered, or not what is wanted: it is to be asked last."""
        self._at = (self._at + 1) % len(self.urls)


class Nodes:
    """The addresses of one cluster's nodes, and the connections to them.

    `seconds`: limit of a request with all its repetitions. Raises `ValueError` for an address that
    is none, and for none or too many of them.
    """

    def __init__(self, urls: Iterable[str], seconds: float, credentials: Credentials) -> None:
        self._addresses = Addresses(checked_url(url) for url in urls)
        if not 1 <= len(self._addresses.urls) <= MAX_ADDRESSES:
            rule = f"from 1 to {MAX_ADDRESSES} addresses"
            raise ValueError(f"urls: {len(self._addresses.urls)} refused: {rule}")
        self._seconds = seconds
        self._credentials = credentials
        self._http = open_http(verify=credentials.verification())
        self._http.auth = credentials.show

    async def answer(self, call: Call) -> Answer:
        """The answer, which is not a problem document. Raises `StationkeepError`."""
        attempts = _Attempts(call)
        try:
            async with asyncio.timeout(self._seconds):
                for pause in _pauses():
                    answer = await self._attempt(call, attempts)
                    if answer is not None:
                        return answer
                    await asyncio.sleep(pause)
        except TimeoutError:
            pass
        raise attempts.error()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _attempt(self, call: Call, attempts: "_Attempts") -> Answer | None:
        """The answer, or None if another attempt may bring one."""
        attempts.begin()
        shown = self._credentials.token
        try:
            answer = await ask(self._http, self._addresses.in_order(), call)
        except UnreachableError as error:
            attempts.unreached(error)
            return None
        except OutcomeUnknownError as error:
            attempts.lost(error.why)
            self._addresses.move()
            return None
        self._addresses.prefer(answer.node)
        if answer.status == UNAUTHENTICATED and self._credentials.renewed(shown):
            attempts.untaken()
            return None
        if attempts.accept(answer):
            return answer
        self._addresses.move()
        return None


class _Attempts:
    """What the attempts at one request have shown so far. `_doubt`: why the write may have taken
    effect although no answer said so."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rounds = 0
        self._under_way = False
        self._doubt = ""
        self._last: StationkeepError = UnreachableError({})

    def begin(self) -> None:
        """The request is being sent."""
        self._under_way = True

    def unreached(self, error: UnreachableError) -> None:
        """No node was reached. Raises that if it has happened often enough and nothing is in
        doubt."""
        self._under_way = False
        self._last = error
        self._rounds += 1
        if self._rounds >= ROUNDS and not self._doubt:
            raise error

    def untaken(self) -> None:
        """The node has not looked at it, and may when it is shown another token."""
        self._under_way = False

    def lost(self, why: str) -> None:
        """A node may have received the write, and did not answer."""
        self._under_way = False
        self._doubt = why

    def accept(self, answer: Answer) -> bool:
        """Whether the answer is the one to return. Raises if it is an error that is final."""
        self._under_way = False
        problem = problem_of(answer)
        if problem is None:
            if not (self._call.operation and answer.status == 202):
                return True
            self._doubt = "the cluster did not confirm it in time"
            return False
        self._last = error_of(problem)
        if self._call.operation and not problem.undone:
            self._doubt = self._doubt or problem.line
        if not problem.is_final:
            return False
        # Only a refusal by the log, which names the operation, also answers earlier attempts.
        raise self._last if problem.operation else self.error()

    def error(self) -> StationkeepError:
        """How the request ends if there is no better answer."""
        if self._call.operation and (self._doubt or self._under_way):
            why = self._doubt or "no answer in time"
            return OutcomeUnknownError(self._call.operation, printable(why))
        return self._last


def _pauses() -> Iterator[float]:
    """Seconds to wait after each attempt, random so that clients do not repeat in step."""
    pause = FIRST_PAUSE
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311
        pause = min(2 * pause, LONGEST_PAUSE)
