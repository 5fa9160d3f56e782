"""A pause, of a rollout or of all automatic changes, takes nobody's time away."""

import random
from collections.abc import Callable

import pytest

from stationkeep.cluster.commands import (
    AdvanceTime,
    ChangeSettings,
    LiftFreeze,
    Pause,
    PauseRollout,
    Resume,
    ResumeRollout,
    RetryTasks,
    SetFreeze,
    StartRollout,
)
from stationkeep.cluster.delivery.expiries import time_left
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.progression.holds import PAUSES
from stationkeep.cluster.progression.rollback import PATIENCE
from stationkeep.cluster.rollouts.lifecycle import APPROVAL_WAITED, PAUSE_WAITED
from stationkeep.cluster.rollouts.plan import Checks, Plan
from stationkeep.cluster.state import codec
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

LONG = 24 * 3_600_000
Order = Callable[[RolloutDriver], object]
STOPS: dict[str, tuple[Order, Order]] = {
    "rollout": (lambda d: d.pause(), lambda d: d.resume()),
    "cluster": (lambda d: d.done(Pause(LONG)), lambda d: d.done(Resume())),
    "swarm_mode": (
        lambda d: d.done(ChangeSettings({"swarm_mode": False})),
        lambda d: d.done(ChangeSettings({"swarm_mode": True})),
    ),
}
every_stop = pytest.mark.parametrize(("stop", "go"), STOPS.values(), ids=STOPS)


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def over(driver: RolloutDriver, milliseconds: int) -> None:
    """So much time passes, in which a leader does its duties now and then."""
    end = driver.clock + milliseconds
    while driver.clock < end:
        driver.clock += min(milliseconds // 8, end - driver.clock)
        driver.done(AdvanceTime())
        driver.hear()
        driver.expire()
        driver.advance()


@every_stop
def test_nobody_becomes_unreached_by_a_pause(driver: RolloutDriver, stop: Order, go: Order) -> None:
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(deadline=20_000, first=0)))
    driver.lead(5)
    left = time_left(driver.state, driver.deployment(), driver.clock)
    stop(driver)
    over(driver, 600_000)
    assert time_left(driver.state, driver.deployment(), driver.clock) == left
    driver.deaf = set()
    go(driver)
    assert driver.deployment().deadline - driver.clock == left
    driver.until("succeeded")


@every_stop
def test_whoever_is_asked_has_no_less_time_by_a_pause(
    driver: RolloutDriver, stop: Order, go: Order
) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=1)))
    driver.until_stage("all", "validating")
    driver.lead(10)
    left = (driver.stage("all").deadline or 0) - driver.clock
    stop(driver)
    over(driver, 600_000)
    go(driver)
    assert (driver.stage("all").deadline or 0) - driver.clock == left
    driver.lead(5)
    assert driver.stage("all").state == "validating"
    driver.approve("ines", "all")
    driver.until("succeeded")


@every_stop
def test_a_soak_goes_on_in_a_pause_and_is_judged_after_it(
    driver: RolloutDriver, stop: Order, go: Order
) -> None:
    """A pause stops what begins, and not what is watched: whoever turns bad meanwhile counts."""
    driver.begin(Plan(V2, stages=one_stage()))
    driver.until_stage("all", "soaking")
    stop(driver)
    driver.lead(60)
    assert driver.stage("all").state == "soaking"
    go(driver)
    driver.lead(2)
    assert driver.rollout().state == "succeeded"


def test_pauses_that_overlap_stop_the_time_once(driver: RolloutDriver) -> None:
    driver.deaf = set(driver.rows)
    checks = Checks(approvals=1)
    driver.begin(Plan(V2, stages=one_stage(), checks=checks, limits=Limits(deadline=60_000)))
    driver.lead(1)
    deadline = driver.deployment().deadline
    for begin, end in (("rollout", "cluster"), ("cluster", "rollout")):
        STOPS[begin][0](driver)
        over(driver, 80_000)
        STOPS[end][0](driver)
        over(driver, 80_000)
        STOPS[begin][1](driver)
        over(driver, 80_000)
        STOPS[end][1](driver)
        deadline += 240_000
        assert driver.deployment().deadline == deadline


def test_pauses_that_overlap_stop_the_time_of_whoever_is_asked_once(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(approvals=1)))
    driver.until_stage("all", "validating")
    deadline = driver.stage("all").deadline or 0
    driver.order(SetFreeze("f", LONG))
    driver.lead(10)
    assert driver.stage("all").deadline == deadline, "a freeze keeps nobody from answering"
    driver.done(Pause(LONG))
    over(driver, 80_000)
    driver.pause()
    driver.order(LiftFreeze("f"))
    over(driver, 80_000)
    driver.done(Resume())
    over(driver, 80_000)
    driver.resume()
    assert driver.stage("all").deadline == deadline + 240_000


def test_a_pause_of_the_cluster_that_ends_by_itself_gives_the_time_back(
    driver: RolloutDriver,
) -> None:
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(deadline=20_000, first=0)))
    driver.lead(1)
    deadline = driver.deployment().deadline
    driver.done(Pause(300_000))
    driver.clock += 300_000
    driver.expire()
    driver.done(AdvanceTime())
    assert driver.state.pause is None
    assert driver.deployment().deadline == deadline + 300_000
    assert driver.tallies() == {"queued": 12}


def test_rollouts_that_wait_for_people_wait_longer_by_a_pause_of_the_cluster(
    driver: RolloutDriver,
) -> None:
    """Nothing happens by itself then: nobody's rollout is aborted."""
    driver.lay_down(Plan(V2, approvals=1))
    driver.order(StartRollout(NAME))
    driver.begin(Plan(V2, priority=400), "other")
    STOPS["swarm_mode"][0](driver)
    for _ in range(9):
        over(driver, LONG)
    assert driver.rollout().state == "awaiting_approval"
    STOPS["swarm_mode"][1](driver)
    assert (driver.rollout().deadline or 0) - driver.clock == APPROVAL_WAITED
    for _ in range(7):
        over(driver, LONG)
    assert (driver.rollout().state, driver.rollout().reason) == ("aborted", "not_approved")


def test_a_pause_lapses_by_the_time_that_is_no_pause_of_the_cluster(driver: RolloutDriver) -> None:
    driver.begin()
    driver.pause()
    over(driver, 3 * LONG)
    driver.done(Pause(LONG))
    over(driver, LONG // 2)
    driver.done(Resume())
    assert (driver.rollout().deadline or 0) - driver.clock == PAUSE_WAITED - 3 * LONG


def test_a_pause_with_an_end_keeps_it_in_a_pause_of_the_cluster(driver: RolloutDriver) -> None:
    driver.begin()
    driver.pause(10_000)
    driver.done(Pause(60_000))
    driver.lead(11)
    assert driver.rollout().state == "running"
    assert driver.stages().startswith("pend")


def test_a_way_back_is_not_over_before_anybody_was_told(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    driver.done(Pause(LONG))
    over(driver, 600_000)
    assert driver.rollout().state == "rolling_back"
    driver.done(Resume())
    driver.until("rolled_back")
    assert len(driver.runs("1.0.0")) == 12


def test_who_is_to_go_back_is_told_after_a_pause_longer_than_a_way_back_is_open(
    driver: RolloutDriver,
) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    driver.done(ChangeSettings({"swarm_mode": False}))
    over(driver, PATIENCE + LONG)
    assert driver.rollout().state == "rolling_back"
    driver.done(ChangeSettings({"swarm_mode": True}))
    driver.until("rolled_back")
    assert len(driver.runs("1.0.0")) == 12


def test_what_is_tried_again_in_a_pause_has_its_own_time_from_its_end_on(
    driver: RolloutDriver,
) -> None:
    driver.failing = set(driver.rows[:2])
    limits = Limits(deadline=20_000, first=0, retries=0)
    driver.begin(Plan(V2, stages=one_stage(), limits=limits))
    driver.until("paused")
    over(driver, 480_000)
    driver.failing = set()
    driver.order(RetryTasks(driver.deployment().number))
    over(driver, 480_000)
    driver.resume()
    assert driver.deployment().deadline - driver.clock == 20_000


@every_stop
def test_a_snapshot_within_a_pause_changes_nothing(
    driver: RolloutDriver, stop: Order, go: Order
) -> None:
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(deadline=20_000, first=0)))
    driver.lead(1)
    stop(driver)
    over(driver, 80_000)
    digest = codec.digest(driver.state)
    driver.state = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert codec.digest(driver.state) == digest
    left = time_left(driver.state, driver.deployment(), driver.clock)
    go(driver)
    assert driver.deployment().deadline - driver.clock == left


@pytest.mark.parametrize("seed", range(8))
def test_time_passes_exactly_while_no_pause_stops_it(driver: RolloutDriver, seed: int) -> None:
    """Whatever begins and ends in whatever order, once, twice or by itself: beside each deadline
    runs a clock that a simple model stops."""
    chance = random.Random(seed)
    driver.deaf = set(driver.rows[6:])
    ids = [driver.fleet.table.ids[row] for row in driver.rows]
    some, others = tuple(ids[:6]), tuple(ids[6:])
    driver.begin(Plan(V2, devices=some, stages=one_stage(), checks=Checks(approvals=1)))
    driver.until_stage("all", "validating")
    driver.begin(Plan(V2, devices=others, stages=one_stage(), limits=Limits(deadline=LONG)), "two")
    driver.lay_down(Plan(V2, approvals=1, priority=400), "asks")
    driver.order(StartRollout("asks"))
    driver.lead(2)
    plain = driver.create(artifact=Artifact("3.0.0"), priority=0)
    stage = driver.state.deployments.known[driver.stage("all", "two").deployment]
    state = driver.state

    def clocks() -> list[int]:
        asked = driver.rollout("asks").deadline or 0
        since = state.rollouts.stopped_at
        validated = driver.stage("all").deadline or 0
        held = state.deployments.known[driver.stage("all").deployment]
        stands = held.held_at if held.held in PAUSES else driver.clock
        return [
            validated - stands,
            time_left(state, stage, driver.clock),
            time_left(state, plain, driver.clock),
            asked - (driver.clock if since is None else since),
        ]

    expected = clocks()
    for _ in range(60):
        match chance.randrange(6):
            case 0:
                driver.done(Pause(chance.choice((2_000, 5_000, 60_000))))
            case 1:
                driver.done(Resume())
            case 2:
                driver.done(ChangeSettings({"swarm_mode": chance.random() < 0.6}))
            case 3 if driver.rollout().state == "running":
                driver.pause(chance.choice((0, 3_000)))
            case 3 if driver.rollout().state == "paused":
                driver.resume()
            case 4 if "f" not in state.rollouts.freezes:
                driver.order(SetFreeze("f", 4_000))
            case 5 if driver.rollout("two").state == "running":
                driver.order(PauseRollout("two", duration=chance.choice((0, 3_000))))
            case 5 if driver.rollout("two").state == "paused":
                driver.order(ResumeRollout("two"))
        of_all = state.pause is not None or not state.settings.swarm_mode
        first = driver.rollout().state == "paused"
        second = driver.rollout("two").state == "paused" or "f" in state.rollouts.freezes
        running = [not (of_all or first), not (of_all or second), not of_all, not of_all]
        driver.clock += 500
        driver.done(AdvanceTime())
        expected = [left - 500 * runs for left, runs in zip(expected, running, strict=True)]
        assert clocks() == expected
