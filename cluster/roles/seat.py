"""The PRIMARY seat: changes of holder, epochs, and the handover between two holders.

Derivation of "never two": a holder acts only under a lease that it counts from when it sent a
report which a committed command echoed. `Member.lease_until` is, in cluster time, no earlier
than the end of any such lease (drift margin included), and cluster time never runs ahead of
real time. So a successor that waits until `fence_until = lease_until of its predecessor`, or
for the predecessor's own acknowledgement at the new epoch, cannot overlap with it.
Source: roles.md, "Leases and handover: never two PRIMARYs".
"""

from stationkeep.cluster.commands import Change
from stationkeep.cluster.roles.actions import end_wait, open_role_change
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.events import RoleChanged, SeatActivated
from stationkeep.cluster.state.state import (
    FAILOVER_BUCKETS,
    MAX_FAILOVERS,
    MAX_ROLE_CHANGES,
    ClusterState,
    Counters,
    RoleChange,
)
from stationkeep.cluster.state.step import Step, count
from stationkeep.cluster.transitions import Role, Rule


def change_roles(step: Step, rule: Rule, changes: tuple[Change, ...], proposal: int = 0) -> None:
    """Applies changes that have been checked: roles, seat, history, and the action that tells."""
    state = step.state
    promoted = next((c.node for c in changes if c.target is Role.PRIMARY), None)
    if any(c.origin is Role.PRIMARY for c in changes):
        _vacate(state, rule, step.now)
    if promoted is not None:
        _seat(state, promoted, step.now)
    for change in changes:
        member = state.members[change.node]
        member.role = change.target
        member.role_changed_at = step.now
        member.role_rule = rule
        member.escalated_by = ""
        _chronicle(step, change, rule, proposal)
    step.changed()
    open_role_change(step, rule, changes)
    if promoted is not None and may_activate(state, step.now):
        activate(step)


def _vacate(state: ClusterState, rule: Rule, now: int) -> None:
    """Empties the seat; whoever comes next waits for the one who may still be acting."""
    seat = state.seat
    holder = state.primary
    assert holder is not None
    if seat.active:  # else this holder never acted: who follows waits for the one it waited for
        seat.fence_until = holder.lease_until
        seat.predecessor = holder.id
    seat.failing_since = holder.run_since if rule is Rule.PRIMARY_FAILED else None
    seat.holder = None
    seat.active = False
    seat.since = now


def _seat(state: ClusterState, holder: str, now: int) -> None:
    seat = state.seat
    if holder == seat.predecessor:  # the seat comes back before it was handed over
        seat.predecessor = None
        seat.fence_until = now
    seat.holder = holder
    seat.epoch += 1
    seat.since = now
    seat.vacant_since = None


def _chronicle(step: Step, change: Change, rule: Rule, proposal: int) -> None:
    state = step.state
    epoch = state.seat.epoch
    line = RoleChange(
        step.now,
        step.wall,
        step.index,
        change.node,
        change.origin,
        change.target,
        rule,
        epoch,
        proposal,
        step.actor,
        state.settings.hysteresis_window,
    )
    state.role_changes.append(line)
    del state.role_changes[:-MAX_ROLE_CHANGES]
    count(state.counters.role_changes, f"{change.origin}>{change.target}>{rule}")
    step.emit(RoleChanged(change.node, change.origin, change.target, rule, epoch))


def may_activate(state: ClusterState, now: int) -> bool:
    """The holder waits, and its predecessor's lease must have run out by now."""
    seat = state.seat
    return seat.holder is not None and not seat.active and now >= seat.fence_until


def activate(step: Step) -> None:
    """The holder may act from now on."""
    seat = step.state.seat
    assert seat.holder is not None
    failover = step.now - seat.failing_since if seat.failing_since is not None else None
    if failover is not None:
        _count_failover(step.state.counters, failover)
    facts = {"epoch": seat.epoch, "waited_ms": step.now - seat.since}
    if failover is not None:
        facts["failover_ms"] = failover
    if seat.predecessor is not None:
        step.decide("handover", Outcome.NOTED, (seat.holder, seat.predecessor), facts=facts)
    seat.active = True
    seat.predecessor = None
    seat.failing_since = None
    end_wait(step, seat.holder)
    step.changed()
    step.emit(SeatActivated(seat.holder, seat.epoch, failover))


def _count_failover(counters: Counters, milliseconds: int) -> None:
    counters.failovers += 1
    counters.failover_ms_total += milliseconds
    counters.failover_ms.append(milliseconds)
    del counters.failover_ms[:-MAX_FAILOVERS]
    for bound in FAILOVER_BUCKETS:
        if milliseconds <= bound * 1_000:
            count(counters.failover_buckets, str(bound))


def acknowledge_demotion(step: Step, node: str, epoch: int) -> None:
    """The predecessor has stopped acting at this epoch: its lease no longer matters."""
    seat = step.state.seat
    waiting = seat.holder is not None and not seat.active
    if waiting and seat.predecessor == node and seat.epoch == epoch:
        activate(step)
