"""State → what clients see of devices and rings. For units see `nodes.py`.

Percentages are 0..100 as devices report them. A device's health is two facts: `online`, and the
verdict `healthy`, which is meaningless while it is offline.
"""

from collections.abc import Sequence

from stationkeep.cluster.alarms import DEVICE_STORM
from stationkeep.cluster.delivery.explain import explain_device
from stationkeep.cluster.devices.fleet import Device, Fleet, FleetView, Move, Pin
from stationkeep.cluster.devices.moves import AUTOMATIC, MoveReason
from stationkeep.cluster.devices.policies import RingPolicy, allowed, version_of
from stationkeep.cluster.devices.rings import RINGS, Four, Ring, rings_of
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.fleet.explain import say_move
from stationkeep.cluster.fleet.rebalance import RebalancePlan
from stationkeep.cluster.fleet.regrouping import Grouped, regrouping
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.base import View
from stationkeep.node.views.fleet_events import count_ways


class PinView(View, frozen=True):
    """Who pinned a device to its ring. `remaining_s` is null if the pin does not expire."""

    actor: str
    reason: str
    remaining_s: float | None


class StatusView(View, frozen=True):
    """The newest replicated readings; at most a second older than those received."""

    battery_level: int
    battery_charging: bool
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    metrics: dict[str, float]


class DeviceView(View, frozen=True):
    """`GET /v1/devices/ID`. `policy`: name of the ring policy that applies to it, or null.
    `changed_s`: seconds since a version changed that it runs, null if none has. `credential`: its
    own, which is none, good, revoked or reset."""

    id: str
    name: str
    os_version: str
    app_version: str
    capabilities: dict[str, str]
    labels: dict[str, str]
    ring: Ring
    ring_since_ms: int
    ring_reason: str
    ring_sentence: str
    pin: PinView | None
    policy: str | None
    healthy: bool
    online: bool
    status: StatusView | None
    seen_s: float
    changed_s: float | None
    session: int
    sequence: int
    served_by: str
    credential: str
    revision: int


class DeviceList(View, frozen=True):
    """A page may have fewer than `limit` devices, even none, and still have a `next`: one request
    examines only a limited number of devices. `warnings`: if nothing was found, keys of the
    selector that no device has."""

    items: list[DeviceView]
    next: str | None
    warnings: list[str]


class MoveView(View, frozen=True):
    """One line of a device's ring history. `origin` is null for its registration. `comment`: the
    operator's reason, for as long as the decision log has it."""

    at_ms: int
    ago_s: float
    origin: Ring | None
    target: Ring
    reason: str
    assigned_by: str
    comment: str
    sentence: str


class MoveList(View, frozen=True):
    """The remembered moves of a device, newest first."""

    items: list[MoveView]


class DeviceExplanationView(View, frozen=True):
    """`GET /v1/devices/ID/explain`: why a device is in its ring, as sentences."""

    device: str
    ring: Ring
    summary: list[str]
    history: list[MoveView]


class RingView(View, frozen=True):
    """One ring. `quota`: how many devices it should have now, not counting pinned ones; `share`:
    its share of all weights, 0..1."""

    ring: Ring
    devices: int
    healthy: int
    unhealthy: int
    offline: int
    pinned: int
    quota: int
    weight: int
    share: float
    cap: int | None


class RingPolicyView(View, frozen=True):
    """`rings`: where the devices that it applies to may be; `weights` among these rings, or null
    for the fleet's."""

    name: str
    selector: str
    rings: list[Ring]
    weights: dict[Ring, int] | None
    devices: int


class BrakeView(View, frozen=True):
    since_ms: int
    detail: str


class RingsView(View, frozen=True):
    """`GET /v1/rings`."""

    items: list[RingView]
    health_rule: str
    charging_excuses_battery: bool
    policies: list[RingPolicyView]
    policies_version: str
    brake: BrakeView | None
    checks: int
    checked_at_ms: int | None


class HealthPlanView(View, frozen=True):
    """`POST /v1/rings/health-rule/plan`: for how many devices online the newest status would be
    judged differently. A verdict only changes after several such statuses in a row. `warnings`:
    metrics that no device has reported."""

    online: int
    to_unhealthy: int
    to_healthy: int
    warnings: list[str]


class RuledView(View, frozen=True):
    """To how many devices one of the policies would apply."""

    name: str
    devices: int


class PoliciesPlanView(View, frozen=True):
    """`POST /v1/rings/policies/plan`: of all `devices`, to how many another policy than now would
    apply (`changed`), and how many, not being pinned, would be in a ring that they may not be in
    (`astray`). Checks move the latter once they are online. `warnings`: policies and keys that
    match nothing."""

    devices: int
    changed: int
    astray: int
    policies: list[RuledView]
    warnings: list[str]


class PlannedMovesView(View, frozen=True):
    devices: int
    origin: Ring
    target: Ring
    reason: str
    sentence: str


class RebalancePlanView(View, frozen=True):
    """`GET /v1/rings/plan`: what a check would move now. `braked`: the brake would prevent it."""

    total: int
    devices: int
    braked: bool
    moves: list[PlannedMovesView]


def device_view(device: Device, now: int) -> DeviceView:
    """One device at cluster time `now`."""
    return DeviceView(
        id=device.id,
        name=device.name,
        os_version=device.os_version,
        app_version=device.app_version,
        capabilities=device.capabilities,
        labels=device.labels,
        ring=device.ring,
        ring_since_ms=device.ring_since,
        ring_reason=device.ring_reason,
        ring_sentence=say_move(device.ring_reason),
        pin=None if device.pinned is None else _pin_view(device.pinned, now),
        policy=device.policy or None,
        healthy=device.healthy,
        online=device.online,
        status=_status_view(device) if device.reported else None,
        seen_s=_since(device.seen_at, now),
        changed_s=None if device.changed_at is None else _since(device.changed_at, now),
        session=device.session,
        sequence=device.sequence,
        served_by=device.served_by,
        credential=device.credential,
        revision=device.revision,
    )


def _status_view(device: Device) -> StatusView:
    return StatusView(
        battery_level=device.battery,
        battery_charging=device.charging,
        cpu_usage=device.cpu,
        memory_usage=device.memory,
        disk_usage=device.disk,
        metrics=device.metrics,
    )


def _pin_view(pin: Pin, now: int) -> PinView:
    left = None if pin.until is None else max(0, pin.until - now) / 1_000
    return PinView(pin.actor, pin.reason, left)


def move_views(state: ClusterState, device: str, moves: list[Move], now: int) -> list[MoveView]:
    """Moves of one device, in the order of `moves`."""
    comments = _comments(state, device) if any(move.actor for move in moves) else {}
    return [
        _move_view(move, comments.get(move.at, "") if move.actor else "", now) for move in moves
    ]


def _comments(state: ClusterState, device: str) -> dict[int, str]:
    """Operators' reasons for orders about a device, by the time of the order."""
    return {d.at: d.comment for d in state.decisions if d.actor and device in d.subjects}


def _move_view(move: Move, comment: str, now: int) -> MoveView:
    return MoveView(
        at_ms=move.at,
        ago_s=_since(move.at, now),
        origin=move.origin,
        target=move.ring,
        reason=move.reason,
        assigned_by=_assigned_by(move),
        comment=comment,
        sentence=say_move(move.reason),
    )


def _assigned_by(move: Move) -> str:
    if move.reason is MoveReason.REGISTERED:
        return "registration"
    if move.reason in AUTOMATIC or not move.actor:
        return "rebalancer"
    return move.actor


def device_explanation(state: ClusterState, row: int, now: int) -> DeviceExplanationView:
    """Why the device in a row is in its ring, and how it got there."""
    explained = explain_device(state, row)
    return DeviceExplanationView(
        device=explained.device,
        ring=state.fleet.device(row).ring,
        summary=explained.summary,
        history=move_views(state, explained.device, explained.moves, now),
    )


def rings_view(state: ClusterState) -> RingsView:
    """The rings with their quotas, and the rules for filling them."""
    fleet = state.fleet
    return RingsView(
        items=_ring_views(fleet),
        health_rule=" and ".join(map(str, fleet.rule.conditions)),
        charging_excuses_battery=fleet.rule.charging_excuses_battery,
        policies=_policy_views(fleet),
        policies_version=version_of(fleet.policies),
        brake=_brake_view(state),
        checks=fleet.checks,
        checked_at_ms=fleet.checked_at if fleet.checks else None,
    )


def _ring_views(fleet: Fleet) -> list[RingView]:
    counts, quota, whole = fleet.counts(), fleet.quota_by_ring(), sum(fleet.weights)
    return [
        RingView(
            ring=ring,
            devices=counts[ring].total,
            healthy=counts[ring].healthy,
            unhealthy=counts[ring].unhealthy,
            offline=counts[ring].offline,
            pinned=counts[ring].pinned,
            quota=quota[ring],
            weight=weight,
            share=weight / whole,
            cap=cap or None,
        )
        for ring, weight, cap in zip(RINGS, fleet.weights, fleet.caps, strict=True)
    ]


def _policy_views(fleet: Fleet) -> list[RingPolicyView]:
    ruled = fleet.table.by_class.sum(axis=(1, 2, 3, 4))  # by group: policies, then none
    return [
        RingPolicyView(
            name=policy.name,
            selector=policy.selector,
            rings=[RINGS[code] for code in rings_of(allowed(policy))],
            weights=None if policy.weights is None else _by_ring(policy.weights),
            devices=int(ruled[place]),
        )
        for place, policy in enumerate(fleet.policies)
    ]


def _by_ring(four: Four) -> dict[Ring, int]:
    return {ring: weight for ring, weight in zip(RINGS, four, strict=True) if weight}


def _brake_view(state: ClusterState) -> BrakeView | None:
    alarm = state.alarms.get(DEVICE_STORM)
    return None if alarm is None else BrakeView(alarm.since, alarm.detail)


def plan_view(view: FleetView, plan: RebalancePlan) -> RebalancePlanView:
    """A plan, counted by origin, target and reason. `view`: the columns that it was made from."""
    ways = count_ways(view.ring[plan.rows], plan.rings, plan.reasons)
    return RebalancePlanView(
        total=int(view.tally.sum()),
        devices=len(plan.rows),
        braked=view.braked,
        moves=[
            PlannedMovesView(
                devices=count,
                origin=origin,
                target=target,
                reason=reason,
                sentence=say_move(reason),
            )
            for (origin, target, reason), count in ways.items()
            if origin is not None
        ],
    )


def health_plan_view(fleet: Fleet, rule: HealthRule) -> HealthPlanView:
    """How a health rule would judge the newest statuses, compared with the current one."""
    table = fleet.table
    online = table.online[: table.used].astype(bool)
    before, after = fleet.meeting(fleet.rule), fleet.meeting(rule)
    return HealthPlanView(
        online=int(online.sum()),
        to_unhealthy=int((online & before & ~after).sum()),
        to_healthy=int((online & ~before & after).sum()),
        warnings=fleet.unreported(rule),
    )


def policies_plan_view(devices: Grouped, policies: Sequence[RingPolicy]) -> PoliciesPlanView:
    """What these policies would change if they replaced the current ones."""
    plan = regrouping(devices, policies)
    return PoliciesPlanView(
        devices=plan.devices,
        changed=plan.changed,
        astray=plan.astray,
        policies=[RuledView(p.name, n) for p, n in zip(policies, plan.ruled, strict=True)],
        warnings=plan.warnings,
    )


def _since(moment: int, now: int) -> float:
    return max(0, now - moment) / 1_000
