"""The duties of office: paced, one of a kind under way, nothing on what was not heard."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from stationkeep.cluster.commands import Draft, FoundCluster, RecordEvaluation, RenewLeases
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.decisions import Reason
from stationkeep.node.health.neighbours import Neighbour
from tests.node.world import World


def entries(world: World, since: int = 0) -> list[tuple[int, Any]]:
    decoded = [codec.decode_entry(entry) for entry, _ in world.log[since:]]
    return [(entry.at, entry.draft.command) for entry in decoded]


def kinds(world: World, since: int = 0) -> Counter[str]:
    return Counter(type(command).__name__ for _, command in entries(world, since))


def test_the_cluster_is_founded_once_with_the_configured_settings() -> None:
    world = World(3)
    world.run(5)
    founding = [c for _, c in entries(world) if isinstance(c, FoundCluster)]
    assert [c.settings for c in founding] == [world.settings]


def test_evaluations_come_at_the_interval_and_leases_are_renewed_between() -> None:
    world = World(3)
    world.run(6)
    begin = len(world.log)
    world.run(10)
    evaluations = [at for at, c in entries(world, begin) if isinstance(c, RecordEvaluation)]
    gaps = [b - a for a, b in pairwise(evaluations)]
    assert len(evaluations) in (9, 10)
    assert all(1_000 <= gap <= 1_050 for gap in gaps)
    assert 9 <= kinds(world, begin)["RenewLeases"] <= 21


def test_a_quiet_cluster_writes_nothing_else() -> None:
    world = World(5)
    world.run(20)
    begin = len(world.log)
    world.run(20)
    assert set(kinds(world, begin)) == {"RecordEvaluation", "RenewLeases"}


def test_a_new_leader_renews_at_once() -> None:
    world = World(3)
    world.run(6.05)
    begin = len(world.log)
    world.elect("sat-001")
    world.run(0.1)
    assert isinstance(entries(world, begin)[0][1], RenewLeases)


def test_a_leader_that_has_just_started_listens_first() -> None:
    world = World(3)
    world.run(6)
    world.kill("sat-001")
    world.run(0.2)
    world.start("sat-001")
    world.run(0.1)
    begin = len(world.log)
    world.elect("sat-001")
    world.run(0.8)
    assert kinds(world, begin)["RecordEvaluation"] == 0
    world.run(0.3)
    assert kinds(world, begin)["RecordEvaluation"] == 1


def test_histories_survive_a_change_of_leader() -> None:
    """A failing PRIMARY is replaced as fast when the leader changes after every sample."""
    world = World(5)
    world.run_until(lambda: world.primary is not None, 5)
    world.run(16)
    first = world.primary
    assert first is not None
    world.health[first].risk = 0.9
    took = 0.0
    others = [name for name in world.names if name != first]
    for turn in range(8):
        if world.primary not in (None, first):
            break
        world.elect(others[turn % len(others)])
        world.run(1.05)
        took += 1.05
    assert world.primary not in (None, first)
    assert took <= 6.4


@pytest.mark.parametrize("slow", [0.05, 0.4])
def test_never_two_evaluations_of_one_count(slow: float) -> None:
    world = World(3)
    world.delay = (0.001, slow)
    world.run(20)
    counted = [c.after for _, c in entries(world) if isinstance(c, RecordEvaluation)]
    assert counted == sorted(set(counted))


def test_a_deposed_leaders_late_samples_are_refused() -> None:
    world = World(3)
    world.run(6)
    replica = world.loops["sat-001"].replica
    draft = codec.encode_draft(Draft(RecordEvaluation(replica.state.evaluations - 1, (), ())))
    results: list[Any] = []
    world.loops["sat-001"].consensus.propose(draft, results.append, 5)
    world.run(1)
    assert results[0].applied.outcome.reason in (Reason.STALE_REVISION, Reason.DUPLICATE)


def test_a_configured_node_that_is_no_member_does_not_stop_evaluations() -> None:
    world = World(3)
    world.run(6)
    node = world.leader
    assert node is not None
    gossip = world.loops[node].gossip
    gossip._neighbours["sat-999"] = Neighbour()
    begin = len(world.log)
    world.run(5)
    assert kinds(world, begin)["RecordEvaluation"] in (4, 5)
    assert world.loops[node].replica.state.evaluations >= 8


def test_a_leader_that_came_by_its_state_as_a_snapshot_evaluates_what_it_heard_since() -> None:
    world = World(3)
    world.run(10)
    former = world.primary
    assert former is not None
    heir = next(name for name in world.names if name not in (former, world.leader))
    helper = next(name for name in world.names if name not in (former, heir))
    world.elect(helper)
    world.run(2)
    log: Any = world.loops[heir].consensus
    learn, log.learn = log.learn, lambda _: None  # deaf to the log, not to reports
    world.kill(former)
    world.run(2.5)
    log.learn = learn
    world.loops[heir].replica.prepare(world.loops[helper].replica.snapshot())()
    log.applied_index = log.commit_index = len(world.log)
    missed = world.loops[heir].replica.state.members[former].run
    world.elect(heir)
    world.run(2.5)
    members = world.loops[heir].replica.state.members
    assert members[former].run > missed >= 1
    assert members[heir].run == members[helper].run == 0
