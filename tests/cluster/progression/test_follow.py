"""Newcomers, and devices that come back, get a version too, for a while."""

import pytest

from stationkeep.cluster.commands import AdvanceRollout, RetryTasks
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.progression.invariants import each_device_once
from stationkeep.cluster.rollouts.plan import Plan
from tests.cluster.fleet.fleets import restored
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

FOLLOW = 640_000
"""A round each ten seconds."""


@pytest.fixture
def driver() -> RolloutDriver:
    driver = RolloutDriver.with_crowd(6)
    driver.begin(Plan(V2, stages=one_stage(), rest=False, follow=FOLLOW))
    driver.until_stage("all", "passed")
    return driver


def test_whoever_comes_gets_it_round_by_round(driver: RolloutDriver) -> None:
    assert driver.rollout().state == "running"
    driver.lead(20)
    assert driver.stage("follow").state == "pending"
    driver.crowd(2)
    driver.lead(3)
    assert driver.runs("2.0.0") == list(range(8))
    driver.crowd(1)
    driver.lead(30)
    assert driver.runs("2.0.0") == list(range(9))
    follow = driver.stage("follow")
    assert (follow.state, len(follow.rounds), sum(follow.tallies)) == ("pending", 1, 3)
    driver.state = restored(driver.state)
    driver.until("succeeded", 700)
    assert driver.stages() == "pass pass"
    driver.crowd(1)
    driver.lead(20)
    assert len(driver.runs("1.0.0")) == 1


def test_whoever_was_unreached_gets_it_when_it_returns() -> None:
    """Scenario 18."""
    driver = RolloutDriver.with_crowd(6)
    driver.away = {4}
    driver.lead(4)
    limits = Limits(deadline=30_000)
    driver.begin(Plan(V2, stages=one_stage(), rest=False, follow=FOLLOW, limits=limits))
    driver.until_stage("all", "passed")
    driver.lead(10)
    assert driver.runs("1.0.0") == [4]
    driver.away = set()
    driver.lead(4)
    assert driver.runs("2.0.0") == driver.rows


def test_failures_are_judged_while_it_follows(driver: RolloutDriver) -> None:
    new = driver.crowd(3)
    driver.failing = set(new)
    driver.until("rolled_back")
    assert driver.stage("follow").state == "failed"
    assert driver.runs("2.0.0") == []


def test_all_rounds_go_back(driver: RolloutDriver) -> None:
    for _ in range(2):
        driver.crowd(1)
        driver.lead(25)
    assert len(driver.stage("follow").rounds) == 1
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_rounds_have_their_time(driver: RolloutDriver) -> None:
    driver.crowd(1)
    driver.lead(2)
    driver.until_stage("follow", "pending")
    ended = driver.clock
    driver.crowd(1)
    driver.until_stage("follow", "deploying")
    assert driver.clock - ended >= FOLLOW // 64


def test_it_follows_no_shorter_than_it_should(driver: RolloutDriver) -> None:
    revision = driver.rollout().revision
    assert driver.refused(AdvanceRollout(NAME, revision, "followed"))[0] == "not_in_state"


def test_a_pause_does_not_make_it_follow_longer(driver: RolloutDriver) -> None:
    driver.pause()
    driver.lead(5)
    driver.crowd(1)
    driver.clock += FOLLOW
    driver.resume()
    driver.until("succeeded", 5)
    assert len(driver.runs("1.0.0")) == 1


def test_who_was_left_to_a_later_stage_counts_there_and_once() -> None:
    """Its first stage was promoted, so it is watched still when the device installs."""
    driver = RolloutDriver.with_crowd(6)
    driver.away = {4}
    driver.lead(4)
    limits = Limits(deadline=30_000)
    stages = one_stage(soak=600_000)
    driver.begin(Plan(V2, stages=stages, rest=False, follow=FOLLOW, limits=limits))
    driver.until_stage("all", "deploying")
    driver.promote(force=True)
    driver.until_stage("all", "soaking")
    driver.lead(10)
    driver.away = set()
    driver.lead(30)
    assert driver.runs("2.0.0") == driver.rows
    assert driver.stage("all").state == "soaking"
    assert each_device_once(driver.state) is None
    answer = driver.refused(RetryTasks(driver.stage("all").deployment))
    assert answer == (
        "not_in_state",
        "devices: none of these tasks failed, timed out or was unreached",
    )
