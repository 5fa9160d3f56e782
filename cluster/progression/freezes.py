"""Freezes: nothing new is installed on some devices for a while, but by a rollback.

A freeze always ends. Source: rollouts.md, "Freezes and blocks".
"""

from stationkeep.cluster.commands import LiftFreeze, SetFreeze, UnblockArtifact
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.devices.selector import SelectorError, parse
from stationkeep.cluster.names import party
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.progression.holds import hold_stages
from stationkeep.cluster.rollouts.book import MAX_FREEZES, MAX_FREEZES_OF_ONE
from stationkeep.cluster.rollouts.rollout import Freeze
from stationkeep.cluster.settings import LONGEST, SHORTEST
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import FreezeChanged
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown

MAX_FREEZE = 90 * LONGEST


def set_freeze(step: Step, command: SetFreeze) -> dict[str, object]:
    """Freezes these devices, or sets a freeze anew."""
    check_name("freeze", command.freeze)
    if not SHORTEST <= command.duration <= MAX_FREEZE:
        rule = f"{command.duration} is not between {SHORTEST} and {MAX_FREEZE}: it always ends"
        raise Refused(Reason.INVALID, f"duration: {rule}")
    try:
        parse(command.selector)
    except SelectorError as error:
        raise Refused(Reason.INVALID, f"selector: {error}") from None
    freezes = step.state.rollouts.freezes
    others = [one for one in freezes.values() if one.name != command.freeze]
    if sum(party(one.actor) == party(step.actor) for one in others) >= MAX_FREEZES_OF_ONE:
        rule = f"{MAX_FREEZES_OF_ONE} of this actor are set: lift one"
        raise Refused(Reason.QUOTA, f"freeze: {rule}")
    if len(others) >= MAX_FREEZES:
        raise Refused(Reason.LIMIT, f"freeze: {MAX_FREEZES} are set: lift one")
    rings = tuple(ring for ring in RINGS if ring in command.rings)
    freeze = Freeze(
        command.freeze, step.now + command.duration, rings, command.selector, step.actor,
        step.comment, step.now,
    )  # fmt: skip
    freezes[freeze.name] = freeze
    _changed(step, "set_freeze", freeze, freeze.until)
    return {"freeze": freeze.name, "until_ms": freeze.until}


def lift_freeze(step: Step, command: LiftFreeze) -> dict[str, object]:
    """Ends a freeze."""
    freeze = step.state.rollouts.freezes.pop(command.freeze, None)
    if freeze is None:
        known = step.state.rollouts.freezes
        raise Refused(Reason.UNKNOWN_FREEZE, unknown("freeze", command.freeze, known))
    _changed(step, "lift_freeze", freeze, None)
    return {"freeze": freeze.name}


def end_freezes(step: Step) -> None:
    """Ends every freeze whose time is over."""
    freezes = step.state.rollouts.freezes
    for freeze in [f for f in freezes.values() if f.until <= step.now]:
        del freezes[freeze.name]
        _changed(step, "lift_freeze", freeze, None)


def _changed(step: Step, matter: str, freeze: Freeze, until: int | None) -> None:
    for rollout in step.state.rollouts.open_ones():
        hold_stages(step, rollout)
    facts = {
        "freeze": freeze.name,
        "rings": [ring.value for ring in freeze.rings],
        "selector": freeze.selector,
        "duration_ms": freeze.until - freeze.at,
        "expired": freeze.until <= step.now,
    }
    expired = matter == "lift_freeze" and freeze.until <= step.now
    step.decide(matter, Outcome.NOTED if expired else Outcome.DONE, (), facts=facts)
    step.emit(FreezeChanged(freeze.name, until))


def unblock_artifact(step: Step, command: UnblockArtifact) -> dict[str, object]:
    """What a gate was proven broken with may be rolled out again."""
    book = step.state.rollouts
    wanted = (command.component, command.version)
    gone = [
        block
        for block in book.blocks
        if (block.artifact.component, block.artifact.version) == wanted
        and command.sha256 in ("", block.artifact.sha256)
    ]
    if not gone:
        what = f"{command.component[:40]} {command.version[:64]}"
        raise Refused(Reason.CLOSED, f"artifact: {what!r} is not blocked")
    book.blocks = [block for block in book.blocks if block not in gone]
    facts = {"component": command.component, "version": command.version, "blocks": len(gone)}
    step.decide("unblock_artifact", Outcome.DONE, (), facts=facts)
    return {"unblocked": len(gone)}
