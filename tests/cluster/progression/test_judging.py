"""What stops a rollout, what lets it pass, and what is left to people."""

import numpy as np
import pytest

from stationkeep.cluster.commands import (
    CheckRollouts,
    Pause,
    PromoteRollout,
    RecordGate,
    Resume,
    RetryTasks,
    StartRollout,
)
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule
from stationkeep.cluster.progression.steps import orders_of
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, OnFail, Plan, StagePlan
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

LENIENT = Checks(Gates(min_coverage=0), health=False)


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def evidence(driver: RolloutDriver, stage: str, gate: str) -> float:
    judged = {judgement.gate.value: judgement for judgement in driver.stage(stage).judged}
    return (judged[gate].evidence or 0) / 1_000


# Failures


def test_a_version_that_breaks_every_device_costs_two_of_them(driver: RolloutDriver) -> None:
    """Scenario 20."""
    driver.failing = set(driver.rows)
    driver.begin()
    driver.until("rolled_back")
    failed = driver.stage("canary")
    assert (failed.state, failed.reason) == ("failed", "failures")
    assert evidence(driver, "canary", "failures") == pytest.approx(139, abs=1)
    assert driver.stages() == "fail stop stop stop stop"
    told = [row for row in driver.rows if driver.fleet.spec(row).app_version != "1.0.0"]
    assert told == []
    assert driver.rollout().rollback == 0
    reason, detail = driver.refused(StartRollout(_again(driver)))
    assert reason == "artifact_blocked"
    assert "unblock it, or force this" in detail
    assert driver.begin(name="third", force=True).state == "running"


def _again(driver: RolloutDriver) -> str:
    return driver.lay_down(name="again").name


def test_one_failure_of_three_is_for_people_to_decide(driver: RolloutDriver) -> None:
    """Scenario 26."""
    driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")
    assert driver.rollout().reason == "inconclusive:canary:failures"
    assert 1 < evidence(driver, "canary", "failures") < 20
    driver.resume()
    assert driver.stage("canary").state == "soaking"
    driver.until("paused")
    driver.promote()
    assert driver.stage("canary").state == "passed"
    assert driver.stage("canary").reason == "operator"
    driver.until("succeeded")


def test_an_inconclusive_rollout_may_be_aborted_as_well(driver: RolloutDriver) -> None:
    driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")
    driver.abort()
    driver.until("aborted")
    assert driver.stages() == "stop stop stop stop stop"
    assert len(driver.runs("2.0.0")) == 2


def test_a_version_that_was_stopped_stops_elsewhere_too(driver: RolloutDriver) -> None:
    half = [driver.fleet.id(row) for row in driver.rows]
    other = driver.begin(Plan(V2, devices=tuple(half[:6])), "other")
    assert other.state == "running"
    driver.failing = set(driver.rows[6:])
    driver.begin(Plan(V2, devices=tuple(half[6:]), stages=one_stage()))
    driver.away = set(driver.rows[:6])
    driver.until("rolled_back")
    assert driver.rollout("other").state == "paused"
    assert driver.rollout("other").reason == f"blocked:{NAME}"


@pytest.mark.parametrize("on_fail", OnFail)
def test_what_follows_a_failure_is_what_the_plan_says(
    driver: RolloutDriver, on_fail: OnFail
) -> None:
    driver.failing = set(driver.rows[4:])
    driver.begin(Plan(V2, stages=one_stage(), on_fail=on_fail))
    end = {"rollback": "rolled_back", "pause": "paused", "abort": "aborted"}[on_fail]
    driver.until(end)
    assert driver.stage("all").state == "failed"
    if on_fail is OnFail.ROLLBACK:
        assert driver.runs("1.0.0") == driver.rows
    else:
        assert set(driver.runs("2.0.0")) <= set(driver.rows[:4])


def test_of_a_stage_that_failed_nothing_goes_on_but_by_force(driver: RolloutDriver) -> None:
    driver.failing = set(driver.in_ring(Ring.CANARY))
    driver.begin(Plan(V2, on_fail=OnFail.PAUSE))
    driver.until("paused")
    with pytest.raises(AssertionError, match="roll back, abort, or force it on"):
        driver.resume()
    with pytest.raises(AssertionError, match="only force promotes it"):
        driver.promote()
    assert orders_of(driver.rollout()) == ["abort", "roll back", "promote"]
    driver.promote(force=True)
    driver.until("succeeded")
    assert driver.stages() == "pass pass pass pass pass"


# Health


def test_a_version_that_makes_ill_is_seen_on_three_devices_and_goes_back() -> None:
    """Scenario 21."""
    driver = RolloutDriver.with_crowd(100)
    driver.sickening = set(driver.rows)
    driver.begin()
    driver.until_stage("canary", "failed")
    began = driver.decided("rollout")[-1]
    assert (began.facts["devices"], began.facts["stranded"]) == (3, 0)
    assert evidence(driver, "canary", "health") == pytest.approx(47.8, abs=0.1)
    assert driver.stage("canary").reason == "health"
    (failed,) = [text for text in driver.sentences("stage") if "FAILED" in text]
    assert failed.count("(canary)") == 3
    driver.until("rolled_back", 15)
    assert driver.runs("1.0.0") == driver.rows


@pytest.mark.parametrize("seed", range(4))
def test_in_a_small_fleet_it_is_seen_or_left_to_people(seed: int) -> None:
    """Scenario 22."""
    driver = RolloutDriver.with_crowd(12)
    driver.sickening = set(driver.rows)
    driver.begin(name=f"fw-{seed}")
    for _ in range(60):
        driver.lead()
        assert len(driver.runs("2.0.0")) <= 3
    assert driver.rollout(f"fw-{seed}").state in ("rolled_back", "paused")
    assert driver.stage("canary", f"fw-{seed}").state in ("failed", "inconclusive")


@pytest.mark.parametrize("seed", range(4))
def test_a_harmless_version_is_stopped_by_no_pause_and_no_chance(seed: int) -> None:
    """Scenario 23; `scripts/bench gates` has the figures."""
    driver = RolloutDriver.with_crowd(60)
    random = np.random.default_rng(seed)
    driver.begin(Plan(V2, stages=one_stage(share=300_000, soak=40_000), rest=False))
    for second in range(150):
        turning = random.random(60) < 0.005
        driver.ill ^= set(np.flatnonzero(turning).tolist())
        driver.lead()
        if second % 10 == 9 and driver.rollout().state == "running":
            driver.pause(1_000)
    assert driver.stage("all").state in ("passed", "inconclusive")


def test_who_was_moved_counts_where_the_stage_opened() -> None:
    """Scenario 24."""
    driver = RolloutDriver.with_crowd(100)
    plan = Plan(V2, stages=one_stage(share=200_000, soak=60_000), rest=False)
    driver.begin(plan)
    driver.until_stage("all", "soaking")
    updated = driver.runs("2.0.0")
    assert len(updated) == 20
    above = [row for row in updated if row in driver.in_ring(Ring.STAGE)][:4]
    others = [row for row in driver.rows if row not in updated][:6]
    driver.ill |= {*above, *others}
    driver.lead(6)
    driver.check()
    assert set(above).isdisjoint(driver.in_ring(Ring.STAGE))
    driver.until_stage("all", "failed" if driver.stage("all").proven else "passed", 80)
    watched = driver.stage("all").watched
    assert (watched.observed, watched.bad) == (20, len(above))


def test_an_outage_that_hits_all_blames_nobody() -> None:
    """Scenario 25."""
    driver = RolloutDriver.with_crowd(60)
    driver.begin(Plan(V2, stages=one_stage(share=300_000, soak=30_000), rest=False))
    driver.until_stage("all", "soaking")
    driver.away = set(driver.rows[::2])
    driver.lead(10)
    driver.away = set()
    driver.lead(60)
    assert driver.stage("all").state in ("passed", "inconclusive")
    assert not driver.stage("all").proven


def test_a_storm_holds_back_what_begins(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until_stage("canary", "soaking")
    driver.ill = set(driver.rows)
    driver.lead(12)
    assert driver.fleet.braked
    assert driver.stages() == "soak pend pend pend pend"
    driver.ill = set()
    driver.lead(12)
    assert not driver.fleet.braked
    assert driver.stage("canary").state != "soaking"


def test_a_condition_of_the_stage_counts_for_updated_and_twins_alike() -> None:
    driver = RolloutDriver.with_crowd(40)
    require = HealthRule((Condition("cpu", "<", 9_000),))
    checks = Checks(require=require)
    driver.sickening = set(driver.rows)
    driver.begin(Plan(V2, checks=checks))
    driver.until("rolled_back")
    assert driver.stage("canary").reason == "health"


def test_looking_longer_goes_on_with_the_same_devices_and_the_evidence() -> None:
    driver = RolloutDriver.with_crowd(60)
    stages = one_stage(share=100_000)
    driver.begin(Plan(V2, stages=stages, rest=False, checks=Checks(Gates(min_devices=7))))
    driver.until("paused")
    assert driver.rollout().reason == "inconclusive:all:health"
    before = driver.state.rollouts.twins[NAME, "all"].watched
    assert (before.observed, before.whole, before.bad) == (6, 6, 0)
    driver.ill = set(driver.runs("2.0.0"))
    driver.lead(3)
    assert driver.state.rollouts.twins[NAME, "all"].watched == before
    driver.resume()
    driver.until("rolled_back", 8)
    assert driver.stage("all").reason == "health"
    assert driver.stage("all").watched.bad == 6


def test_nobody_observed_is_no_pass(driver: RolloutDriver) -> None:
    """All were ill before: nothing can be said of their health."""
    driver.ill = {3, 4, 5}
    driver.lead(3)
    names = tuple(driver.fleet.id(row) for row in driver.ill)
    checks = Checks(Gates(min_coverage=0))
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, require=None, devices=names))
    driver.until("paused")
    assert driver.rollout().reason == "inconclusive:all:health"


# While automatic changes are paused


def test_protection_waits_for_the_end_of_a_pause(driver: RolloutDriver) -> None:
    """Scenario 35."""
    driver.failing = set(driver.rows)
    driver.begin(Plan(V2, checks=LENIENT, stages=one_stage(), limits=Limits(first=0)))
    driver.lead()
    driver.done(Pause(60_000))
    driver.lead(5)
    assert driver.rollout().state == "running"
    assert driver.stage("all").proven == "failures"
    assert "rollout_held" in driver.state.alarms
    driver.done(Resume())
    driver.until("rolled_back", 2)
    assert "rollout_held" not in driver.state.alarms
    assert driver.decided("alarm")


def test_what_is_proven_bad_during_a_pause_is_promoted_by_force_alone(
    driver: RolloutDriver,
) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, rest=False))
    driver.until_stage("all", "validating")
    driver.done(Pause(60_000))
    driver.done(RecordGate(NAME, driver.rollout().revision, "all", False))
    reason, detail = driver.refused(PromoteRollout(NAME), actor="ann", key="unforced")
    assert (reason, detail) == (
        "not_in_state", "stage: all failed (webhook): only force promotes it",
    )  # fmt: skip
    driver.promote(force=True)
    assert driver.rollout().state == "succeeded"


def test_nothing_advances_while_automatic_changes_are_paused(driver: RolloutDriver) -> None:
    driver.begin()
    driver.done(Pause(60_000))
    driver.lead(5)
    assert driver.stage("canary").state == "pending"
    driver.done(Resume())
    driver.lead()
    assert driver.stage("canary").state == "deploying"


# Others are asked


def test_a_webhook_must_say_pass(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, rest=False))
    driver.until_stage("all", "validating")
    revision = driver.rollout().revision
    driver.done(RecordGate(NAME, revision, "all", True, "12 checks"))
    driver.lead()
    assert driver.rollout().state == "succeeded"
    assert "its webhook says pass: 12 checks" in driver.sentences("webhook_gate")[0]


def test_an_answer_that_comes_while_it_is_paused_counts_when_it_goes_on(
    driver: RolloutDriver,
) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, rest=False))
    driver.until_stage("all", "validating")
    driver.pause()
    driver.done(RecordGate(NAME, driver.rollout().revision, "all", True))
    driver.lead(3)
    assert driver.stage("all").state == "validating"
    driver.resume()
    driver.lead()
    assert driver.rollout().state == "succeeded"


def test_a_webhook_that_says_fail_is_proof(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks))
    driver.until_stage("all", "validating")
    revision = driver.rollout().revision
    driver.done(RecordGate(NAME, revision, "all", False))
    driver.until("rolled_back")
    assert driver.stage("all").reason == "webhook"
    assert driver.runs("1.0.0") == driver.rows


def test_who_does_not_answer_in_time_leaves_it_to_people(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks))
    driver.until_stage("all", "validating")
    driver.until("paused", 310)
    assert driver.rollout().reason == "inconclusive:all:unanswered"


def test_a_stage_that_is_watched_again_asks_its_webhook_again(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci.example/smoke", approvals=1)
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, rest=False))
    driver.until_stage("all", "validating")
    driver.done(RecordGate(NAME, driver.rollout().revision, "all", True))
    driver.until("paused", 310)
    driver.resume()
    driver.until_stage("all", "validating")
    driver.approve("ines", "all")
    driver.lead(3)
    assert (driver.stage("all").state, driver.stage("all").answer) == ("validating", None)
    driver.done(RecordGate(NAME, driver.rollout().revision, "all", True))
    driver.lead()
    assert driver.rollout().state == "succeeded"


def test_a_stage_that_is_watched_again_asks_people_again(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=2), rest=False))
    driver.until_stage("all", "validating")
    driver.approve("ines", "all")
    driver.until("paused", 310)
    driver.resume()
    driver.until_stage("all", "validating")
    driver.approve("bob", "all")
    driver.lead(3)
    assert driver.stage("all").state == "validating"
    driver.approve("ines", "all")
    driver.lead()
    assert driver.rollout().state == "succeeded"


@pytest.mark.parametrize(
    ("stage", "revision", "detail"), [("all", 1, ""), ("nope", 0, ""), ("all", 0, "x" * 201)]
)
def test_an_answer_that_nobody_waits_for_is_refused(
    driver: RolloutDriver, stage: str, revision: int, detail: str
) -> None:
    checks = Checks(webhook="https://ci.example/smoke")
    driver.begin(Plan(V2, stages=one_stage(), checks=checks))
    driver.until_stage("all", "validating")
    known = driver.rollout().revision
    driver.refused(RecordGate(NAME, known - revision, stage, True, detail))


# Checks


def test_a_late_check_is_refused(driver: RolloutDriver) -> None:
    driver.begin()
    driver.lead(3)
    checks = driver.state.rollouts.checks
    assert driver.refused(CheckRollouts(checks - 1))[0] == "stale_revision"


def test_the_verdict_says_on_what_it_rests(driver: RolloutDriver) -> None:
    driver.failing = set(driver.rows)
    driver.begin()
    driver.until("rolled_back")
    (failed,) = [text for text in driver.sentences("stage") if "FAILED" in text]
    assert failed.startswith("stage canary of fw (app 2.0.0) FAILED (failures): failures: 100 %")
    assert "evidence 139, 20 is proof" in failed
    assert "2 other (dev-" in failed
    assert failed.endswith("no space left); 1 queued, 2 failed")
    assert "coverage" not in failed


def test_what_had_not_opened_is_called_off_in_one_line(driver: RolloutDriver) -> None:
    driver.failing = set(driver.rows)
    driver.begin()
    driver.until("rolled_back")
    lines = [(moment.stage, moment.state) for moment in driver.rollout().timeline]
    assert lines[-4:] == [
        ("canary", "failed"), ("dev, stage, prod, rest", "stopped"),
        ("", "rolling_back"), ("", "rolled_back"),
    ]  # fmt: skip
    assert driver.sentences("stage")[-1] == (
        "stages dev, stage, prod, rest of fw (app 2.0.0) are called off"
    )


def test_who_is_reached_only_when_told_again_is_watched_like_any_other(
    driver: RolloutDriver,
) -> None:
    """Its first set of twins was given up when it was not reached."""
    driver.deaf = set(driver.in_ring(Ring.CANARY))
    limits = Limits(deadline=10_000, first=0)
    driver.begin(Plan(V2, stages=(StagePlan("canary", Ring.CANARY),), limits=limits))
    driver.until("paused")
    assert driver.rollout().reason == "inconclusive:canary:coverage"
    driver.deaf = set()
    driver.order(RetryTasks(driver.deployment().number))
    driver.resume()
    driver.until_stage("canary", "passed")
    watched = driver.stage("canary").watched
    members = len(driver.in_ring(Ring.CANARY))
    assert (watched.observed, watched.whole, watched.compared) == (members, members, members)
