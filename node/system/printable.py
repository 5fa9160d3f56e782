"""Text of others on its way to a terminal or into a log line.

Names, reasons and details come from devices, operators, peers, and from whatever answers at an
address. A terminal obeys control characters and reorders what follows a bidirectional override; a
log line with a line break in it is two lines, the second in anybody's words. So everything that
people are shown passes through here. What Python holds to be unprintable (`str.isprintable`:
control and format characters, surrogates, unassigned code points, every space but " ") is written
as JSON escapes it: a JSON document stays the same document.
"""

import re
from typing import Any

MOST_SHOWN = 2_000
"""Characters of one text that people are shown."""


def printable(text: str, most: int | None = MOST_SHOWN) -> str:
    """One line that says the same; cut with an ellipsis after `most` characters of the text."""
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str, most: int | None = MOST_SHOWN) -> str:
    """The same for each line of a text whose line breaks are ours."""
    return "\n".join(printable(line, most) for line in text.split("\n"))


def all_printable(value: Any) -> Any:
    """A JSON value with every string in it, names of fields included, on one line."""
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
