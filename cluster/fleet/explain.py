"""Why a device is in its ring, and what could move it: computed from the state, not recorded.

Source: rings.md, "Ring assignment" and "Rebalancing".
"""

from collections.abc import Iterator

import msgspec

from stationkeep.cluster.devices.fleet import Device, Move
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.policies import RingPolicy, allowed
from stationkeep.cluster.devices.rings import LOW_RINGS, RINGS, UNSET, Ring, rings_of
from stationkeep.cluster.devices.status import Condition, Reading, failing
from stationkeep.cluster.settings import Redistribution, format_duration
from stationkeep.cluster.state.state import ClusterState

NEWEST = 20

MOVES: dict[MoveReason, str] = {
    MoveReason.REGISTERED: "it registered: of its rings this one lacked most devices",
    MoveReason.PINNED: "an operator pinned it there",
    MoveReason.RELEASED: "its pin was released",
    MoveReason.EXPIRED: "its pin ran out",
    MoveReason.UNHEALTHY: "it was unhealthy, and only canary and dev take such devices",
    MoveReason.POLICY: "its ring policy does not allow the ring that it was in",
    MoveReason.SURPLUS: "its ring held more than its quota and the band allow",
    MoveReason.RECOVERED: "it was healthy again for long enough to come back",
    MoveReason.BUDGET: "load was balanced inside the band (redistribution: budget)",
    MoveReason.ROTATE: "its cohort had its turn to be redrawn (redistribution: rotate)",
    MoveReason.RANDOM: "it was drawn at random (redistribution: random)",
}


class DeviceExplanation(msgspec.Struct, frozen=True):
    """The answer; `moves` are the newest of the device, newest first."""

    device: str
    summary: list[str]
    moves: list[Move]


def say_move(reason: MoveReason) -> str:
    """The reason of a move in words."""
    return MOVES[reason]


def explain_device(state: ClusterState, row: int) -> DeviceExplanation:
    """The story of the device in a row, at the state's own time; the row must be in use."""
    device = state.fleet.device(row)
    summary = [
        _say_ring(state, device),
        *_say_pin(state, device),
        _say_policy(state, device),
        *_say_health(state, device),
        *_say_next(state, device),
    ]
    return DeviceExplanation(device.id, summary, state.fleet.history(row, NEWEST))


def _say_ring(state: ClusterState, device: Device) -> str:
    stood = _span(state.time - device.ring_since)
    return f"in {device.ring} for {stood}, because {say_move(device.ring_reason)}"


def _say_pin(state: ClusterState, device: Device) -> Iterator[str]:
    pin = device.pinned
    if pin is None:
        return
    until = (
        "until released" if pin.until is None else f"for another {_span(pin.until - state.time)}"
    )
    why = f" ({pin.reason})" if pin.reason else ""
    yield f"pinned by {pin.actor or 'somebody unnamed'} {until}{why}: no check moves it"
    if not device.healthy and device.online and not _low(device):
        alarm = "; an alarm is raised for it" if device.ring is Ring.PROD else ""
        yield f"unhealthy and pinned to {device.ring}{alarm}"


def _say_policy(state: ClusterState, device: Device) -> str:
    policy = _policy(state, device)
    if policy is None:
        return "no ring policy matches it: the shares of the whole fleet rule it"
    rings = ", ".join(RINGS[code] for code in rings_of(allowed(policy)))
    return f"the ring policy {policy.name} ({policy.selector}) allows it {rings}"


def _policy(state: ClusterState, device: Device) -> RingPolicy | None:
    return next((p for p in state.fleet.policies if p.name == device.policy), None)


def _say_health(state: ClusterState, device: Device) -> Iterator[str]:
    if not device.online:
        silent = _span(state.time - device.seen_at)
        yield f"offline, silent for {silent}: it keeps its ring and counts in no health figure"
        return
    broken = failing(state.fleet.rule, _reading(device)) if device.reported else []
    now = "; ".join(_say_broken(condition, device) for condition in broken)
    if not device.healthy:
        rest = "" if device.pinned else ", so only canary and dev take it"
        needed = f"{state.settings.healthy_statuses} healthy statuses in a row make it healthy"
        yield f"unhealthy{rest}; " + (f"at its last status {now}" if now else needed)
    elif now:
        limit = state.settings.unhealthy_statuses
        yield f"still healthy, though {now}: {limit} such statuses in a row make it unhealthy"
    else:
        since = device.healthy_since
        yield "healthy" if since is None else f"healthy for {_span(state.time - since)}"


def _reading(device: Device) -> Reading:
    """Its newest status in fixed point, as the rule wants it."""
    return Reading(
        device.battery,
        device.charging,
        round(device.cpu * 100),
        round(device.memory * 100),
        round(device.disk * 100),
        {name: round(value * 1_000) for name, value in device.metrics.items()},
    )


def _say_broken(condition: Condition, device: Device) -> str:
    own = {"battery": device.battery, "cpu": device.cpu, "memory": device.memory}
    figures: dict[str, float] = {**device.metrics, **own, "disk": device.disk}
    limit = str(condition).removeprefix(condition.metric).strip()
    return f"{condition.metric} was {figures[condition.metric]:g}, not {limit}"


def _say_next(state: ClusterState, device: Device) -> Iterator[str]:
    """What holds the next automatic move back, or what it would be."""
    if device.pinned is not None:
        return
    if state.fleet.braked:
        yield "the storm brake holds all automatic moves back"
    if state.pause is not None:
        yield f"automatic moves pause for another {_span(state.pause.until - state.time)}"
    if device.online and not device.healthy and not _low(device):
        yield f"the next check moves it out of {device.ring}"
        return
    if device.healthy:
        yield from _say_return(state, device)
    yield _say_dwell(state, device)


def _say_return(state: ClusterState, device: Device) -> Iterator[str]:
    """When a device that its ill health sent away may come back."""
    home = int(state.fleet.table.home[device.row])
    if home == UNSET or device.healthy_since is None:
        return
    left = device.healthy_since + state.settings.recovery_hold - state.time
    when = f"in {_span(left)}, if it stays healthy" if left > 0 else "as soon as there is room"
    yield f"its ill health sent it away from {RINGS[home]}: it may return {when}"


def _say_dwell(state: ClusterState, device: Device) -> str:
    left = device.ring_since + state.settings.ring_dwell - state.time
    if left > 0:
        return f"no check moves it for balance for another {_span(left)} (ring_dwell)"
    counts, quota = state.fleet.counts()[device.ring], state.fleet.quota_by_ring()[device.ring]
    free = counts.total - counts.pinned
    standing = f"{device.ring} holds {free} that are not pinned, its quota is {quota}"
    if state.settings.redistribution == Redistribution.OFF:
        return f"a check moves it only to restore the quotas: {standing}"
    mode = f"redistribution: {state.settings.redistribution}"
    return f"a check may move it for balance: {standing} ({mode})"


def _low(device: Device) -> bool:
    return bool(LOW_RINGS >> device.ring.code & 1)


def _span(milliseconds: int) -> str:
    return format_duration(-(-max(0, milliseconds) // 1_000) * 1_000)
