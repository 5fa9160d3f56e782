"""Why bytes could not be decoded, in words of our own.

msgspec words its errors for programmers, and anew from release to release. What a person, a device
or another member is told must not depend on that: replicas of different releases refuse the same
entry in the same words. So the library's wording is recognised here, in one place, and never
repeated; what is not recognised gets a rule that is true of any such error.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that it cannot read (`ValidationError` is one of the first)."""
MAX_NAME = 40
"""Characters of an unexpected field's name that `str` of an `Unreadable` repeats."""

ELSE = "a value of the type and range that the format gives"
NO_TEXT = "UTF-8 text"
TOO_DEEP = "nested less deeply"

_AT = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`(?P<where>\$.*)`)?", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.DOTALL)
_NAMED = re.compile(r"Object (missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_SHAPES = (
    (re.compile(r"Expected `([\w |]+)`, got `(\w+)`"), r"expected \1, got \2"),
    (re.compile(r"Expected `(\w+)` (?:of length )(<=|>=) (\d+)"), r"expected \1 of length \2 \3"),
    (re.compile(r"Expected `(\w+)` (<=|>=|<|>) (-?[\d.e+]+)"), r"expected \1 \2 \3"),
    (re.compile(r"Expected `(\w+)`"), r"expected \1"),
    (re.compile(r"Expected `array` of .*"), "expected array of another length"),
    (re.compile(r"(?:Integer value|Number) out of range"), "expected a number within range"),
    (re.compile(r"Invalid (?:enum )?value .*", re.DOTALL), "expected one of the known values"),
)


class Unreadable(NamedTuple):
    """The rule that was broken; where, as a path from `$`; which `name` there is missing or one
    too many. The name may have come from outside, and be long and odd."""

    rule: str
    where: str = "$"
    name: str = ""

    def __str__(self) -> str:
        name = f".{self.name[:MAX_NAME]!r}" if self.name else ""
        place = f"{self.where}{name} " if self.where != "$" or name else ""
        return f"{place}refused: {self.rule}"


def explain(
    error: Exception, encoding: str, patterns: Mapping[str, str] | None = None
) -> Unreadable:
    """What one of `UNREADABLE` is about. `encoding`: "json" or "msgpack". `patterns`: regular
    expressions of the format, in words."""
    if isinstance(error, RecursionError):
        return Unreadable(TOO_DEEP)
    if not isinstance(error, msgspec.ValidationError):
        return Unreadable(_malformed(error, encoding))
    match = _AT.fullmatch(str(error))
    assert match is not None
    what, where = match["what"], match["where"] or "$"
    named = _NAMED.fullmatch(what)
    if named is not None:
        missing = named[1].startswith("missing")
        return Unreadable("required" if missing else "no such field", where, named["name"])
    return Unreadable(_rule(what, patterns or {}), where)


def _malformed(error: Exception, encoding: str) -> str:
    if isinstance(error, UnicodeDecodeError) or "UTF-8" in str(error):
        return NO_TEXT
    at = _BYTE.search(str(error))
    return f"well-formed {encoding}" + (f" (byte {at[1]})" if at else "")


def _rule(what: str, patterns: Mapping[str, str]) -> str:
    matching = _PATTERN.fullmatch(what)
    if matching is not None:
        known = (rule for pattern, rule in patterns.items() if repr(pattern) == matching["pattern"])
        return next(known, ELSE)
    for shape, words in _SHAPES:
        match = shape.fullmatch(what)
        if match is not None:
            return match.expand(words)
    return ELSE
