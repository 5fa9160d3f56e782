"""When in the week a rollout may tell devices to begin: the text that people write.

Nobody here knows which moment it is where: the leader asks its clock (`node.fleet.windows`), and
apply does not. Source: rollouts.md, "Windows".
"""

import re
from functools import lru_cache
from typing import NamedTuple

MAX_WINDOW = 256
"""Characters."""
WINDOW_RULE = "days and times such as Mon-Fri 01:00-05:00, Sat 00:00-24:00"
ZONE_RULE = "a time zone such as Europe/Berlin or UTC, or device"
DEVICE = "device"
"""Stands for the zone of each device: of its label `TZ_LABEL`, or `UTC`."""
TZ_LABEL, UTC = "tz", "UTC"
DAY, WEEK = 24 * 60, 7 * 24 * 60
"""Minutes."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PART = re.compile(
    r"(?:(?P<first>{0})(?:-(?P<last>{0}))? )?(?P<start>{1})-(?P<end>{1})".format(
        "|".join(_DAYS), r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00"
    )
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}")
_MAX_ZONE = 64


class WindowError(ValueError):
    """A text that is no window; says the rule."""


class Span(NamedTuple):
    """Minutes since Monday 00:00 of local time, `end` excluded; it may lie in the next week."""

    start: int
    end: int


@lru_cache(maxsize=256)
def spans_of(window: str) -> tuple[Span, ...]:
    """The spans of a window; raises `WindowError`. Without days: every day. What ends before it
    begins ends on the next day."""
    parts = [_PART.fullmatch(part.strip()) for part in window.split(",")]
    if len(window) > MAX_WINDOW or None in parts:
        raise WindowError(
            f"{window[:80]!r} is not {WINDOW_RULE}, of {MAX_WINDOW} characters at most"
        )
    return tuple(span for part in parts if part is not None for span in _spans(part))


def _spans(part: "re.Match[str]") -> list[Span]:
    start, end = (_minutes(part[name]) for name in ("start", "end"))
    if start in (end, DAY):
        raise WindowError(f"{part[0]!r} is no time; a whole day is 00:00-24:00")
    first = _DAYS.index(part["first"] or _DAYS[0])
    last = _DAYS.index(part["last"] or part["first"] or _DAYS[-1])
    length = (end - start) % DAY or DAY
    days = range(first, last + 1 if last >= first else last + 1 + len(_DAYS))
    return [Span(day % 7 * DAY + start, day % 7 * DAY + start + length) for day in days]


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=256)
def open_minutes(window: str) -> bytes:
    """By the minute of the week of local time, whether a window is open: 10 KB of 0 and 1."""
    minutes = bytearray(2 * WEEK)
    for start, end in spans_of(window):
        minutes[start:end] = b"\x01" * (end - start)
    return bytes(this | last for this, last in zip(minutes[:WEEK], minutes[WEEK:], strict=True))


def window_fault(window: str) -> str | None:
    """The rule that a window breaks; "" is none."""
    try:
        spans_of(window) if window else ()
    except WindowError as error:
        return str(error)
    return None


def zone_fault(zone: str) -> str | None:
    """The rule that the name of a zone breaks; whether there is such a zone is another question."""
    if len(zone) <= _MAX_ZONE and _ZONE.fullmatch(zone):
        return None
    return f"{zone[:80]!r} is not {ZONE_RULE}"
