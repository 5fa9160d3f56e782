"""What must hold of deployments in every state. `cluster.invariants` checks it with the rest.

Source: tasks.md, "What must hold".
"""

import numpy as np

from stationkeep.cluster.delivery.members import version_of
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.book import (
    MAX_CLOSED_DEPLOYMENTS,
    MAX_OPEN_DEPLOYMENTS,
    MAX_TASKS,
    MAX_VERSIONS,
)
from stationkeep.cluster.deployments.deployment import Deployment, DeploymentState
from stationkeep.cluster.deployments.lifecycle import STATES, UNFINISHED, TaskState, codes
from stationkeep.cluster.deployments.roster import MAX_ATTEMPTS, SUPERSEDED, Roster
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.state import ClusterState

_UNFINISHED = np.isin(np.arange(len(STATES)), codes(UNFINISHED))
"""By the code of a state: whether something may still come of the task."""


def tallies_recount(state: ClusterState) -> str | None:
    """Tallies are what a count of the roster gives."""
    for number, roster in state.deployments.rosters.items():
        deployment = state.deployments.known[number]
        if deployment.tallies != roster.tally() or deployment.members != len(roster):
            return f"deployment {number} says {deployment.tallies}, a count {roster.tally()}"
    return None


def one_task_a_device(state: ClusterState) -> str | None:
    """The device table names a deployment exactly where a roster has a task OFFERED or
    IN_PROGRESS, and it is one."""
    table = state.fleet.table
    try:
        found = state.deployments.taken(table.birth[: table.used])
    except ValueError as error:
        return str(error)
    other = np.flatnonzero(found != table.task[: table.used])
    if len(other):
        row = other[0]
        return f"row {row} is said to be busy with {table.task[row]}, not {found[row]}"
    return None


def closed_are_over(state: ClusterState) -> str | None:
    """A deployment is closed exactly when none of its tasks is unfinished and no stage is judged by
    it; one that is closing has only tasks in progress, each of them told to cancel."""
    for d in state.deployments.known.values():
        if (d.state is DeploymentState.CLOSED) is (d.unfinished > 0 or d.standing):
            return f"deployment {d.number} is {d.state} with {d.unfinished} unfinished tasks"
        waiting = d.count(TaskState.QUEUED) + d.count(TaskState.OFFERED)
        if d.state is DeploymentState.CLOSING and waiting:
            return f"deployment {d.number} closes with {waiting} tasks that have not begun"
    return None


def every_wait_ends(state: ClusterState) -> str | None:
    """Whatever is unfinished has a time at which it is over, within the bounds of time."""
    for deployment in state.deployments.open_ones():
        roster = state.deployments.rosters[deployment.number]
        if roster.active.any() and not roster.due[roster.active].all():
            return f"a task of deployment {deployment.number} is waited for without an end"
        if deployment.deadline <= deployment.opened_at:
            return f"deployment {deployment.number} is over before it began"
    return None


def only_reported_successes(state: ClusterState) -> str | None:
    """No task of an open deployment has SUCCEEDED whose device reports another version, but what
    another deployment had it install since."""
    book = state.deployments
    for deployment in book.open_ones():
        roster = book.rosters[deployment.number]
        succeeded = roster.state == TaskState.SUCCEEDED.code
        done = np.flatnonzero(succeeded & (roster.flags & SUPERSEDED == 0))
        for artifact, positions in book.by_artifact(deployment, done):
            fault = _other_version(state, roster, positions, artifact)
            if fault is not None:
                return fault
    return None


def _other_version(
    state: ClusterState, roster: Roster, positions: Column, artifact: Artifact
) -> str | None:
    table = state.fleet.table
    for position in positions.tolist():
        row = int(roster.row[position])
        if table.birth[row] == roster.birth[position]:
            reported = version_of(table.kinds[int(table.kind[row])], artifact)
            if reported not in ("", artifact.version):
                return f"{table.ids[row]} succeeded with {artifact.version}, runs {reported!r}"
    return None


def unfinished_are_there(state: ClusterState) -> str | None:
    """No task is unfinished whose device is gone: with the device its tasks are canceled."""
    births = state.fleet.table.birth
    for deployment in state.deployments.open_ones():
        roster = state.deployments.rosters[deployment.number]
        gone = _UNFINISHED[roster.state] & (births[roster.row] != roster.birth)
        if gone.any():
            return f"{gone.sum()} tasks of deployment {deployment.number} wait for removed devices"
    return None


def within_limits(state: ClusterState) -> str | None:
    """Everything that grows has its limit, and what is in flight too."""
    book = state.deployments
    sizes = {
        "open": (len(book.open_ones()), MAX_OPEN_DEPLOYMENTS),
        "closed": (
            sum(not book.known[number].kept for number in book.closed),
            MAX_CLOSED_DEPLOYMENTS,
        ),
        "tasks": (book.tasks, MAX_TASKS),
        "versions": (len(book.versions.texts), MAX_VERSIONS + 1),
    }
    over = [f"{name} {size} > {limit}" for name, (size, limit) in sizes.items() if size > limit]
    for d in book.open_ones():
        if d.in_flight > (d.limits.max_in_flight or 0):
            over.append(f"{d.in_flight} in flight of deployment {d.number}")
    return ", ".join(over) or None


def rosters_hold(state: ClusterState) -> str | None:
    """Every open deployment has a roster, whose tasks ascend by row, with attempts from 1."""
    for d in state.deployments.known.values():
        roster = state.deployments.rosters.get(d.number)
        if roster is None and d.slot:
            return f"deployment {d.number} is open without a roster"
        if roster is not None:
            fault = _fault_of(d, roster)
            if fault:
                return f"deployment {d.number}: {fault}"
    return None


def _fault_of(deployment: Deployment, roster: Roster) -> str:
    if len(roster) > 1 and not bool((roster.row[1:] > roster.row[:-1]).all()):
        return "rows do not ascend"
    if not 1 <= int(roster.attempt.min()) <= int(roster.attempt.max()) <= MAX_ATTEMPTS:
        return f"attempts from {roster.attempt.min()} to {roster.attempt.max()}"
    return ""


INVARIANTS = (
    tallies_recount,
    one_task_a_device,
    closed_are_over,
    every_wait_ends,
    only_reported_successes,
    unfinished_are_there,
    within_limits,
    rosters_hold,
)
