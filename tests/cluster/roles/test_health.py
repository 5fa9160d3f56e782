"""Samples, runs and failure modes: roles.md, "Health" and "Failure modes"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import Echo, Measured, RecordEvaluation
from stationkeep.cluster.roles.health import (
    FailureMode,
    failure_mode,
    has_recovered,
    is_unhealthy,
    mean_risk,
    median,
    record_sample,
)
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import MISSED, Member, Sample
from stationkeep.cluster.transitions import Role
from tests.cluster.driver import ORBIT, Driver, settled


def member(*risks: float | None, role: Role = Role.STANDBY) -> Member:
    """A member with these samples, one each evaluation interval."""
    made = Member("n", "", "", role)
    for number, risk in enumerate(risks):
        measured = Measured("n", 0, 0) if risk is None else Measured("n", 3, round(risk * PPM))
        record_sample(made, measured, number * ORBIT.evaluation_interval, ORBIT)
    return made


@pytest.mark.parametrize(
    ("values", "middle"), [([5], 5), ([9, 1, 5], 5), ([1, 4], 2), ([4, 1, 9, 2], 3), ([0, 0], 0)]
)
def test_median(values: list[int], middle: int) -> None:
    assert median(values) == middle


@given(st.lists(st.integers(0, PPM), min_size=1))
def test_median_has_half_of_the_values_on_either_side(values: list[int]) -> None:
    middle = median(values)
    assert sum(v <= middle for v in values) * 2 >= len(values)
    assert sum(v >= middle for v in values) * 2 >= len(values)


@pytest.mark.parametrize(
    ("risk", "reports", "unhealthy"),
    [(300_000, 1, False), (300_001, 1, True), (0, 0, True), (0, 1, False), (PPM, 6, True)],
)
def test_unhealthy_means_risk_above_the_threshold_or_missed(
    risk: int, reports: int, unhealthy: bool
) -> None:
    assert is_unhealthy(Sample(0, risk, reports), ORBIT) is unhealthy


def test_a_missed_sample_counts_as_risk_1_and_is_shown_as_missed() -> None:
    (sample,) = member(None).history
    assert (sample.risk, sample.missed, sample.figure) == (PPM, True, MISSED)


@pytest.mark.parametrize(
    ("risks", "mode", "run"),
    [
        ([], FailureMode.HEALTHY, 0),
        ([0.1] * 5, FailureMode.HEALTHY, 0),
        ([0.3], FailureMode.HEALTHY, 0),
        ([0.31], FailureMode.INTERMITTENT, 1),
        ([0.4, 0.1], FailureMode.INTERMITTENT, 0),
        ([0.4, 0.4, 0.4, 0.1], FailureMode.INTERMITTENT, 0),
        ([0.4, None], FailureMode.INTERMITTENT, 2),
        ([None, 0.4, None], FailureMode.DEGRADED, 3),
        ([0.4] * 4, FailureMode.CRITICAL, 4),
        ([0.4] * 30, FailureMode.CRITICAL, 30),
        ([0.4] + [0.1] * 10, FailureMode.HEALTHY, 0),  # the bad one has left the window
        ([0.4] + [0.1] * 9, FailureMode.INTERMITTENT, 0),
    ],
)
def test_failure_modes(risks: list[float | None], mode: FailureMode, run: int) -> None:
    made = member(*risks)
    assert failure_mode(made, ORBIT) is mode
    assert made.run == run


def test_the_history_keeps_one_hysteresis_window_of_samples() -> None:
    assert [s.at for s in member(*[0.1] * 14).history] == [30_000 * n for n in range(4, 14)]


def test_a_run_remembers_when_it_began_and_so_does_health() -> None:
    made = member(0.1, 0.4, None)
    assert (made.run_since, made.healthy_since) == (30_000, None)
    made = member(0.4, 0.1, 0.25)
    assert (made.run_since, made.healthy_since) == (None, 30_000)


@pytest.mark.parametrize(
    ("risks", "recovered"),
    [
        ([0.1, 0.1, 0.1], False),  # 60 s
        ([0.1, 0.1, 0.1, 0.1], True),  # 90 s
        ([0.1, 0.2, 0.1, 0.1], False),  # not below 0.2
        ([0.4, 0.1, 0.1, 0.1, 0.1], True),
        ([0.1, 0.1, 0.1, 0.1, None], False),
        ([], False),
    ],
)
def test_recovery_needs_all_samples_below_the_mark_for_the_hold(
    risks: list[float | None], recovered: bool
) -> None:
    made = member(*risks)
    now = (len(risks) - 1) * ORBIT.evaluation_interval
    assert has_recovered(made, now, ORBIT) is recovered


def test_mean_risk_is_over_the_history_and_1_without_one() -> None:
    assert mean_risk(member()) == PPM
    assert mean_risk(member(0.1, 0.3)) == 200_000


def test_a_measure_out_of_range_is_taken_as_the_nearest_in_range() -> None:
    made = Member("n", "", "")
    record_sample(made, Measured("n", 1, 2 * PPM, "c" * 500, 99_999), 0, ORBIT)
    record_sample(made, Measured("n", -5, 7, "", -1), 1, ORBIT)
    assert [(s.risk, s.reports, len(s.cause)) for s in made.history] == [
        (PPM, 1, 200),
        (PPM, 0, 0),
    ]
    assert made.recurrence == 0


# Flapping counters


@pytest.mark.parametrize(
    ("roles", "node", "bad", "blocked"),
    [
        ("PBSS", 0, 1, 1),
        ("PBSS", 0, 2, 1),
        ("PBSS", 1, 1, 1),
        ("PBSS", 2, 1, 1),
        ("PBSS", 0, 0, 0),
    ],
)
def test_a_run_that_ends_before_its_trigger_is_counted_as_blocked_flapping(
    roles: str, node: int, bad: int, blocked: int
) -> None:
    driver = settled()
    assert driver.roles == roles
    for _ in range(bad):
        driver.settle(of={driver.ids[node]: 0.4})
    driver.settle()
    assert driver.state.counters.flapping_blocked.get("hysteresis", 0) == blocked
    assert driver.roles == roles


def test_a_run_that_reached_its_trigger_is_not_counted() -> None:
    driver = settled()
    for _ in range(3):
        driver.settle(0.4)
    driver.settle()
    assert "hysteresis" not in driver.state.counters.flapping_blocked


def test_in_safe_mode_nothing_is_left_to_be_blocked() -> None:
    driver = settled()
    for _ in range(2):
        driver.settle(of={"sat-004": 0.4})
    driver.settle()
    assert driver.roles == "PBSX"
    driver.settle(of={"sat-004": 0.4})
    driver.settle()
    assert "hysteresis" not in driver.state.counters.flapping_blocked


# Recording an evaluation


def test_a_joining_member_has_no_samples() -> None:
    driver = Driver(3)
    driver.sample(0.1, 0.1, None)
    joining = driver.member("sat-003")
    assert joining.joining
    assert joining.history == []
    assert joining.run == 0


def test_samples_of_a_deposed_leader_are_refused() -> None:
    driver = settled()
    late = RecordEvaluation(driver.state.evaluations - 1, (), ())
    reason, detail = driver.refused(late)
    assert reason == "stale_revision"
    assert "after" in detail


@pytest.mark.parametrize("named", [("sat-001", "sat-001"), ("nobody",)])
def test_samples_are_one_per_member_and_of_members_only(named: tuple[str, ...]) -> None:
    driver = settled()
    samples = tuple(Measured(node, 1, 1) for node in named)
    echo = (Echo("sat-001", 9, 9, 0),)
    refused = driver.refused(RecordEvaluation(driver.state.evaluations, samples, echo))
    assert refused[0] == "invalid"


# Able, not only alive


def unable(at: int, made: Member, why: str = "is deaf", reports: int = 6) -> int:
    """One sample that says so; the run after it."""
    record_sample(made, Measured("n", reports, 100_000, "cpu", unable=why), at, ORBIT)
    return made.run


def test_a_primary_that_cannot_act_is_unhealthy_at_once_and_the_cause_is_told() -> None:
    made = Member("n", "", "", role=Role.PRIMARY)
    runs = [unable(k * ORBIT.evaluation_interval, made) for k in range(3)]
    assert runs == [1, 2, 3]
    assert {(s.risk, s.cause) for s in made.history} == {(PPM, "is deaf")}


def test_others_are_unhealthy_when_they_were_not_able_for_a_whole_window() -> None:
    made = Member("n", "", "")
    window = ORBIT.history_length
    runs = [unable(k * ORBIT.evaluation_interval, made) for k in range(window + 2)]
    assert runs == [0] * window + [1, 2]


def test_one_able_sample_begins_the_window_anew_and_a_missed_one_does_not() -> None:
    made = Member("n", "", "")
    unable(1, made)
    unable(2, made, "", reports=0)
    assert (made.unable, made.unable_since) == ("is deaf", 1)
    unable(3, made, "")
    assert (made.unable, made.unable_since) == ("", None)


def test_who_is_not_able_has_not_recovered() -> None:
    made = Member("n", "", "")
    for k in range(6):
        unable(k * ORBIT.evaluation_interval, made, "is deaf" if k < 4 else "")
        assert not has_recovered(made, k * ORBIT.evaluation_interval, ORBIT)
    assert made.good_since == 4 * ORBIT.evaluation_interval
