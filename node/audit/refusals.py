"""Refused orders as lines of the audit file, at a bounded rate.

They are not decisions and may come by the thousand a second: if all were written, the oldest file
would be deleted within the hour. So there is a limit per minute for each actor, and for all; the
next line that is written says how many were not. Minutes are those of cluster time, so that every
node writes the same lines.
"""

from collections import Counter

import msgspec

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import Entry

WINDOW = 60_000
MOST, MOST_OF_ONE = 30, 10
"""Lines written in one window: in all, and of one actor."""
MAX_TEXT = 256
"""Characters of each text in a line."""


class Refusal(msgspec.Struct, frozen=True):
    """One refused order."""

    refused: str
    """The kind of command."""
    reason: str
    """The rule that refused it."""
    detail: str
    index: int
    at: int
    """Cluster time, ms."""
    wall: int
    """Unix ms."""
    actor: str
    comment: str
    """The reason that the actor gave for the order."""
    key: str
    """Its idempotency key."""
    origin: str
    """Where the order came from, as seen by the node that received it."""
    after: int
    """The newest decision in the file."""
    unwritten: int
    """Orders refused since the previous line that were not written."""


class Refusals:
    """Chooses which refusals are written."""

    def __init__(self) -> None:
        self._window = -1
        self._written: Counter[str] = Counter()
        self._unwritten = 0

    def record(self, index: int, entry: Entry, why: Rejected, after: int) -> Refusal | None:
        """The line for a refused order; None beyond the limit."""
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
