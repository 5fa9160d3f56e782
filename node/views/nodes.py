"""State → what clients see of the cluster and its nodes.

The structs here are the REST shapes: msgspec encodes them, and the OpenAPI document is generated
from them (`api/openapi.py`). Fields that end in `_s` are seconds (float), in `_ms` milliseconds of
cluster time (integer); risks are 0..1.
"""

from typing import Any, Literal

import msgspec

from stationkeep.cluster import registry
from stationkeep.cluster.alarms import ALARMS
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.roles import health
from stationkeep.cluster.roles.candidates import unfitness
from stationkeep.cluster.sentences import say_reason
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import Alarm, ClusterState, Member
from stationkeep.cluster.transitions import Role
from stationkeep.cluster.verdict import Level, Sight, is_current, judge
from stationkeep.node.version import VERSION
from stationkeep.node.views.base import Answering, View

HISTORY_IN_LISTS = 100
"""Samples of a node shown in a list; `GET /v1/nodes/ID` shows all."""
UNKNOWN = "UNKNOWN"
"""The failure mode when the answering node cannot know it."""


class PrimaryView(View, frozen=True):
    """Holder of the seat. Until it is `active` it waits for its predecessor's lease to expire."""

    id: str
    epoch: int
    active: bool
    fence_remaining_s: float


class QuorumView(View, frozen=True):
    """Members, how many a majority needs, and how many this node is connected to."""

    members: int
    needed: int
    connected: int
    present: bool


class PauseView(View, frozen=True):
    remaining_s: float
    actor: str
    reason: str


class AcknowledgementView(View, frozen=True):
    """Who acknowledged an alarm, when, and with what comment."""

    actor: str
    at_ms: int
    comment: str


class AlarmView(View, frozen=True):
    """A raised alarm. `id`: its name, followed by `@` and the subject if it is about one node."""

    id: str
    name: str
    subject: str | None
    severity: str
    meaning: str
    since_ms: int
    wall_ms: int
    detail: str
    acknowledged: AcknowledgementView | None


class AlarmList(View, frozen=True):
    """`GET /v1/alarms`: raised alarms, critical ones first, then the oldest."""

    items: list[AlarmView]


class FleetView(View, frozen=True):
    """`fleet` of `GET /v1/cluster`: totals over all rings, and the devices in each ring.

    Field names are those of the system that this one replaces. The health of offline devices is
    unknown: total = healthy + unhealthy + offline.
    """

    total_slaves: int
    healthy_devices: int
    unhealthy_devices: int
    offline_devices: int
    pinned_devices: int
    ring_distribution: dict[Ring, int]
    braked: bool


class NeedView(View, frozen=True):
    """One problem that needs attention. `alarm`: its id, if it is a raised alarm; `rollout`: the
    one that it is about."""

    level: Level
    sentence: str
    alarm: str | None
    rollout: str | None


class ClusterView(View, frozen=True):
    """`GET /v1/cluster`.

    `verdict` is `ok` when nothing `needs` attention; critical problems come first. `barred`: why
    no order can be carried out now, or null. `age_ms`: for how long this node has not been up to
    date; cluster time does not advance while there is no leader. `uid`: 16 hex
    digits that tell the cluster from others of its name, empty until it is founded. `level`: see
    `GET /v1/level`.
    """

    cluster_id: str
    uid: str
    level: int
    node: str
    version: str
    verdict: Level
    headline: str
    needs: list[NeedView]
    barred: str | None
    time_ms: int
    age_ms: int
    wall_ms: int
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    revision: int
    evaluations: int
    quorum: QuorumView
    members: list[str]
    primary: PrimaryView | None
    paused: PauseView | None
    braked: bool
    swarm_mode: bool
    alarms: list[AlarmView]
    removed: bool
    fleet: FleetView
    digest: str | msgspec.UnsetType = msgspec.UNSET


class SampleView(View, frozen=True):
    at_ms: int
    risk: float
    missed: bool
    reports: int
    cause: str


class PolicyView(View, frozen=True):
    name: str
    priority: str
    score: float
    forbids: list[str]
    set_at_ms: int
    remaining_s: float | None


class MaintenanceView(View, frozen=True):
    remaining_s: float


class AddressView(View, frozen=True):
    raft: str
    http: str


class NodeView(View, frozen=True):
    """`GET /v1/nodes/ID`. `effective_role` is null if the node has not reported recently, `epoch`
    is null unless the node holds the seat. If the answering node has lost touch with the cluster,
    `known` is false: `risk` is null, and `alive` says whether the answering node receives its
    reports. `unable`: why it cannot do its part although it is alive, or "". `unfit`: why it could
    not be made PRIMARY now, its cool-down aside, or "". `actions`: those that it has hooks for;
    null until it has announced them."""

    id: str
    role: Role
    effective_role: Role | None
    epoch: int | None
    known: bool
    alive: bool
    joining: bool
    raft_leader: bool
    risk: float | None
    cause: str
    unable: str
    unfit: str
    actions: list[str] | None
    recurrence: float
    failure_mode: str
    consecutive_unhealthy: int
    history: list[SampleView]
    cooldown_remaining_s: float
    priority: int
    maintenance: MaintenanceView | None
    lease_remaining_s: float | None
    last_heard_s: float | None
    escalated_by: str | None
    policies: list[PolicyView]
    address: AddressView
    release: str | None


class NodeList(View, frozen=True):
    items: list[NodeView]
    next: str | None


class NodeRole(View, frozen=True):
    """One row of `GET /v1/roles`; `since_ms` is null when the role never changed."""

    node: str
    role: Role
    effective_role: Role | None
    since_ms: int | None


class NodeRoleList(View, frozen=True):
    items: list[NodeRole]


class ConfigView(View, frozen=True):
    """`GET /v1/config`; `profile_hint` names the profile that these settings equal, or is null."""

    settings: dict[str, Any]
    profile_hint: str | None


class MeView(View, frozen=True):
    """`GET /v1/me`. `role`: that of the token, `none` without one that is good; `because` says why
    it is no greater one."""

    actor: str
    role: Literal["none", "viewer", "operator", "admin", "metrics", "device", "enrol"]
    because: str


def cluster_view(here: Answering) -> ClusterView:
    """The cluster as this node knows it."""
    state, consensus, now = here.state, here.consensus, here.cluster_time()
    pause, sight = state.pause, _sight(here)
    verdict = judge(state, now, sight)
    return ClusterView(
        cluster_id=state.cluster_id,
        uid=state.uid,
        level=state.level,
        node=here.node,
        version=VERSION,
        verdict=verdict.level,
        headline=verdict.headline,
        needs=[
            NeedView(n.level, n.sentence, n.alarm or None, n.rollout or None) for n in verdict.needs
        ],
        barred=verdict.barred or None,
        time_ms=now,
        age_ms=sight.age,
        wall_ms=state.wall,
        leader=consensus.leader,
        term=consensus.term,
        commit_index=consensus.commit_index,
        applied_index=consensus.applied_index,
        revision=state.revision,
        evaluations=state.evaluations,
        quorum=_quorum_view(here),
        members=sorted(state.members),
        primary=_primary_view(state, now),
        paused=PauseView(_left(pause.until, now), pause.actor, pause.reason) if pause else None,
        braked=state.braked,
        swarm_mode=state.settings.swarm_mode,
        alarms=alarm_views(state),
        removed=here.removed(),
        fleet=fleet_view(state.fleet),
    )


def _sight(here: Answering) -> Sight:
    """What this node knows beyond the replicated state."""
    consensus = here.consensus
    return Sight(
        node=here.node,
        leader=consensus.leader,
        has_quorum=consensus.has_quorum,
        connected=here.connected(),
        age=here.staleness_ms(),
        acting={name: here.effective_role(name) for name in here.state.members},
        removed=here.removed(),
        journal_fails=consensus.journal_error is not None,
        late=here.late_webhooks(),
    )


def alarm_views(state: ClusterState) -> list[AlarmView]:
    """Raised alarms, critical ones first, then the oldest."""
    views = [_alarm_view(alarm) for alarm in state.alarms.values()]
    return sorted(views, key=lambda v: (v.severity != "critical", v.since_ms, v.id))


def _alarm_view(alarm: Alarm) -> AlarmView:
    kind, seen = ALARMS[alarm.name], alarm.acknowledged
    return AlarmView(
        id=alarm.id,
        name=alarm.name,
        subject=alarm.subject or None,
        severity=kind.severity,
        meaning=kind.meaning,
        since_ms=alarm.since,
        wall_ms=alarm.wall,
        detail=alarm.detail,
        acknowledged=AcknowledgementView(seen.actor, seen.at, seen.comment) if seen else None,
    )


def fleet_view(fleet: Fleet) -> FleetView:
    """The whole fleet in a few figures."""
    counts = fleet.counts()
    return FleetView(
        total_slaves=len(fleet),
        healthy_devices=sum(ring.healthy for ring in counts.values()),
        unhealthy_devices=sum(ring.unhealthy for ring in counts.values()),
        offline_devices=sum(ring.offline for ring in counts.values()),
        pinned_devices=sum(ring.pinned for ring in counts.values()),
        ring_distribution={ring: counts[ring].total for ring in RINGS},
        braked=fleet.braked,
    )


def node_view(here: Answering, member: Member, newest: int | None = None) -> NodeView:
    """One member, with the `newest` samples of its history, or all if None."""
    state, now = here.state, here.cluster_time()
    samples = member.history if newest is None else member.history[-newest:]
    acting, age = here.effective_role(member.id), here.staleness_ms()
    known = is_current(state, age)
    return NodeView(
        id=member.id,
        role=member.role,
        effective_role=acting,
        epoch=state.seat.epoch if state.seat.holder == member.id else None,
        known=known,
        alive=registry.is_alive(state, member, now) if known else acting is not None,
        joining=member.joining,
        raft_leader=here.consensus.leader == member.id,
        risk=member.history[-1].risk / PPM if member.history and known else None,
        cause=_cause(member) if known else "not known now",
        unable=member.unable if known else "",
        unfit=_unfit(state, member, now) if known else "",
        actions=None if member.actions is None else list(member.actions),
        recurrence=member.recurrence / 1_000,
        failure_mode=health.failure_mode(member, state.settings).value if known else UNKNOWN,
        consecutive_unhealthy=member.run,
        history=[SampleView(s.at, s.risk / PPM, s.missed, s.reports, s.cause) for s in samples],
        cooldown_remaining_s=registry.cooldown_remaining(state, member, now) / 1_000,
        priority=member.priority,
        maintenance=_maintenance_view(member, now),
        lease_remaining_s=lease_remaining(here, member.id),
        last_heard_s=None if member.last_heard is None else _left(now + age, member.last_heard),
        escalated_by=member.escalated_by or None,
        policies=_policy_views(member, now),
        address=AddressView(member.raft, member.http),
        release=member.release or None,
    )


def _unfit(state: ClusterState, member: Member, now: int) -> str:
    reason = unfitness(state, member, now)
    return "" if reason is None else say_reason(reason)


def _cause(member: Member) -> str:
    return member.history[-1].cause if member.history else ""


def lease_remaining(here: Answering, node: str) -> float | None:
    """Seconds left of the lease of the seat's holder; None for every other node."""
    if here.state.seat.holder != node:
        return None
    left = here.lease_remaining(node)
    return None if left is None else round(left, 3)


def node_role(here: Answering, member: Member) -> NodeRole:
    """One row of the role table."""
    acting = here.effective_role(member.id)
    return NodeRole(member.id, member.role, acting, member.role_changed_at)


def _left(until: int, now: int) -> float:
    return max(0, until - now) / 1_000


def _quorum_view(here: Answering) -> QuorumView:
    members = len(here.state.members)
    return QuorumView(members, members // 2 + 1, here.connected(), here.consensus.has_quorum)


def _primary_view(state: ClusterState, now: int) -> PrimaryView | None:
    seat = state.seat
    if seat.holder is None:
        return None
    waiting = 0.0 if seat.active else _left(seat.fence_until, now)
    return PrimaryView(seat.holder, seat.epoch, seat.active, waiting)


def _maintenance_view(member: Member, now: int) -> MaintenanceView | None:
    until = member.maintenance_until
    return MaintenanceView(_left(until, now)) if until is not None and now < until else None


def _policy_views(member: Member, now: int) -> list[PolicyView]:
    return [
        PolicyView(
            policy.name,
            policy.priority,
            policy.score / PPM,
            list(policy.forbids),
            policy.set_at,
            None if policy.expires_at is None else _left(policy.expires_at, now),
        )
        for policy in sorted(member.policies.values(), key=lambda policy: policy.name)
        if policy.expires_at is None or now < policy.expires_at
    ]
