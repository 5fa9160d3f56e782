"""The one place where tasks change: their columns, tallies, the device table, pace and events."""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.commands import MAX_BATCH
from stationkeep.cluster.deployments.deployment import CloseReason, Deployment, DeploymentState
from stationkeep.cluster.deployments.lifecycle import (
    ACTIVE,
    STATES,
    TASK_REASONS,
    Cause,
    TaskState,
    codes,
)
from stationkeep.cluster.deployments.roster import LATEST, Roster
from stationkeep.cluster.deployments.step_table import NO_STEP, TARGETS
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import packed
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.events import DeploymentChanged, TasksChanged
from stationkeep.cluster.state.step import Step

_ACTIVE = np.isin(np.arange(len(STATES)), codes(ACTIVE))
"""By the code of a state: whether the device is taken."""


class Wait(NamedTuple):
    """What a step leaves beside the state: why, until when (tenths), and the byte of detail; each
    a column or one value for all."""

    reason: Column | int = 0
    due: Column | int = 0
    detail: Column | int = 0


NOTHING = Wait()


def may(cause: Cause, states: Column) -> Column:
    """Which of these states a cause leads out of."""
    found: Column = TARGETS[cause.code, states] != NO_STEP
    return found


def take(
    step: Step, deployment: Deployment, positions: Column, cause: Cause, wait: Wait = NOTHING
) -> None:
    """Has tasks take a step that they may take; no position comes twice."""
    if not len(positions):
        return
    roster = step.state.deployments.rosters[deployment.number]
    roster.own()
    origins = roster.state[positions]
    targets = TARGETS[cause.code, origins]
    assert not (targets == NO_STEP).any(), f"{cause} from a state without that step"
    moved = origins != targets
    roster.since[positions[moved]] = deployment.tenths(step.now)
    roster.state[positions] = targets
    roster.reason[positions] = wait.reason
    roster.due[positions] = np.minimum(wait.due, LATEST)
    roster.detail[positions] = wait.detail
    _occupy(step, deployment, roster, positions, targets)
    if moved.any():
        _count(step, deployment, roster, positions[moved], origins[moved])


def _occupy(
    step: Step, deployment: Deployment, roster: Roster, positions: Column, targets: Column
) -> None:
    """Notes in the device table which devices are taken. Where a device was removed its row may
    be another's."""
    table, rows = step.state.fleet.table, roster.row[positions]
    taken = _ACTIVE[targets]
    table.task[rows[taken]] = deployment.slot
    freed = rows[~taken]
    freed = freed[table.task[freed] == deployment.slot]
    table.task[freed] = 0


def _count(
    step: Step, deployment: Deployment, roster: Roster, positions: Column, origins: Column
) -> None:
    """Tallies, counters, pace and the event of tasks that came from these states."""
    targets = roster.state[positions]
    reasons = roster.reason[positions]
    for column, sign in ((origins, -1), (targets, 1)):
        for code, count in enumerate(np.bincount(column, minlength=len(STATES)).tolist()):
            deployment.tallies[code] += sign * count
    _quicken(deployment, int((targets == TaskState.SUCCEEDED.code).sum()))
    _add(step.state.counters.task_transitions, origins, targets, reasons)
    first = slice(0, MAX_BATCH)
    step.emit(
        TasksChanged(
            deployment.number,
            len(positions),
            packed(roster.row[positions[first]], "<u4"),
            packed(roster.birth[positions[first]], "<u4"),
            packed(origins[first], "u1"),
            packed(targets[first], "u1"),
            packed(reasons[first], "u1"),
            packed(roster.attempt[positions[first]], "u1"),
        )
    )


def _quicken(deployment: Deployment, succeeded: int) -> None:
    """As many successes as the rate is, one good minute, make it faster."""
    pace = deployment.limits.pace
    if pace is None:
        return
    deployment.at_rate += succeeded
    while deployment.rate < pace.most and deployment.at_rate >= deployment.rate:
        deployment.at_rate -= deployment.rate
        deployment.rate = min(pace.most, deployment.rate * pace.factor)


def _add(counters: dict[str, int], origins: Column, targets: Column, reasons: Column) -> None:
    """Adds these steps to the counters."""
    ways = (origins.astype(np.intp) * len(STATES) + targets) * len(TASK_REASONS) + reasons
    counts = np.bincount(ways)
    for way in np.flatnonzero(counts).tolist():
        pair, reason = divmod(way, len(TASK_REASONS))
        origin, target = divmod(pair, len(STATES))
        key = f"{STATES[origin]}>{STATES[target]}>{TASK_REASONS[reason]}"
        counters[key] = counters.get(key, 0) + int(counts[way])


def close_if_over(step: Step, deployment: Deployment) -> None:
    """A deployment without unfinished tasks is closed, unless it is judged still."""
    if deployment.unfinished or deployment.standing:
        return
    canceled = deployment.state is DeploymentState.CLOSING
    deployment.reason = CloseReason.CANCELED if canceled else CloseReason.COMPLETED
    deployment.closed_at = step.now
    step.state.deployments.close(deployment)
    step.emit(DeploymentChanged(deployment.number, deployment.state, deployment.reason))
    if deployment.rollout:
        return  # which says itself what came of it
    facts = {
        **about(step, deployment),
        "reason": deployment.reason.value,
        "took_ms": step.now - deployment.opened_at,
        "tasks": {state: n for state, n in deployment.tallied().items() if n},
    }
    step.decide("deployment_closed", Outcome.NOTED, (), facts=facts)


def about(step: Step, deployment: Deployment) -> dict[str, object]:
    """What every decision about a deployment names it by."""
    artifact = step.state.deployments.artifact_of(deployment)
    return {
        "deployment": deployment.number,
        "task_type": deployment.task_type,
        "component": artifact.component if artifact else "",
        "version": artifact.version if artifact else "",
        "target": deployment.target,
    }
