"""Members of different releases in virtual time: none applies what is above its level."""

import pytest

from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.node.simulation.actions import play
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

UPGRADED = [
    line
    for at, name in ((4.0, "sat-001"), (7.0, "sat-002"), (10.0, "sat-003"))
    for line in (
        (at, f"release {name} {HIGHEST}"),
        (at, f"crash {name} process"),
        (at + 0.5, f"start {name}"),
    )
]
"""From the lowest level to the highest, one after another."""


def lived(
    *script: tuple[float, str], until: float = 30.0, guards_off: tuple[str, ...] = ()
) -> World:
    """Three founders at the lowest level, after this script."""
    actions = tuple(Action(at, line.split()[0], tuple(line.split()[1:])) for at, line in script)
    world = World(
        Scenario(
            seed=3, nodes=3, script=actions, duration=until, level=LOWEST, guards_off=guards_off
        )
    )
    play(world)
    return world


def level(world: World) -> int:
    return world.members.newest_state().level


def moves(world: World) -> int:
    return sum(d.matter == "move" for d in world.members.newest_state().decisions)


def said(world: World, what: str) -> list[str]:
    return [note for note in world.notes if what in note]


def test_nothing_of_a_higher_level_enters_the_log_before_all_members_have_it() -> None:
    script = [*UPGRADED[:6], (9.0, "level sat-001 raise"), (9.0, "move sat-001 sat-002")]
    with quiet():
        world = lived(*script, until=20.0)
    assert (level(world), moves(world)) == (LOWEST, 0)
    assert not said(world, " stops: ")


def test_the_level_rises_once_all_have_it_and_orders_that_waited_are_carried_out() -> None:
    script = [*UPGRADED, (9.0, "move sat-001 sat-002"), (14.0, "level sat-001 raise")]
    with quiet():
        world = lived(*script)
        world.converge()
    assert (level(world), moves(world)) == (HIGHEST, 1)


def test_a_hold_keeps_it_down_and_members_go_back() -> None:
    script = [
        *UPGRADED, (12.0, "level sat-001 hold"), (14.0, "level sat-001 raise"),
        (18.0, "release sat-002 1"), (18.0, "crash sat-002 process"), (18.5, "start sat-002"),
    ]  # fmt: skip
    with quiet():
        world = lived(*script)
    assert level(world) == LOWEST
    assert world.members["sat-002"].up


def test_one_that_was_downgraded_after_the_raise_does_not_start_until_it_is_upgraded() -> None:
    script = [
        *UPGRADED, (14.0, "level sat-001 raise"),
        (20.0, "release sat-002 1"), (20.0, "crash sat-002 process"), (20.5, "start sat-002"),
    ]  # fmt: skip
    with quiet():
        world = lived(*script)
        assert level(world) == HIGHEST
        assert not world.members["sat-002"].up
        assert said(world, "sat-002 does not start: the log needs level 2")
        world.converge()
    assert world.members["sat-002"].up


JOINS_LATE = [
    *UPGRADED, (14.0, "level sat-001 raise"), (17.0, "join sat-004 sat-001"),
    (22.0, "move sat-001 sat-002"),
]  # fmt: skip


def test_one_that_joins_with_a_release_that_lacks_the_level_stops() -> None:
    with quiet():
        world = lived(*JOINS_LATE)
        assert not world.members["sat-004"].up
        assert said(world, "sat-004 stops: the ")
        assert moves(world) == 1
        world.converge()
    assert not world.members.newest_state().members["sat-004"].learner


def test_without_the_rule_it_would_go_on_with_another_state() -> None:
    with quiet(), pytest.raises(Violation, match="equal digests"):
        lived(*JOINS_LATE, until=60.0, guards_off=("levels",)).converge()


@pytest.mark.parametrize("seed", range(3))
def test_members_are_upgraded_amid_other_faults(seed: int) -> None:
    plan = Plan(faults=("upgrade", "crash", "lossy"))
    with quiet():
        world, outcome = attempt(plan.scenario(seed))
    assert outcome.ok, (outcome.rule, outcome.detail)
    assert world is not None
