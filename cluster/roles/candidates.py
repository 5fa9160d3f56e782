"""Who may become PRIMARY, and who is best.

Source: roles.md, "What the leader does at each evaluation", "Best candidate".
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from stationkeep.cluster.registry import cooldown_remaining, in_maintenance, is_alive
from stationkeep.cluster.roles.health import mean_risk
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState, Member
from stationkeep.cluster.transitions import Role

_NOBODY: Mapping[str, Reason] = MappingProxyType({})


class Choice(msgspec.Struct, frozen=True):
    """The best candidate, or None; and every member passed over, with the reason."""

    node: str | None
    rejected: tuple[tuple[str, str], ...]


def unfitness(state: ClusterState, member: Member, now: int) -> Reason | None:
    """Why a member cannot be PRIMARY now, cool-down aside; None when it can."""
    if member.id == state.seat.holder:
        return Reason.IS_PRIMARY
    if member.joining:
        return Reason.JOINING
    if not is_alive(state, member, now):
        return Reason.NOT_ALIVE
    if in_maintenance(member, now):
        return Reason.MAINTENANCE
    if member.priority == 0:
        return Reason.PRIORITY_ZERO
    if member.role not in (Role.BACKUP, Role.STANDBY):
        return Reason.NOT_A_CANDIDATE_ROLE
    if member.unable:
        return Reason.UNABLE
    if member.run > 0 or not member.history:
        return Reason.UNHEALTHY
    if member.risk >= state.settings.backup_ceiling:
        return Reason.RISK_ABOVE_CEILING
    return None


def preference(member: Member, now: int) -> tuple[int, bool, int, int, str]:
    """Sort key, best first: priority, BACKUP before STANDBY, mean risk, longest healthy, id."""
    healthy_for = now - member.healthy_since if member.healthy_since is not None else 0
    backup_last = member.role is not Role.BACKUP
    return (-member.priority, backup_last, mean_risk(member), -healthy_for, member.id)


def best_candidate(
    state: ClusterState,
    now: int,
    exclude: Mapping[str, Reason] = _NOBODY,
    *,
    rested_only: bool = False,
) -> Choice:
    """The fittest member outside its cool-down, or within it when there is no other.

    `exclude`: members that are no candidates this time, and why. `rested_only`: no member in its
    cool-down, even if there is no other.
    """
    rejected: list[tuple[str, str]] = []
    fit: list[Member] = []
    for _, member in sorted(state.members.items()):
        reason = exclude.get(member.id) or unfitness(state, member, now)
        if reason is None:
            fit.append(member)
        elif reason is not Reason.IS_PRIMARY:
            rejected.append((member.id, reason))
    rested = [m for m in fit if cooldown_remaining(state, m, now) == 0]
    if rested or rested_only:
        resting = sorted({m.id for m in fit} - {m.id for m in rested})
        rejected.extend((node, Reason.COOLDOWN) for node in resting)
        fit = rested
    if not fit:
        return Choice(None, tuple(rejected))
    return Choice(min(fit, key=lambda m: preference(m, now)).id, tuple(rejected))
