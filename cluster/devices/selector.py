"""Selectors: which devices a policy or a question is about.

`os=Android 14, model in (Pixel 8, Pixel 9)`: every term must hold. Keys are `id`, `name`, `os`,
`app`, `ring`, `health` (healthy, unhealthy, offline) and the names of labels and capabilities,
a label going before a capability of the same name. Source: rings.md, "Ring assignment".
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

MAX_SELECTOR = 1_024
MAX_TERMS = 16
MAX_VALUES = 64
OWN_KEYS = ("id", "name", "os", "app", "ring", "health")
LIVE_KEYS = frozenset({"id", "name", "ring", "health"})
"""Keys of a single device or of its state: a policy, which rules by kind, cannot use them."""


class SelectorError(ValueError):
    """A selector that cannot be read; says at which character and what was expected there."""


class Term(msgspec.Struct, frozen=True, array_like=True):
    """One condition: the value of `key` is (`negated`: is not) among `values`."""

    key: str
    values: tuple[str, ...]
    negated: bool = False


_KEY = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9_./-]{0,63})\s*")
_OPERATOR = re.compile(r"(!=|=|not\s+in\s*\(|in\s*\()\s*")
_VALUE = re.compile(r"[^,()=]{1,256}")


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Term, ...]:
    """The terms of a selector; no text selects everything. Raises `SelectorError`."""
    if len(text) > MAX_SELECTOR:
        raise SelectorError(f"a selector has at most {MAX_SELECTOR} characters")
    if not text.strip():
        return ()
    terms = tuple(_terms(text))
    if len(terms) > MAX_TERMS:
        raise SelectorError(f"a selector has at most {MAX_TERMS} terms, this one {len(terms)}")
    return terms


def _terms(text: str) -> Iterator[Term]:
    at = 0
    while True:
        key = _expect(_KEY, text, at, "a key such as os or model")
        operator = _expect(_OPERATOR, text, key.end(), "=, != or in (…)")
        if "in" in operator[1]:
            values, at = _values(text, operator.end())
        else:
            value = _expect(_VALUE, text, operator.end(), "a value")
            values, at = (value[0].strip(),), value.end()
        if "" in values:
            raise SelectorError(f"character {operator.end() + 1}: a value is expected")
        yield Term(key[1], values, operator[1].startswith(("!", "n")))
        if at == len(text):
            return
        if text[at] != ",":
            raise SelectorError(f"character {at + 1}: a comma is expected, not {text[at]!r}")
        at += 1


def _values(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The values between parentheses, and where the next thing begins."""
    values = []
    while True:
        value = _expect(_VALUE, text, at, "a value")
        values.append(value[0].strip())
        at = value.end()
        if len(values) > MAX_VALUES:
            raise SelectorError(f"character {at}: at most {MAX_VALUES} values in one term")
        if at < len(text) and text[at] == ",":
            at += 1
            continue
        if at == len(text) or text[at] != ")":
            raise SelectorError(f"character {at + 1}: a closing parenthesis is expected")
        at += 1
        return tuple(values), at + len(text[at:]) - len(text[at:].lstrip())


def _expect(pattern: re.Pattern[str], text: str, at: int, what: str) -> re.Match[str]:
    match = pattern.match(text, at)
    if match is None:
        raise SelectorError(f"character {at + 1}: {what} is expected")
    return match


def matches(terms: Iterable[Term], value_of: Callable[[str], str | None]) -> bool:
    """Whether every term holds of a device; a key that it does not have equals nothing."""
    return all((value_of(term.key) in term.values) is not term.negated for term in terms)
