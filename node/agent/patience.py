"""How long an agent waits, whatever a node says."""

FIRST_PATIENCE = 1.0
SHORTEST_PATIENCE, LONGEST_PATIENCE = 0.7, 5.0
"""Seconds; see `patience`. In less than the shortest TCP may still be making good a loss or two,
which it does after 0.2 s and 0.6 s at the earliest."""
SHORTEST, LONGEST = 0.01, 3_600.0
"""Seconds: what a node may ask for as an interval; none can make a device spin, or fall silent."""
HASTY = 1
"""So many tries in a row may be given up for another one at once: that a packet was lost is
likelier than that nobody is there. Then pauses begin, which grow as the patience does."""


def sensible(seconds: float) -> float:
    """An interval as a node named it, within bounds; the shortest for what is no number."""
    return min(LONGEST, max(SHORTEST, seconds))


def patience(status_interval: float) -> float:
    """Seconds for an answer that needs no more than a node's attention: half of the interval from
    status to status, within bounds. With a question after each status, no word stays longer than
    an interval without an answer; and a device is offline after three of them at the earliest."""
    return min(LONGEST_PATIENCE, max(SHORTEST_PATIENCE, status_interval / 2))
