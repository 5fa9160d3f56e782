"""Versions and their order: which of two is the newer one, if that can be said at all.

By the precedence of semantic versioning (semver.org, 11) where both are such versions, else by
their runs of digits and of other characters. What neither can compare is different, not newer.
Source: tasks.md, "Versions".
"""

import functools
import re
from typing import Any

VERSION_RULE = "1 to 64 of the characters A-Z a-z 0-9 . _ + ~ -"
VERSION = re.compile(r"[A-Za-z0-9._+~-]{1,64}")
_NUMBER = r"(0|[1-9][0-9]*)"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_RUN = re.compile(r"[0-9]+|[^0-9]+")
_DIGITS = "0123456789"
"""A device says what it likes: `"²".isdigit()` holds, and no number can be made of it."""
_Precedence = tuple[tuple[int, int, str], ...]


def version_fault(version: str) -> str | None:
    """The rule that the version of an artifact breaks."""
    return None if VERSION.fullmatch(version) else VERSION_RULE


def is_newer(version: str, than: str) -> bool:
    """Whether a version is certainly a later one."""
    order = compare(version, than)
    return order is not None and order > 0


@functools.lru_cache(maxsize=4_096)
def compare(one: str, other: str) -> int | None:
    """-1, 0 or 1 as `one` is older than, as new as or newer than `other`; None: incomparable."""
    first, second = _SEMVER.fullmatch(one), _SEMVER.fullmatch(other)
    if first and second:
        return _sign(_precedence(first), _precedence(second))
    return _by_runs(_RUN.findall(one), _RUN.findall(other))


def _precedence(match: re.Match[str]) -> _Precedence:
    """A key that sorts as semver does: a release after all its prereleases, in those numbers
    before words, and of two that begin alike the shorter first."""
    core: list[tuple[int, int, str]] = [(1, int(match[n]), "") for n in (1, 2, 3)]
    if match[4] is None:
        return (*core, (3, 0, ""))
    parts = [(1, int(p), "") if p.isdigit() else (2, 0, p) for p in match[4].split(".")]
    return (*core, *parts)


def _by_runs(one: list[str], other: list[str]) -> int | None:
    """The first runs that differ decide, if they are numbers. Where one version goes on when the
    other has ended it is the newer one if it adds another number (`1.2.1`); what a word adds may
    make it older (`1.2-rc1`)."""
    for first, second in zip(one, other, strict=False):
        if first != second:
            return _by_number(first, second)
    rest = one[len(other) :] or other[len(one) :]
    if not rest:
        return 0
    return _sign(len(one), len(other)) if rest[0] == "." and len(rest) > 1 else None


def _by_number(one: str, other: str) -> int | None:
    if one[0] in _DIGITS and other[0] in _DIGITS:
        return _sign(int(one), int(other))
    return None


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)
