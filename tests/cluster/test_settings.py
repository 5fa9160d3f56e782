"""Settings: the table of roles.md, what people write, and the relations that must hold."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.settings import (
    LONGEST_PIN,
    PPM,
    PROFILES,
    Settings,
    SettingsError,
    broken_relation,
    check,
    format_duration,
    merge,
    parse,
    parse_changes,
    parse_duration,
    to_user,
)
from tests.strategies import valid_settings

TABLE: list[tuple[str, Any, Any]] = [
    # setting, orbit (the defaults), demo
    ("report_interval", "5s", "200ms"),
    ("evaluation_interval", "30s", "1s"),
    ("unhealthy_above", 0.3, 0.3),
    ("promotable_below", 0.2, 0.2),
    ("promotion_hold", "90s", "3s"),
    ("backup_ceiling", 0.25, 0.25),
    ("failures_to_fail_primary", 3, 3),
    ("failures_to_safe_mode", 2, 2),
    ("hysteresis_window", "300s", "10s"),
    ("heartbeat_timeout", "90s", "3s"),
    ("proposal_timeout", "5s", "2s"),
    ("action_deadline", "30s", "3s"),
    ("compliance_threshold", 0.9, 0.9),
    ("primary_lease", "75s", "2.5s"),
    ("backup_count", 1, 1),
    ("swarm_mode", True, True),
    ("safety_weight", 0.7, 0.7),
    ("performance_weight", 0.2, 0.2),
    ("availability_weight", 0.1, 0.1),
    ("raft_heartbeat", "500ms", "100ms"),
    ("election_timeout_min", "3s", "500ms"),
    ("election_timeout_max", "6s", "1s"),
    ("device_status_interval", "10s", "500ms"),
    ("device_offline_after", "60s", "3s"),
    ("unhealthy_statuses", 2, 2),
    ("healthy_statuses", 3, 3),
    ("rebalance_interval", "30s", "1s"),
    ("ring_band", 0.02, 0.02),
    ("ring_dwell", "300s", "10s"),
    ("recovery_hold", "300s", "10s"),
    ("redistribution", "budget", "budget"),
    ("redistribution_fraction", 0.1, 0.1),
    ("storm_brake", 0.55, 0.55),
    ("offer_timeout", "60s", "3s"),
    ("progress_timeout", "600s", "15s"),
    ("task_timeout", "3600s", "60s"),
    ("deployment_deadline", "86400s", "300s"),
    ("max_in_flight", 500, 500),
    ("task_retries", 2, 2),
    ("rollout_check", "10s", "1s"),
    ("settle", "30s", "2s"),
    ("soak", "60s", "5s"),
    ("level_hold", 0, 0),
]


@pytest.mark.parametrize(("field", "orbit", "demo"), TABLE)
def test_defaults_are_those_of_the_table(field: str, orbit: Any, demo: Any) -> None:
    assert to_user(PROFILES["orbit"])[field] == orbit
    assert to_user(PROFILES["demo"])[field] == demo


def test_the_table_names_every_setting() -> None:
    assert {field for field, _, _ in TABLE} == set(Settings.__struct_fields__)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_keeps_every_relation(profile: str) -> None:
    assert broken_relation(PROFILES[profile]) is None


def test_history_spans_one_hysteresis_window() -> None:
    assert PROFILES["orbit"].history_length == 10
    assert PROFILES["demo"].history_length == 10
    assert Settings(hysteresis_window=100, evaluation_interval=300).history_length == 1


def test_leases_are_renewed_five_times_in_their_life() -> None:
    assert PROFILES["orbit"].lease_renewal == 15_000
    assert PROFILES["demo"].lease_renewal == 500


# Relations: (change of the defaults, field blamed, words of the rule)
RELATIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"primary_lease": "86s"}, "primary_lease", "primary_lease x 1.05"),
    ({"evaluation_interval": "26s"}, "primary_lease", "primary_lease x 1.05"),
    ({"report_interval": "11s"}, "report_interval", "report_interval x 3"),
    (
        {"evaluation_interval": "60s", "report_interval": "19s"},
        "report_interval",
        "report_interval x 4 <= primary_lease",
    ),
    (
        {"election_timeout_min": "19s", "election_timeout_max": "30s"},
        "election_timeout_min",
        "step-down",
    ),
    ({"raft_heartbeat": "1s"}, "raft_heartbeat", "raft_heartbeat x 3"),
    ({"election_timeout_max": "3s"}, "election_timeout_max", "election_timeout_min <"),
    (
        {"promotable_below": 0.31},
        "promotable_below",
        "promotable_below <= unhealthy_above",
    ),
    ({"backup_ceiling": 0.35}, "backup_ceiling", "backup_ceiling <= unhealthy_above"),
    ({"hysteresis_window": "60s"}, "hysteresis_window", "failures_to_fail_primary <="),
    (
        {"hysteresis_window": "86400s"},
        "hysteresis_window",
        "<= 1000",
    ),
    (
        {"failures_to_safe_mode": 11},
        "failures_to_safe_mode",
        "failures_to_safe_mode <= hysteresis_window / evaluation_interval",
    ),
    ({"promotion_hold": "301s"}, "promotion_hold", "promotion_hold <= hysteresis_window"),
    ({"heartbeat_timeout": "30s"}, "heartbeat_timeout", "heartbeat_timeout > evaluation"),
    ({"proposal_timeout": "1.9s"}, "proposal_timeout", "raft_heartbeat x 4 <= proposal"),
    ({"action_deadline": "10ms"}, "action_deadline", "raft_heartbeat x 4 <= action"),
    ({"proposal_timeout": "301s"}, "proposal_timeout", "proposal_timeout <= 10 x"),
    ({"device_offline_after": "29s"}, "device_offline_after", "device_status_interval x 3"),
    ({"rebalance_interval": "301s"}, "ring_dwell", "rebalance_interval <= ring_dwell"),
    ({"safety_weight": 0.6}, "safety_weight", "availability_weight = 1"),
    ({"progress_timeout": "59s"}, "progress_timeout", "offer_timeout <= progress_timeout"),
    ({"task_timeout": "599s"}, "progress_timeout", "progress_timeout <= task_timeout"),
    ({"deployment_deadline": "1m"}, "progress_timeout", "task_timeout <= deployment_deadline"),
]


@pytest.mark.parametrize(("changes", "field", "words"), RELATIONS)
def test_an_impossible_set_is_refused_with_field_value_and_rule(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(changes)
    assert refused.value.field == field
    assert words in refused.value.rule
    merged = to_user(PROFILES["orbit"]) | changes
    assert refused.value.value in (merged[field], to_user(PROFILES["orbit"])[field])
    assert field in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        (5, 5_000), (2.5, 2_500), ("5", 5_000), ("5s", 5_000), ("200ms", 200), ("10m", 600_000),
        ("10min", 600_000), ("1h", 3_600_000), (" 1.5 s ", 1_500), ("24h", 86_400_000),
        ("10ms", 10), ("1d", 86_400_000),
    ],
)  # fmt: skip
def test_durations_as_people_write_them(written: object, milliseconds: int) -> None:
    assert parse_duration("report_interval", written) == milliseconds


def test_a_pin_may_last_a_year() -> None:
    assert parse_duration("lifetime", "366d", LONGEST_PIN) == LONGEST_PIN
    with pytest.raises(SettingsError, match="between 10ms and 366d"):
        parse_duration("lifetime", "366.1d", LONGEST_PIN)


@pytest.mark.parametrize(
    "written",
    ["", "s", "-5s", "5 days", "1e3", "9ms", "24.01h", 0, -1, True, None, [], math.inf, math.nan,
     "9" * 400, 10**400, "٥s", "5s\n5s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_duration("report_interval", written)
    assert refused.value.field == "report_interval"
    assert "duration" in refused.value.rule


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("unhealthy_above", 1.1, "between 0 and 1"),
        ("unhealthy_above", -0.1, "between 0 and 1"),
        ("unhealthy_above", math.nan, "between 0 and 1"),
        ("unhealthy_above", "0.3", "between 0 and 1"),
        ("unhealthy_above", True, "between 0 and 1"),
        ("backup_count", -1, "between 0 and 100"),
        ("backup_count", 1.5, "whole number"),
        ("backup_count", True, "whole number"),
        ("failures_to_fail_primary", 0, "between 1 and 100"),
        ("swarm_mode", "maybe", "on or off"),
        ("swarm_mode", 1, "on or off"),
        ("redistribution", "often", "one of budget, rotate, random, off"),
        ("redistribution", True, "one of budget, rotate, random, off"),
        ("no_such", 1, "no such setting"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(field: str, value: Any, rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_changes({field: value})
    assert refused.value.field == field
    assert rule in refused.value.rule


@pytest.mark.parametrize(
    ("written", "flag"), [("on", True), ("True", True), ("OFF", False), (False, False)]
)
def test_flags_as_people_write_them(written: object, flag: bool) -> None:
    assert parse_changes({"swarm_mode": written}) == {"swarm_mode": flag}


def test_a_bare_off_of_yaml_is_the_word() -> None:
    assert parse({"redistribution": False}).redistribution == "off"
    assert parse({"redistribution": "off"}).redistribution == "off"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("report_interval", True), ("report_interval", 9), ("report_interval", -1),
        ("report_interval", 2**63), ("swarm_mode", 1), ("unhealthy_above", PPM + 1),
        ("unhealthy_above", -1), ("backup_count", 101), ("no_such", 1),
        ("unhealthy_above", "0.3"), ("redistribution", "often"), ("redistribution", 1),
        ("redistribution", False),
    ],
)  # fmt: skip
def test_stored_values_are_checked_again_when_they_come_over_the_wire(
    field: str, value: int | str
) -> None:
    with pytest.raises(SettingsError) as refused:
        merge(PROFILES["orbit"], {field: value})
    assert refused.value.field == field


@given(valid_settings())
def test_what_is_shown_can_be_written_back(settings: Settings) -> None:
    assert parse(to_user(settings)) == settings


@given(st.integers(10, 86_400_000))
def test_a_shown_duration_is_exact(milliseconds: int) -> None:
    assert parse_duration("f", format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(5_000, "5s"), (200, "200ms"), (90_000, "90s"), (2_500, "2.5s"), (1_234_567, "1234.567s")],
)
def test_durations_are_shown_short(milliseconds: int, shown: str) -> None:
    assert format_duration(milliseconds) == shown


@given(
    st.sampled_from(Settings.__struct_fields__),
    st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 1, -1]),
)
def test_check_finds_a_fault_or_a_valid_set_and_never_raises(field: str, value: int) -> None:
    settings = msgspec.structs.replace(PROFILES["orbit"], **{field: value})
    fault = check(settings)
    assert fault is None or fault.field in Settings.__struct_fields__
    if fault is None:
        assert parse(to_user(settings)) == settings


def test_check_blames_an_interval_of_zero() -> None:
    fault = check(Settings(evaluation_interval=0))
    assert fault is not None
    assert fault.field == "evaluation_interval"


def test_an_offer_waits_for_three_statuses_at_least() -> None:
    assert parse({}).answer_time == 60_000
    slow = parse({"device_status_interval": "40s", "device_offline_after": "120s"})
    assert slow.answer_time == 120_000
