"""Applying what the leader measured and planned: samples, leases, alarms, plans.

`roles/evaluate.py` decides what is wanted, from the state alone; this module takes the samples
into the state before that, and the resulting plan after it.
"""

from stationkeep.cluster.alarms import (
    BRAKE,
    NO_CANDIDATE,
    NO_PRIMARY,
    PRIMARY_DEGRADED,
    watch_members,
)
from stationkeep.cluster.commands import AdoptPlan, Echo, Held, Measured, Motion, RecordEvaluation
from stationkeep.cluster.registry import hear
from stationkeep.cluster.roles.evaluate import hold_key, touched_nodes, touches_seat
from stationkeep.cluster.roles.health import record_sample
from stationkeep.cluster.roles.proposals import obstacle, open_proposal
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import LeasesEchoed, SamplesRecorded
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.state.step import Refused, Step, count
from stationkeep.cluster.suggestion import unknown
from stationkeep.cluster.transitions import OPERATOR_RULES, Role
from stationkeep.cluster.upgrades import note_releases


def record_evaluation(step: Step, command: RecordEvaluation) -> dict[str, object]:
    """Takes one evaluation's samples into the histories; refused when another came first."""
    state = step.state
    if command.after != state.evaluations:
        detail = f"after: {command.after}, but {state.evaluations} evaluations are recorded"
        raise Refused(Reason.STALE_REVISION, detail)
    named = [measured.node for measured in command.samples]
    if len(set(named)) < len(named) or not set(named) <= set(state.members):
        raise Refused(Reason.INVALID, "samples: one per member, and of members only")
    echo_leases(step, command.echoes)
    turned = [measured.node for measured in command.samples if _sample(step, measured)]
    state.evaluations += 1
    state.evaluated_at = step.now
    _brake(step, turned)
    _watch_seat(step)
    watch_members(step, command.samples)
    note_releases(step, command.samples)
    step.changed()
    step.emit(SamplesRecorded(state.evaluations))
    return {"evaluation": state.evaluations}


def _sample(step: Step, measured: Measured) -> bool:
    """Records a member's sample; True when it has just turned unhealthy."""
    member = step.state.members[measured.node]
    if member.joining:
        return False
    if record_sample(member, measured, step.now, step.state.settings):
        count(step.state.counters.flapping_blocked, "hysteresis")
    return member.run == 1


def echo_leases(step: Step, echoes: tuple[Echo, ...]) -> dict[str, object]:
    """Records the reports that the leader received; only newer ones are echoed for leases."""
    fresh = tuple((e.node, e.boot, e.seq) for e in echoes if hear(step.state, e))
    if fresh:
        step.emit(LeasesEchoed(fresh))
    return {}


def _brake(step: Step, turned: list[str]) -> None:
    """Puts the brake on when more than half turned unhealthy at once, which the network or the
    measurement causes rather than the nodes; takes it off when at most half are unhealthy."""
    state = step.state
    members = len(state.members)
    sick = sum(m.run > 0 for m in state.members.values())
    if not state.braked and len(turned) > members / 2:
        state.braked = True
        share = f"{len(turned)} of {members} turned unhealthy at once ({', '.join(sorted(turned))})"
        step.raise_alarm(BRAKE, f"{share}; isolation and recovery wait")
    elif state.braked and sick <= members / 2:
        state.braked = False
        step.clear_alarm(BRAKE, why=f"{sick} of {members} are unhealthy")


def _watch_seat(step: Step) -> None:
    """Alarms about the PRIMARY seat that follow from samples alone. At the sample that fails a
    PRIMARY its replacement is proposed; that it is sampled once more says that none came."""
    state = step.state
    primary = state.primary
    if primary is None:
        if state.seat.vacant_since is None:
            state.seat.vacant_since = step.now
        elif step.now - state.seat.vacant_since > state.settings.evaluation_interval:
            step.raise_alarm(NO_PRIMARY, "the PRIMARY seat is empty")
    else:
        step.clear_alarm(NO_PRIMARY)
    for member in state.members.values():
        if member is primary and member.run > state.settings.failures_to_fail_primary:
            step.raise_alarm(PRIMARY_DEGRADED, f"{member.run} unhealthy samples", member.id)
        else:
            step.clear_alarm(PRIMARY_DEGRADED, member.id)


def adopt_plan(step: Step, command: AdoptPlan) -> dict[str, object]:
    """Opens the plan's proposals and records what was held back; all of it or nothing."""
    state = step.state
    if command.revision != state.revision:
        detail = f"revision: planned on {command.revision}, the state is at {state.revision}"
        raise Refused(Reason.STALE_REVISION, detail)
    _check_motions(state, command.motions, step.now)
    for held in command.held:
        if held.node and held.node not in state.members:
            raise Refused(Reason.UNKNOWN_NODE, f"held: {unknown('node', held.node)}")
    _record_holds(step, command.held)
    for motion in command.motions:
        open_proposal(step, motion)
    step.changed()
    return {"proposals": [p.id for p in state.proposals.values()]}


def _check_motions(state: ClusterState, motions: tuple[Motion, ...], now: int) -> None:
    busy = touched_nodes(state)
    seat_busy = any(touches_seat(p.changes) for p in state.proposals.values())
    for motion in motions:
        if motion.rule in OPERATOR_RULES or not motion.changes:
            raise Refused(Reason.INVALID, f"motions: {motion.rule} cannot be put to the vote")
        reason = obstacle(state, motion.rule, motion.changes, motion.epoch, now)
        if reason is not None:
            raise Refused(reason, f"motions: {motion.rule}")
        nodes = {change.node for change in motion.changes}
        if nodes & busy:
            raise Refused(Reason.NODE_BUSY, f"motions: {sorted(nodes & busy)}")
        if touches_seat(motion.changes) and seat_busy:
            raise Refused(Reason.SEAT_BUSY, "motions: a proposal touches the seat already")
        busy |= nodes
        seat_busy = seat_busy or touches_seat(motion.changes)


def _record_holds(step: Step, held: tuple[Held, ...]) -> None:
    """One decision per episode: as long as the same rule is held back for the same reason, the
    log says it once."""
    state = step.state
    before = state.holds
    state.holds = {hold_key(h): h.reason for h in held}
    for hold in held:
        if before.get(hold_key(hold)) == hold.reason:
            continue
        subjects = (hold.node,) if hold.node else ()
        step.decide(
            hold.rule,
            Outcome.HELD,
            subjects,
            reason=hold.reason,
            evidence=_risks(state.members.get(hold.node)),
            facts=hold.facts,
            rejected=hold.rejected,
        )
        if hold.reason == Reason.COOLDOWN:
            count(state.counters.flapping_blocked, "cooldown")
    if any(h.reason == Reason.NO_CANDIDATE for h in held):
        role = Role.PRIMARY.value
        step.raise_alarm(NO_CANDIDATE, f"nobody is fit to become {role}")
    else:
        step.clear_alarm(NO_CANDIDATE)


def _risks(member: Member | None) -> dict[str, tuple[int, ...]]:
    if member is None:
        return {}
    return {member.id: member.evidence}
