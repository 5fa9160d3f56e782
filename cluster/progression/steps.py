"""The one place where rollouts and stages change state, and where what follows from that is done to
their deployments."""

import enum
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from stationkeep.cluster.delivery.openings import withdraw
from stationkeep.cluster.delivery.steps import close_if_over
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.progression.holds import hold_stages, set_hold
from stationkeep.cluster.rollouts.gates import Judgement
from stationkeep.cluster.rollouts.lifecycle import (
    APPROVAL_WAITED,
    DRAFT_KEPT,
    GOING,
    PAUSE_WAITED,
    ROLLOUT_STEPS,
    STAGE_STEPS,
    RolloutCause,
    RolloutState,
    StageCause,
    StageState,
)
from stationkeep.cluster.rollouts.rollout import MAX_TIMELINE, Moment, Rollout, with_stage
from stationkeep.cluster.rollouts.twins import MAX_NAMED, Twins
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import RolloutChanged, StageChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown

MAX_GROUPS = 5
"""Of equal failures that a verdict names."""
ORDERS: dict[str, tuple[RolloutCause, ...]] = {
    "start": (RolloutCause.REQUEST, RolloutCause.START),
    "approve": (RolloutCause.APPROVAL,),
    "pause": (RolloutCause.PAUSE,),
    "resume": (RolloutCause.RESUME,),
    "abort": (RolloutCause.CANCELLATION, RolloutCause.ABORT),
    "roll back": (RolloutCause.ROLLBACK,),
}
"""What an operator may order, by the causes that it is."""


def existing(step: Step, name: str, revision: int | None = None) -> Rollout:
    """The rollout of that name; refused when there is none, or it is another by now than whoever
    asks has seen."""
    rollout = step.state.rollouts.known.get(name)
    if rollout is None:
        raise Refused(Reason.UNKNOWN_ROLLOUT, unknown("rollout", name, step.state.rollouts.known))
    if revision is not None and revision != rollout.revision:
        detail = f"revision: {revision}, and {name} is at {rollout.revision}: look at it again"
        raise Refused(Reason.STALE_REVISION, detail)
    return rollout


def cause_of(rollout: Rollout, order: str) -> RolloutCause:
    """What an order is to a rollout as it stands; refused, with what may be ordered instead, where
    it is nothing."""
    for cause in ORDERS[order]:
        if rollout.state in ROLLOUT_STEPS[cause].origins:
            return cause
    raise Refused(Reason.NOT_IN_STATE, f"rollout: {standing(rollout)}, {instead(rollout)}")


def standing(rollout: Rollout) -> str:
    """A rollout and its state, as refusals name it."""
    return f"{rollout.name} is {rollout.state.replace('_', ' ')}"


def orders_of(rollout: Rollout) -> list[str]:
    """What may be ordered of a rollout as it stands; nothing goes on behind a stage that failed."""
    failed = any(stage.state is StageState.FAILED for stage in rollout.stages)
    may = [
        order
        for order, causes in ORDERS.items()
        if any(rollout.state in ROLLOUT_STEPS[cause].origins for cause in causes)
        and not (order == "resume" and failed)
    ]
    going = rollout.state in GOING
    judged = failed or any(stage.is_judged for stage in rollout.stages)
    return [*may, *(["promote"] if going and judged else [])]


def instead(rollout: Rollout) -> str:
    """The same, as refusals say it."""
    may = orders_of(rollout)
    return f"what may be ordered of it is {', '.join(may)}" if may else "and over: create another"


def change(
    step: Step,
    rollout: Rollout,
    cause: RolloutCause,
    reason: str = "",
    *,
    facts: dict[str, Any] | None = None,
    **fields: Any,
) -> Rollout:
    """Has a rollout take a step that it may take."""
    transition = ROLLOUT_STEPS[cause]
    assert rollout.state in transition.origins, f"{cause} while {rollout.state}"
    more = {"deadline": _deadline(step, transition.target), "resumes": False} | fields
    changed = replace(
        rollout,
        state=transition.target,
        reason=reason,
        since=step.now,
        revision=rollout.revision + 1,
        timeline=noted(step, rollout, "", transition.target, reason),
        **more,
    )
    step.state.rollouts.put(changed)
    keep(step, changed, not changed.ended)
    changed = hold_stages(step, changed)
    told = about(changed) | {"cause": cause.value, "from": rollout.state.value} | (facts or {})
    ordered = "operator" in transition.who
    step.decide("rollout", Outcome.DONE if ordered else Outcome.NOTED, (), facts=told)
    step.emit(RolloutChanged(changed.name, changed.state, reason))
    return changed


def _deadline(step: Step, state: RolloutState) -> int | None:
    """When a rollout leaves a state by itself."""
    waits = {
        RolloutState.DRAFT: DRAFT_KEPT,
        RolloutState.AWAITING_APPROVAL: APPROVAL_WAITED,
        RolloutState.PAUSED: PAUSE_WAITED,
        RolloutState.ROLLING_BACK: step.state.settings.deployment_deadline,
    }
    return step.now + waits[state] if state in waits else None


def noted(step: Step, rollout: Rollout, stage: str, state: str, reason: str) -> tuple[Moment, ...]:
    """The timeline with one line more."""
    line = Moment(step.now, step.wall, stage, str(state), reason, step.actor)
    return (*rollout.timeline, line)[-MAX_TIMELINE:]


def move(
    step: Step,
    rollout: Rollout,
    place: int,
    cause: StageCause,
    reason: str = "",
    *,
    facts: dict[str, Any] | None = None,
    **fields: Any,
) -> Rollout:
    """Has a stage take a step that it may take; the rollout as it is then."""
    stage, transition = rollout.stages[place], STAGE_STEPS[cause]
    assert stage.state in transition.origins, f"{cause} while {stage.state}"
    more = {"deadline": None} | fields
    moved = replace(stage, state=transition.target, reason=reason, since=step.now, **more)
    timeline = noted(step, rollout, stage.name, moved.state, reason)
    changed = with_stage(rollout, place, moved)
    changed = replace(changed, revision=rollout.revision + 1, timeline=timeline)
    step.state.rollouts.put(changed)
    told = about(changed) | about_stage(step.state, changed, place)
    told |= {"cause": cause.value, "from": stage.state.value} | (facts or {})
    ordered = transition.who == "operator"
    step.decide("stage", Outcome.DONE if ordered else Outcome.NOTED, (), facts=told)
    step.emit(StageChanged(changed.name, moved.state, reason, stage.name))
    return hold_stages(step, changed)


def finish(
    step: Step, rollout: Rollout, place: int, cause: StageCause, reason: str = ""
) -> Rollout:
    """Ends a stage: what has not begun is called off, its devices are free, and its figures stay
    with it."""
    stage, book = rollout.stages[place], step.state.deployments
    deployment = book.known[stage.deployment] if stage.deployment else None
    fields: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    if deployment is not None and deployment.standing:
        facts |= _evidence(step.state, deployment)
        set_hold(step, deployment, "")
        if deployment.unfinished:
            withdraw(step, deployment)
        added = zip(stage.tallies, deployment.tallies, strict=True)
        fields["tallies"] = tuple(before + now for before, now in added)
        twins = step.state.rollouts.twins.pop((rollout.name, stage.name), None)
        if twins is not None:
            facts |= _evidence_of_twins(step.state, deployment, twins)
            looks = sorted(twins.table.items())
            fields["watched"] = twins.watched
            fields["looks"] = tuple((*look, count) for look, count in looks)
            fields["series"] = twins.series
            variants = step.state.deployments.rosters[deployment.number].variant[twins.position]
            if rollout.plan.variants:
                fields["arms"] = twins.by_variant(variants, len(rollout.plan.variants))
    changed = move(step, rollout, place, cause, reason, facts=facts, **fields)
    if deployment is not None and deployment.standing:
        deployment.standing = False
        close_if_over(step, deployment)
    return changed


def _evidence(state: ClusterState, deployment: Deployment) -> dict[str, object]:
    """What a verdict rests on, beside its gates: the tasks as they were, and what most failures
    were about."""
    most = sorted(deployment.failures, key=lambda group: -group.count)[:MAX_GROUPS]
    groups = [[group.reason.value, group.text, group.count, group.device] for group in most]
    return {"tasks": tallied(deployment), "failures": groups}


def _evidence_of_twins(
    state: ClusterState, deployment: Deployment, twins: Twins
) -> dict[str, object]:
    """How many were watched, what looks found (twins, bad, updated, how often), and who of the
    updated turned bad, and stands where by now."""
    table, rows = state.fleet.table, state.deployments.rosters[deployment.number].row
    turned = [int(rows[position]) for position in islice(twins.turned(), MAX_NAMED)]
    return {
        "watched": msgspec.structs.asdict(twins.watched),
        "looks": [[*look, count] for look, count in sorted(twins.table.items())],
        "turned_bad": [[table.ids[row], RINGS[table.ring[row]].value] for row in turned],
    }


def tallied(deployment: Deployment) -> dict[str, int]:
    """Tasks by state, those that there are."""
    return {state: count for state, count in deployment.tallied().items() if count}


def stop_stages(step: Step, rollout: Rollout) -> Rollout:
    """Ends every stage that is not over: those that are judged one by one, the others at once."""
    for place, stage in enumerate(rollout.stages):
        if stage.is_judged:
            rollout = finish(step, rollout, place, StageCause.STOP)
    return _call_off(step, rollout)


def _call_off(step: Step, rollout: Rollout) -> Rollout:
    """Stops the stages that are not open, in one line."""
    waiting = [stage.name for stage in rollout.stages if stage.state is StageState.PENDING]
    if not waiting:
        return rollout
    stopped, named = StageState.STOPPED, ", ".join(waiting)
    changed = replace(
        rollout,
        stages=tuple(
            replace(stage, state=stopped, since=step.now) if stage.name in waiting else stage
            for stage in rollout.stages
        ),
        revision=rollout.revision + 1,
        timeline=noted(step, rollout, named, stopped, ""),
    )
    step.state.rollouts.put(changed)
    told = about(changed) | {"stage": named, "state": stopped.value, "reason": "", "tasks": {}}
    told |= {"cause": StageCause.STOP.value, "from": StageState.PENDING.value, "gates": []}
    step.decide("stage", Outcome.NOTED, (), facts=told)
    for name in waiting:
        step.emit(StageChanged(changed.name, stopped, "", name))
    return changed


def abandon(step: Step, rollout: Rollout) -> Rollout:
    """Calls off whatever a rollout has going, its way back too."""
    rollout = stop_stages(step, rollout)
    deployment = step.state.deployments.known.get(rollout.rollback)
    if deployment is not None and deployment.open:
        withdraw(step, deployment)
        close_if_over(step, deployment)
    return rollout


# Deployments


def keep(step: Step, rollout: Rollout, kept: bool) -> None:
    """While a rollout is not over nobody forgets who ran what before."""
    book = step.state.deployments
    for deployment in [d for d in book.known.values() if d.rollout == rollout.name]:
        deployment.kept = kept
    if not kept:
        book.trim()


# What decisions say


def about(rollout: Rollout) -> dict[str, object]:
    """What every decision about a rollout names it by."""
    return {
        "rollout": rollout.name,
        "component": rollout.plan.component,
        "version": " or ".join(artifact.version for artifact in rollout.plan.installed),
        "state": rollout.state.value,
        "reason": rollout.reason,
    }


def about_stage(state: ClusterState, rollout: Rollout, place: int) -> dict[str, object]:
    """The same of a stage."""
    stage = rollout.stages[place]
    deployment = state.deployments.known.get(stage.deployment)
    return {
        "stage": stage.name,
        "state": stage.state.value,
        "reason": stage.reason,
        "deployment": stage.deployment,
        "tasks": {} if deployment is None else tallied(deployment),
        "gates": [gate_facts(judgement) for judgement in stage.judged],
    }


def gate_facts(judgement: Judgement) -> dict[str, object]:
    """A judgement as a decision holds it."""
    return {
        field: value.value if isinstance(value, enum.StrEnum) else value
        for field in judgement.__struct_fields__
        if (value := getattr(judgement, field)) is not None
    }
