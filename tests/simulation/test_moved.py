"""Machines at other addresses in virtual time, and hints that are old."""

import pytest

from stationkeep.node.roles.mover import Mover
from stationkeep.node.simulation.actions import play
from stationkeep.node.simulation.actors.movers import Movers
from stationkeep.node.simulation.campaigns.campaign import Plan, run
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine import papers
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World
from tests.simulation.test_campaign import describe
from tests.simulation.test_certificates import linked

Lines = list[tuple[float, str]]


def lived(lines: Lines, until: float = 20.0) -> World:
    script = tuple(Action(at, line.split()[0], tuple(line.split()[1:])) for at, line in lines)
    world = World(Scenario(seed=5, nodes=3, script=script, duration=until))
    play(world)
    return world


def moved(name: str, at: float, to: str = "new", back: float = 0.5) -> Lines:
    return [(at, f"readdress {name} {to}"), (at + back, f"start {name}")]


def address(world: World, name: str) -> str:
    return world.members.newest_state().members[name].raft


def test_one_that_comes_back_elsewhere_is_found_and_the_cluster_knows_it() -> None:
    world = lived(moved("sat-002", 5.0))
    assert linked(world)
    assert address(world, "sat-002") == "sat-002-1:7701"
    world.converge()


def test_two_that_move_one_after_the_other_find_each_other_by_the_third() -> None:
    world = lived([*moved("sat-001", 5.0), *moved("sat-002", 8.0)])
    assert linked(world)
    assert address(world, "sat-001") == "sat-001-1:7701"
    assert address(world, "sat-002") == "sat-002-2:7701"


def test_all_that_move_at_once_come_up_when_their_files_say_where_each_is() -> None:
    lines = [line for name in ("sat-001", "sat-002", "sat-003") for line in moved(name, 5.0)]
    world = lived(lines, until=12.0)
    assert not any(link.up for link in world.links.links.values()), "nobody has a hint"
    world.converge()
    assert linked(world)


USED = [
    (0.0, "secure apart"), *moved("sat-001", 5.0), *moved("sat-002", 5.1, "used"),
    (8.0, "isolate sat-003"), (9.0, "rejoin sat-003"),
]  # fmt: skip


def test_who_is_where_another_one_was_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lived(USED)
    assert linked(world)
    assert address(world, "sat-002") == "sat-001:7701"
    monkeypatch.setattr(papers, "verdict", lambda *_, **__: None)
    with pytest.raises(
        Violation, match=r"only members are linked: sat-00. takes sat-002 for sat-001"
    ):
        lived(USED)


def test_that_a_hint_is_not_followed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Movers, "_tell", lambda *_: None)
    monkeypatch.setattr(Movers, "look", lambda *_: None)
    with pytest.raises(Violation, match=r"members reach each other: .*unreachable"):
        lived([(0.0, "secure apart"), *moved("sat-002", 5.0)], until=30.0)


def test_one_that_does_not_say_where_it_is_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mover, "turn", lambda _: None)
    with pytest.raises(Violation, match="liveness: sat-002 is not at sat-002:7701"):
        lived(moved("sat-002", 5.0)).converge()


def test_old_certificates_at_new_addresses_are_as_good() -> None:
    world = lived([(0.0, "secure apart"), (4.0, "age sat-002 -3"), *moved("sat-002", 5.0)])
    assert linked(world)


def test_the_profile_breaks_nothing() -> None:
    outcome = run(Plan(faults=("moved", "membership")), 3)
    assert outcome.ok, describe(outcome)
