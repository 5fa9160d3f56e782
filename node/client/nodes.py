"""The nodes that a client may ask, and how long it goes on asking.

A request goes to the node that answered last, and from one that does not answer to the next. What
changes something carries an idempotency key, under which the cluster does it once: so a change
whose answer was lost is sent again, to another node, under the same key, until an answer says what
became of it or the time is over.
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
from stationkeep.node.system.printable import printable

MAX_ADDRESSES = 128
ROUNDS = 2
"""Times that all nodes are tried although none answers; more only to learn an outcome."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two tries: bounds of a pause that doubles."""


class Nodes:
    """Addresses of one cluster's nodes and the connections to them.

    `seconds`: how long a request may take, all tries together. Raises `ValueError` when no address
    is given, too many are, or one is none.
    """

    def __init__(self, urls: str | Iterable[str], seconds: float) -> None:
        given = [urls] if isinstance(urls, str) else urls
        self._urls = list(dict.fromkeys(checked_url(url) for url in given))
        if not 1 <= len(self._urls) <= MAX_ADDRESSES:
            rule = f"from 1 to {MAX_ADDRESSES} addresses"
            raise ValueError(f"urls: {len(self._urls)} refused: {rule}")
        self.seconds = seconds
        self._at = 0
        self._http = open_http()

    async def answer(self, call: Call) -> Answer:
        """The answer, which is no problem document. Raises `StationkeepError`."""
        tries = _Tries(call)
        try:
            async with asyncio.timeout(self.seconds):
                for pause in _pauses():
                    answer = await self._try(call, tries)
                    if answer is not None:
                        return answer
                    await asyncio.sleep(pause)
        except TimeoutError:
            pass
        raise tries.verdict()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _try(self, call: Call, tries: "_Tries") -> Answer | None:
        """An answer that stands; None when another try may bring one."""
        tries.begin()
        try:
            answer = await ask(self._http, self._in_order(), call)
        except UnreachableError as error:
            tries.nobody(error)
            return None
        except OutcomeUnknownError as error:
            tries.lost(error.why)
            self._at += 1
            return None
        self._at = self._urls.index(answer.node)
        if tries.settled_by(answer):
            return answer
        self._at += 1
        return None

    def _in_order(self) -> list[str]:
        """The one that answered last comes first."""
        at = self._at % len(self._urls)
        return self._urls[at:] + self._urls[:at]


class _Tries:
    """What the tries of one request have shown so far."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rounds = 0
        self._under_way = False
        self._doubt = ""
        self._last: StationkeepError = UnreachableError({})

    def begin(self) -> None:
        """From here until an answer the change may be made."""
        self._under_way = True

    def nobody(self, error: UnreachableError) -> None:
        """No node was reached. With nothing in doubt that is told after so many rounds."""
        self._under_way = False
        self._last = error
        self._rounds += 1
        if self._rounds >= ROUNDS and not self._doubt:
            raise error

    def lost(self, why: str) -> None:
        """The change may have arrived, and no answer came."""
        self._under_way = False
        self._doubt = why

    def settled_by(self, answer: Answer) -> bool:
        """Whether an answer says what became of the request; raises what it says if it is bad."""
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
        if self._doubt and not problem.operation:  # from in front of the log: says nothing of it
            raise self.verdict()
        raise self._last

    def verdict(self) -> StationkeepError:
        """What is to be told when there is no more time."""
        if self._call.operation and (self._doubt or self._under_way):
            why = self._doubt or "no answer in time"
            return OutcomeUnknownError(self._call.operation, printable(why))
        return self._last


def _pauses() -> Iterator[float]:
    """Seconds to wait after each try, drawn so that clients which failed together part."""
    pause = FIRST_PAUSE
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311
        pause = min(2 * pause, LONGEST_PAUSE)
