"""Freezes hold back what is new, and end; priorities say who goes first."""

import pytest

from stationkeep.cluster.commands import (
    Command,
    LiftFreeze,
    SetFreeze,
    StartRollout,
    UnblockArtifact,
)
from stationkeep.cluster.delivery.explain import explain_device
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.progression.explain import holds_of
from stationkeep.cluster.rollouts.plan import Plan, StagePlan
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def test_a_frozen_ring_waits_and_opens_by_itself(driver: RolloutDriver) -> None:
    """Scenario 32."""
    driver.order(SetFreeze("xmas", 120_000, (Ring.PROD,)))
    driver.begin()
    driver.lead(100)
    assert driver.stages() == "pass pass pass pend pend"
    assert driver.rollout().state == "running"
    driver.until("succeeded", 60)
    assert driver.sentences("set_freeze", "lift_freeze") == [
        "freeze xmas (ring prod) set for 120s (by ann)",
        "freeze xmas (ring prod) has ended",
    ]


def test_a_hotfix_may_override_a_freeze(driver: RolloutDriver) -> None:
    """Scenario 32."""
    driver.order(SetFreeze("xmas", 1_000_000, (Ring.PROD,)))
    driver.begin(Plan(V2, overrides=("xmas",)))
    assert "over freeze xmas" in driver.sentences("create_rollout")[-1]
    driver.until("succeeded")


def test_a_freeze_holds_a_stage_that_deploys_and_gives_back_its_time(
    driver: RolloutDriver,
) -> None:
    driver.deaf = set(driver.rows)
    driver.begin()
    driver.lead(1)
    deployment = driver.deployment()
    deadline = deployment.deadline
    driver.order(SetFreeze("all", 1_000_000))
    assert deployment.held == "freeze:all"
    driver.lead(30)
    driver.order(LiftFreeze("all"))
    assert (deployment.held, deployment.deadline) == ("", deadline + 30_000)


def test_a_freeze_of_every_ring_is_one_of_all(driver: RolloutDriver) -> None:
    driver.order(SetFreeze("xmas", 1_000_000, tuple(reversed(RINGS))))
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead(3)
    assert driver.stages() == "pend"


def test_freezes_that_cover_all_rings_together_freeze_a_stage_of_all(
    driver: RolloutDriver,
) -> None:
    driver.order(SetFreeze("low", 60_000, (Ring.CANARY, Ring.DEV)))
    driver.order(SetFreeze("high", 1_000_000, (Ring.STAGE, Ring.PROD)))
    rollout = driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead(3)
    assert driver.stages() == "pend"
    (hold,) = holds_of(driver.state, rollout, rollout.stages[0])
    assert hold.reason == "freeze:low"
    driver.lead(60)
    assert driver.runs("2.0.0") == [
        row for row in driver.rows if row in driver.in_ring(Ring.CANARY) + driver.in_ring(Ring.DEV)
    ]


def test_a_stage_is_held_while_all_that_it_waits_for_is_frozen(driver: RolloutDriver) -> None:
    """Else who is frozen would be unreached, only because a freeze lasts longer than a deadline."""
    driver.order(SetFreeze("xmas", 1_000_000, (Ring.PROD,)))
    driver.begin(Plan(V2, stages=(StagePlan("canary", Ring.CANARY),)))
    driver.until_stage("rest", "deploying")
    driver.lead(10)
    assert driver.deployment().held == "freeze:xmas"
    assert driver.runs("1.0.0") == driver.in_ring(Ring.PROD)
    driver.lead(500)
    assert driver.deployment().count(TaskState.UNREACHED) == 0
    driver.order(LiftFreeze("xmas"))
    driver.until("succeeded")


def test_a_freeze_may_lie_on_some_devices_of_a_stage() -> None:
    driver = RolloutDriver.with_crowd(6, labels={"site": "a"})
    driver.crowd(6, labels={"site": "b"})
    driver.rest(20_000)
    driver.order(SetFreeze("audit", 1_000_000, (), "site=b"))
    driver.begin(Plan(V2, stages=one_stage()))
    driver.lead(2)
    (waiting, *_) = driver.rows[6:]
    told = explain_device(driver.state, waiting).summary
    assert any("a freeze lies on the device" in line for line in told)
    driver.lead(30)
    assert driver.runs("2.0.0") == list(range(6))
    told = explain_device(driver.state, waiting).summary
    assert any("nothing offered (freeze:audit)" in line for line in told)
    driver.order(LiftFreeze("audit"))
    driver.lead(3)
    assert driver.runs("2.0.0") == driver.rows


def test_a_way_back_is_not_frozen(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.order(SetFreeze("all", 1_000_000))
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SetFreeze("a b", 60_000), "invalid"),
        (SetFreeze("x", 0), "invalid"),
        (SetFreeze("x", 91 * 24 * 3_600_000), "invalid"),
        (SetFreeze("x", 60_000, (), "="), "invalid"),
        (LiftFreeze("x"), "unknown_freeze"),
        (UnblockArtifact("app", "9"), "closed"),
    ],
)
def test_bad_orders_are_refused(driver: RolloutDriver, command: Command, reason: str) -> None:
    assert driver.refused(command)[0] == reason


def test_freezes_are_few_and_one_actor_has_half(driver: RolloutDriver) -> None:
    for n in range(8):
        driver.order(SetFreeze(f"f-{n}", 60_000))
    assert driver.refused(SetFreeze("more", 60_000), key="a", actor="Ann")[0] == "quota"
    driver.order(SetFreeze("f-0", 90_000))
    for n in range(8, 16):
        driver.order(SetFreeze(f"f-{n}", 60_000), "bob")
    assert driver.refused(SetFreeze("more", 60_000), key="b", actor="cyd")[0] == "limit"
    assert driver.refused(SetFreeze("f-0", 60_000), key="c", actor="bob")[0] == "quota"


def test_what_is_unblocked_may_be_rolled_out_again(driver: RolloutDriver) -> None:
    driver.failing = set(driver.rows)
    driver.begin()
    driver.until("rolled_back")
    assert driver.done(UnblockArtifact("app", "2.0.0")) == {"unblocked": 1}
    assert driver.begin(name="again").state == "running"


def test_of_equal_priority_only_one_may_have_a_device(driver: RolloutDriver) -> None:
    """Scenario 33."""
    driver.begin()
    driver.lay_down(Plan(Artifact("2.1.0"), devices=("dev-0003",)), "other")
    reason, detail = driver.refused(StartRollout("other"))
    assert reason == "overlaps"
    assert "fw changes app on 1 of its devices" in detail
    driver.begin(Plan(Artifact("15", "os"), devices=("dev-0003",)), "of-os")
    driver.begin(Plan(Artifact("2.1.0"), devices=("dev-0003",), priority=900), "first")


def test_the_higher_priority_goes_first_and_the_other_goes_on(driver: RolloutDriver) -> None:
    """Scenario 33."""
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead(1)
    higher = Plan(Artifact("2.1.0"), stages=one_stage(), priority=900, rest=False)
    driver.begin(higher, "first")
    driver.lead(5)
    assert driver.deployment(1).held == "preempted:first"
    driver.deaf = set()
    driver.lead(40)
    assert driver.rollout("first").state == "succeeded"
    assert driver.runs("2.1.0") == driver.rows
    assert driver.rollout(NAME).state == "succeeded"
    assert driver.tallies(1) == {"canceled": 12}
