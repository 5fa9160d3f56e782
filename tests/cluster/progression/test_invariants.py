"""Each invariant of rollouts is seen to fail: a check that cannot fail checks nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import SetFreeze
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.progression.invariants import INVARIANTS
from stationkeep.cluster.rollouts.lifecycle import RolloutState, StageState
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import NO_TALLIES, Block, Freeze, Moment
from stationkeep.cluster.rollouts.twins import UPDATED, Twins
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver


def working() -> RolloutDriver:
    """A rollout in the middle of its life, and one that is over."""
    driver = RolloutDriver.with_crowd(40)
    driver.begin(Plan(Artifact("1.1.0"), devices=("dev-0001",)), "old")
    driver.lead(30)
    driver.begin()
    driver.order(SetFreeze("xmas", 1_000_000, (Ring.PROD,)))
    driver.until_stage("canary", "passed")
    driver.lead(2)
    assert driver.stages() == "pass depl pend pend pend"
    assert driver.rollout("old").ended
    return driver


def put(driver: RolloutDriver, name: str = NAME, **fields: Any) -> None:
    book = driver.state.rollouts
    book.known[name] = replace(book.known[name], **fields)


def put_stage(driver: RolloutDriver, place: int, **fields: Any) -> None:
    stages = list(driver.rollout().stages)
    stages[place] = replace(stages[place], **fields)
    put(driver, stages=tuple(stages))


def sets(driver: RolloutDriver) -> Twins:
    return driver.state.rollouts.twins[NAME, "dev"]


def _in_two_stages(driver: RolloutDriver) -> None:
    first, second = driver.rollout().deployments[:2]
    rosters = driver.state.deployments.rosters
    for column in ("row", "birth"):
        getattr(rosters[first], column)[0] = getattr(rosters[second], column)[0]


def _opened_early(driver: RolloutDriver) -> None:
    put_stage(driver, 3, state=StageState.PASSED)


def _judged_although_over(driver: RolloutDriver) -> None:
    put(driver, state=RolloutState.ABORTING)


def _succeeded_too_early(driver: RolloutDriver) -> None:
    put(driver, state=RolloutState.SUCCEEDED)


def _standing_for_nobody(driver: RolloutDriver) -> None:
    driver.state.deployments.known[driver.stage("canary").deployment].standing = True


def _forgettable(driver: RolloutDriver) -> None:
    driver.state.deployments.known[driver.stage("canary").deployment].kept = False


def _judged_by_nothing(driver: RolloutDriver) -> None:
    put_stage(driver, 1, deployment=99)


def _held_for_nothing(driver: RolloutDriver) -> None:
    driver.deployment().held = "paused"


def _not_held(driver: RolloutDriver) -> None:
    put(driver, state=RolloutState.PAUSED)


def _blocked(driver: RolloutDriver) -> None:
    driver.state.rollouts.blocks.append(Block(V2, "x", "y", "failures", 0))


def _waits_for_ever(driver: RolloutDriver) -> None:
    put(driver, state=RolloutState.DRAFT)


def _past_its_time(driver: RolloutDriver) -> None:
    put(driver, state=RolloutState.DRAFT, deadline=1)


def _soaks_for_ever(driver: RolloutDriver) -> None:
    put_stage(driver, 1, state=StageState.SOAKING)


def _behind_a_failure(driver: RolloutDriver) -> None:
    put_stage(driver, 1, state=StageState.FAILED)


def _frozen_for_ever(driver: RolloutDriver) -> None:
    driver.state.rollouts.freezes["old"] = Freeze("old", 1)


def _twice_a_twin(driver: RolloutDriver) -> None:
    sets(driver).row = sets(driver).row.copy()
    sets(driver).row[:, :2] = sets(driver).row[0, 0]


def _twins_of_nothing(driver: RolloutDriver) -> None:
    driver.state.rollouts.twins[NAME, "canary"] = Twins()


def _two_sets_of_one(driver: RolloutDriver) -> None:
    twins = sets(driver)
    twins.add(twins.position[:1], np.zeros((1, 4)), np.zeros((1, 4)))


def _bad_and_at_risk(driver: RolloutDriver) -> None:
    twins = sets(driver)
    twins.bad = twins.bad | UPDATED
    twins.risk = twins.risk | UPDATED


def _miscounted(driver: RolloutDriver) -> None:
    put_stage(driver, 0, tallies=NO_TALLIES)


def _too_long(driver: RolloutDriver) -> None:
    put(driver, timeline=(Moment(0, 0, "", "", "", ""),) * 201)


def _too_many_freezes(driver: RolloutDriver) -> None:
    for n in range(17):
        driver.state.rollouts.freezes[f"f-{n}"] = Freeze(f"f-{n}", 1 << 40, (Ring.CANARY,))


BROKEN: dict[str, list[Callable[[RolloutDriver], None]]] = {
    "each_device_once": [_in_two_stages],
    "stages_in_order": [_opened_early, _judged_although_over, _succeeded_too_early],
    "deployments_belong": [_standing_for_nobody, _forgettable, _judged_by_nothing],
    "holds_hold": [_held_for_nothing, _not_held],
    "nothing_blocked_runs": [_blocked],
    "every_state_ends": [
        _waits_for_ever,
        _past_its_time,
        _soaks_for_ever,
        _behind_a_failure,
        _frozen_for_ever,
    ],
    "twins_are_told_apart": [_twice_a_twin, _twins_of_nothing, _two_sets_of_one, _bad_and_at_risk],
    "figures_add_up": [_miscounted],
    "within_limits": [_too_long, _too_many_freezes],
}


def test_a_state_that_rules_made_breaks_none() -> None:
    assert list(violations(working().state)) == []


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.__name__)
def test_each_is_seen_to_fail(invariant: Callable[..., str | None]) -> None:
    for broken in BROKEN[invariant.__name__]:
        driver = working()
        broken(driver)
        assert invariant(driver.state), broken.__name__
        name = f"progression.{invariant.__name__}"
        assert any(name in fault for fault in violations(driver.state))
