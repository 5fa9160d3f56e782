"""The operator's hand on devices: pins, removal, shares, the health rule, ring policies.

Source: rings.md, "Ring assignment".
"""

import msgspec
import numpy as np

from stationkeep.cluster.commands import (
    AssignRing,
    ReleaseRing,
    RemoveDevice,
    SetHealthRule,
    SetRingPolicies,
    SetRingShares,
)
from stationkeep.cluster.devices.credentials import Standing
from stationkeep.cluster.devices.fleet import Pin
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.policies import (
    MAX_RING_POLICIES,
    policy_fault,
    version_of,
    weights_fault,
)
from stationkeep.cluster.devices.rings import RINGS, caps_with
from stationkeep.cluster.devices.status import HealthRule, rule_fault
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.fleet.journeys import Journey, travel
from stationkeep.cluster.fleet.regrouping import idle
from stationkeep.cluster.fleet.storm import watch
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.settings import LONGEST_PIN
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import DeviceRemoved, FleetRulesChanged
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown

MAX_PINS = 65_536
MAX_NAMED = 20
"""Devices that a decision about many names."""


def existing_device(step: Step, device: str) -> int:
    """The row of a device that an order is about."""
    row = step.state.fleet.row(device)
    if row is None:
        raise Refused(Reason.UNKNOWN_DEVICE, unknown("device", device))
    return row


def assign_ring(step: Step, command: AssignRing) -> dict[str, object]:
    """Pins a device: nothing but another order moves it until it is released."""
    fleet, row = step.state.fleet, existing_device(step, command.device)
    if not 0 <= command.lifetime <= LONGEST_PIN:
        rule = f"{command.lifetime} is not between 0 and {LONGEST_PIN}"
        raise Refused(Reason.INVALID, f"lifetime: {rule}")
    if row not in fleet.pins and len(fleet.pins) >= MAX_PINS:
        raise Refused(Reason.LIMIT, f"{MAX_PINS} devices are pinned")
    until = step.now + command.lifetime if command.lifetime else None
    origin = RINGS[fleet.table.ring[row]]
    with fleet.table.counted(np.array([row])):
        fleet.table.pinned[row] = True
    fleet.pins[row] = Pin(step.actor, step.comment, step.now, until)
    if until is not None and (fleet.pin_due is None or until < fleet.pin_due):
        fleet.pin_due = until
    rings = np.array([command.ring.code], np.uint8)
    travel(step, Journey.of(np.array([row]), rings, MoveReason.PINNED))
    facts = {"from": origin.value, "to": command.ring.value, "lifetime_ms": command.lifetime}
    step.decide("assign_ring", Outcome.DONE, (command.device,), facts=facts)
    watch(step)
    revision = int(fleet.table.revision[row])
    return {"ring": command.ring.value, "revision": revision, "until_ms": until}


def release_ring(step: Step, command: ReleaseRing) -> dict[str, object]:
    """Ends a pin; a device that has none is as it should be."""
    fleet, row = step.state.fleet, existing_device(step, command.device)
    was_pinned = row in fleet.pins
    ring = RINGS[fleet.table.ring[row]]
    if was_pinned:
        _unpin(step, np.array([row]), MoveReason.RELEASED)
        facts = {"ring": ring.value}
        step.decide("release_ring", Outcome.DONE, (command.device,), facts=facts)
        watch(step)
    return {"ring": ring.value, "was_pinned": was_pinned}


def expire_pins(step: Step) -> None:
    """Ends every pin whose time has come, and finds when the next one runs out."""
    fleet = step.state.fleet
    if fleet.pin_due is None or fleet.pin_due > step.now:
        return
    ends = {row: pin.until for row, pin in fleet.pins.items() if pin.until is not None}
    due = sorted(row for row, until in ends.items() if until <= step.now)
    fleet.pin_due = min((until for until in ends.values() if until > step.now), default=None)
    if due:
        _unpin(step, np.array(due), MoveReason.EXPIRED)
        named = tuple(fleet.id(row) for row in due[:MAX_NAMED])
        facts = {"devices": len(due), "expired": True}
        step.decide("release_ring", Outcome.NOTED, named, facts=facts)
        watch(step)


def _unpin(step: Step, rows: Column, reason: MoveReason) -> None:
    fleet = step.state.fleet
    with fleet.table.counted(rows):
        fleet.table.pinned[rows] = False
    for row in rows.tolist():
        del fleet.pins[row]
    travel(step, Journey.of(rows, fleet.table.ring[rows].copy(), reason))


def remove_device(step: Step, command: RemoveDevice) -> dict[str, object]:
    """Forgets a device; if it lives it registers again, as a new one."""
    fleet, row = step.state.fleet, existing_device(step, command.device)
    ring = RINGS[fleet.table.ring[row]]
    fleet.credentials_ended += bool(fleet.table.credential[row] == Standing.GOOD)
    fleet.table.count(np.array([row]), -1)
    fleet.table.remove(row)
    fleet.pins.pop(row, None)
    step.emit(DeviceRemoved(command.device, row))
    step.decide("remove_device", Outcome.DONE, (command.device,), facts={"ring": ring.value})
    watch(step)
    return {"ring": ring.value}


def set_ring_shares(step: Step, command: SetRingShares) -> dict[str, object]:
    """How the fleet is shared among the rings from the next check on."""
    fleet = step.state.fleet
    fault = weights_fault(command.weights)
    if fault is not None:
        raise Refused(Reason.INVALID, f"weights: {fault}")
    caps = caps_with(fleet.caps, command.caps)
    if not all(0 <= cap <= MAX_DEVICES for cap in caps):
        rule = f"{list(caps)} are not all between 0 and {MAX_DEVICES}"
        raise Refused(Reason.INVALID, f"caps: {rule}")
    fleet.shares = msgspec.structs.replace(fleet.shares, weights=command.weights, caps=caps)
    _changed(step, "shares", {"weights": list(command.weights), "caps": list(caps)})
    return {"weights": list(command.weights), "caps": list(caps)}


def set_health_rule(step: Step, command: SetHealthRule) -> dict[str, object]:
    """When a status is healthy; what was judged before keeps its judgement."""
    rule = HealthRule(command.conditions, command.charging_excuses_battery)
    fault = rule_fault(rule)
    if fault is not None:
        raise Refused(Reason.INVALID, f"conditions: {fault}")
    unknown = step.state.fleet.unreported(rule) if command.reported_only else []
    if unknown:
        why = "every device would meet that condition, as one that it does not report is no fault"
        raise Refused(Reason.INVALID, f"rule: {'; '.join(unknown)} ({why})")
    step.state.fleet.rule = rule
    _changed(step, "health_rule", {"rule": str(rule)})
    return {"rule": str(rule)}


def set_ring_policies(step: Step, command: SetRingPolicies) -> dict[str, object]:
    """The rules by which devices are grouped; who stands where it may not is moved by the next
    check. Tried once for each kind of device, not for each device."""
    names = [policy.name for policy in command.policies]
    if len(names) > MAX_RING_POLICIES:
        raise Refused(Reason.INVALID, f"policies: {len(names)}, at most {MAX_RING_POLICIES}")
    for policy in command.policies:
        check_name("policies", policy.name)
        fault = policy_fault(policy)
        if fault is not None:
            raise Refused(Reason.INVALID, f"policies.{policy.name}: {fault}")
    if len(set(names)) < len(names):
        raise Refused(Reason.INVALID, "policies: a name is given twice")
    fleet = step.state.fleet
    if command.version not in ("", version_of(fleet.policies)):
        detail = "version: the ring policies have been changed since they were read"
        raise Refused(Reason.STALE_REVISION, detail)
    fleet.shares = msgspec.structs.replace(fleet.shares, policies=command.policies)
    fleet.regroup()
    _changed(step, "policies", {"policies": names})
    ruled = fleet.table.by_class.sum(axis=(1, 2, 3, 4)).tolist()[: len(names)]
    return {"policies": names, "warnings": idle(fleet.table.kinds.all, command.policies, ruled)}


def _changed(step: Step, what: str, facts: dict[str, object]) -> None:
    step.emit(FleetRulesChanged(what))
    step.decide(what, Outcome.DONE, (), facts=facts)
