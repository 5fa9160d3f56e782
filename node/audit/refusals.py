"""Orders that were refused, as lines of the audit file: so many a minute.

They are no decisions and may come by the thousand a second, so a file that took them all would
turn over within the hour. Some of each actor and some in all are written; the next line says how
many were not. Minutes are those of cluster time, so that every node writes the same ones.
"""

from collections import Counter

import msgspec

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import Entry

WINDOW = 60_000
MOST, MOST_OF_ONE = 30, 10
"""Written in one window: of all, and of one actor."""
MAX_TEXT = 256
"""Characters of what a client says, and of why it was refused."""


class Refusal(msgspec.Struct, frozen=True):
    """`refused`: the kind of command; `after`: the newest decision in the file; `unwritten`: how
    many others were refused since the last one that was written."""

    refused: str
    reason: str
    detail: str
    index: int
    at: int
    wall: int
    actor: str
    comment: str
    key: str
    origin: str
    after: int
    unwritten: int


class Refusals:
    """Chooses which are written."""

    def __init__(self) -> None:
        self._window = -1
        self._written: Counter[str] = Counter()
        self._unwritten = 0

    def record(self, index: int, entry: Entry, why: Rejected, after: int) -> Refusal | None:
        """The line of a refused order; None when there are too many."""
        draft, window = entry.draft, entry.at // WINDOW
        if window != self._window:
            self._window = window
            self._written.clear()
        actor = draft.actor[:MAX_TEXT]
        if self._written.total() >= MOST or self._written[actor] >= MOST_OF_ONE:
            self._unwritten += 1
            return None
        self._written[actor] += 1
        unwritten, self._unwritten = self._unwritten, 0
        return Refusal(
            refused=type(draft.command).__name__,
            reason=why.reason,
            detail=why.detail[:MAX_TEXT],
            index=index,
            at=entry.at,
            wall=entry.wall,
            actor=actor,
            comment=draft.reason[:MAX_TEXT],
            key=draft.key[:MAX_TEXT],
            origin=draft.origin[:MAX_TEXT],
            after=after,
            unwritten=unwritten,
        )
