"""Members, and the reports received from them.

Source: roles.md, "Health and registry" and, for the lease, "Leases and handover".
"""

from stationkeep.cluster.commands import Echo
from stationkeep.cluster.numbers import BOOT, CEILING
from stationkeep.cluster.settings import LEASE_DRIFT_PPM, PPM
from stationkeep.cluster.state.state import ClusterState, Member


def is_alive(state: ClusterState, member: Member, now: int) -> bool:
    """Whether the member was heard from within `heartbeat_timeout`; one that is joining does not
    count yet."""
    if member.last_heard is None or member.learner:
        return False
    return now - member.last_heard <= state.settings.heartbeat_timeout


def alive(state: ClusterState, now: int) -> tuple[str, ...]:
    """Ids of the alive members, sorted."""
    return tuple(sorted(m.id for m in state.members.values() if is_alive(state, m, now)))


def electors(state: ClusterState, now: int) -> tuple[str, ...]:
    """Ids of those who can vote: alive, and in touch with the log."""
    return tuple(node for node in alive(state, now) if not state.members[node].unable)


def cooldown_remaining(state: ClusterState, member: Member, now: int) -> int:
    """Milliseconds until this node's role may be changed again; 0 when it may."""
    if member.role_changed_at is None:
        return 0
    return max(0, member.role_changed_at + state.settings.hysteresis_window - now)


def in_maintenance(member: Member, now: int) -> bool:
    """Whether an operator has drained the node and the time is not over."""
    return member.maintenance_until is not None and now < member.maintenance_until


def hear(state: ClusterState, echo: Echo) -> bool:
    """Notes the newest report of a node; whether it renews the node's lease. False for an unknown
    node or nothing newer, or for a boot out of reach, of which the log comes nearer by a step
    (`cluster.numbers`).

    The node may count its lease from when it sent this report, at the earliest now measured
    from `received_at`; with the drift margin its lease is over by `lease_until` on any clock.
    """
    member = state.members.get(echo.node)
    if member is None or echo.seq > CEILING or (echo.boot, echo.seq) <= (member.boot, member.seq):
        return False
    limit = BOOT.limit(member.boot)
    if echo.boot > limit:
        member.boot, member.seq = limit, 0
        return False
    received = min(echo.received_at, state.time)
    member.boot, member.seq = echo.boot, echo.seq
    member.last_heard = received if member.last_heard is None else max(member.last_heard, received)
    if not echo.renews:
        return False
    lease = state.settings.primary_lease * (PPM + LEASE_DRIFT_PPM) // PPM + 1
    member.lease_until = max(member.lease_until, received + lease)
    return True
