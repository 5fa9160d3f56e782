"""Why a node has its role, and why it is not PRIMARY: computed from the state, not recorded.

Source: roles.md, "Decision log".
"""

import msgspec

from stationkeep.cluster.registry import cooldown_remaining, in_maintenance, is_alive
from stationkeep.cluster.roles.candidates import best_candidate, unfitness
from stationkeep.cluster.roles.health import failure_mode, mean_risk
from stationkeep.cluster.sentences import say_reason, say_risk, say_role
from stationkeep.cluster.settings import format_duration
from stationkeep.cluster.state.decisions import Decision, Reason
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.transitions import Role

NEWEST = 20


class Explanation(msgspec.Struct, frozen=True):
    """The answer; `decisions` are the newest that concern the node, newest first."""

    node: str
    summary: list[str]
    why_not_primary: list[str]
    decisions: list[Decision]


def explain(state: ClusterState, node: str) -> Explanation:
    """The story of a member at the state's own time; `node` must be a member."""
    member = state.members[node]
    concerned = [d for d in reversed(state.decisions) if node in d.subjects][:NEWEST]
    return Explanation(node, _summary(state, member), _why_not_primary(state, member), concerned)


def _summary(state: ClusterState, member: Member) -> list[str]:
    lines = [say_role(state, member.id), _say_health(state, member)]
    if in_maintenance(member, state.time) and member.maintenance_until is not None:
        left = format_duration(member.maintenance_until - state.time)
        lines.append(f"in maintenance for another {left}")
    cooldown = cooldown_remaining(state, member, state.time)
    if cooldown:
        lines.append(f"its role is not changed automatically for another {_whole(cooldown)}")
    if member.unable:
        lines.append(f"it cannot do its part: it {member.unable}")
    if member.escalated_by:
        lines.append(f"escalated: it missed the deadline of {member.escalated_by}")
    seat = state.seat
    if member.id == seat.holder and not seat.active:
        left = _whole(max(0, seat.fence_until - state.time))
        lines.append(f"it waits for {seat.predecessor} to step down, at most another {left}")
    if state.pause is not None:
        lines.append(
            f"automatic changes pause for another {_whole(state.pause.until - state.time)}"
        )
    if not state.settings.swarm_mode:
        lines.append("automatic changes are switched off (swarm_mode)")
    return lines


def _say_health(state: ClusterState, member: Member) -> str:
    if member.last_heard is None:
        return "never heard of yet: it is joining"
    if member.learner:
        return "joining: it is sent the log and has no vote yet"
    risks = " ".join("missed" if s.missed else say_risk(s.risk) for s in member.history)
    mode = failure_mode(member, state.settings)
    alive = "alive" if is_alive(state, member, state.time) else "not heard lately"
    run = f", {member.run} unhealthy in a row" if member.run else ""
    return f"{alive}, {mode}{run}; samples, newest last: {risks or 'none'}"


def _why_not_primary(state: ClusterState, member: Member) -> list[str]:
    if member.role is Role.PRIMARY:
        return []
    lines: list[str] = []
    unfit = unfitness(state, member, state.time)
    if unfit is not None:
        lines.append(f"it could not be: {say_reason(unfit)}{_figure(state, member, unfit)}")
    if state.seat.holder is not None:
        lines.append(f"{state.seat.holder} holds the seat (epoch {state.seat.epoch})")
    best = best_candidate(state, state.time).node
    if unfit is None and best == member.id:
        lines.append("it would be next: it is the best candidate now")
    elif unfit is None and best is not None:
        lines.append(f"{best} would be next: {_compare(state, state.members[best], member)}")
    return lines


def _figure(state: ClusterState, member: Member, unfit: Reason) -> str:
    if unfit is Reason.RISK_ABOVE_CEILING:
        ceiling = say_risk(state.settings.backup_ceiling)
        return f" ({say_risk(member.risk)}, the ceiling is {ceiling})"
    return f" ({member.run} samples in a row)" if unfit is Reason.UNHEALTHY else ""


def _compare(state: ClusterState, best: Member, other: Member) -> str:
    """The first point in which the best candidate is better."""
    rest = cooldown_remaining(state, other, state.time)
    if rest and not cooldown_remaining(state, best, state.time):
        return f"{other.id} is in its cool-down for another {_whole(rest)}"
    if best.priority != other.priority:
        return f"priority {best.priority} against {other.priority}"
    if best.role is not other.role:
        return f"{best.role} goes before {other.role}"
    if mean_risk(best) != mean_risk(other):
        return f"mean risk {say_risk(mean_risk(best))} against {say_risk(mean_risk(other))}"
    if best.healthy_since != other.healthy_since:
        return "it has been healthy for longer"
    return "equal in everything, the first by id"


def _whole(milliseconds: int) -> str:
    return format_duration(-(-milliseconds // 1_000) * 1_000)
