"""Why a rollout is where it is, what would change that, and when it ends by itself."""

import pytest

from stationkeep.cluster.commands import (
    ChangeSettings,
    Pause,
    RemoveDevice,
    RetryTasks,
    SetFreeze,
    StartRollout,
)
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.progression.explain import explain_rollout, holds_of
from stationkeep.cluster.rollouts.plan import Checks, Plan
from stationkeep.cluster.rollouts.rollout import Block
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def told(driver: RolloutDriver) -> str:
    return "\n".join(explain_rollout(driver.state, driver.rollout()))


def test_a_draft_says_when_it_is_forgotten(driver: RolloutDriver) -> None:
    driver.lay_down()
    assert told(driver) == (
        "fw is draft for 0s\nif nothing happens it is aborted in 30d\nyou may order: start, abort"
    )


def test_an_approval_that_is_waited_for(driver: RolloutDriver) -> None:
    driver.lay_down(Plan(V2, approvals=2))
    driver.order(StartRollout(NAME))
    driver.approve("ines")
    assert "1 of 2 approvals are granted, of others than ann, who wrote it" in told(driver)


def test_a_paused_rollout_says_why_and_what_to_press(driver: RolloutDriver) -> None:
    driver.failing = {driver.in_ring(Ring.CANARY)[1]}
    driver.begin()
    driver.until("paused")
    text = told(driver)
    assert "fw is paused for 0s: stage canary is inconclusive (failures)" in text
    assert "failures: 33.3 % failed, 5 % may; evidence 1.9" in text
    assert "if nothing happens it is aborted in 7d" in text
    assert "retry gives 1 of its tasks another attempt, when it is resumed" in text
    assert text.endswith("you may order: resume, abort, roll back, promote")


def test_devices_that_are_waited_for_are_counted_by_what_keeps_them(
    driver: RolloutDriver,
) -> None:
    driver.away = {0, 1}
    driver.deaf = {2}
    driver.lead(4)
    driver.begin(Plan(V2, stages=one_stage()))
    driver.lead(8)
    assert "of the devices that wait 2 offline" in told(driver)
    assert "is unreached" in told(driver)


@pytest.mark.parametrize(
    ("hold", "words"),
    [("storm", "storm brake"), ("freeze:all", "freeze all lies on it"), ("paused", "is paused"),
     ("cluster_paused", "automatic changes are paused")],
)  # fmt: skip
def test_whatever_holds_a_stage_is_named(driver: RolloutDriver, hold: str, words: str) -> None:
    driver.deaf = set(driver.rows)
    driver.begin()
    driver.lead(2)
    if hold == "storm":
        driver.fleet.braked = True
    elif hold == "paused":
        driver.pause()
    elif hold == "cluster_paused":
        driver.done(Pause(60_000))
    else:
        driver.order(SetFreeze("all", 60_000))
    (held,) = holds_of(driver.state, driver.rollout(), driver.stage("canary"))
    assert held.reason == hold
    assert words in told(driver)


def test_whoever_paused_it_is_named(driver: RolloutDriver) -> None:
    driver.begin()
    driver.pause()
    assert "fw is paused for 0s: an operator paused it (ann)" in told(driver)
    driver.abort()
    driver.lead()
    assert "fw is aborted for 0s: an operator aborted it (ann)" in told(driver)


def test_a_stage_that_waits_to_open_says_for_what(driver: RolloutDriver) -> None:
    driver.order(SetFreeze("xmas", 90_000, (Ring.CANARY,)))
    driver.begin()
    assert told(driver).splitlines()[1] == (
        "stage canary waits: freeze xmas lies on it; it goes on in 1m30s at the latest"
    )


def test_everything_that_holds_a_stage_is_named_and_when_the_last_of_it_ends(
    driver: RolloutDriver,
) -> None:
    driver.deaf = set(driver.rows)
    driver.begin()
    driver.lead(2)
    driver.done(Pause(60_000))
    driver.order(SetFreeze("all", 90_000))
    held = "automatic changes are paused, and freeze all lies on it"
    assert f"nothing is offered: {held}; it goes on in 1m30s at the latest" in told(driver)
    assert "whoever waits has another 4m59s as soon as it goes on" in told(driver)
    driver.pause()
    held = "automatic changes are paused, the rollout is paused, and freeze all lies on it"
    ends = "it goes on when somebody resumes it and the rest is over, in 1m30s at the latest"
    assert f"nothing is offered: {held}; {ends}" in told(driver)


def test_who_is_asked_is_waited_for_beside_a_pause_of_the_cluster(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=2)))
    driver.until_stage("all", "validating")
    driver.approve("ines", "all")
    driver.done(Pause(60_000))
    stage = driver.stage("all")
    reasons = [hold.reason for hold in holds_of(driver.state, driver.rollout(), stage)]
    assert reasons == ["cluster_paused", "unanswered"]
    waits = "it waits for 1 approval, without a deadline for now: automatic changes are paused"
    assert waits in told(driver)


def test_a_soak_that_goes_on_in_a_pause_says_so(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(soak=30_000)))
    driver.until_stage("all", "soaking")
    driver.done(Pause(60_000))
    assert "it is watched for another 3" in told(driver)
    driver.lead(40)
    assert "it is watched for its whole soak by now, and judged afterwards" in told(driver)


def test_a_wait_for_people_stands_still_while_the_cluster_is_paused(driver: RolloutDriver) -> None:
    driver.begin()
    driver.pause()
    driver.done(Pause(60_000))
    assert (
        "nothing happens by itself, and that time stands still: automatic changes are paused, "
        "for 1m at most"
    ) in told(driver)
    driver.done(ChangeSettings({"swarm_mode": False}))
    assert "(swarm_mode), until somebody switches them on" in told(driver)


def test_a_rollout_that_another_goes_before_is_held_by_that_in_a_pause_too(
    driver: RolloutDriver,
) -> None:
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), priority=900))
    driver.lead(1)
    driver.begin(Plan(V2, stages=one_stage(), priority=400), "second")
    driver.lead(1)
    driver.done(Pause(60_000))
    second = driver.rollout("second")
    held = [hold.reason for hold in holds_of(driver.state, second, second.stages[0])]
    assert held == ["cluster_paused", "preempted:fw"]


def test_whoever_is_asked_is_named(driver: RolloutDriver) -> None:
    checks = Checks(webhook="https://ci/x", approvals=1)
    driver.begin(Plan(V2, stages=one_stage(), checks=checks))
    driver.until_stage("all", "soaking")
    assert "it is judged in" in told(driver)
    driver.until_stage("all", "validating")
    assert "it waits for 1 approval and the answer of https://ci/x" in told(driver)


def test_a_way_back_says_when_it_is_over(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    assert "counts as rolled back, whoever is not back yet in 5m" in told(driver)


def test_a_storm_takes_no_time_from_whoever_is_asked(driver: RolloutDriver) -> None:
    """Nor does it keep the stage from passing when they have answered."""
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=1)))
    driver.until_stage("all", "validating")
    driver.fleet.braked = True
    assert holds_of(driver.state, driver.rollout(), driver.stage("all")) == []
    assert "it waits for 1 approval; inconclusive in 5m" in told(driver)


def test_a_retry_is_offered_for_as_many_tasks_as_it_takes(driver: RolloutDriver) -> None:
    """Whoever has reverted, or was removed, gets no other attempt."""
    driver.failing = set(driver.rows[:2])
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(first=0, retries=0)))
    driver.until("paused")
    driver.done(RemoveDevice(driver.fleet.table.ids[driver.rows[0]]))
    assert "retry gives 1 of its tasks another attempt" in told(driver)
    assert driver.order(RetryTasks(driver.deployment().number))["retried"] == 1


def test_a_pause_does_not_end_by_going_on_with_what_is_blocked(driver: RolloutDriver) -> None:
    driver.deaf = set(driver.rows)
    driver.begin()
    driver.lead(2)
    driver.pause(60_000)
    driver.state.rollouts.block(Block(V2, "other", "canary", "health", driver.clock))
    (held,) = holds_of(driver.state, driver.rollout(), driver.stage("canary"))
    assert held.until is None
    assert "goes on in 1m" not in told(driver)
