"""Machines that come by a word in virtual time: each is a member once, whatever is lost."""

from collections.abc import Callable

import pytest

from stationkeep.cluster import invitations
from stationkeep.node.simulation.actions import perform
from stationkeep.node.simulation.actors.newcomers import Newcomers
from stationkeep.node.simulation.campaigns.campaign import Plan, run
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World
from tests.simulation.test_campaign import describe

NEWCOMER = "sat-004"


def do(world: World, line: str) -> None:
    verb, *words = line.split()
    perform(world, Action(world.time.now, verb, tuple(words)))


def until(world: World, holds: Callable[[], object]) -> None:
    """Lets time pass, step by small step."""
    for _ in range(20_000):
        if holds():
            return
        world.run(0.001)
    raise AssertionError("it never came about")


@pytest.fixture
def world() -> World:
    """Three founders, who have made a word for one machine."""
    made = World(Scenario(seed=6, nodes=3))
    made.run(3.0)
    do(made, "invite sat-001 1")
    until(made, lambda: all(m.replica.state.invitations for m in made.members.values()))
    return made


def members(world: World) -> set[str]:
    return set(world.members.newest_state().members)


def voters(world: World) -> set[str]:
    state = world.members.newest_state()
    return {name for name, member in state.members.items() if not member.learner}


def joins(world: World, name: str) -> int:
    decisions = world.members.newest_state().decisions
    return sum(d.matter == "join" and d.subjects == (name,) for d in decisions)


def test_a_machine_comes_by_a_word_and_gets_a_vote(world: World) -> None:
    do(world, f"come {NEWCOMER} sat-002")
    world.converge()
    assert not world.members.newest_state().members[NEWCOMER].learner


def test_of_two_that_come_at_once_by_a_word_for_one_the_other_stays_outside(world: World) -> None:
    do(world, "come sat-004 sat-001")
    do(world, "come sat-005 sat-002")
    world.converge()
    (taken,) = members(world) & {"sat-004", "sat-005"}
    (other,) = {"sat-004", "sat-005"} - {taken}
    assert not world.members[other].life


@pytest.mark.parametrize("how", ["process", "power"])
def test_one_whose_node_dies_before_it_answers_asks_again_and_is_one_member(
    world: World, how: str
) -> None:
    do(world, f"come {NEWCOMER} sat-002")
    until(world, lambda: NEWCOMER in members(world))
    assert not world.members[NEWCOMER].life, "it was not told yet"
    do(world, f"crash sat-002 {how}")
    until(world, lambda: world.members[NEWCOMER].up)
    world.converge()
    assert joins(world, NEWCOMER) == 1


def test_one_that_asks_twice_at_once_is_one_member(world: World) -> None:
    do(world, f"come {NEWCOMER} sat-001")
    do(world, f"come {NEWCOMER} sat-003")
    world.converge()
    assert joins(world, NEWCOMER) == 1
    assert world.members[NEWCOMER].life == 1


def test_one_that_comes_too_late_stays_outside(world: World) -> None:
    for name in list(world.members):
        do(world, f"wall {name} 90")
    world.run(2.0)
    do(world, f"come {NEWCOMER} sat-001")
    world.converge()
    assert NEWCOMER not in members(world)


def test_one_that_is_never_seen_again_costs_nothing_and_is_removed_in_the_end(
    world: World,
) -> None:
    do(world, f"double {NEWCOMER} sat-001")
    world.run(10.0)
    assert world.members.newest_state().members[NEWCOMER].learner
    assert len(world.leader_changes) == 1
    world.converge()
    assert NEWCOMER not in members(world)


def test_one_that_left_comes_again_by_another_word_and_is_no_node_before(world: World) -> None:
    do(world, f"come {NEWCOMER} sat-001")
    until(world, lambda: NEWCOMER in voters(world))
    do(world, f"leave {NEWCOMER} leader")
    until(world, lambda: world.operators.is_free(NEWCOMER))
    do(world, f"crash {NEWCOMER} power")
    do(world, "invite sat-001 1")
    until(world, lambda: len(world.members.newest_state().invitations) == 2)
    world.run(1.0)
    do(world, f"come {NEWCOMER} sat-002")
    do(world, f"start {NEWCOMER}")
    assert not world.members[NEWCOMER].up
    world.converge()
    assert (joins(world, NEWCOMER), world.members[NEWCOMER].life) == (2, 2)


def test_two_machines_of_one_id_and_one_word_are_told_apart_by_their_keys(world: World) -> None:
    for line in (f"double {NEWCOMER} sat-001", f"come {NEWCOMER} sat-002"):
        do(world, line)
    world.converge()


def test_without_their_keys_it_is_noticed_that_both_were_taken_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "_check_same", lambda *_: None)
    do(world, f"double {NEWCOMER} sat-001")
    do(world, f"come {NEWCOMER} sat-002")
    with pytest.raises(Violation, match="a member once"):
        world.converge()


def test_one_that_is_never_told_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Newcomers, "_tell", lambda *_: None)
    monkeypatch.setattr(Newcomers, "_tidy", lambda *_: None)
    do(world, f"come {NEWCOMER} sat-001")
    with pytest.raises(Violation, match=f"liveness: .*{NEWCOMER}"):
        world.converge()


def test_a_member_that_stays_though_it_was_never_seen_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Newcomers, "_tidy", lambda *_: None)
    do(world, f"double {NEWCOMER} sat-001")
    until(world, lambda: NEWCOMER in members(world))
    with pytest.raises(Violation, match=f"liveness: voters: .*{NEWCOMER}"):
        world.converge()


def test_the_profile_breaks_nothing() -> None:
    outcome = run(Plan(faults=("invitation", "crash", "rotation")), 2)
    assert outcome.ok, describe(outcome)
