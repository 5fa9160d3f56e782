"""State → what clients see of devices and rings. Shapes as in `nodes.py`.

Percentages are 0..100 as devices report them. A device's health is two facts: `online`, and the
verdict `healthy`, which means nothing while it is not online.
"""

from collections.abc import Sequence

from stationkeep.cluster.alarms import DEVICE_STORM
from stationkeep.cluster.devices.fleet import Device, Fleet, FleetView, Move, Pin
from stationkeep.cluster.devices.moves import AUTOMATIC, MoveReason
from stationkeep.cluster.devices.policies import RingPolicy, allowed, version_of
from stationkeep.cluster.devices.rings import RINGS, Four, Ring, rings_of
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.fleet.explain import explain_device, say_move
from stationkeep.cluster.fleet.rebalance import RebalancePlan
from stationkeep.cluster.fleet.regrouping import Grouped, regrouping
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.base import View
from stationkeep.node.views.fleet_events import count_ways


class PinView(View, frozen=True):
    """Who put a device where it is; `remaining_s` is null for a pin without end."""

    actor: str
    reason: str
    remaining_s: float | None


class StatusView(View, frozen=True):
    """The newest readings that are replicated; at most a second older than those received."""

    battery_level: int
    battery_charging: bool
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    metrics: dict[str, float]


class DeviceView(View, frozen=True):
    """`GET /v1/devices/ID`. `policy`: name of the ring policy that rules it, null for none."""

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
    session: int
    sequence: int
    served_by: str
    revision: int


class DeviceList(View, frozen=True):
    """A page may hold fewer than `limit` devices, even none, and still name a `next`: of a large
    fleet only so many rows are looked at for one request. `warnings`: where
    nothing was found, keys of the selector that no device has."""

    items: list[DeviceView]
    next: str | None
    warnings: list[str]


class MoveView(View, frozen=True):
    """One line of a device's ring history; `origin` is null where it registered. `comment`: what
    the operator gave as reason, as long as the decision log remembers it."""

    at_ms: int
    ago_s: float
    origin: Ring | None
    target: Ring
    reason: str
    assigned_by: str
    comment: str
    sentence: str


class MoveList(View, frozen=True):
    """The newest moves of a device, newest first, as far as they are remembered."""

    items: list[MoveView]


class DeviceExplanationView(View, frozen=True):
    """`GET /v1/devices/ID/explain`: why a device is in its ring, as sentences."""

    device: str
    ring: Ring
    summary: list[str]
    history: list[MoveView]


class RingView(View, frozen=True):
    """One ring. `quota`: devices it should hold now beside its pinned ones; `share`: its part of
    all weights, 0..1."""

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
    """`rings` that the devices it rules may be in; `weights` among them, null: the fleet's."""

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
    """`POST /v1/rings/health-rule/plan`: of the devices online, how many newest statuses would be
    judged otherwise than now. A verdict turns only after several such statuses in a row.
    `warnings`: metrics that no device has reported."""

    online: int
    to_unhealthy: int
    to_healthy: int
    warnings: list[str]


class RuledView(View, frozen=True):
    """How many devices one of the policies would rule."""

    name: str
    devices: int


class PoliciesPlanView(View, frozen=True):
    """`POST /v1/rings/policies/plan`: of all `devices`, how many another rule than now would rule
    (`changed`), and how many would stand in a ring where they may not, not being pinned (`astray`):
    checks move those as they are online. `warnings`: policies and keys that match nothing."""

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
    """`GET /v1/rings/plan`: what a check would move now; `braked`: it would move nothing."""

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
        session=device.session,
        sequence=device.sequence,
        served_by=device.served_by,
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
    """Moves of one device, as `history` gives them."""
    comments = _comments(state, device) if any(move.actor for move in moves) else {}
    return [
        _move_view(move, comments.get(move.at, "") if move.actor else "", now) for move in moves
    ]


def _comments(state: ClusterState, device: str) -> dict[int, str]:
    """What operators gave as reason of their orders about a device, by the time of the order."""
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
    """Why the device in a row is in its ring, and how it came there."""
    told = explain_device(state, row)
    return DeviceExplanationView(
        device=told.device,
        ring=state.fleet.device(row).ring,
        summary=told.summary,
        history=move_views(state, told.device, told.moves, now),
    )


def rings_view(state: ClusterState) -> RingsView:
    """The rings beside their quotas, and the rules they are filled by."""
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
    counts, whole = fleet.counts(), sum(fleet.weights)
    return [
        RingView(
            ring=ring,
            devices=counts[ring].total,
            healthy=counts[ring].healthy,
            unhealthy=counts[ring].unhealthy,
            offline=counts[ring].offline,
            pinned=counts[ring].pinned,
            quota=counts[ring].quota,
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
    """A plan, counted by way and reason; `view`: the columns it was made on."""
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
    """What a health rule would make of the newest statuses, beside the one that stands."""
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
    """What these policies would do to the devices, in the place of those that stand."""
    told = regrouping(devices, policies)
    return PoliciesPlanView(
        devices=told.devices,
        changed=told.changed,
        astray=told.astray,
        policies=[RuledView(p.name, n) for p, n in zip(policies, told.ruled, strict=True)],
        warnings=told.warnings,
    )


def _since(moment: int, now: int) -> float:
    return max(0, now - moment) / 1_000
