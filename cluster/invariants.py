"""What must hold of every state, by name.

Checked in the simulator and the property tests after every entry, and when a snapshot is
restored. They speak of one state, or of one step between two: what needs many nodes (never two
effective PRIMARYs, equal digests) is checked where many nodes are.
Source: roles.md, "What must hold"; the numbers are its numbers.
"""

import itertools
from collections.abc import Callable, Iterator

from stationkeep.cluster.access import HASH_BYTES
from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.delivery import invariants as delivery_invariants
from stationkeep.cluster.fleet import invariants as fleet_invariants
from stationkeep.cluster.numbers import BOOT, CEILING, RESTORED
from stationkeep.cluster.progression import invariants as progression_invariants
from stationkeep.cluster.roles.evaluate import touches_seat
from stationkeep.cluster.roles.proposals import quorum
from stationkeep.cluster.settings import check as settings_fault
from stationkeep.cluster.state.decisions import Ballot
from stationkeep.cluster.state.operations import MAX_ACCOUNTS, MAX_OPERATIONS
from stationkeep.cluster.state.state import (
    MAX_CLOSED_ACTIONS,
    MAX_CLOSED_PROPOSALS,
    MAX_DECISIONS,
    MAX_DROPPED,
    MAX_EXPOSED,
    MAX_INVITATIONS,
    MAX_MEMBERS,
    MAX_REVOKED,
    MAX_ROLE_CHANGES,
    MAX_TOKENS,
    MAX_WEBHOOKS,
    CaPhase,
    ClusterState,
    ProposalOutcome,
    RoleChange,
)
from stationkeep.cluster.transitions import OPERATOR_RULES, Role, Rule, is_legal

Check = Callable[[ClusterState], str | None]


def one_primary(state: ClusterState) -> str | None:
    """1: at most one PRIMARY in the role table, and it is the holder of the seat."""
    primaries = [m.id for m in state.members.values() if m.role is Role.PRIMARY]
    holder = [state.seat.holder] if state.seat.holder is not None else []
    return None if primaries == holder else f"PRIMARYs {primaries}, seat {holder}"


def no_rapid_change(state: ClusterState) -> str | None:
    """2: no automatic change within the cool-down of an earlier one, the exemptions aside.

    Exempt are the demotion of a failed PRIMARY and the promotion into the seat, unless its
    former holder only failed to enact: then the seat could be kept.
    """
    latest: dict[str, RoleChange] = {}
    for change in state.role_changes:
        before = latest.get(change.node)
        latest[change.node] = change
        failed = change.rule in (Rule.PRIMARY_FAILED, Rule.PRIMARY_NONCOMPLIANT)
        demoted = failed and change.origin is Role.PRIMARY
        unfillable = change.rule is not Rule.PRIMARY_NONCOMPLIANT and change.target is Role.PRIMARY
        if before is None or change.rule in OPERATOR_RULES or demoted or unfillable:
            continue
        if change.at - before.at < change.window:
            return f"{change.node} changed at {before.at} and {change.at}"
    return None


def only_by_vote_or_order(state: ClusterState) -> str | None:
    """3: a role changes with two thirds of recorded approvals, or by an operator's command."""
    approved = {p.id: p for p in state.closed_proposals if p.outcome is ProposalOutcome.APPROVED}
    # As many as there are members may be open at once, and be closed after a later one.
    forgotten = state.proposals_opened - MAX_CLOSED_PROPOSALS + MAX_MEMBERS
    for change in state.role_changes:
        if change.rule in OPERATOR_RULES:
            continue
        proposal = approved.get(change.proposal)
        if proposal is None and change.proposal > forgotten:
            return f"{change.node} changed by {change.rule} without an approved proposal"
        if proposal is not None and not _has_quorum(proposal.electorate, proposal.ballots):
            return f"proposal {proposal.id} was approved without its quorum"
    return None


def _has_quorum(electorate: tuple[str, ...], ballots: dict[str, Ballot]) -> bool:
    approvals = sum(ballot.approve for ballot in ballots.values())
    return approvals >= quorum(len(electorate)) and set(ballots) <= set(electorate)


def legal_history(state: ClusterState) -> str | None:
    """Every change of role is in the transition table."""
    for c in state.role_changes:
        if not is_legal(c.origin, c.target, c.rule):
            return f"{c.node}: {c.origin} to {c.target} by {c.rule}"
    return None


def epochs_rise(state: ClusterState) -> str | None:
    """The seat's epoch rises by one at every change of holder."""
    epochs = [c.epoch for c in state.role_changes if c.target is Role.PRIMARY]
    if any(b != a + 1 for a, b in itertools.pairwise(epochs)):
        return f"epochs {epochs}"
    return None if not epochs or epochs[-1] == state.seat.epoch else f"seat {state.seat.epoch}"


def handover_waits(state: ClusterState) -> str | None:
    """1, from the table's side: a seat that is not active waits for a node or for a time."""
    seat = state.seat
    if seat.holder is None:
        return "an empty seat is active" if seat.active else None
    if not seat.active and state.time >= seat.fence_until:
        return f"{seat.holder} waits although the lease it waits for ended at {seat.fence_until}"
    return None


def one_motion_a_node(state: ClusterState) -> str | None:
    """One open proposal at a time touches the seat, and one any given node."""
    nodes = [c.node for p in state.proposals.values() for c in p.changes]
    seats = [p.id for p in state.proposals.values() if touches_seat(p.changes)]
    if len(nodes) != len(set(nodes)) or len(seats) > 1:
        return f"open proposals touch {nodes}; the seat: {seats}"
    return None


def within_limits(state: ClusterState) -> str | None:
    """Every list has its limit."""
    sizes = {
        "decisions": (len(state.decisions), MAX_DECISIONS),
        "role_changes": (len(state.role_changes), MAX_ROLE_CHANGES),
        "closed_proposals": (len(state.closed_proposals), MAX_CLOSED_PROPOSALS),
        "closed_actions": (len(state.closed_actions), MAX_CLOSED_ACTIONS),
        "operations": (len(state.operations), MAX_OPERATIONS),
        "accounts": (len(state.operations.accounts()), MAX_ACCOUNTS + 1),
        "deliveries": (len(state.deliveries), MAX_WEBHOOKS),
        "tokens": (len(state.tokens), MAX_TOKENS),
        "invitations": (len(state.invitations), MAX_INVITATIONS),
        "revoked": (len(state.revoked), MAX_REVOKED),
        "dropped": (len(state.dropped), MAX_DROPPED),
        "exposed": (len(state.exposed), MAX_EXPOSED),
    }
    over = [f"{name} {size} > {limit}" for name, (size, limit) in sizes.items() if size > limit]
    return ", ".join(over) or None


def alarms_are_known(state: ClusterState) -> str | None:
    """Every alarm is of a known kind and about the cluster or a member, which bounds them."""
    for key, alarm in state.alarms.items():
        if key != alarm.id or alarm.name not in ALARMS:
            return f"{key} holds {alarm.name}"
        if alarm.subject and alarm.subject not in state.members:
            return f"{key} is about no member"
    return None


def deliveries_follow(state: ClusterState) -> str | None:
    """No webhook has received a decision that was not made."""
    ahead = [
        name
        for name, d in state.deliveries.items()
        if not all(0 <= n <= state.decisions_made for n in (d.upto, d.missed, d.confessed))
    ]
    return f"{ahead} beyond {state.decisions_made}" if ahead else None


def tokens_hold_no_secret(state: ClusterState) -> str | None:
    """Of every token a hash of 32 bytes is kept, under its own id; nothing has ended later than
    now."""
    for key, token in state.tokens.items():
        if key != token.id or len(token.hash) != HASH_BYTES:
            return f"{key} holds {token.id} with {len(token.hash)} bytes"
        if not 0 <= token.used <= token.limit:
            return f"{key} has enrolled {token.used} of {token.limit}"
        if max(token.created_at, token.revoked_at or 0) > state.time:
            return f"{key} has begun or ended after {state.time}"
    return None


def invitations_hold(state: ClusterState) -> str | None:
    """Of every invitation a hash is kept, under its own id; it has taken in no more than it may."""
    for key, invitation in state.invitations.items():
        hashes = {len(invitation.hash), *map(len, invitation.taken.values())}
        if key != invitation.id or hashes != {HASH_BYTES}:
            return f"{key} holds {invitation.id} with hashes of {hashes} bytes"
        if len(invitation.taken) > invitation.uses:
            return f"{key} has taken in {len(invitation.taken)} of {invitation.uses}"
        if max(invitation.created_at, invitation.revoked_at or 0) > state.time:
            return f"{key} has begun or ended after {state.time}"
    return None


def rotation_holds(state: ClusterState) -> str | None:
    """A CA that takes the place of others is none of them, and the others go with the end; what
    members have reached is said of members."""
    rotation = state.rotation
    if rotation is None:
        return None
    if rotation.pin in rotation.first:
        return f"{rotation.pin} takes its own place"
    if rotation.phase is CaPhase.OVER and rotation.pin in state.dropped:
        return f"{rotation.pin} issues, and was dropped"
    if rotation.under_way and not state.members.keys() >= rotation.reached.keys():
        return f"{sorted(rotation.reached)} have followed"
    return None


def numbers_hold(state: ClusterState) -> str | None:
    """Numbers that only grow still have room to grow (`cluster.numbers`), and nothing has happened
    later than now."""
    totals = {
        "time": state.time,
        "index": state.index,
        "revision": state.revision,
        "evaluations": state.evaluations,
        "proposals_opened": state.proposals_opened,
        "actions_opened": state.actions_opened,
        "decisions_made": state.decisions_made,
        "epoch": state.seat.epoch,
    }
    for name, total in totals.items():
        if not 0 <= total <= RESTORED:
            return f"{name} {total} is not between 0 and {RESTORED}"
    for member in state.members.values():
        if not (0 <= member.boot <= BOOT.ceiling and 0 <= member.seq <= CEILING):
            return f"{member.id} said boot {member.boot}, sequence {member.seq}"
        if max(member.last_heard or 0, member.role_changed_at or 0) > state.time:
            return f"{member.id} was heard of after {state.time}"
    return None


def settings_hold(state: ClusterState) -> str | None:
    """The settings in force are in their ranges and keep their relations."""
    fault = settings_fault(state.settings)
    return str(fault) if fault is not None else None


INVARIANTS: tuple[Check, ...] = (
    one_primary,
    no_rapid_change,
    only_by_vote_or_order,
    legal_history,
    epochs_rise,
    handover_waits,
    one_motion_a_node,
    within_limits,
    alarms_are_known,
    deliveries_follow,
    tokens_hold_no_secret,
    invitations_hold,
    rotation_holds,
    numbers_hold,
    settings_hold,
)


def _of_fleet(state: ClusterState) -> Iterator[tuple[str, str]]:
    for invariant in fleet_invariants.INVARIANTS:
        fault = invariant(state.fleet)
        if fault is not None:
            yield invariant.__name__, fault


def violations(state: ClusterState) -> Iterator[str]:
    """One line, name and fault, for each invariant that does not hold."""
    for invariant in INVARIANTS:
        fault = invariant(state)
        if fault is not None:
            yield f"{invariant.__name__}: {fault}"
    for name, fault in _of_fleet(state):
        yield f"fleet.{name}: {fault}"
    for room, checks in (
        ("delivery", delivery_invariants.INVARIANTS),
        ("progression", progression_invariants.INVARIANTS),
    ):
        for check in checks:
            fault = check(state)
            if fault is not None:
                yield f"{room}.{check.__name__}: {fault}"
