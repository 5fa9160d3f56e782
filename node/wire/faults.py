"""What is wrong with something a client sent: where, what was there, and the rule it breaks."""

import msgspec

MAX_SHOWN = 200
"""Characters of a refused value that are shown back."""


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a request: where, what was there, and the rule it breaks."""

    field: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value or 'an empty text'} refused: {self.rule}"


def shown(value: object) -> str:
    """A refused value as text: bounded, and printable whatever it was."""
    plain = isinstance(value, str) and value.isprintable()
    text = printable(str(value) if plain else repr(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def printable(text: str) -> str:
    """Without lone surrogates, which JSON can carry in and UTF-8 cannot carry out."""
    return text.encode("utf-8", "backslashreplace").decode()
