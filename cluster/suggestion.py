"""What a name that nobody knows was probably meant to be."""

import difflib
from collections.abc import Iterable

MOST_COMPARED = 1_024
"""Known names that are compared, so that a refusal costs little whatever there is."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean temperature?`, or nothing where no known name is near. The same on every
    replica, whatever the order of `known`."""
    near = difflib.get_close_matches(name, sorted(set(known))[:MOST_COMPARED], 1)
    return f"; did you mean {near[0]}?" if near else ""
