"""Which series a PromQL expression names. Not a parser: promtool is one, and checks the syntax."""

import re

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_NOT_NAMES = (
    r'"[^"]*"',  # strings
    r"\{[^}]*\}",  # label matchers
    r"\[[^\]]*\]",  # ranges
    r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",  # labels
)


def named(expression: str) -> set[str]:
    """Names of the series that an expression reads."""
    for pattern in _NOT_NAMES:
        expression = re.sub(pattern, " ", expression)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])", expression)
    return {name for name in found if name.lower() not in _WORDS}
