"""Who belongs to the cluster: joining, leaving, and who has a vote in Raft.

The state alone decides who may join or leave; Raft's configuration follows it, one server at a
time (`node.raft.engine.membership`). What Raft has done comes back as `RecordMembers`, in the same
log entry that did it, so state and configuration cannot diverge.

A member that joins is a learner first: it receives the log, and is `joining` in every rule until
Raft has made it a voter. A member that leaves loses its role at once: it must not hold the seat,
and nothing waits for it any longer.
"""

from msgspec.structs import replace

from stationkeep.cluster import ca_rotation
from stationkeep.cluster.alarms import forget_member
from stationkeep.cluster.commands import (
    AddMember,
    Change,
    MemberSpec,
    MoveMember,
    RecordMembers,
    RemoveMember,
)
from stationkeep.cluster.names import address_fault
from stationkeep.cluster.operators import check_name, existing
from stationkeep.cluster.registry import is_alive
from stationkeep.cluster.roles.actions import release
from stationkeep.cluster.roles.proposals import close
from stationkeep.cluster.roles.seat import change_roles
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import MemberChanged, MemberJoined, MemberLeft
from stationkeep.cluster.state.state import MAX_MEMBERS, OVER, ClusterState, Member, ProposalOutcome
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.transitions import Role, Rule


def add_member(step: Step, command: AddMember) -> dict[str, object]:
    """A new member, without a vote and without a past."""
    state, spec = step.state, command.member
    check_name("id", spec.id)
    _check_addresses(spec)
    if spec.id in state.members:
        raise Refused(Reason.DUPLICATE, f"id: {spec.id} is a member already")
    _check_free(step, spec)
    if len(state.members) >= MAX_MEMBERS:
        raise Refused(Reason.LIMIT, f"a cluster has at most {MAX_MEMBERS} members")
    newcomer = Member(spec.id, spec.raft, spec.http, learner=True)
    # Who comes back under its old name is still cooling down from what it was.
    newcomer.role_changed_at = next(
        (c.at for c in reversed(state.role_changes) if c.node == spec.id), None
    )
    state.members[spec.id] = newcomer
    state.members = dict(sorted(state.members.items()))
    step.changed()
    step.emit(MemberJoined(spec.id))
    step.decide("join", Outcome.DONE, (spec.id,), facts={"raft": spec.raft, "http": spec.http})
    return {"node": spec.id, "members": list(state.members)}


def move_member(step: Step, command: MoveMember) -> dict[str, object]:
    """Others reach the member elsewhere from now on. Raft's configuration knows no addresses. That
    it is there already is no refusal: a member says so until it sees it."""
    spec = command.member
    member = existing(step, spec.id)
    _check_addresses(spec)
    _check_free(step, spec)
    if (member.raft, member.http) != (spec.raft, spec.http):
        member.raft, member.http = spec.raft, spec.http
        step.emit(MemberChanged(member.id))
        done = Outcome.DONE if step.actor else Outcome.NOTED
        step.decide("move", done, (member.id,), facts={"raft": spec.raft, "http": spec.http})
    return {"node": member.id, "raft": member.raft, "http": member.http}


def _check_free(step: Step, spec: MemberSpec) -> None:
    if spec.raft == spec.http:
        raise Refused(Reason.DUPLICATE, f"raft and http are both {spec.raft}")
    for member in step.state.members.values():
        taken = {member.raft, member.http} & {spec.raft, spec.http}
        if taken and member.id != spec.id:
            raise Refused(Reason.DUPLICATE, f"{member.id} has {min(taken)} already")


def _check_addresses(spec: MemberSpec) -> None:
    faults = {"raft": address_fault(spec.raft), "http": address_fault(spec.http)}
    for field, fault in faults.items():
        if fault is not None:
            value = getattr(spec, field)[:80]
            raise Refused(Reason.INVALID, f"{field}: {value!r} is not {fault}")


def remove_member(step: Step, command: RemoveMember) -> dict[str, object]:
    """Removes a member that does not hold the seat, if those that stay still have a majority."""
    member = existing(step, command.node)
    _check_may_leave(step, member)
    changes: tuple[Change, ...] = ()
    if member.role is Role.BACKUP:
        changes = (Change(member.id, Role.BACKUP, Role.STANDBY),)
    for proposal in list(step.state.proposals.values()):
        if member.id in {change.node for change in proposal.changes}:
            close(step, proposal, ProposalOutcome.OVERTAKEN, Reason.UNKNOWN_NODE)
        elif member.id not in proposal.ballots:  # who is not there is not waited for
            proposal.electorate = tuple(e for e in proposal.electorate if e != member.id)
    step.decide("leave", Outcome.DONE, (member.id,), changes=changes)
    if changes:
        change_roles(step, Rule.MAINTENANCE, changes)
    del step.state.members[member.id]
    for action in list(step.state.actions.values()):
        release(step, action, member.id)
    step.state.holds = {
        key: why for key, why in step.state.holds.items() if not key.endswith(f"|{member.id}")
    }
    forget_member(step, member.id)
    _forget_key(step.state, member.id)
    step.changed()
    step.emit(MemberLeft(member.id))
    ca_rotation.settle(step)
    if command.compromised:
        ca_rotation.expose(step, member.id)
    return {"node": member.id, "members": list(step.state.members)}


def _forget_key(state: ClusterState, node: str) -> None:
    """Nobody comes again by the invitation by which this one came. When it has left, its id may be
    another one's; and once it runs, who has that key has it from a copy of its disk."""
    for each in list(state.invitations.values()):
        if node in each.taken:
            state.invitations[each.id] = replace(each, taken=each.taken | {node: OVER})


def _check_may_leave(step: Step, member: Member) -> None:
    state = step.state
    if len(state.members) == 1:
        raise Refused(Reason.LIMIT, f"{member.id} is the last member")
    if member.role is Role.PRIMARY:
        detail = f"{member.id} is PRIMARY: switch over or put it into maintenance first"
        raise Refused(Reason.IS_PRIMARY, detail)
    if state.seat.predecessor == member.id:
        raise Refused(Reason.HANDOVER, f"{member.id} is still handing over the PRIMARY seat")
    staying = [m for m in state.members.values() if m.id != member.id and not m.learner]
    alive = sum(is_alive(state, m, step.now) for m in staying)
    needed = len(staying) // 2 + 1
    if alive < needed and not member.learner:
        detail = f"{alive} of the {len(staying)} voters that stay are alive, {needed} are needed"
        raise Refused(Reason.QUORUM, detail)


def record_members(step: Step, command: RecordMembers) -> dict[str, object]:
    """Records Raft's new configuration: which members have a vote."""
    voters = set(command.voters)
    for member in step.state.members.values():
        if member.learner is (member.id not in voters):
            continue
        member.learner = not member.learner
        step.changed()
        step.emit(MemberChanged(member.id))
        if not member.learner:
            _forget_key(step.state, member.id)
            step.decide("promotion", Outcome.NOTED, (member.id,))
    return {"voters": sorted(voters)}


def wanted(state: ClusterState) -> tuple[str, ...] | None:
    """Ids of the members that Raft's configuration should have; None before the founding."""
    return tuple(state.members) if state.founded else None
