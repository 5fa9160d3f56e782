"""What a device says of itself, and the rule that calls it healthy.

Figures are fixed point wherever replicas must agree: percent in hundredths (battery in whole
percent), custom metrics in thousandths. Source: rings.md, "Devices".
"""

import re

import msgspec

FULL = 10_000
"""100 % in hundredths."""
FULL_BATTERY = 100
MISSING = -(1 << 31)
"""Stands in a metric's column for a device that never reported it."""
MAX_METRIC = (1 << 31) - 1
MAX_METRICS = 16
"""Custom metrics that a fleet knows by name."""
MAX_CONDITIONS = 16
BUILT_IN = ("battery", "cpu", "memory", "disk")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """One status: battery 0..100, cpu, memory and disk 0..10000 (hundredths of a percent),
    custom metrics in thousandths (i32)."""

    battery: int
    charging: bool
    cpu: int
    memory: int
    disk: int
    metrics: dict[str, int] = {}


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """One clause of the health rule; `threshold` is in the metric's own fixed point."""

    metric: str
    operator: str  # "<" or ">"
    threshold: int

    @property
    def scale(self) -> int:
        """How many units of the fixed point make one of what people write."""
        return scale_of(self.metric)

    def holds(self, value: int) -> bool:
        return value < self.threshold if self.operator == "<" else value > self.threshold

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.threshold / self.scale:g}"


class HealthRule(msgspec.Struct, frozen=True, array_like=True):
    """A device is healthy when every condition holds; a metric it does not report is no fault.

    With `charging_excuses_battery` a charging device's battery is not looked at.
    """

    conditions: tuple[Condition, ...] = (
        Condition("battery", ">", 20),
        Condition("cpu", "<", 8_000),
        Condition("memory", "<", 8_500),
    )
    charging_excuses_battery: bool = False

    def __str__(self) -> str:
        text = " and ".join(map(str, self.conditions))
        return text + (" (battery excused while charging)" * self.charging_excuses_battery)


class RuleError(ValueError):
    """A health rule that cannot be; names the clause and what one looks like."""


def scale_of(metric: str) -> int:
    """Fixed-point units in one unit as people write it: battery 1, percent 100, custom 1000."""
    if metric == "battery":
        return 1
    return 100 if metric in BUILT_IN else 1_000


def is_metric(name: str) -> bool:
    """Whether a custom metric may be called this."""
    return _METRIC.fullmatch(name) is not None and name not in BUILT_IN


_CLAUSE = re.compile(
    r"\s*([a-z][a-z0-9_]{0,31})\s*([<>])\s*(-?[0-9]{1,7}(?:\.[0-9]{1,3})?)\s*%?\s*"
)


def parse_rule(text: str, *, charging_excuses_battery: bool = False) -> HealthRule:
    """The rule of `"battery > 20 and cpu < 80 and temperature < 70"`; raises `RuleError`."""
    if len(text) > 1_024:
        raise RuleError("a health rule has at most 1024 characters")
    conditions = []
    for clause in re.split(r"\band\b|,", text):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise RuleError(f"{clause.strip()!r} is not METRIC < NUMBER or METRIC > NUMBER")
        threshold = round(float(match[3]) * scale_of(match[1]))
        conditions.append(Condition(match[1], match[2], threshold))
    rule = HealthRule(tuple(conditions), charging_excuses_battery)
    fault = rule_fault(rule) or _impossible(rule)
    if fault is not None:
        raise RuleError(fault)
    return rule


def _impossible(rule: HealthRule) -> str | None:
    """The conditions of a rule that no reading can meet, so that every device would be ill."""
    for metric in dict.fromkeys(condition.metric for condition in rule.conditions):
        about = [condition for condition in rule.conditions if condition.metric == metric]
        least, most = _range_of(metric)
        lowest = max((c.threshold + 1 for c in about if c.operator == ">"), default=least)
        highest = min((c.threshold - 1 for c in about if c.operator == "<"), default=most)
        if max(lowest, least) > min(highest, most):
            return f"no device can ever have {' and '.join(map(str, about))}"
    return None


def _range_of(metric: str) -> tuple[int, int]:
    """The least and the largest value that a device may report, in fixed point."""
    if metric == "battery":
        return 0, FULL_BATTERY
    return (0, FULL) if metric in BUILT_IN else (MISSING + 1, MAX_METRIC)


def rule_fault(rule: HealthRule) -> str | None:
    """What is wrong with a rule, or None."""
    if not 1 <= len(rule.conditions) <= MAX_CONDITIONS:
        return f"a health rule has 1 to {MAX_CONDITIONS} conditions"
    for c in rule.conditions:
        if c.metric not in BUILT_IN and not is_metric(c.metric):
            return f"{c.metric[:40]!r} is not the name of a metric"
        if c.operator not in ("<", ">"):
            return f"operator {c.operator[:8]!r} is neither < nor >"
        if not MISSING < c.threshold <= MAX_METRIC:
            return f"threshold {c.threshold} of {c.metric} is out of range"
    return None


def failing(rule: HealthRule, reading: Reading) -> list[Condition]:
    """The conditions that a reading breaks."""
    excused = rule.charging_excuses_battery and reading.charging
    broken = []
    for condition in rule.conditions:
        if condition.metric == "battery" and excused:
            continue
        if condition.metric in BUILT_IN:
            value = getattr(reading, condition.metric)
        else:
            value = reading.metrics.get(condition.metric, MISSING)
        if value != MISSING and not condition.holds(value):
            broken.append(condition)
    return broken


def judge_one(rule: HealthRule, reading: Reading) -> bool:
    """Whether this one status is healthy; the verdict on the device needs more than one."""
    return not failing(rule, reading)


def reading_fault(reading: Reading) -> str | None:
    """What is out of range in a reading, field and value, or None."""
    for field, most in (("battery", FULL_BATTERY), ("cpu", FULL), ("memory", FULL), ("disk", FULL)):
        if not 0 <= getattr(reading, field) <= most:
            return f"{field}: {getattr(reading, field)} is not between 0 and {most}"
    if len(reading.metrics) > MAX_METRICS:
        return f"metrics: {len(reading.metrics)} given, at most {MAX_METRICS}"
    for name, value in reading.metrics.items():
        if not is_metric(name):
            return f"metrics: {name[:40]!r} is not the name of a metric"
        if not MISSING < value <= MAX_METRIC:
            return f"metrics.{name}: {value} is out of range"
    return None
