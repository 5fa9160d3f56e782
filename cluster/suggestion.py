"""What is said of a name that nobody has, and which one was probably meant."""

import difflib
from collections.abc import Iterable
from heapq import nsmallest
from itertools import islice

MOST_KNOWN = 1_024
"""Known names that are looked at, so that a refusal costs little whatever there is."""
MOST_COMPARED = 8
"""Of these, compared letter by letter: of two names of 64 that may take half a millisecond."""
ENOUGH = 0.6
"""Of a likeness between 0 and 1."""
MOST_SHOWN = 128
"""Characters shown of a name: as many as the longest one has."""


def unknown(kind: str, name: str, known: Iterable[str] = ()) -> str:
    """`no such node: 'sat-01'; did you mean sat-001?` Of more than `MOST_KNOWN` known names, the
    first are looked at."""
    shown = name[:MOST_SHOWN]
    return f"no such {kind}: {shown!r}{suggestion(shown, islice(known, MOST_KNOWN))}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean temperature?`, or nothing where no known name is near. The same on every
    replica, whatever the order of `known`."""
    letters = set(name)

    def apart(other: str) -> tuple[int, int, str]:
        return len(letters.symmetric_difference(other)), abs(len(name) - len(other)), other

    likely = nsmallest(MOST_COMPARED, sorted(set(known))[:MOST_KNOWN], key=apart)
    near = max(likely, key=lambda other: _likeness(name, other), default="")
    return f"; did you mean {near}?" if near and _likeness(name, near) >= ENOUGH else ""


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, name).ratio()
