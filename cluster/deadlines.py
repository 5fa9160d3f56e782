"""What falls due as cluster time passes.

Deadlines live in the state, so that every replica lets them pass at the same entry; the leader
only makes sure that an entry comes (`next_due`, `AdvanceTime`).
"""

from collections.abc import Iterator

from stationkeep.cluster.fleet.orders import expire_pins
from stationkeep.cluster.operators import end_maintenance
from stationkeep.cluster.progression.deadlines import expire_rollouts
from stationkeep.cluster.progression.holds import keep_time
from stationkeep.cluster.roles.actions import expire
from stationkeep.cluster.roles.proposals import close
from stationkeep.cluster.roles.seat import activate, may_activate
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.events import MemberChanged, PauseChanged
from stationkeep.cluster.state.operations import OPERATION_RETENTION
from stationkeep.cluster.state.state import ClusterState, ProposalOutcome
from stationkeep.cluster.state.step import Step


def next_due(state: ClusterState) -> int | None:
    """Cluster time (ms) at which something falls due next; None when nothing is pending."""
    return min(_due_times(state), default=None)


def _due_times(state: ClusterState) -> Iterator[int]:
    yield from (proposal.deadline for proposal in state.proposals.values())
    yield from (action.deadline for action in state.actions.values())
    if state.pause is not None:
        yield state.pause.until
    if state.seat.holder is not None and not state.seat.active:
        yield state.seat.fence_until
    for member in state.members.values():
        if member.maintenance_until is not None:
            yield member.maintenance_until
        yield from (p.expires_at for p in member.policies.values() if p.expires_at is not None)
    if state.fleet.pin_due is not None:
        yield state.fleet.pin_due
    if state.rollouts.next_due is not None:
        yield state.rollouts.next_due


def advance(step: Step) -> None:
    """Processes everything that is due at `step.now`."""
    state, now = step.state, step.now
    due = next_due(state)
    if due is not None and due <= now:
        for proposal in [p for p in state.proposals.values() if p.deadline <= now]:
            close(step, proposal, ProposalOutcome.TIMED_OUT)
        if may_activate(state, now):  # before deadlines: they count from the end of this wait
            activate(step)
        for action in [a for a in state.actions.values() if a.deadline <= now]:
            expire(step, action)
        _expire_operators_orders(step)
        keep_time(step)
        expire_pins(step)
        expire_rollouts(step)
    state.operations.forget_before(now - OPERATION_RETENTION)


def _expire_operators_orders(step: Step) -> None:
    state, now = step.state, step.now
    if state.pause is not None and state.pause.until <= now:
        state.pause = None
        step.decide("pause", Outcome.NOTED, (), facts={"expired": True})
        step.changed()
        step.emit(PauseChanged(None))
    for member in state.members.values():
        if member.maintenance_until is not None and member.maintenance_until <= now:
            end_maintenance(step, member)
            facts = {"on": False, "expired": True}
            step.decide("maintenance", Outcome.NOTED, (member.id,), facts=facts)
        for policy in list(member.policies.values()):
            if policy.expires_at is not None and policy.expires_at <= now:
                del member.policies[policy.name]
                step.emit(MemberChanged(member.id))
