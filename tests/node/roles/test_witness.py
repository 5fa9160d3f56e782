"""What a node tells the cluster of who used tokens, and of who guesses at them."""

import pytest

from stationkeep.cluster.access import MAX_NOTED
from stationkeep.cluster.commands import CreateToken, Draft
from stationkeep.cluster.state import codec
from stationkeep.node.roles import witness as roles
from stationkeep.node.roles.witness import (
    MAX_TOLD,
    MAX_WAITING,
    PACE,
    Witness,
)
from tests.node.world import World

TOKEN = "aaaaaaaa"


def running() -> World:
    world = World(3)
    world.run_until(lambda: world.primary is not None, 20)
    draft = codec.encode_draft(Draft(CreateToken(TOKEN, "ci", "operator", bytes(32)), "k", "ann"))
    assert world.leader is not None
    world.loops[world.leader].consensus.propose(draft, lambda _: None, 5)
    world.run_until(lambda: TOKEN in world.loops["sat-002"].replica.state.tokens, 5)
    return world


def witness(world: World) -> Witness:
    """That of a node that does not lead."""
    return world.loops[next(node for node in world.loops if node != world.leader)].witness


def used(world: World) -> set[str]:
    return set(world.loops["sat-001"].replica.state.tokens[TOKEN].seen)


def told(world: World) -> list[str]:
    decisions = world.loops["sat-001"].replica.state.decisions
    return [d.facts["address"] for d in decisions if "address" in d.facts]


def test_a_use_is_told_once_a_day_however_often_it_happens() -> None:
    world = running()
    index = world.loops["sat-001"].replica.state.index
    for _ in range(100):
        witness(world).used(TOKEN, "192.0.2.1")
        witness(world).used(TOKEN, "2001:db8::1")
        witness(world).used(TOKEN, "2001:db8::2")
    world.run_until(lambda: used(world) == {"192.0.2.1", "2001:db8::/64"}, 5)
    assert witness(world).next_wakeup() == float("inf")
    for loop in world.loops.values():  # another node is told of it by the state
        loop.witness.used(TOKEN, "192.0.2.1")
    world.run(2 * PACE)
    assert told(world) == ["192.0.2.1", "2001:db8::/64"]
    assert index < world.loops["sat-001"].replica.state.index


def test_who_guesses_from_all_addresses_of_one_machine_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has 2^64 of them: each would cost an entry of the log, without any token."""
    monkeypatch.setattr(roles, "GUESS_PACE", PACE)
    world = running()
    for number in range(3):
        witness(world).guessed(f"2001:db8::{number}")
        world.run(2 * PACE)
    assert told(world) == ["2001:db8::/64"]


def test_who_guesses_from_many_networks_does_not_push_what_matters_out_of_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "GUESS_PACE", 5 * PACE)
    world = running()
    for number in range(8):
        witness(world).guessed(f"2001:db8:0:{number:x}::1")
        world.run(PACE)
    assert told(world) == ["2001:db8::/64", "2001:db8:0:5::/64"]


def test_without_a_leader_it_is_told_when_there_is_one() -> None:
    world = running()
    mine = witness(world)
    others = [node for node, loop in world.loops.items() if loop.witness is not mine]
    for node in others:
        world.kill(node)
    world.run(3)
    mine.used(TOKEN, "192.0.2.1")
    world.run(3)
    for node in others:
        world.start(node)
    world.run_until(lambda: used(world) == {"192.0.2.1"}, 60)


def test_what_comes_at_once_is_bounded_and_told_bit_by_bit() -> None:
    world = running()
    mine = witness(world)
    for number in range(MAX_TOLD + 10):
        mine.used(TOKEN, f"10.0.{number // 250}.{number % 250}")
        mine.guessed(f"10.9.{number // 250}.{number % 250}")
    assert (len(mine._uses), len(mine._guesses)) == (MAX_WAITING, 1)
    assert len(mine._told) <= MAX_TOLD
    world.run_until(lambda: "10.9.0.0" in told(world), 5)
    assert len(mine._uses) == MAX_WAITING - (MAX_NOTED - 1)
    world.run(PACE / 2)
    assert len(mine._uses) == MAX_WAITING - (MAX_NOTED - 1)
    world.run_until(lambda: not mine._uses, 5 * PACE)
