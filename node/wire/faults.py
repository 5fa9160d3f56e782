"""Validation errors: the field of a request that is invalid, its value, and the rule it breaks.

Not to be confused with the faults that `node.simulation` and `node.chaos` inject.
"""

import msgspec

from stationkeep.node.system.confidential import hide

MAX_SHOWN = 200
"""Characters of a refused value that are shown back."""


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a request."""

    field: str
    """Path of the invalid field, such as `statuses[3].health`."""
    value: str
    """The refused value as `shown`."""
    rule: str
    """What a valid value looks like."""

    def __str__(self) -> str:
        return f"{self.field}: {self.value or 'an empty text'} refused: {self.rule}"


def shown(value: object) -> str:
    """A refused value as text: bounded, printable and without our secrets, whatever it is."""
    plain = isinstance(value, str) and value.isprintable()
    text = hide(printable(str(value) if plain else repr(value)))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def printable(text: str) -> str:
    """`text` with lone surrogates escaped: JSON can contain them, UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode()
