"""Figures as people write them. Each parser takes one YAML or JSON value, and raises `ValueError`
with the rule that it breaks."""

import re
from collections.abc import Callable
from decimal import Decimal

from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.devices.status import HealthRule, RuleError, parse_rule
from stationkeep.cluster.names import NAME_RULE, TEXT_RULE, name_fault, text_fault
from stationkeep.cluster.rollouts.windows import DEVICE, WINDOW_RULE, ZONE_RULE, window_fault
from stationkeep.cluster.settings import PPM, parse_duration
from stationkeep.node.system.zones import zone

NONE = "none"
"""Says that nothing is asked where something would be: `require: none`."""
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%\s*")
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def whole(low: int, high: int) -> Callable[[object], int]:
    """A whole number."""

    def read(raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool) and low <= raw <= high:
            return raw
        raise ValueError(f"a whole number between {low} and {high}")

    return read


def ratio(low: int, high: int = PPM) -> Callable[[object], int]:
    """ppm of `10%`, `"2.5%"` or 0.1."""
    rule = f"a share such as 10% or 0.1, between {percent(low)} and {percent(high)}"

    def read(raw: object) -> int:
        ppm = -1
        if isinstance(raw, str) and (match := _PERCENT.fullmatch(raw)) is not None:
            ppm = int(Decimal(match[1]) * PPM / 100)
        elif isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw <= 1:
            ppm = round(raw * PPM)
        if low <= ppm <= high:
            return ppm
        raise ValueError(rule)

    return read


def times(low: int, high: int) -> Callable[[object], int | None]:
    """ppm of a factor such as 1.5; None of `none`."""

    def read(raw: object) -> int | None:
        if raw == NONE:
            return None
        numeric = isinstance(raw, int | float) and not isinstance(raw, bool)
        if numeric and low <= raw * PPM <= high:  # type: ignore[operator]
            return round(raw * PPM)  # type: ignore[operator]
        raise ValueError(f"a number above {low // PPM}, at most {high // PPM}, or {NONE}")

    return read


def duration(longest: int, *, zero: bool = False) -> Callable[[object], int]:
    """ms of `5m`, `"7d"` or a number of seconds, at most `longest`; with `zero` also 0."""

    def read(raw: object) -> int:
        if zero and raw in (0, "0", "0s") and not isinstance(raw, bool):
            return 0
        return parse_duration("", raw, longest)

    return read


def flag(raw: object) -> bool:
    """true or false."""
    if isinstance(raw, bool):
        return raw
    raise ValueError("true or false")


def line(raw: object) -> str:
    """One line of text."""
    if isinstance(raw, str) and text_fault(raw) is None:
        return raw
    hint = "" if isinstance(raw, str) else ", in quotes if it looks like something else"
    raise ValueError(f"{TEXT_RULE}{hint}")


def selector(raw: object) -> str:
    """Which devices: `model in (Pixel 8, Pixel 9), os=Android 14`."""
    text = line(raw)
    parse(text)
    return text


def name(raw: object) -> str:
    """A name, as of rollouts, stages, variants and freezes."""
    if isinstance(raw, str) and name_fault(raw) is None:
        return raw
    hint = "" if isinstance(raw, str) else ", in quotes if it looks like something else"
    raise ValueError(f"{NAME_RULE}{hint}")


def window(raw: object) -> str:
    """When devices are told to begin: `Mon-Fri 01:00-05:00, Sat 00:00-24:00`."""
    if isinstance(raw, str) and raw and window_fault(raw) is None:
        return raw
    raise ValueError(WINDOW_RULE)


def timezone(raw: object) -> str:
    """By whose clock: a zone that this system knows, or `device`."""
    if isinstance(raw, str) and (raw == DEVICE or zone(raw) is not None):
        return raw
    raise ValueError(ZONE_RULE)


def condition(*, excused: bool) -> Callable[[object], HealthRule | None]:
    """What a status must meet: `battery > 30 and temperature < 70`; None of `none`. `excused`:
    while it charges, a device's battery is not looked at."""

    def read(raw: object) -> HealthRule | None:
        if raw == NONE:
            return None
        if not isinstance(raw, str):
            raise ValueError(f"a condition such as battery > 30, or {NONE}")
        try:
            return parse_rule(raw, charging_excuses_battery=excused)
        except RuleError as error:
            raise ValueError(f"a condition such as battery > 30, or {NONE}: {error}") from error

    return read


def spelled(milliseconds: int) -> str:
    """`300_000` → `"5m"`, in the largest unit that it is a whole number of; 0 → `"0s"`."""
    if not milliseconds:
        return "0s"
    unit, size = next(each for each in _UNITS if milliseconds % each[1] == 0)
    return f"{milliseconds // size}{unit}"


def percent(ppm: int) -> str:
    """`100_000` → `"10%"`, exactly."""
    return f"{ppm / 10_000:g}%"
