"""Readings and the health rule: rings.md, "Healthy"."""

import pytest

from stationkeep.cluster.devices.status import (
    Condition,
    HealthRule,
    Reading,
    RuleError,
    failing,
    judge_one,
    parse_rule,
    reading_fault,
    rule_fault,
)

GOOD = Reading(21, False, 7_999, 8_499, 9_999)
SEED = HealthRule()


@pytest.mark.parametrize(
    ("reading", "healthy"),
    [
        (GOOD, True),
        (Reading(20, False, 0, 0, 0), False),
        (Reading(100, False, 8_000, 0, 0), False),
        (Reading(100, False, 0, 8_500, 0), False),
        (Reading(100, False, 0, 0, 10_000), True),
        (Reading(5, True, 0, 0, 0), False),
    ],
)
def test_the_plain_rule(reading: Reading, healthy: bool) -> None:
    """Battery > 20, CPU < 80, memory < 85; charging excuses nothing unless the operator says."""
    assert judge_one(SEED, reading) is healthy


def test_the_default_rule_reads_as_the_seed_writes_it() -> None:
    assert parse_rule("battery > 20 and cpu < 80 and memory < 85") == SEED
    assert str(SEED) == "battery > 20 and cpu < 80 and memory < 85"


def test_charging_may_excuse_the_battery_and_nothing_else() -> None:
    rule = parse_rule("battery > 20 and cpu < 80", charging_excuses_battery=True)
    assert judge_one(rule, Reading(5, True, 0, 0, 0))
    assert not judge_one(rule, Reading(5, False, 0, 0, 0))
    assert not judge_one(rule, Reading(5, True, 9_000, 0, 0))


def test_disk_and_custom_metrics_can_be_in_the_rule() -> None:
    rule = parse_rule("disk < 90, temperature < 70.5")
    assert judge_one(rule, Reading(0, False, 0, 0, 8_999, {"temperature": 70_499}))
    assert not judge_one(rule, Reading(0, False, 0, 0, 9_000))
    assert not judge_one(rule, Reading(0, False, 0, 0, 0, {"temperature": 70_500}))


def test_a_metric_that_a_device_does_not_report_is_no_fault() -> None:
    assert judge_one(parse_rule("temperature < 70"), Reading(0, False, 0, 0, 0))


def test_what_fails_is_named() -> None:
    assert failing(SEED, Reading(5, False, 9_000, 0, 0)) == [
        Condition("battery", ">", 20),
        Condition("cpu", "<", 8_000),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not METRIC"),
        ("cpu", "'cpu' is not METRIC"),
        ("cpu <= 80", "'cpu <= 80' is not METRIC"),
        ("cpu < 80 or disk < 90", "is not METRIC"),
        ("cpu < eighty", "is not METRIC"),
        ("cpu < 80 and", "'' is not METRIC"),
        (" and ".join(["cpu < 80"] * 17), "1 to 16 conditions"),
        ("x < 9999999", "out of range"),
        ("x" * 2_000, "1024 characters"),
        ("battery > 100", "no device can ever have battery > 100"),
        ("cpu < 80 and memory < 0", "no device can ever have memory < 0"),
        ("cpu < 80 and disk < 90 and cpu > 80", "no device can ever have cpu < 80 and cpu > 80"),
        ("t > 70 and t < 70.001", "no device can ever have t > 70 and t < 70.001"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_clause(text: str, words: str) -> None:
    with pytest.raises(RuleError, match=words):
        parse_rule(text)


@pytest.mark.parametrize(
    "text", ["battery > 99", "cpu < 0.01", "t > 70 and t < 70.002", "t < -5", "cpu < 500"]
)
def test_a_rule_that_some_reading_meets_is_taken(text: str) -> None:
    assert parse_rule(text).conditions


@pytest.mark.parametrize(
    "condition",
    [Condition("Cpu", "<", 1), Condition("cpu", "=", 1), Condition("cpu", "<", -(2**31))],
)
def test_a_rule_from_the_wire_is_checked_as_well(condition: Condition) -> None:
    assert rule_fault(HealthRule((condition,))) is not None


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading(101, False, 0, 0, 0), "battery: 101"),
        (Reading(-1, False, 0, 0, 0), "battery: -1"),
        (Reading(0, False, 10_001, 0, 0), "cpu: 10001"),
        (Reading(0, False, 0, -1, 0), "memory: -1"),
        (Reading(0, False, 0, 0, 2**63), "disk: 9223372036854775808"),
        (Reading(0, False, 0, 0, 0, {"Temp": 1}), "'Temp' is not the name of a metric"),
        (Reading(0, False, 0, 0, 0, {"cpu": 1}), "'cpu' is not the name"),
        (Reading(0, False, 0, 0, 0, {"t": -(2**31)}), "metrics.t"),
        (Reading(0, False, 0, 0, 0, {f"m{n}": 1 for n in range(17)}), "17 given, at most 16"),
    ],
)
def test_a_reading_out_of_range_is_refused_with_field_and_value(
    reading: Reading, words: str
) -> None:
    assert words in (reading_fault(reading) or "")


def test_a_reading_at_the_edges_is_fine() -> None:
    assert reading_fault(Reading(100, True, 10_000, 10_000, 10_000, {"t": 2**31 - 1})) is None
    assert reading_fault(Reading(0, False, 0, 0, 0)) is None
