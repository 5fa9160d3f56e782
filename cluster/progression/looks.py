"""Stages are judged: again and again while they are open, and once more at the end.

A gate that is proven broken ends its stage in the same entry, and what the plan says for that case
begins with it, unless automatic changes are paused: then it begins when they are not any more.
Source: rollouts.md, "Judging".
"""

from functools import lru_cache

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.alarms import ROLLOUT_FAILED
from stationkeep.cluster.commands import AdvanceRollout, CheckRollouts
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.deployments.roster import ACCEPTED
from stationkeep.cluster.progression.advance import Due, due_of, is_held
from stationkeep.cluster.progression.alarms import watch
from stationkeep.cluster.progression.holds import hold_stages
from stationkeep.cluster.progression.openings import complete
from stationkeep.cluster.progression.rollback import turn_back, undo
from stationkeep.cluster.progression.steps import (
    change,
    existing,
    finish,
    move,
    standing,
    stop_stages,
)
from stationkeep.cluster.progression.strays import take_back
from stationkeep.cluster.progression.twins import look, soak_of
from stationkeep.cluster.rollouts import gates
from stationkeep.cluster.rollouts.evidence import Look
from stationkeep.cluster.rollouts.gates import Gates, Judgement, Tally, Verdict, Watched
from stationkeep.cluster.rollouts.lifecycle import RolloutCause, RolloutState, StageCause
from stationkeep.cluster.rollouts.plan import OnFail
from stationkeep.cluster.rollouts.rollout import (
    Block,
    Rollout,
    Stage,
    same_artifact,
    tally_of,
    with_stage,
)
from stationkeep.cluster.rollouts.twins import Twins
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import GateJudged, RolloutsChecked
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step


def check_rollouts(step: Step, command: CheckRollouts) -> dict[str, object]:
    """One look at all that is judged, and what follows from it."""
    book = step.state.rollouts
    if command.after != book.checks:
        detail = f"after: {command.after}, {book.checks} checks have been made"
        raise Refused(Reason.STALE_REVISION, detail)
    book.checks += 1
    book.checked_at = step.now
    for name in [rollout.name for rollout in book.open_ones()]:
        _check(step, book.known[name])  # which may have others pause
    watch(step)
    step.emit(RolloutsChecked(book.checks))
    return {"checks": book.checks}


def _check(step: Step, rollout: Rollout) -> None:
    for place, stage in enumerate(rollout.stages):
        if not stage.is_judged:
            continue
        twins = step.state.rollouts.twins.get((rollout.name, stage.name))
        if twins is not None:
            look(step.state, rollout, stage, twins)
        rollout = _judge(step, rollout, place)
        if rollout.stages[place].proven and not is_held(step.state):
            fail(step, rollout, place)
            return
    hold_stages(step, rollout)


def _judge(step: Step, rollout: Rollout, place: int) -> Rollout:
    """Notes how a stage stands; a gate proven broken stays so."""
    stage = rollout.stages[place]
    judged = judgements(step.state, rollout, stage)
    broken = next((j.gate.value for j in judged if j.verdict is Verdict.FAILED), "")
    twins = step.state.rollouts.twins.get((rollout.name, stage.name))
    if twins is not None:
        twins.note(step.now, judged[-1].evidence or 0)
    if (judged, stage.proven or broken) == (stage.judged, stage.proven):
        return rollout
    _tell(step, rollout, stage, judged)
    stage = replace(stage, judged=judged, proven=stage.proven or broken)
    rollout = with_stage(rollout, place, stage)
    step.state.rollouts.put(rollout)
    return rollout


def _tell(step: Step, rollout: Rollout, stage: Stage, judged: tuple[Judgement, ...]) -> None:
    """Emits what is judged otherwise than before: not every figure that has moved."""
    before = {judgement.gate: judgement.verdict for judgement in stage.judged}
    for judgement in judged:
        if before.get(judgement.gate) is not judgement.verdict:
            facts = {f: getattr(judgement, f) for f in GateJudged.__struct_fields__[2:]}
            step.emit(GateJudged(rollout.name, stage.name, **facts))


def judgements(state: ClusterState, rollout: Rollout, stage: Stage) -> tuple[Judgement, ...]:
    """The gates of a stage that is open, as they stand."""
    limits = stage.checks.gates
    tally = tally_now(state, stage)
    judged = _failures(tally, limits), gates.coverage(tally, limits)
    if not stage.checks.health:
        return judged
    twins = state.rollouts.twins.get((rollout.name, stage.name)) or Twins()
    return (*judged, _health(tally, twins.watched, tuple(sorted(twins.table.items())), limits))


@lru_cache(maxsize=1_024)
def _failures(tally: Tally, limits: Gates) -> Judgement:
    return gates.failures(tally, limits)


@lru_cache(maxsize=1_024)
def _health(
    tally: Tally, watched: Watched, table: tuple[tuple[Look, int], ...], limits: Gates
) -> Judgement:
    """Most looks find nothing new, and evidence takes a millisecond."""
    return gates.health(tally, watched, dict(table), limits)


def tally_now(state: ClusterState, stage: Stage) -> Tally:
    """What gates count of a stage that is open."""
    deployment = state.deployments.known[stage.deployment]
    begun = 0
    if deployment.count(TaskState.QUEUED):
        roster = state.deployments.rosters[stage.deployment]
        waiting = roster.state == TaskState.QUEUED.code
        begun = int(np.count_nonzero(waiting & (roster.flags & ACCEPTED > 0)))
    return tally_of(deployment.tallies, begun)


# What follows


def fail(step: Step, rollout: Rollout, place: int) -> None:
    """A stage of which a gate is proven broken: what the plan says for that."""
    stage = rollout.stages[place]
    reason = f"{stage.name}:{stage.proven}"
    step.raise_alarm(ROLLOUT_FAILED, f"{rollout.name}: stage {stage.name} failed ({stage.proven})")
    _block(step, rollout, stage)
    rollout = finish(step, rollout, place, StageCause.FAILURE, stage.proven)
    match rollout.plan.on_fail:
        case OnFail.PAUSE:
            change(step, rollout, RolloutCause.FAILURE_PAUSED, f"failed:{reason}")
        case OnFail.ABORT:
            rollout = stop_stages(step, rollout)
            change(step, rollout, RolloutCause.FAILURE_ABORTED, reason)
        case OnFail.ROLLBACK:
            turn_back(step, rollout, RolloutCause.FAILURE, reason)


def _block(step: Step, rollout: Rollout, stage: Stage) -> None:
    """What was proven bad is rolled out nowhere else either, until somebody says so."""
    for artifact in rollout.plan.installed:
        block = Block(artifact, rollout.name, stage.name, stage.proven, step.now)
        step.state.rollouts.block(block)
        for other in step.state.rollouts.open_ones():
            running = other.state is RolloutState.RUNNING and other.name != rollout.name
            installs = any(same_artifact(artifact, one) for one in other.plan.installed)
            if running and installs and not other.forced:
                change(step, other, RolloutCause.BLOCKED, f"blocked:{rollout.name}")


def doubt(step: Step, rollout: Rollout, place: int, why: str) -> None:
    """A stage that people must decide about. The rollout waits for them; others of its stages that
    run already are not called off."""
    rollout = move(step, rollout, place, StageCause.DOUBT, why)
    change(step, rollout, RolloutCause.DOUBT, f"inconclusive:{rollout.stages[place].name}:{why}")


def advance_rollout(step: Step, command: AdvanceRollout) -> dict[str, object]:
    """What has come about is looked at again, and its consequence taken."""
    rollout = existing(step, command.rollout, command.revision)
    found = due_of(step.state, rollout, step.now)
    if found is None or found.due != command.due:
        detail = f"due: {command.due[:40]!r} has not come about, {standing(rollout)}"
        raise Refused(Reason.NOT_IN_STATE, detail)
    match found.due:
        case Due.DEPLOYED:
            _soak(step, rollout, found.stage)
        case Due.SOAKED | Due.ANSWERED:
            _conclude(step, rollout, found.stage)
        case Due.FOLLOWED:
            complete(step, move(step, rollout, found.stage, StageCause.OVER, "followed"))
        case Due.UNANSWERED:
            doubt(step, rollout, found.stage, "unanswered")
        case Due.ENDED:
            change(step, rollout, RolloutCause.ENDED, rollout.reason)
        case Due.UNDONE:
            if not take_back(step, rollout):
                undo(step, rollout)
    watch(step)
    return {"state": step.state.rollouts.known[rollout.name].state.value}


def _soak(step: Step, rollout: Rollout, place: int) -> None:
    """The devices that were updated last are watched as long as the first."""
    stage = rollout.stages[place]
    deployment = step.state.deployments.known[stage.deployment]
    roster = step.state.deployments.rosters[stage.deployment]
    succeeded = roster.in_state(TaskState.SUCCEEDED)
    until = step.now
    if len(succeeded):
        newest = deployment.at(int(roster.since[succeeded].max()))
        until = newest + step.state.settings.settling + soak_of(step.state, stage)
    deadline = max(step.now, until)
    move(step, rollout, place, StageCause.DEPLOYED, deadline=deadline)


def _conclude(step: Step, rollout: Rollout, place: int) -> None:
    """The verdict at the end of a soak, or when those who were asked have answered."""
    twins = step.state.rollouts.twins.get((rollout.name, rollout.stages[place].name))
    if twins is not None:
        look(step.state, rollout, rollout.stages[place], twins)
    rollout = _judge(step, rollout, place)
    stage = rollout.stages[place]
    if stage.proven:
        fail(step, rollout, place)
    elif stage.doubtful is not None:
        doubt(step, rollout, place, stage.doubtful.value)
    elif rollout.is_granted(stage):
        until = rollout.follows_until
        follows = until is not None and step.now < until
        cause = StageCause.ROUND if follows else StageCause.PASSED
        complete(step, finish(step, rollout, place, cause))
    else:
        wait = step.now + step.state.settings.deployment_deadline
        move(step, rollout, place, StageCause.SOAKED, deadline=wait)
