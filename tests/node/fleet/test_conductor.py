"""The leader's duty for rollouts, on whole nodes in virtual time."""

from itertools import pairwise

import pytest

from stationkeep.cluster.alarms import ROLLOUT_HELD
from stationkeep.cluster.commands import (
    ApproveRollout,
    CreateRollout,
    Pause,
    Resume,
)
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan
from stationkeep.cluster.rollouts.rollout import Stage
from stationkeep.node.duty import NEVER
from tests.node.fleet.rollouts import CALM, NAME, V2, Rolling

TRIAL = Plan(V2, stages=(StagePlan("all", soak=20_000, limits=Limits(first=3)),))


@pytest.fixture
def fleet() -> Rolling:
    made = Rolling()
    made.settle_in()
    return made


def test_a_rollout_comes_to_every_device_ring_by_ring(fleet: Rolling) -> None:
    """Scenario 19."""
    fleet.begin()
    assert fleet.until("succeeded") <= 120.0
    assert len(fleet.running("2.0.0")) == 12
    opened = [moment for moment in fleet.rollout.timeline if moment.state == "deploying"]
    passed = [moment for moment in fleet.rollout.timeline if moment.state == "passed"]
    assert [moment.stage for moment in opened] == ["canary", "dev", "stage", "prod"]
    assert all(before.at <= after.at for before, after in zip(passed, opened[1:], strict=False))
    for moment, after in pairwise(opened):
        assert after.at - moment.at >= CALM.settle + CALM.soak
    assert all(len(tasks) == 1 for tasks in fleet.told.values())
    assert len(fleet.digests()) == 1


def test_what_makes_devices_ill_is_taken_back_from_them(fleet: Rolling) -> None:
    fleet.ill = {"2.0.0"}
    fleet.begin(TRIAL)
    fleet.until("rolled_back")
    assert len(fleet.running("1.0.0")) == 12
    assert 1 <= sum(len(tasks) == 2 for tasks in fleet.told.values()) <= 3


@pytest.mark.parametrize("state", ["deploying", "soaking", "validating", "rolling_back"])
def test_a_successor_goes_on_where_the_leader_died(fleet: Rolling, state: str) -> None:
    """Scenario 36."""
    if state == "rolling_back":
        fleet.ill = {"2.0.0"}
        fleet.begin(TRIAL)
        fleet.until("rolling_back")
    else:
        _begin_slowly(fleet)
        fleet.until_stage("half", state)
        fleet.live(1.0)
    before, tallies = fleet.rollout, [*fleet.state.deployments.known[1].tallies]
    fleet.hand_over()
    after = fleet.rollout
    assert (after.state, after.since, after.rollback) == (
        before.state,
        before.since,
        before.rollback,
    )
    assert after.stages[0].judged == before.stages[0].judged
    assert _standing(after.stages[0]) == _standing(before.stages[0])
    done = TaskState.SUCCEEDED.code
    assert fleet.state.deployments.known[1].tallies[done] >= tallies[done] > 0
    if state == "rolling_back":
        fleet.until("rolled_back")
        assert len(fleet.running("1.0.0")) == 12
    else:
        fleet.until_stage("half", "validating")
        fleet.order(ApproveRollout(NAME, digest=fleet.rollout.digest, stage="half"), actor="bob")
        fleet.until("succeeded")
        assert [len(tasks) for tasks in fleet.told.values() if tasks] == [1] * 6
    for name in sorted(fleet.down):
        fleet.start(name)
    fleet.live(2.0)
    assert len(fleet.digests()) == 1


def _begin_slowly(fleet: Rolling) -> None:
    """A rollout to half of the devices, two at a time, that somebody has to approve."""
    limits, checks = Limits(max_in_flight=2, first=0), Checks(approvals=1)
    half = StagePlan("half", share=500_000, limits=limits, checks=checks)
    fleet.begin(Plan(V2, stages=(half,), rest=False))


def _standing(stage: Stage) -> tuple[object, ...]:
    return stage.state, stage.since, stage.deadline, stage.deployment


def test_a_minority_offers_nothing_and_its_devices_keep_their_tasks(fleet: Rolling) -> None:
    """Scenario 37."""
    fleet.deaf = {id_ for id_, home in fleet.homes.items() if home in ("sat-001", "sat-005")}
    fleet.begin(Plan(V2, stages=(StagePlan("all", limits=Limits(first=0, max_in_flight=4)),)))
    fleet.live(4.0)
    fleet.partition("sat-001", "sat-005")
    length = len(fleet.log)
    kept = fleet.kept_by("sat-001", "sat-005")
    fleet.deaf = set()
    fleet.live(1.0)
    assert len(fleet.log) == length
    assert fleet.kept_by("sat-001", "sat-005") == kept
    assert kept
    fleet.lead("sat-002")
    fleet.live(6.0)
    fleet.heal()
    fleet.until("succeeded")
    ways = fleet.state.counters.task_transitions
    assert sum(n for way, n in ways.items() if ">succeeded>" in way) == 12
    assert all(len(tasks) == 1 for tasks in fleet.told.values())
    assert len(fleet.digests()) == 1


def test_what_is_proven_during_a_pause_follows_when_it_is_over(fleet: Rolling) -> None:
    """Scenario 35."""
    fleet.begin(TRIAL)
    while len(fleet.running("2.0.0")) < 3:
        fleet.live(0.5)
    fleet.order(Pause(60_000))
    fleet.ill = {"2.0.0"}
    fleet.live(8.0)
    assert fleet.stage("all").proven == "health"
    assert fleet.rollout.state == "running"
    assert ROLLOUT_HELD in fleet.state.alarms
    fleet.order(Resume())
    assert fleet.until("rolling_back") <= CALM.rollout_check / 1_000 + 1.0
    assert ROLLOUT_HELD not in fleet.state.alarms


def test_a_deposed_leader_says_nothing_more(fleet: Rolling) -> None:
    fleet.begin()
    former = fleet.loops[fleet.leader or ""].conductor
    assert former.next_wakeup() < NEVER
    fleet.elect("sat-001")
    fleet.live(1.0)
    assert former.next_wakeup() == NEVER


def test_without_rollouts_and_deployments_nothing_is_looked_at(fleet: Rolling) -> None:
    conductor = fleet.loops[fleet.leader or ""].conductor
    assert conductor.next_wakeup() == NEVER
    fleet.order(CreateRollout(NAME, Plan(V2)))
    assert conductor.next_wakeup() < NEVER
