"""Joining and leaving, as the state sees it. Every refusal names its rule."""

from typing import Any

import pytest

from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import (
    AddMember,
    Command,
    MemberSpec,
    RecordMembers,
    RemoveMember,
    SetMaintenance,
)
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import MemberJoined, MemberLeft
from stationkeep.cluster.transitions import Role
from tests.cluster import driver as drivers
from tests.cluster.driver import Driver

SPEC = MemberSpec("sat-009", "127.0.0.1:7909", "127.0.0.1:8909")


@pytest.fixture
def settled() -> Driver:
    return drivers.settled()


def order(driver: Driver, command: Command) -> Applied:
    applied = driver.do(command, key=f"k{driver.state.index}", actor="ann", reason="why")
    assert not list(violations(driver.state))
    return applied


def refusal(driver: Driver, command: Command) -> str:
    outcome = order(driver, command).outcome
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def test_who_joins_is_a_learner_and_joining_until_raft_gives_it_a_vote(settled: Driver) -> None:
    applied = order(settled, AddMember(SPEC))
    member = settled.state.members["sat-009"]
    assert MemberJoined("sat-009") in applied.events
    assert (member.role, member.learner, member.joining) == (Role.STANDBY, True, True)
    voters = tuple(n for n in settled.state.members if n != "sat-009")
    settled.do(RecordMembers(voters, ("sat-009",)))
    assert member.joining
    settled.do(RecordMembers((*voters, "sat-009"), ()))
    assert not member.learner
    said = [sentence(d) for d in settled.state.decisions if "sat-009" in d.subjects]
    assert said == [
        "sat-009 joins as a learner (raft 127.0.0.1:7909) (by ann: why)",
        "sat-009 has caught up and has a vote now",
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "sat-001"}, Reason.DUPLICATE),
        ({"id": "not a name"}, Reason.INVALID),
        ({"id": ""}, Reason.INVALID),
        ({"raft": "nowhere"}, Reason.INVALID),
        ({"raft": "host:99999"}, Reason.INVALID),
        ({"http": "http://host:1"}, Reason.INVALID),
    ],
)
def test_who_may_not_join(settled: Driver, changes: dict[str, Any], reason: str) -> None:
    before = dict(settled.state.members)
    fields = {"id": SPEC.id, "raft": SPEC.raft, "http": SPEC.http, **changes}
    assert refusal(settled, AddMember(MemberSpec(**fields))) == reason
    assert settled.state.members == before


def test_an_address_belongs_to_one_member(settled: Driver) -> None:
    order(settled, AddMember(SPEC))
    other = MemberSpec("sat-010", SPEC.raft, "127.0.0.1:8910")
    assert refusal(settled, AddMember(other)) == Reason.DUPLICATE


def test_who_leaves_is_waited_for_no_longer(settled: Driver) -> None:
    backup = next(m.id for m in settled.state.members.values() if m.role is Role.BACKUP)
    applied = order(settled, RemoveMember(backup))
    assert MemberLeft(backup) in applied.events
    assert backup not in settled.state.members
    assert all(backup not in a.targets for a in settled.state.actions.values())
    last = [d for d in settled.state.decisions if d.matter == "leave"][-1]
    assert last.outcome is Outcome.DONE
    assert sentence(last) == f"{backup} leaves the cluster, {backup} BACKUP → STANDBY (by ann: why)"
    assert settled.state.role_changes[-1].node == backup


def test_the_primary_leaves_only_after_it_has_handed_over(settled: Driver) -> None:
    primary = settled.state.seat.holder
    assert primary is not None
    assert refusal(settled, RemoveMember(primary)) == Reason.IS_PRIMARY
    settled.do(SetMaintenance(primary, 60_000))
    if settled.state.seat.predecessor == primary:
        assert refusal(settled, RemoveMember(primary)) == Reason.HANDOVER
        settled.wait(settled.state.seat.fence_until - settled.state.time)
    assert not isinstance(order(settled, RemoveMember(primary)).outcome, Rejected)


def test_an_unknown_node_cannot_leave(settled: Driver) -> None:
    assert refusal(settled, RemoveMember("sat-777")) == Reason.UNKNOWN_NODE


def test_a_majority_of_those_who_stay_must_be_alive(settled: Driver) -> None:
    """Else the removal itself could never be committed."""
    state = settled.state
    others = [m for m in state.members.values() if m.role is not Role.PRIMARY]
    for member in others[1:]:
        member.last_heard = state.time - state.settings.heartbeat_timeout - 1
    assert refusal(settled, RemoveMember(others[0].id)) == Reason.QUORUM
    assert not isinstance(order(settled, RemoveMember(others[1].id)).outcome, Rejected)


def test_who_comes_back_under_its_name_is_still_cooling_down(settled: Driver) -> None:
    backup = next(m for m in settled.state.members.values() if m.role is Role.BACKUP)
    order(settled, RemoveMember(backup.id))
    changed = settled.state.role_changes[-1].at
    order(settled, AddMember(MemberSpec(backup.id, SPEC.raft, SPEC.http)))
    assert settled.state.members[backup.id].role_changed_at == changed
