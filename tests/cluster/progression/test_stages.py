"""From stage to stage: who belongs to one, when it opens, and when a rollout has succeeded."""

from typing import Any

import numpy as np
import pytest

from stationkeep.cluster.commands import (
    AdvanceRollout,
    AssignRing,
    CreateRollout,
    OpenStage,
    RemoveDevice,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.progression import openings
from stationkeep.cluster.progression.members import lots_of, variants_of
from stationkeep.cluster.progression.variants import arms, unfairness
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan, Variant
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import CAPABLE
from tests.cluster.progression.rollouts import NAME, V1, V2, RolloutDriver, one_stage


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def test_a_good_version_comes_to_everybody_ring_by_ring(driver: RolloutDriver) -> None:
    """Scenario 19."""
    driver.begin()
    rings = [driver.in_ring(ring) for ring in RINGS]
    assert [len(rows) for rows in rings] == [3, 3, 3, 3]
    while driver.rollout().state == "running":
        driver.lead()
        reached = [sum(row in driver.runs("2.0.0") for row in rows) for rows in rings]
        for before, after in zip(range(3), range(1, 4), strict=True):
            assert not reached[after] or driver.rollout().stages[before].state == "passed"
    assert driver.rollout().state == "succeeded"
    assert driver.clock < 100_000
    assert driver.stages() == "pass pass pass pass pass"
    assert driver.runs("2.0.0") == driver.rows


def test_the_first_device_is_told_alone_and_watched_before_the_others(
    driver: RolloutDriver,
) -> None:
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead(2)
    assert len(driver.runs("2.0.0")) == 1
    driver.lead(2)
    assert driver.runs("2.0.0") == driver.rows


def test_stages_keep_their_pace(driver: RolloutDriver) -> None:
    limits = Limits(max_in_flight=2, pace=Pace(60, 60, 1), first=0)
    driver.begin(Plan(V2, stages=one_stage(), limits=limits))
    driver.lead(5)
    assert 4 <= len(driver.runs("2.0.0")) <= 6


def test_members_are_whoever_stands_in_the_ring_when_the_stage_opens(
    driver: RolloutDriver,
) -> None:
    driver.begin()
    driver.until_stage("canary", "passed")
    moved = driver.in_ring(Ring.PROD)[0]
    driver.order(AssignRing(driver.fleet.id(moved), Ring.CANARY))
    late = driver.in_ring(Ring.STAGE)[0]
    driver.order(AssignRing(driver.fleet.id(late), Ring.PROD))
    driver.until("succeeded")
    assert driver.runs("2.0.0") == driver.rows
    rosters = driver.state.deployments.rosters
    by_stage = {s.name: rosters[s.deployment].row.tolist() for s in driver.rollout().stages}
    assert moved in by_stage["rest"]
    assert late in by_stage["prod"]


def test_a_larger_share_has_all_of_a_smaller_one(driver: RolloutDriver) -> None:
    stages = (StagePlan("some", share=250_000), StagePlan("half", share=500_000), StagePlan("all"))
    driver.begin(Plan(V2, stages=stages))
    driver.until("succeeded")
    rosters = driver.state.deployments.rosters
    members = [len(rosters[stage.deployment]) for stage in driver.rollout().stages[:3]]
    assert members == [3, 3, 6]
    assert driver.stage("rest").reason == "empty"


def test_only_devices_in_scope_that_can_carry_out_tasks_are_members() -> None:
    driver = RolloutDriver.with_crowd(4, labels={"model": "a"})
    driver.crowd(4, labels={"model": "b"})
    driver.register("old-1", "old-2", labels={"model": "a"}, app_version="1.0.0")
    driver.rest(20_000)
    driver.begin(Plan(V2, scope="model=a", stages=one_stage()))
    driver.until("succeeded")
    assert driver.runs("2.0.0") == [0, 1, 2, 3]
    assert driver.state.deployments.known[1].incapable == 2


def test_named_devices_narrow_the_scope(driver: RolloutDriver) -> None:
    names = ("dev-0003", "dev-0007", "nobody")
    driver.begin(Plan(V2, devices=names, stages=one_stage()))
    driver.until("succeeded")
    assert driver.runs("2.0.0") == [3, 7]


def test_who_has_the_version_is_told_nothing_and_counts_in_no_ratio(
    driver: RolloutDriver,
) -> None:
    """Scenario 4."""
    driver.run("2.0.0", *driver.rows)
    driver.begin(Plan(V2, stages=one_stage()))
    driver.until("succeeded")
    assert driver.state.deployments.known[1].count(TaskState.ALREADY_INSTALLED) == 12
    failures, coverage, health = driver.stage("all").judged
    assert (failures.value, coverage.value, health.cause) == (None, 1_000_000, "nothing_to_do")


def test_devices_that_are_away_are_unreached_and_nobodys_failure(driver: RolloutDriver) -> None:
    """Scenario 18."""
    driver.away = {9, 10}
    limits = Limits(deadline=60_000)
    driver.lead(5)
    driver.begin(Plan(V2, stages=one_stage(), limits=limits, rest=False))
    driver.until("succeeded")
    failures, coverage, _ = driver.stage("all").judged
    assert failures.value == 0
    assert coverage.value == 833_333
    assert driver.stage("all").tallies[TaskState.UNREACHED.code] == 2


def test_too_few_reached_is_for_people_to_decide(driver: RolloutDriver) -> None:
    driver.away = set(range(3, 12))
    limits = Limits(deadline=60_000)
    driver.lead(5)
    driver.begin(Plan(V2, stages=one_stage(), limits=limits))
    driver.until("paused")
    assert driver.rollout().reason == "inconclusive:all:coverage"


def test_a_soak_begins_with_the_newest_success(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, stages=one_stage(soak=30_000)))
    driver.until_stage("all", "soaking")
    deadline = driver.stage("all").deadline
    assert deadline is not None
    newest = driver.clock
    assert newest <= deadline <= newest + 30_000 + driver.state.settings.settling
    driver.until_stage("all", "passed")
    assert driver.clock >= deadline


def test_a_reversion_while_it_is_watched_is_a_failure(driver: RolloutDriver) -> None:
    """Scenario 8."""
    driver.begin(Plan(V2, stages=one_stage(), checks=Checks(Gates(max_failures=1))))
    driver.until_stage("all", "soaking")
    driver.run("1.0.0", 5)
    assert driver.states(5) == [TaskState.FAILED]
    driver.until("rolled_back")
    assert driver.stage("all").reason == "failures"
    assert driver.runs("1.0.0") == driver.rows


def test_a_removed_device_is_in_no_ratio(driver: RolloutDriver) -> None:
    driver.deaf = {5}
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead(5)
    driver.order(RemoveDevice("dev-0005"))
    driver.until("succeeded")
    _, coverage, _ = driver.stage("all").judged
    assert coverage.value == 1_000_000


# What the leader proposes is looked at again


def test_a_stage_opens_once_and_in_its_turn(driver: RolloutDriver) -> None:
    revision = driver.begin().revision
    assert driver.refused(OpenStage(NAME, revision, 1))[0] == "not_in_state"
    driver.done(OpenStage(NAME, revision, 0))
    assert driver.refused(OpenStage(NAME, revision, 0))[0] == "stale_revision"
    now = driver.rollout().revision
    assert driver.refused(OpenStage(NAME, now, 1))[0] == "not_in_state"
    assert driver.refused(OpenStage("other", 1, 0))[0] == "unknown_rollout"


def test_nothing_advances_before_its_time(driver: RolloutDriver) -> None:
    driver.begin()
    driver.lead(2)
    revision = driver.rollout().revision
    for due in ("deployed", "soaked", "unanswered", "ended", "undone", "nonsense"):
        reason, _ = driver.refused(AdvanceRollout(NAME, revision, due))
        assert reason == "not_in_state"
    assert driver.refused(AdvanceRollout(NAME, revision - 1, "deployed"))[0] == "stale_revision"


def test_another_hash_for_a_version_that_is_known_is_refused(driver: RolloutDriver) -> None:
    one = Artifact("2.0.0", url="https://a/x", sha256="0" * 64, size=1)
    driver.create(artifact=one)
    other = Artifact("2.0.0", url="https://a/x", sha256="1" * 64, size=1)
    assert driver.refused(CreateRollout(NAME, Plan(other)))[0] == "artifact_differs"


@pytest.mark.parametrize("tasks", [23, 24])
def test_a_stage_leaves_room_for_its_way_back(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    monkeypatch.setattr(openings, "MAX_ROLLOUT_TASKS", tasks)
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.lead()
    if tasks == 23:
        assert driver.rollout().reason == "no_room:all"
        monkeypatch.setattr(openings, "MAX_ROLLOUT_TASKS", 24)
        driver.resume()
    driver.until("succeeded")


# A/B


def test_variants_are_shared_by_weight_and_stay(driver: RolloutDriver) -> None:
    driver = RolloutDriver()
    driver.crowd(300)
    driver.rest(20_000)
    variants = (Variant("A", 45, V2), Variant("B", 45, Artifact("2.1.0")), Variant("none", 10))
    stages = (StagePlan("some", share=300_000), StagePlan("all"))
    driver.begin(Plan(None, variants, stages=stages, limits=Limits(first=0)))
    driver.until("succeeded")
    a, b, none = (len(driver.runs(version)) for version in ("2.0.0", "2.1.0", "1.0.0"))
    assert abs(a - 135) < 30
    assert abs(b - 135) < 30
    assert abs(none - 30) < 16
    first, *_ = driver.rollout().stages
    roster = driver.state.deployments.rosters[first.deployment]
    assert set(np.unique(roster.variant).tolist()) == {0, 1}
    assert abs(int((roster.variant == 0).sum()) - len(roster) // 2) < 20


def test_two_thousand_devices_come_to_their_variants_and_stay() -> None:
    """Scenario 38; all nodes restart between two stages."""
    driver = RolloutDriver.with_crowd(2_000)
    variants = (Variant("A", 45, V2), Variant("B", 45, Artifact("2.1.0")), Variant("none", 10))
    stages = (StagePlan("half", share=500_000), StagePlan("all"))
    driver.begin(Plan(None, variants, stages=stages))
    rows = np.arange(2_000)
    drawn = _drawn(driver, rows)
    for place, wanted, reach in SHARES:
        assert abs(int((drawn == place).sum()) - wanted) <= reach
    driver.advance()
    driver.state = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert (_drawn(driver, rows) == drawn).all()
    roster = driver.state.deployments.rosters[1]
    assert (roster.variant == drawn[roster.row]).all()


SHARES = ((0, 900, 60), (1, 900, 60), (2, 200, 40))
"""Of 2,000 by 45, 45 and 10: how many are to come to a variant, give or take."""


def _drawn(driver: RolloutDriver, rows: Any) -> Any:
    rollout = driver.rollout()
    return variants_of(rollout, lots_of(driver.fleet, rollout, rows))


def test_what_came_of_each_variant_is_counted(driver: RolloutDriver) -> None:
    variants = (Variant("A", 1, V2), Variant("B", 1, Artifact("2.1.0")), Variant("none", 1))
    driver.begin(Plan(None, variants, stages=one_stage(), limits=Limits(first=0)))
    driver.lead(3)
    a, b = arms(driver.state, driver.rollout())
    assert (a.name, a.weight, b.name) == ("A", 1, "B")
    assert (a.assigned, a.reached) == (len(driver.runs("2.0.0")), 0)
    driver.until("succeeded")
    a, b = arms(driver.state, driver.rollout())
    assert [arm.reached for arm in (a, b)] == [arm.succeeded for arm in (a, b)]
    assert b.succeeded == len(driver.runs("2.1.0"))
    assert unfairness(driver.state, driver.rollout()) < 2_000


def test_a_variant_whose_devices_vanish_spoils_the_comparison() -> None:
    driver = RolloutDriver.with_crowd(150)
    variants = (Variant("A", 1, V2), Variant("B", 1, Artifact("2.1.0")))
    checks = Checks(Gates(min_coverage=0), health=False)
    stages = (StagePlan("some", share=900_000), StagePlan("all"))
    limits = Limits(first=0, deadline=20_000)
    driver.begin(Plan(None, variants, stages=stages, checks=checks, limits=limits))
    driver.advance()
    roster = driver.state.deployments.rosters[1]
    driver.deaf = set(roster.row[roster.variant == 1].tolist())
    driver.until_stage("some", "passed")
    driver.lead(2)
    assert "sample_ratio" in driver.state.alarms
    driver.deaf = set()
    driver.abort()
    driver.until("aborted")
    assert "sample_ratio" not in driver.state.alarms


def test_a_promoted_variant_is_all_that_later_stages_get(driver: RolloutDriver) -> None:
    variants = (Variant("A", 1, V2), Variant("B", 1, Artifact("2.1.0")))
    stages = (StagePlan("some", share=500_000), StagePlan("all"))
    driver.begin(Plan(None, variants, stages=stages))
    driver.until_stage("some", "soaking")
    before = set(driver.runs("2.0.0"))
    driver.promote(variant="B")
    driver.until("succeeded")
    assert set(driver.runs("2.0.0")) == before
    assert len(driver.runs("2.1.0")) == 12 - len(before)


def test_capabilities_and_versions_are_looked_at_as_for_any_deployment() -> None:
    driver = RolloutDriver.with_crowd(2)
    driver.register("newer", app_version="3.0.0", capabilities=CAPABLE)
    driver.begin(Plan(V2, stages=one_stage()))
    driver.until("succeeded")
    assert driver.runs("3.0.0") == [2]
    assert driver.runs("1.0.0") == []
    assert V1.version == "1.0.0"


def test_who_comes_into_the_scope_of_two_equals_stays_with_the_first(
    driver: RolloutDriver,
) -> None:
    """Nothing says which of them would go first."""
    driver.run("1.1.0", 0, 1)
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), scope="app=1.0.0", rest=True))
    driver.lead()
    driver.begin(Plan(Artifact("3.0.0"), stages=one_stage(), scope="app=1.1.0"), name="other")
    driver.run("1.1.0", 5)
    driver.lead()
    roster = driver.state.deployments.rosters[driver.stage("all", "other").deployment]
    assert roster.row.tolist() == [0, 1]
