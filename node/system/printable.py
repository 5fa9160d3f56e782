"""Makes foreign text safe for a terminal or a log line.

Names, reasons and details come from devices, operators, peers, and from whatever answers at an
address. A terminal obeys control characters and reorders what follows a bidirectional override; a
log line with a line break in it becomes two lines, the second forged. So everything that people
are shown passes through here. Characters that Python considers unprintable (`str.isprintable`:
control and format characters, surrogates, unassigned code points, every space but " ") are written
as JSON escapes, so that a JSON document stays the same document.
"""

import re
from typing import Any

MOST_SHOWN = 2_000
"""Characters shown of one text."""


def printable(text: str, most: int | None = MOST_SHOWN) -> str:
    """`text` as one harmless line, cut with an ellipsis after `most` characters."""
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str, most: int | None = MOST_SHOWN) -> str:
    """`printable` for each line of a text whose line breaks are our own."""
    return "\n".join(printable(line, most) for line in text.split("\n"))


def all_printable(value: Any) -> Any:
    """A JSON value with every string in it, field names included, made printable."""
    match value:
        case str():
            return printable(value)
        case list():
            return [all_printable(item) for item in value]
        case dict():
            return {printable(name): all_printable(item) for name, item in value.items()}
        case _:
            return value


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return re.sub("....", r"\\u\g<0>", units)
