"""Members come and go in virtual time: what becomes of them, and that the checks would notice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.simulation.actions import perform, play
from stationkeep.node.simulation.campaigns.campaign import attempt, quiet
from stationkeep.node.simulation.checks import quorums
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

NAMES = [f"n{i}" for i in range(6)]
VOTERS = st.sets(st.sampled_from(NAMES), min_size=1)


def lived(*script: tuple[float, str]) -> World:
    """A world of three founders after this script and its heal."""
    actions = tuple(Action(at, *_split(line)) for at, line in script)
    with quiet():
        world = World(Scenario(seed=4, nodes=3, script=actions, duration=20.0))
        play(world)
        world.converge()
    return world


def _split(line: str) -> tuple[str, tuple[str, ...]]:
    verb, *words = line.split()
    return verb, tuple(words)


def voters(world: World) -> set[str]:
    leader = world.members.leader()
    assert leader is not None
    return set(leader.raft.configuration.voters)


def test_a_machine_joins_and_the_leader_leaves() -> None:
    world = lived((3.0, "join sat-004 sat-001"), (8.0, "leave leader sat-004"))
    assert "sat-004" in voters(world)
    assert len(voters(world)) == 3
    (gone,) = {"sat-001", "sat-002", "sat-003"} - voters(world)
    assert world.members[gone].raft.standing == "removed"


def test_nobody_lets_a_cluster_shrink_below_three() -> None:
    assert len(voters(lived((3.0, "leave leader sat-001")))) == 3


@pytest.mark.parametrize("erased", [True, False])
def test_one_that_left_comes_back(erased: bool) -> None:
    """With an empty disk when its process had ended, else with the log that removed it."""
    end = [(9.0, "crash sat-005 power")] if erased else []
    world = lived(
        (3.0, "join sat-004 sat-001"),
        (3.1, "join sat-005 sat-001"),
        (6.0, "leave sat-005 leader"),
        *end,
        (10.0, "join sat-005 leader"),
    )
    assert voters(world) == {"sat-001", "sat-002", "sat-003", "sat-004", "sat-005"}
    assert world.members["sat-005"].life == (2 if erased else 1)


FOUNDING = """\
0 far sat-002 sat-001 0.1961
0 far sat-001 sat-002 0.1148
0 far sat-001 sat-003 0.08059
1.003 write sat-001 sat-001 101
1.010 isolate leader
1.716 crash sat-003 process
1.716 erase sat-003
1.716 rejoin sat-001
1.716 rejoin sat-002
1.716 rejoin sat-003
1.717 isolate leader
1.718 start sat-003"""
"""One founder loses its disk while another has heard of no log, and only the two can talk."""


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_disk_lost_while_a_cluster_is_founded_is_replaced_by_node_rejoin(
    monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """An empty directory alone founds it again: nobody of the two can know (`backup.md`)."""
    if by_hand:
        monkeypatch.setattr(SimulatedNode, "is_trusted_unheard", False)
    lines = (line.split(maxsplit=1) for line in FOUNDING.splitlines())
    script = tuple(Action(float(at), *_split(what)) for at, what in lines)
    _, outcome = attempt(
        Scenario(seed=1016309, nodes=3, script=script, duration=8.0,
                 compact_entries=1000, chunk_bytes=2048, batch_entries=1024)
    )  # fmt: skip
    assert outcome.rule == ("leader completeness" if by_hand else "")


ACKNOWLEDGED = """\
0 far sat-005 sat-001 0.2
2.000 isolate sat-003
2.000 isolate sat-004
5.060 crash sat-002 process
5.061 erase sat-002
5.500 rejoin sat-003
5.500 rejoin sat-004
5.501 isolate sat-001
5.501 isolate sat-005
5.502 start sat-002
9.500 rejoin sat-001
9.500 rejoin sat-005"""
"""A voter loses its disk before the third acknowledgement makes a majority with its own. Then it is
alone with two that have not got the entry."""


@pytest.mark.parametrize("guards_off", [("s5",), ()])
def test_who_acknowledged_and_lost_its_disk_elects_nobody_without_the_entry(
    guards_off: tuple[str, ...],
) -> None:
    """So its acknowledgement may count, though the entry is on a minority of the disks."""
    lines = (line.split(maxsplit=1) for line in ACKNOWLEDGED.splitlines())
    script = tuple(Action(float(at), *_split(what)) for at, what in lines)
    with quiet():
        world, outcome = attempt(
            Scenario(seed=0, nodes=5, script=script, duration=14.0, guards_off=guards_off)
        )
    assert world is not None
    assert outcome.rule == ("leader completeness" if guards_off else "")
    assert bool(world.members["sat-002"].disk.replaced) is bool(guards_off)  # else it is admitted


def test_who_has_no_vote_and_stands_is_noticed() -> None:
    with quiet():
        world = World(Scenario(seed=4, nodes=3))
        perform(world, Action(0.0, "join", ("sat-004", "sat-001")))
        with pytest.raises(Violation, match="only voters stand"):
            world.checks.sends("sat-004", "sat-001", {"type": "request_vote", "term": 9})


@pytest.mark.parametrize("guards_off", [("s9",), ()])
def test_two_leave_at_once_on_slow_links(guards_off: tuple[str, ...]) -> None:
    """One after the other; with the guard off at once, and a minority may then commit."""
    script = (
        Action(0.0, "weather", ("0.1", "0.02", "0", "0")),
        Action(6.0, "leave", ("sat-004", "leader")),
        Action(6.0, "leave", ("sat-005", "leader")),
    )
    rules = set()
    for seed in range(4):
        scenario = Scenario(seed=seed, nodes=5, script=script, duration=10.0, guards_off=guards_off)
        with quiet():
            rules.add(attempt(scenario)[1].rule)
    assert ("majorities meet" in rules) is bool(guards_off), rules
    assert rules == {""} or guards_off


@given(VOTERS, VOTERS)
def test_majorities_meet_when_no_two_of_them_are_apart(one: set[str], other: set[str]) -> None:
    """Against every split of the servers in two."""
    everybody = sorted(one | other)
    apart = any(
        2 * len(one & side) > len(one) and 2 * len(other - side) > len(other)
        for bits in range(2 ** len(everybody))
        for side in [{n for i, n in enumerate(everybody) if bits >> i & 1}]
    )
    assert quorums.meet(one, other) is not apart
