"""One CA takes the place of another, while everything runs.

    trusting   all members trust both CAs, and keep the key of the second; the first one issues
    issuing    the second one issues; every member shows a certificate of it as soon as it can
    over       the first is trusted by nobody any more
    aborted    the second is not

Members say how far they are (`FollowCa`), and the rules ask that alone: no step is taken before
everybody has done the one before it, so that a member that is down is waited for. An administrator
orders the start, and the switch from `trusting` to `issuing`, since then whoever does not trust the
second CA refuses nodes; the end comes by itself. Keys are never here. CAs that are dropped are
remembered: who was away must not go on trusting one. Source: guide/certificates.md, "Replace the
CA".
"""

import re

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.alarms import CA_EXPOSED
from stationkeep.cluster.commands import AbortCa, FollowCa, SwitchCa, TrustCa
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import (
    MAX_CA_PEM,
    MAX_DROPPED,
    MAX_EXPOSED,
    CaPhase,
    CaRotation,
    CaStep,
    ClusterState,
)
from stationkeep.cluster.state.step import Refused, Step

PIN = re.compile(r"sha256:[0-9a-f]{64}")
PIN_RULE = "sha256: and 64 hexadecimal digits"
TOLD_WITHIN = 2_000
"""ms from a node's trust in the second CA until it has told all devices that it serves."""
MAX_FIRST = 16
"""CAs that one may replace."""
_STEPS: dict[str, CaStep | None] = {"": None} | {step.value: step for step in CaStep}
_SAID = 5
"""Members that a refusal names."""


def trust_ca(step: Step, command: TrustCa) -> dict[str, object]:
    """Begins. That it has begun already is no refusal."""
    state = step.state
    for pin in (command.pin, *command.first):
        if not PIN.fullmatch(pin):
            raise Refused(Reason.INVALID, f"pin: {pin[:80]!r} is not {PIN_RULE}")
    if not 0 < len(command.pem) <= MAX_CA_PEM or not command.pem.isascii():
        raise Refused(Reason.INVALID, f"pem: not 1 to {MAX_CA_PEM} characters of ASCII")
    if not 0 < len(command.first) <= MAX_FIRST or command.pin in command.first:
        raise Refused(Reason.INVALID, f"first: not 1 to {MAX_FIRST} CAs beside the second")
    if command.pin in state.dropped:
        raise Refused(Reason.CLOSED, f"pin: {command.pin} was dropped before: make another CA")
    if state.rotation is None or not state.rotation.under_way:
        state.rotation = CaRotation(command.pin, command.pem, command.first, began_at=step.now)
        _decide(step, "started")
    elif state.rotation.pin != command.pin:
        detail = f"another CA is on its way already: {state.rotation.pin}; finish it, or abort"
        raise Refused(Reason.DUPLICATE, detail)
    return _result(state)


def follow_ca(step: Step, command: FollowCa) -> dict[str, object]:
    """A member says how far it is; "" for not at all, any more."""
    rotation = _standing(step, command.pin)
    if command.node not in step.state.members:
        raise Refused(Reason.UNKNOWN_NODE, f"node: {command.node[:80]!r} is no member")
    if command.step not in _STEPS:
        rule = " or ".join(CaStep)
        raise Refused(Reason.INVALID, f"step: {command.step[:80]!r} is not {rule}")
    reached = {name: far for name, far in rotation.reached.items() if name != command.node}
    if (far := _STEPS[command.step]) is not None:
        reached[command.node] = far
    step.state.rotation = replace(rotation, reached=dict(sorted(reached.items())))
    settle(step)
    return {}


def switch_ca(step: Step, command: SwitchCa) -> dict[str, object]:
    """The second CA issues from now on, if everybody trusts it; `leave_behind`: but for so many
    devices, which will then find no node that they trust."""
    rotation = _standing(step, command.pin)
    if rotation.phase is CaPhase.ISSUING:
        return _result(step.state)
    late = lagging(step.state)
    if late:
        raise Refused(
            Reason.NOT_IN_STATE, f"{say_lagging(step.state)} (nodes leave ID removes one)"
        )
    devices = devices_behind(step.state)
    if devices > command.leave_behind:
        detail = f"leave_behind: {command.leave_behind} refused: {devices} devices"
        raise Refused(Reason.LIMIT, f"{detail} have not been told of the second CA yet")
    step.state.rotation = replace(rotation, phase=CaPhase.ISSUING)
    _decide(step, "switched", left_behind=devices)
    settle(step)
    return _result(step.state)


def abort_ca(step: Step, command: AbortCa) -> dict[str, object]:
    """One step back: the first CA issues again; and then, when no member shows a certificate of
    the second, the second is dropped."""
    rotation = _standing(step, command.pin)
    if rotation.phase is CaPhase.ISSUING:
        step.state.rotation = replace(rotation, phase=CaPhase.TRUSTING)
        _decide(step, "switched back")
        return _result(step.state)
    showing = [name for name, far in rotation.reached.items() if far is CaStep.SHOWS]
    if showing:
        detail = f"{_some(showing)}: a certificate of the second CA is still shown"
        raise Refused(Reason.NOT_IN_STATE, detail)
    _drop(step, (rotation.pin,))
    step.state.rotation = replace(rotation, phase=CaPhase.ABORTED)
    _decide(step, "aborted")
    return _result(step.state)


def settle(step: Step) -> None:
    """What follows by itself, when members have gone or gone on."""
    state = step.state
    rotation = state.rotation
    if rotation is None or not rotation.under_way:
        return
    reached = {name: far for name, far in rotation.reached.items() if name in state.members}
    rotation = state.rotation = replace(rotation, reached=reached)
    if rotation.phase is CaPhase.TRUSTING:
        if rotation.trusted_at is None and not lagging(state):
            state.rotation = replace(rotation, trusted_at=step.now)
        return
    if not lagging(state):
        _drop(step, rotation.first)
        state.rotation = replace(rotation, phase=CaPhase.OVER)
        _decide(step, "finished")
        _forgive(step, rotation.began_at)


def expose(step: Step, node: str) -> None:
    """Somebody else may have the machine of a node that leaves, and on it the CA's key."""
    step.state.exposed[node] = step.now
    _bound(step.state.exposed, MAX_EXPOSED)
    step.clear_alarm(CA_EXPOSED, why=f"{node}, too")
    _accuse(step)


def _forgive(step: Step, began_at: int) -> None:
    """Machines that had no key but the first one's do not matter any more."""
    exposed = step.state.exposed
    step.state.exposed = {node: at for node, at in exposed.items() if at >= began_at}
    if not step.state.exposed:
        step.clear_alarm(CA_EXPOSED)
    elif len(step.state.exposed) < len(exposed):
        step.clear_alarm(CA_EXPOSED)
        _accuse(step)


def _accuse(step: Step) -> None:
    names = _some(list(step.state.exposed))
    detail = f"the machine of {names} may have the CA's key: stationkeep certs rotate-ca start"
    step.raise_alarm(CA_EXPOSED, detail)


# -- who is waited for


def lagging(state: ClusterState) -> list[str]:
    """Members that are not as far as the phase of the rotation wants them."""
    rotation = state.rotation
    if rotation is None or not rotation.under_way:
        return []
    far = {CaStep.SHOWS} if rotation.phase is CaPhase.ISSUING else {*CaStep}
    return [name for name in state.members if rotation.reached.get(name) not in far]


def say_lagging(state: ClusterState) -> str:
    """Whom the rotation waits for, in a sentence; "" when for nobody."""
    late, rotation = lagging(state), state.rotation
    if not late or rotation is None:
        return ""
    if rotation.phase is CaPhase.ISSUING:
        return f"{_some(late)}: no certificate of the second CA is shown yet"
    return f"{_some(late)}: the second CA is not trusted yet, or its key is not there"


def devices_behind(state: ClusterState) -> int:
    """Devices that no node has heard since all nodes tell of the second CA."""
    rotation, table = state.rotation, state.fleet.table
    if rotation is None or not rotation.under_way:
        return 0
    if rotation.trusted_at is None:
        return len(state.fleet)
    used = slice(0, table.used)
    unheard = table.seen_at[used] < rotation.trusted_at + TOLD_WITHIN
    return int(np.count_nonzero(unheard & (table.birth[used] > 0)))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SAID} more" if len(names) > _SAID else ""
    return ", ".join(names[:_SAID]) + more


# -- inside


def _standing(step: Step, pin: str) -> CaRotation:
    rotation = step.state.rotation
    if rotation is None or not rotation.under_way:
        raise Refused(Reason.NOT_IN_STATE, "no CA is being replaced")
    if pin not in ("", rotation.pin):
        detail = f"pin: {pin[:80]!r} is not the second CA's: {rotation.pin}"
        raise Refused(Reason.NOT_IN_STATE, detail)
    return rotation


def _drop(step: Step, pins: tuple[str, ...]) -> None:
    for pin in pins:
        step.state.dropped[pin] = step.now
    _bound(step.state.dropped, MAX_DROPPED)


def _bound(kept: dict[str, int], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]


def _decide(step: Step, change: str, **more: int) -> None:
    rotation = step.state.rotation
    assert rotation is not None
    done = Outcome.DONE if step.actor else Outcome.NOTED
    step.decide("ca", done, (), facts={"change": change, "pin": rotation.pin, **more})


def _result(state: ClusterState) -> dict[str, object]:
    assert state.rotation is not None
    return {"pin": state.rotation.pin, "phase": state.rotation.phase.value}
