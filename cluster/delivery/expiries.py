"""Waits that are over: offers left unanswered, devices gone silent, deployments past their time.

Millions of tasks have deadlines, too many for `cluster.deadlines`: the leader looks for those that
are due and records them in batches, and apply looks at each again. Source: tasks.md, "Waits and
retries".
"""

from collections.abc import Iterator

import numpy as np

from stationkeep.cluster.commands import MAX_BATCH, ExpireTasks
from stationkeep.cluster.delivery.failures import note_failures
from stationkeep.cluster.delivery.offers import open_deployment, positions_of
from stationkeep.cluster.delivery.steps import Wait, close_if_over, take
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import (
    RETRYABLE,
    TASK_REASONS,
    Cause,
    TaskReason,
    TaskState,
)
from stationkeep.cluster.deployments.roster import (
    ACCEPTED,
    CLAIMED,
    LATEST,
    MAX_ATTEMPTS,
    MAX_UNANSWERED,
    TENTH,
    TOLD_TO_CANCEL,
    Roster,
)
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import packed
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Step

MOST_PLANNED = 4 * MAX_BATCH
"""Tasks of one plan; those beyond are in the next."""
_RETRYABLE = np.isin(np.arange(len(TASK_REASONS)), [reason.code for reason in RETRYABLE])


def plan_expiries(state: ClusterState, now: int) -> list[ExpireTasks]:
    """What the leader is to record as over at cluster time `now`."""
    plan: list[ExpireTasks] = []
    left = MOST_PLANNED
    for deployment in state.deployments.open_ones():
        roster = state.deployments.rosters[deployment.number]
        positions = _overdue(state, deployment, roster, now)[:left]
        left -= len(positions)
        plan += _commands(deployment, roster, positions)
    return plan


def _overdue(state: ClusterState, deployment: Deployment, roster: Roster, now: int) -> Column:
    over = np.zeros(len(roster), bool)
    if deployment.in_flight:
        over |= roster.active & (roster.due <= deployment.tenths(now))
    if _is_over(state, deployment, now) and deployment.count(TaskState.QUEUED):
        over |= roster.state == TaskState.QUEUED.code
    return np.flatnonzero(over)


def _is_over(state: ClusterState, deployment: Deployment, now: int) -> bool:
    """Whether the time of a deployment is over, and does not stand still."""
    return now >= deployment.deadline and stands_since(state, deployment) is None


def stands_since(state: ClusterState, deployment: Deployment) -> int | None:
    """Since when the time of a deployment stands still, as it is held, or automatic changes are
    paused; None: it runs."""
    if deployment.held:
        return deployment.held_at
    stopped = state.rollouts.stopped_at
    return None if stopped is None else max(stopped, deployment.opened_at)


def time_left(state: ClusterState, deployment: Deployment, now: int) -> int:
    """ms until who is QUEUED is UNREACHED, as soon as that time runs."""
    since = stands_since(state, deployment)
    return deployment.deadline - (now if since is None else since)


def _commands(deployment: Deployment, roster: Roster, positions: Column) -> Iterator[ExpireTasks]:
    for start in range(0, len(positions), MAX_BATCH):
        part = positions[start : start + MAX_BATCH]
        attempts = packed(roster.attempt[part], "u1")
        yield ExpireTasks(deployment.number, packed(part, "<u4"), attempts)


# In apply


def expire_tasks(step: Step, command: ExpireTasks) -> dict[str, object]:
    """Lets every wait of these tasks end that is over."""
    deployment = open_deployment(step, command.deployment)
    roster = step.state.deployments.rosters[deployment.number]
    positions, attempts = positions_of(roster, command.positions, command.attempts)
    over = (roster.attempt[positions] == attempts) & (
        roster.due[positions] <= deployment.tenths(step.now)
    )
    state = roster.state[positions]
    expired = positions[over & (state == TaskState.OFFERED.code)]
    _unanswered(step, deployment, roster, expired)
    silent = positions[over & (state == TaskState.IN_PROGRESS.code)]
    _silence(step, deployment, roster, silent)
    late = positions[(state == TaskState.QUEUED.code) & _is_over(step.state, deployment, step.now)]
    _give_up(step, deployment, roster, late)
    close_if_over(step, deployment)
    return {"expired": len(expired) + len(silent) + len(late)}


def _unanswered(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """It costs no attempt. Who leaves so many unanswered is offered it no more, until it registers
    anew."""
    unanswered = roster.detail[positions] + 1
    tired = unanswered >= MAX_UNANSWERED
    reasons = np.where(tired, TaskReason.NOT_ANSWERING.code, TaskReason.UNANSWERED.code)
    again = backoff(step, deployment, roster, positions, unanswered)
    wait = Wait(reasons, np.where(tired, LATEST, again), unanswered)
    take(step, deployment, positions, Cause.UNANSWERED, wait)


def _silence(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """Who said that it had succeeded has had all its time to report the version."""
    claimed = roster.flags[positions] & CLAIMED > 0
    silent, mismatch = TaskReason.SILENT.code, TaskReason.VERSION_MISMATCH.code
    take(step, deployment, positions, Cause.SILENCE, Wait(np.where(claimed, mismatch, silent)))
    note_failures(step, deployment, positions)
    retry(step, deployment, roster, positions)


def _give_up(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """Nobody is to blame for a device that could not be reached; one that had begun and went
    silent has failed."""
    begun = roster.flags[positions] & ACCEPTED > 0
    unreached = Wait(TaskReason.UNREACHED.code)
    take(step, deployment, positions[~begun], Cause.DEADLINE, unreached)
    take(step, deployment, positions[begun], Cause.GIVEN_UP, Wait(TaskReason.SILENT.code))
    note_failures(step, deployment, positions[begun])


def retry(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """Another attempt for those of these tasks, FAILED or TIMED_OUT, that it may help."""
    if not deployment.open or _is_over(step.state, deployment, step.now):
        return
    assert deployment.limits.retries is not None
    tried = roster.attempt[positions]
    again = _RETRYABLE[roster.reason[positions]] & (tried <= deployment.limits.retries)
    again &= tried < MAX_ATTEMPTS
    positions = positions[again & (roster.flags[positions] & TOLD_TO_CANCEL == 0)]
    if len(positions):
        due = backoff(step, deployment, roster, positions, roster.attempt[positions])
        roster.attempt[positions] += 1
        take(step, deployment, positions, Cause.RETRY, Wait(TaskReason.RETRY.code, due))


def backoff(
    step: Step, deployment: Deployment, roster: Roster, positions: Column, times: Column
) -> Column:
    """When to try again what has failed so many times (1..): half of `offer_timeout`, then four
    times as long each time, a fifth more or less by the device's lot; `task_timeout` at most."""
    settings = step.state.settings
    longest = settings.task_timeout // TENTH
    first = max(1, settings.offer_timeout // 2 // TENTH)
    wait = np.minimum(longest, first * 4 ** (times.astype(np.int64) - 1))
    lot = step.state.fleet.table.lot[roster.row[positions]].astype(np.int64)
    wait = wait * (800 + lot % 401) // 1_000
    due: Column = np.minimum(LATEST, deployment.tenths(step.now) + wait).astype(np.uint32)
    return due
