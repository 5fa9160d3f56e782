"""Tasks as they are asked for: those of a device, and why one waits."""

import enum
from typing import NamedTuple

import msgspec
import numpy as np

from stationkeep.cluster.delivery.offers import frozen, hold_of, is_on_trial, room
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import (
    PHASES,
    STATES,
    TASK_REASONS,
    UNFINISHED,
    Phase,
    TaskReason,
    TaskState,
)
from stationkeep.cluster.deployments.roster import (
    ACCEPTED,
    LATEST,
    TOLD_TO_CANCEL,
    phase_of,
    progress_of,
)
from stationkeep.cluster.state.state import ClusterState


class Task(msgspec.Struct, frozen=True):
    """One task. Times in cluster ms. `due`: QUEUED, not offered before; OFFERED and IN_PROGRESS,
    it has run out then; else None. `phase` and `progress` (percent, by tens) are those of a task
    in progress. `previous`: the version that the device ran when it was first offered."""

    deployment: int
    row: int
    birth: int
    state: TaskState
    attempt: int
    variant: int
    reason: TaskReason
    since: int
    due: int | None
    phase: Phase | None
    progress: int
    previous: str
    accepted: bool
    told_to_cancel: bool


class Delay(enum.StrEnum):
    """Why a queued task is not offered now."""

    HELD = "held"
    """Of all deployments: see `offers.hold_of`."""
    DEADLINE = "deadline"
    """Its time is over; it is recorded as unreached next."""
    OFFLINE = "offline"
    BUSY = "busy"
    """Another task has its device."""
    NOT_ANSWERING = "not_answering"
    NOT_BEFORE = "not_before"
    """It waits for its time: `Task.due`, for `Task.reason`."""
    REQUIRE = "require"
    """The device's newest status does not meet what the deployment requires."""
    PRIORITY = "priority"
    """A deployment of higher priority has a task queued for the device."""
    ROLLOUT = "rollout"
    """Its rollout has nothing offered: see `Deployment.held`."""
    FIRST = "first"
    """Devices are told one at a time, until so many have succeeded and are well."""
    FROZEN = "frozen"
    """A freeze lies on its device."""
    MAX_IN_FLIGHT = "max_in_flight"
    PACE = "pace"


class Standing(NamedTuple):
    """`delay`: why a queued task waits, None: it is offered next. `deployment`: what it waits for,
    of `BUSY` and `PRIORITY`."""

    delay: Delay | None
    deployment: int = 0


def task_at(state: ClusterState, deployment: Deployment, position: int) -> Task:
    """The task at a position of a roster that is kept."""
    book = state.deployments
    roster = book.rosters[deployment.number]
    code = TaskState.IN_PROGRESS.code
    runs, due = int(roster.state[position]) == code, int(roster.due[position])
    detail, flags = roster.detail[position], int(roster.flags[position])
    known = STATES[roster.state[position]]
    return Task(
        deployment=deployment.number,
        row=int(roster.row[position]),
        birth=int(roster.birth[position]),
        state=known,
        attempt=int(roster.attempt[position]),
        variant=int(roster.variant[position]),
        reason=TASK_REASONS[roster.reason[position]],
        since=deployment.at(int(roster.since[position])),
        due=deployment.at(due) if known in UNFINISHED and due < LATEST else None,
        phase=PHASES[phase_of(detail)] if runs else None,
        progress=int(progress_of(detail)) if runs else 0,
        previous=book.versions[int(roster.version[position])],
        accepted=flags & ACCEPTED > 0,
        told_to_cancel=flags & TOLD_TO_CANCEL > 0,
    )


def task_of_device(state: ClusterState, row: int) -> Task | None:
    """The task that has the device in a row: OFFERED or IN_PROGRESS."""
    slot = int(state.fleet.table.task[row])
    if not slot:
        return None
    deployment = state.deployments.in_slot(slot)
    position = position_of(state, deployment, row)
    assert position is not None, "the device table names the deployment whose task has it"
    return task_at(state, deployment, position)


def tasks_of(state: ClusterState, row: int) -> list[Task]:
    """All tasks of the device in a row whose rosters are kept, the newest deployment first."""
    found = []
    for number in sorted(state.deployments.rosters, reverse=True):
        deployment = state.deployments.known[number]
        position = position_of(state, deployment, row)
        if position is not None:
            found.append(task_at(state, deployment, position))
    return found


def position_of(state: ClusterState, deployment: Deployment, row: int) -> int | None:
    """Where the task of the device in a row stands in a roster that is kept."""
    rows = np.array([row])
    births = state.fleet.table.birth[rows]
    (position,) = state.deployments.rosters[deployment.number].find(rows, births).tolist()
    return None if position < 0 else int(position)


def standing(state: ClusterState, task: Task, now: int) -> Standing:
    """Why a task that is queued waits at a cluster time: the first thing in the way."""
    book, table = state.deployments, state.fleet.table
    deployment = book.known[task.deployment]
    if hold_of(state) is not None:
        return Standing(Delay.HELD)
    if deployment.held:
        return Standing(Delay.ROLLOUT)
    if now >= deployment.deadline:
        return Standing(Delay.DEADLINE)
    if not table.online[task.row]:
        return Standing(Delay.OFFLINE)
    if task.reason is TaskReason.NOT_ANSWERING:
        return Standing(Delay.NOT_ANSWERING)
    if task.due is not None and task.due > now:
        return Standing(Delay.NOT_BEFORE)
    if table.task[task.row]:
        return Standing(Delay.BUSY, book.in_slot(int(table.task[task.row])).number)
    require = deployment.require
    if require is not None and not state.fleet.meeting(require, np.array([task.row])).all():
        return Standing(Delay.REQUIRE)
    if frozen(state, deployment, np.array([task.row])).any():
        return Standing(Delay.FROZEN)
    before = _claim_before(state, deployment, task.row)
    if before is not None:
        return Standing(Delay.PRIORITY, before.number)
    if room(state, deployment, now):
        return Standing(None)
    if is_on_trial(state, deployment, now):
        return Standing(Delay.FIRST)
    return Standing(Delay.MAX_IN_FLIGHT if deployment.is_full else Delay.PACE)


def _claim_before(state: ClusterState, deployment: Deployment, row: int) -> Deployment | None:
    """A deployment of higher priority that has a task queued for a device."""
    for other in state.deployments.open_ones():
        if other.priority <= deployment.priority:
            return None
        if other.held:
            continue
        position = position_of(state, other, row)
        queued = TaskState.QUEUED.code
        if (
            position is not None
            and state.deployments.rosters[other.number].state[position] == queued
        ):
            return other
    return None
