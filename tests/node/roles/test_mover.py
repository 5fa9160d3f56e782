"""A node that moved tells the cluster, until the state agrees or an operator says otherwise."""

import pytest

from stationkeep.cluster.commands import Draft, MemberSpec, MoveMember
from stationkeep.cluster.state import codec
from stationkeep.node.roles.mover import Mover
from tests.node.world import World

MOVED = MemberSpec("sat-002", "127.0.0.1:9702", "127.0.0.1:9802")


def running() -> World:
    world = World(3)
    world.run_until(lambda: world.primary is not None, 20)
    return world


def mover(world: World) -> Mover:
    return world.loops["sat-002"].mover


def raft_of(world: World, node: str) -> str:
    return world.loops["sat-001"].replica.state.members[node].raft


def moves(world: World) -> int:
    decisions = world.loops["sat-001"].replica.state.decisions
    return sum(decision.matter == "move" for decision in decisions)


def test_a_node_says_once_where_it_is_reached_now() -> None:
    world = running()
    assert moves(world) == 0, "its file and the state agree"
    mover(world)._own = MOVED
    world.run_until(lambda: raft_of(world, "sat-002") == MOVED.raft, 5)
    world.run(5)
    assert moves(world) == 1


def test_an_order_of_an_operator_stands_until_the_next_start() -> None:
    world = running()
    mover(world)._own = MOVED
    world.run_until(lambda: raft_of(world, "sat-002") == MOVED.raft, 5)
    world.run(2)
    order = MoveMember(MemberSpec("sat-002", "127.0.0.1:9902", "127.0.0.1:9802"))
    draft = codec.encode_draft(Draft(order, "k", "ann"))
    assert world.leader is not None
    world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)
    world.run(5)
    assert raft_of(world, "sat-002") == "127.0.0.1:9902"


def test_a_cluster_that_is_not_at_its_level_is_not_told() -> None:
    world = running()
    for loop in world.loops.values():
        loop.replica.state.level = 1
    mover(world)._own = MOVED
    world.run(5)
    assert raft_of(world, "sat-002") != MOVED.raft


def test_a_log_that_is_replayed_agrees_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there before it left and was taken in again elsewhere: what is replayed after a start
    has both, and so the first of them is no agreement."""
    world = running()
    own = next(m for m in world.loops["sat-002"].config.members if m.id == "sat-002")
    mover(world)._own = own
    monkeypatch.setattr(mover(world)._gossip, "last_report", lambda _: None)
    world.run(2)
    order = MoveMember(MemberSpec("sat-002", "127.0.0.1:9902", "127.0.0.1:9802"))
    assert world.leader is not None
    propose = world.loops[world.leader].consensus.propose
    propose(codec.encode_draft(Draft(order, "k", "ann")), lambda _: None, 5)
    world.run_until(lambda: moves(world) == 2, 5)
    assert raft_of(world, "sat-002") == own.raft
    monkeypatch.undo()
    world.run(2)
    assert mover(world)._own is None
