"""Certificates in virtual time: who is linked with whom, and that the checks would notice."""

import pytest

from stationkeep.node.security import identity
from stationkeep.node.simulation.actions import perform, play
from stationkeep.node.simulation.actors import authority
from stationkeep.node.simulation.campaigns.campaign import Plan, run
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.faults.profiles import CERTIFICATES
from stationkeep.node.simulation.machine import papers
from stationkeep.node.simulation.machine.papers import Impostor
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World
from tests.simulation.test_campaign import describe

NAMES = ("sat-001", "sat-002", "sat-003")
PAIRS = [(a, b) for a in NAMES for b in NAMES if a != b]
APART = (0.0, "secure apart")
EVERYWHERE = (0.0, "secure everywhere")
Lines = list[tuple[float, str]]


def world_of(*lines: tuple[float, str], until: float = 20.0, seed: int = 5) -> World:
    """Three founders and a script; nothing has happened yet."""
    script = tuple(Action(at, line.split()[0], tuple(line.split()[1:])) for at, line in lines)
    return World(Scenario(seed=seed, nodes=3, script=script, duration=until))


def lived(*lines: tuple[float, str], until: float = 20.0) -> World:
    world = world_of(*lines, until=until)
    play(world)
    return world


def all_at(at: float, what: str) -> Lines:
    return [(at, what.replace("NODE", name)) for name in NAMES]


def restarted(at: float) -> Lines:
    return [*all_at(at, "crash NODE process"), *all_at(at + 0.5, "start NODE")]


def linked(world: World, name: str = "") -> bool:
    """Whether all links are up, or all of one node."""
    return all(world.links.links[pair].up for pair in PAIRS if not name or name in pair)


def refusals(world: World, name: str) -> set[str]:
    """The words under which links of a node are refused."""
    return {world.links.links[pair].refused for pair in PAIRS if name in pair}


THREE_DAYS_AGO = [APART, *all_at(5.0, "age NODE -3"), *restarted(6.0)]


def test_certificates_that_ended_three_days_ago_keep_the_quorum() -> None:
    world = lived(*THREE_DAYS_AGO)
    assert linked(world)
    assert world.members.leader() is not None
    world.converge()


def test_without_the_grace_it_is_noticed_that_members_do_not_reach_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "GRACE", 0.0)
    with pytest.raises(Violation, match="members reach each other"):
        lived(*THREE_DAYS_AGO)


EIGHT_DAYS_AGO = [APART, *all_at(5.0, "age NODE -8"), *restarted(6.0)]


def test_certificates_that_ended_eight_days_ago_open_nothing_until_others_are_issued() -> None:
    world = lived(*EIGHT_DAYS_AGO)
    assert all(refusals(world, name) == {"certificate_expired"} for name in NAMES)
    for name in NAMES:
        world.authority.reissue(name)
    world.run(5.0)
    assert linked(world)
    assert all(member.life == 2 for member in world.members.values()), "without a restart"


def test_a_grace_without_an_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "GRACE", 1e9)
    with pytest.raises(Violation, match="nobody is linked long after"):
        lived(*EIGHT_DAYS_AGO)


def test_what_stands_is_not_ended_by_a_date() -> None:
    world = lived(APART, *all_at(5.0, "age NODE -40"))
    assert linked(world)
    assert len(world.leader_changes) == 1


def test_where_the_ca_key_is_everybody_renews_whatever_has_ended() -> None:
    world = lived(EVERYWHERE, *all_at(5.0, "age NODE -40"), *restarted(6.0))
    assert linked(world)
    assert {member.papers.issuer for member in world.members.values()} == {"ca-1"}


AHEAD = str(400 * 86_400)


@pytest.mark.parametrize("kept", ["everywhere", "apart"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_clock_that_is_400_days_off_costs_its_own_links_alone(kept: str, sign: str) -> None:
    back = "-" if not sign else ""
    world = world_of(
        (0.0, f"secure {kept}"),
        (5.0, f"wall sat-003 {sign}{AHEAD}"),
        (6.0, "crash sat-003 process"),
        (6.5, "start sat-003"),
        (20.0, f"wall sat-003 {back}{AHEAD}"),
    )
    *before, set_right = world.scenario.script
    for action in before:
        world.agenda.run_to(action.at)
        perform(world, action)
    world.agenda.run_to(set_right.at)
    assert refusals(world, "sat-003") <= {"clock", "certificate_expired"}
    assert not any(world.links.links[pair].up for pair in PAIRS if "sat-003" in pair)
    assert all(world.links.links[pair].up for pair in PAIRS if "sat-003" not in pair)
    leader = world.members.leader()
    assert leader is not None
    assert leader.name != "sat-003"
    perform(world, set_right)
    world.run(5.5)
    assert linked(world)


ROTATED = [
    EVERYWHERE, (4.0, "crash sat-002 process"),
    (6.0, "rotate"), (8.0, "rotate"), (10.0, "rotate"),
]  # fmt: skip
"""One is down from the beginning."""
COMES_BACK = [(11.0, "start sat-002"), (14.0, "rotate"), (16.0, "rotate"), (24.0, "rotate")]


def issuers(world: World) -> set[str]:
    return {member.papers.issuer for member in world.members.values()}


def test_a_rotation_waits_for_whom_it_would_shut_out_and_goes_on_when_they_are_back() -> None:
    waits = lived(*ROTATED)
    assert issuers(waits) == {"ca-1"}
    world = lived(*ROTATED, *COMES_BACK, until=30.0)
    assert issuers(world) == {"ca-2"}
    assert {member.papers.trusts for member in world.members.values()} == {("ca-2",)}
    assert linked(world)
    assert len(world.leader_changes) == len(waits.leader_changes), "no change of leader for it"
    world.converge()


def test_a_rotation_that_waits_for_nobody_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority.Authority, "_all", lambda *_: True)
    with pytest.raises(Violation, match=r"members reach each other: .*untrusted_ca"):
        lived(*ROTATED, (11.0, "start sat-002"), until=25.0)


def test_a_rotation_that_nobody_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = lived(EVERYWHERE, (6.0, "rotate"), until=10.0)
    monkeypatch.setattr(authority.Authority, "rotate", lambda _: None)
    with pytest.raises(Violation, match="liveness: the rotation is started"):
        world.converge()


IN_PLACE = [EVERYWHERE, (5.0, "impostor sat-002 KIND")]


def with_impostor(kind: Impostor) -> Lines:
    return [(at, line.replace("KIND", kind)) for at, line in IN_PLACE]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (Impostor.FOREIGN, "untrusted_ca"),
        (Impostor.OTHER_CLUSTER, "wrong_cluster"),
        (Impostor.OTHER_NODE, "wrong_node"),
        (Impostor.DEVICE, "not_a_node"),
        (Impostor.NOTHING, "no_certificate"),
    ],
)
def test_somebody_else_is_refused_by_name_and_the_others_go_on(kind: Impostor, word: str) -> None:
    world = lived(*with_impostor(kind))
    assert word in refusals(world, "sat-002") - {""}
    assert not any(world.links.links[pair].up for pair in PAIRS if "sat-002" in pair)
    assert world.members.leader() is not None
    assert world.members.leader() is not world.members["sat-002"]
    world.converge()


@pytest.mark.parametrize("kind", Impostor)
def test_who_is_taken_for_a_member_without_a_verdict_is_noticed(
    kind: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(papers, "verdict", lambda *_, **__: None)
    with pytest.raises(Violation, match="only members are linked"):
        lived(*with_impostor(kind))


REVOKED = [APART, (5.0, "revoke sat-001 sat-002")]


def test_a_revoked_certificate_opens_nothing_until_its_node_has_another() -> None:
    world = lived(*REVOKED, until=26.0)
    assert refusals(world, "sat-002") == {"revoked"}
    world.authority.reissue("sat-002")
    world.run(3.0)
    assert linked(world)


def test_a_node_with_the_ca_key_has_another_before_its_links_go() -> None:
    world = lived(EVERYWHERE, (5.0, "revoke sat-001 sat-002"), until=26.0)
    assert len(world.leader_changes) == 1
    assert not [note for note in world.notes if "does not reach" in note]
    assert linked(world)


def test_links_that_stand_on_what_is_revoked_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "REVOKED_SECONDS", 1e9)
    with pytest.raises(Violation, match="what is revoked opens nothing"):
        lived(*REVOKED, until=30.0)


def test_a_link_that_does_not_come_back_after_everything_is_healed_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between two followers, whom nobody else misses."""
    world = lived(APART)
    leader = world.members.leader()
    assert leader is not None
    one, other = (name for name in NAMES if name != leader.name)
    world.links.judge = lambda *pair: ("clock" if pair == (one, other) else "", ())
    monkeypatch.setattr(world.authority._checks, "look", lambda: None)
    world.links.cut(one, other)
    with pytest.raises(Violation, match=f"liveness: {one} has not reached {other} clock"):
        world.converge()


def test_a_certificate_that_stays_over_is_noticed_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authority.Authority, "reissue", lambda *_: None)
    with pytest.raises(Violation, match="liveness: the certificate of sat-001 is off its dates"):
        lived(APART, (5.0, "age sat-001 -3")).converge()


@pytest.mark.parametrize("name", CERTIFICATES)
def test_each_profile_breaks_nothing(name: str) -> None:
    outcome = run(Plan(faults=(name, "crash")), 1)
    assert outcome.ok, describe(outcome)


def test_a_run_has_certificates_once_and_nothing_asks_for_them_before() -> None:
    world = world_of()
    assert world.links.judge is None
    world.authority.secure("apart")
    world.authority.secure("everywhere")
    assert not any(member.papers.key for member in world.members.values())
