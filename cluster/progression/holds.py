"""What holds rollouts back, and that their time stands still meanwhile.

A pause of the rollout, or of all automatic changes, stops every deadline that its stages have, and
one of all those of other deployments too; whoever is waited for has as much time left afterwards as
before. What is watched goes on being watched: a soak is not a deadline. Source: rollouts.md,
"Holds".
"""

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.delivery.expiries import time_left
from stationkeep.cluster.delivery.offers import Hold, frozen, hold_of, lies_on
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.rollouts.lifecycle import RolloutState, StageState
from stationkeep.cluster.rollouts.rollout import Freeze, Rollout, Stage, with_stage
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Step

PAUSED = "paused"
PAUSES = (PAUSED, Hold.CLUSTER_PAUSED.value, Hold.SWARM_OFF.value)
"""Holds by which somebody has stopped everything, and not only what begins."""
_OF_ALL = ("", *PAUSES[1:])
"""How a deployment is held that nothing of its own holds."""
_FEW = 1_024
"""Devices that are looked at before all of a stage are: most freezes leave some of these."""


def keep_time(step: Step) -> None:
    """Stops the deadlines of all rollouts and deployments as soon as automatic changes are paused,
    and lets them run again when they are not any more. A pause of a rollout that was given its end
    keeps it."""
    book, held = step.state.rollouts, is_held(step.state)
    if held is (book.stopped_at is not None):
        return
    if not held:
        for rollout in book.open_ones():
            left = book.left(rollout, step.now)
            if left is not None:
                book.put(replace(rollout, deadline=step.now + left))
        for deployment in step.state.deployments.open_ones():
            if not deployment.held:  # else it has its time back when it is not held any more
                deployment.deadline = step.now + time_left(step.state, deployment, step.now)
    book.stopped_at = step.now if held else None
    for rollout in book.open_ones():
        hold_stages(step, rollout)


def hold_stages(step: Step, rollout: Rollout) -> Rollout:
    """Has nothing offered in stages of a rollout that is paused, that a freeze lies on, or that
    waits for another; the rollout as it is then. Who is asked about a stage has the time back that
    a pause took."""
    for place, stage in enumerate(rollout.stages):
        if stage.is_judged:
            deployment = step.state.deployments.known[stage.deployment]
            was, at = deployment.held, deployment.held_at
            set_hold(step, deployment, _hold_of(step.state, rollout, stage, deployment))
            if was in PAUSES and deployment.held != was and stage.state is StageState.VALIDATING:
                assert stage.deadline is not None
                waits = replace(stage, deadline=stage.deadline + step.now - at)
                rollout = with_stage(rollout, place, waits)
                step.state.rollouts.put(rollout)
    return rollout


def _hold_of(state: ClusterState, rollout: Rollout, stage: Stage, deployment: Deployment) -> str:
    if rollout.state is RolloutState.PAUSED:
        return PAUSED
    hold = hold_of(state)
    if hold is not None and is_held(state):
        return hold.value
    freeze = state.rollouts.freeze_over(stage.plan.ring, rollout.plan)
    freeze = freeze or frozen_by(state, deployment)
    if freeze is not None:
        return f"freeze:{freeze.name}"
    other = preempted_by(state, deployment)
    return f"preempted:{other.rollout or other.number}" if other is not None else ""


def frozen_by(state: ClusterState, deployment: Deployment) -> Freeze | None:
    """If freezes lie on all devices that a deployment still waits for, that one with whose end this
    is over."""
    freezes = state.rollouts.freezes.values() if deployment.count(TaskState.QUEUED) else ()
    if not freezes:
        return None
    roster = state.deployments.rosters[deployment.number]
    free = roster.row[roster.in_state(TaskState.QUEUED)]
    if not frozen(state, deployment, free[:_FEW]).all():
        return None
    for freeze in sorted(freezes, key=lambda one: (-one.until, one.name)):
        if freeze.name not in deployment.overrides:
            free = free[~lies_on(state, freeze, free)]
            if not len(free):
                return freeze
    return None


def preempted_by(state: ClusterState, deployment: Deployment) -> Deployment | None:
    """A deployment of higher priority, if such have all the devices for themselves that this one
    still waits for."""
    if deployment.in_flight or not deployment.count(TaskState.QUEUED):
        return None
    rosters, first = state.deployments.rosters, None
    claimed = np.zeros(state.fleet.table.used, bool)
    for other in state.deployments.open_ones():
        if other.priority <= deployment.priority:
            break
        if other.held in _OF_ALL and other.unfinished:
            roster = rosters[other.number]
            waits = roster.active | (roster.state == TaskState.QUEUED.code)
            claimed[roster.row[waits]] = True
            first = first or other
    if first is None:
        return None
    mine = rosters[deployment.number]
    return first if claimed[mine.row[mine.in_state(TaskState.QUEUED)]].all() else None


def set_hold(step: Step, deployment: Deployment, reason: str) -> None:
    """Holds a deployment back, or lets it go on: with as much time left as it had."""
    if reason == deployment.held:
        return
    if deployment.held:
        deployment.deadline += step.now - deployment.held_at
    deployment.held, deployment.held_at = reason, step.now if reason else 0
