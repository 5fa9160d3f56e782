"""How often one token may ask: so that a program that runs wild leaves the node to the others.

Each token has a bucket for orders and one for reads at each node. What it holds lets people and
programs do much at once; only who goes on for long is held back to the rate.
"""

from collections.abc import Callable

ORDERS_A_SECOND, READS_A_SECOND = 50, 500
BURST_SECONDS = 10.0
"""A full bucket holds as much as may be asked in so many seconds."""
MAX_RATED = 2_048
"""Buckets that are not full, or were not when they were used last."""


class Rates:
    """The buckets of one node. What is kept of each is when it will be full again, by which it is
    known how much is in it (as GCRA, ITU-T I.371, has it). In whole microseconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: dict[tuple[str, bool], int] = {}
        """The one that was used longest ago comes first."""

    def take(self, token: str, *, order: bool) -> float:
        """Takes one out; seconds until there is one again, where there is none now."""
        each = 1_000_000 // (ORDERS_A_SECOND if order else READS_A_SECOND)
        now = int(self._clock() * 1e6)
        before = max(now, self._full_at.pop((token, order), now))
        wait = before + each - now - int(BURST_SECONDS * 1e6)
        self._full_at[token, order] = before if wait > 0 else before + each
        if len(self._full_at) > MAX_RATED:
            del self._full_at[next(iter(self._full_at))]
        return max(0, wait) / 1e6
