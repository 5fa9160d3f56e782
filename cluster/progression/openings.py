"""A stage opens, if there is room for it and for its way back.

Source: rollouts.md, "Stages" and "Shares and memory".
"""

from msgspec.structs import replace

from stationkeep.cluster.commands import OpenStage
from stationkeep.cluster.delivery.members import Members
from stationkeep.cluster.delivery.openings import Order, enter, roster_of
from stationkeep.cluster.deployments.book import (
    MAX_OPEN_DEPLOYMENTS,
    MAX_OPEN_ORDERED,
    MAX_TASKS,
    MAX_TASKS_ORDERED,
)
from stationkeep.cluster.deployments.deployment import Deployment, Limits
from stationkeep.cluster.progression.advance import opening
from stationkeep.cluster.progression.members import lots_of, members_of, variants_of
from stationkeep.cluster.progression.steps import (
    change,
    existing,
    move,
    standing,
)
from stationkeep.cluster.rollouts.lifecycle import WAITING, RolloutCause, StageCause, StageState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.settings import LONGEST
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step

MAX_ROLLOUT_SLOTS = MAX_OPEN_DEPLOYMENTS - MAX_OPEN_ORDERED
MAX_ROLLOUT_TASKS = MAX_TASKS - MAX_TASKS_ORDERED
"""What all rollouts may have open. Every stage leaves room for taking it back."""


def open_stage(step: Step, command: OpenStage) -> dict[str, object]:
    """Opens a stage to whoever belongs to it now. Where that cannot be the rollout waits for
    people: else it would be tried for ever."""
    rollout = existing(step, command.rollout, command.revision)
    if opening(step.state, rollout) != command.stage:
        detail = f"stage: {command.stage} of {standing(rollout)} does not open now"
        raise Refused(Reason.NOT_IN_STATE, detail)
    members = members_of(step.state, rollout, command.stage)
    if not len(members.rows):
        facts = {"incapable": members.incapable}
        rollout = move(step, rollout, command.stage, StageCause.EMPTY, "empty", facts=facts)
        complete(step, rollout)
        return {"members": 0}
    slot = step.state.deployments.free_slot()
    obstacle = _obstacle(step.state, rollout, len(members.rows))
    if slot is None or obstacle:
        name = rollout.stages[command.stage].name
        change(step, rollout, RolloutCause.OBSTACLE, f"{obstacle or 'no_room'}:{name}")
        return {"members": 0}
    deployment = _deploy(step, rollout, command.stage, members, slot)
    counts = {"members": deployment.members, "incapable": members.incapable}
    before = rollout.stages[command.stage]
    rounds = (*before.rounds, *([before.deployment] if before.deployment else []))
    move(
        step, rollout, command.stage, StageCause.OPENING, facts=counts,
        deployment=deployment.number, rounds=rounds,
    )  # fmt: skip
    return {"deployment": deployment.number, **counts}


def _deploy(step: Step, rollout: Rollout, place: int, members: Members, slot: int) -> Deployment:
    plan, stage = rollout.plan, rollout.stages[place].plan
    order = Order(
        task_type="deployment",
        parameters=plan.parameters,
        artifacts=plan.artifacts,
        target=f"stage {stage.name} of {rollout.name}",
        priority=plan.precedence,
        limits=_limits(step, rollout, place),
        allow_downgrade=plan.allow_downgrade,
        require=plan.require,
        actor=rollout.author,
        comment=rollout.comment,
        rollout=rollout.name,
        overrides=plan.overrides,
    )
    roster = roster_of(step, members)
    if plan.variants:
        draws = lots_of(step.state.fleet, rollout, members.rows)
        roster.variant[:] = variants_of(rollout, draws)
    deployment = enter(step, order, roster, members.incapable, slot)
    deployment.standing = deployment.kept = True
    return deployment


def _limits(step: Step, rollout: Rollout, place: int) -> Limits:
    """Where devices are told in a window only there is a week more for that, unless the plan says
    for how long: each window opens once in it."""
    limits = rollout.stages[place].plan.limits
    if not rollout.plan.hours or limits.deadline is not None:
        return limits
    return replace(limits, deadline=step.state.settings.deployment_deadline + 7 * LONGEST)


def complete(step: Step, rollout: Rollout) -> Rollout:
    """A rollout of which every stage has passed has succeeded."""
    passed = all(stage.state is StageState.PASSED for stage in rollout.stages)
    return change(step, rollout, RolloutCause.COMPLETION) if passed else rollout


# Room


def _obstacle(state: ClusterState, rollout: Rollout, tasks: int) -> str:
    """Why a stage of so many tasks cannot open."""
    artifacts = state.deployments.artifacts
    if any(artifacts.differing(artifact) for artifact in rollout.plan.installed):
        return "artifact_differs"
    room = all(artifacts.has_room_for(artifact) for artifact in rollout.plan.installed)
    return "" if room and room_fault(state, tasks) is None else "no_room"


def room_fault(state: ClusterState, tasks: int) -> str | None:
    """Why a stage of so many tasks finds no room, beside what taking all rollouts back may
    need."""
    fault = _fault(state, 2 * tasks)
    return None if fault is None else f"stage: {fault}"


def way_back_fault(state: ClusterState, rollout: Rollout, tasks: int) -> str | None:
    """Why there is no room to take so many tasks of a rollout back. What begins leaves room for
    that; what is over, or was taken back before, has none left for it."""
    if not rollout.ended and not rollout.rollback:
        return None
    mine = [state.deployments.known.get(number) for number in rollout.all_deployments]
    kept = sum(d.members for d in mine if d is not None and not (d.slot or d.kept))
    fault = _fault(state, kept + tasks)
    return None if fault is None else f"rollout: {fault}"


def _fault(state: ClusterState, tasks: int) -> str | None:
    """Why one more deployment of a rollout, and so many tasks, find no room."""
    book = state.deployments
    slots = sum(bool(d.rollout) for d in book.open_ones())
    begun = [r for r in state.rollouts.open_ones() if r.state not in WAITING]
    backs = sum(not r.rollback for r in begun)
    if slots + 1 + backs > MAX_ROLLOUT_SLOTS:
        return f"{slots} deployments of rollouts are open, at most {MAX_ROLLOUT_SLOTS}"
    parts = [d for d in book.known.values() if d.rollout and (d.slot or d.kept)]
    done = sum(d.members for d in parts)
    owed = sum(d.members for d in parts if not d.undoes and not _is_undone(state, d.rollout))
    if done + owed + tasks > MAX_ROLLOUT_TASKS:
        rule = f"{tasks} tasks beside {done} of rollouts, and {owed} for taking them back"
        return f"{rule}, would be over {MAX_ROLLOUT_TASKS}"
    return None


def _is_undone(state: ClusterState, name: str) -> bool:
    rollout = state.rollouts.known.get(name)
    return rollout is None or rollout.ended or rollout.rollback > 0
