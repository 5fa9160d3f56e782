"""The operator's hand on deployments: created, canceled, retried.

Source: tasks.md, "Deployments" and "Shares and memory".
"""

import numpy as np

from stationkeep.cluster.commands import CancelDeployment, CreateDeployment, RetryTasks
from stationkeep.cluster.delivery.arrivals import compare_versions
from stationkeep.cluster.delivery.expiries import stands_since
from stationkeep.cluster.delivery.members import members_of, told_again
from stationkeep.cluster.delivery.openings import (
    Order,
    check_artifact,
    enter,
    roster_of,
    withdraw,
)
from stationkeep.cluster.delivery.steps import Wait, about, close_if_over, may, take
from stationkeep.cluster.deployments.artifacts import artifact_fault
from stationkeep.cluster.deployments.book import (
    MAX_OPEN_DEPLOYMENTS,
    MAX_OPEN_OF_ONE,
    MAX_OPEN_ORDERED,
    MAX_TASKS,
    MAX_TASKS_OF_ONE,
    MAX_TASKS_ORDERED,
)
from stationkeep.cluster.deployments.deployment import (
    MAX_PRIORITY,
    CloseReason,
    Deployment,
    DeploymentState,
    limit_faults,
    parameter_faults,
    require_fault,
    target_faults,
)
from stationkeep.cluster.deployments.lifecycle import Cause, TaskReason, TaskState
from stationkeep.cluster.deployments.roster import MAX_ATTEMPTS, REVERTED
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.names import party
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.operators import check_name
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import DeploymentChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step
from stationkeep.cluster.suggestion import unknown


def create_deployment(step: Step, command: CreateDeployment) -> dict[str, object]:
    """Opens a deployment to whoever is in the target now."""
    _check_words(command)
    artifact = command.artifact
    if artifact is not None:
        check_artifact(step, artifact)
    members = members_of(step.state.fleet, command.target, artifact, command.allow_downgrade)
    if not len(members.rows):
        none = f"target: {command.target} has no device that can carry out tasks"
        raise Refused(Reason.INCAPABLE, f"{none} ({members.incapable} without the capability)")
    slot = _find_slot(step, len(members.rows), step.actor)
    order = Order(
        task_type=command.task_type,
        parameters=command.parameters,
        artifacts=(artifact,),
        target=str(command.target),
        priority=command.priority,
        limits=command.limits,
        allow_downgrade=command.allow_downgrade,
        require=command.require,
        actor=step.actor,
        comment=step.comment,
    )
    deployment = enter(step, order, roster_of(step, members), members.incapable, slot)
    counts = {
        "members": deployment.members,
        "already_installed": deployment.count(TaskState.ALREADY_INSTALLED),
        "newer_installed": deployment.count(TaskState.CANCELED),
        "incapable": deployment.incapable,
    }
    step.decide("deployment", Outcome.DONE, (), facts=about(step, deployment) | counts)
    close_if_over(step, deployment)
    return {"deployment": deployment.number, **counts}


def _check_words(command: CreateDeployment) -> None:
    check_name("task_type", command.task_type)
    if not 0 <= command.priority <= MAX_PRIORITY:
        rule = f"{command.priority} is not between 0 and {MAX_PRIORITY}"
        raise Refused(Reason.INVALID, f"priority: {rule}")
    faults = [
        *target_faults(command.target),
        *limit_faults(command.limits),
        *parameter_faults(command.parameters),
        require_fault(command.require),
    ]
    if command.artifact is not None:
        fault = artifact_fault(command.artifact)
        faults.append(None if fault is None else f"artifact.{fault}")
    for fault in filter(None, faults):
        raise Refused(Reason.INVALID, fault)


def _find_slot(step: Step, tasks: int, actor: str) -> int:
    """A free slot, where the shares of this actor and of all such orders allow it."""
    book = step.state.deployments
    everybodys = [d for d in book.open_ones() if not d.rollout]
    own = [d for d in everybodys if party(d.charged) == party(actor)]
    _check_share(own, tasks, MAX_OPEN_OF_ONE, MAX_TASKS_OF_ONE, Reason.QUOTA)
    _check_share(everybodys, tasks, MAX_OPEN_ORDERED, MAX_TASKS_ORDERED, Reason.LIMIT)
    slot = book.free_slot()
    if slot is None or book.opened >= U32 or not book.has_room(tasks):
        detail = f"{MAX_OPEN_DEPLOYMENTS} deployments or {MAX_TASKS} tasks are open"
        raise Refused(Reason.LIMIT, detail)
    return slot


def _check_share(
    open_ones: list[Deployment], tasks: int, most: int, most_tasks: int, reason: Reason
) -> None:
    whose = "of this actor " if reason is Reason.QUOTA else ""
    instead = "cancel one, or wait until one is over"
    if len(open_ones) >= most:
        raise Refused(reason, f"{len(open_ones)} deployments {whose}are open: {instead}")
    used = sum(d.members for d in open_ones)
    if used + tasks > most_tasks:
        rule = f"{used} tasks {whose}are open, with {tasks} more there would be over {most_tasks}"
        raise Refused(reason, f"target: {rule}: {instead}")


def _existing(step: Step, number: int) -> Deployment:
    deployment = step.state.deployments.known.get(number)
    if deployment is None:
        raise Refused(Reason.UNKNOWN_DEPLOYMENT, unknown("deployment", str(number)))
    return deployment


def cancel_deployment(step: Step, command: CancelDeployment) -> dict[str, object]:
    """Calls a deployment off. One of a rollout that is not over is called off with that alone."""
    deployment = _existing(step, command.deployment)
    if not deployment.open:
        detail = f"deployment: {deployment.number} is {deployment.state} already"
        raise Refused(Reason.NOT_IN_STATE, detail)
    rollout = step.state.rollouts.known.get(deployment.rollout)
    if rollout is not None and not rollout.ended:
        part = f"{deployment.number} is a part of rollout {rollout.name}"
        raise Refused(Reason.NOT_IN_STATE, f"deployment: {part}: pause or abort that")
    counts = withdraw(step, deployment)._asdict()
    step.decide("cancel_deployment", Outcome.DONE, (), facts=about(step, deployment) | counts)
    close_if_over(step, deployment)
    return {"deployment": deployment.number, **counts}


def retry_tasks(step: Step, command: RetryTasks) -> dict[str, object]:
    """Another attempt, with the time that the deployment was given at first. Nobody has looked at
    what devices report while it was closed: so everybody is looked at now."""
    deployment = _existing(step, command.deployment)
    book = step.state.deployments
    if deployment.state is DeploymentState.CLOSING:
        detail = f"deployment: {deployment.number} is being canceled"
        raise Refused(Reason.NOT_IN_STATE, detail)
    if deployment.rollout and not deployment.slot:
        part = f"{deployment.number} is a part of rollout {deployment.rollout}, and judged"
        raise Refused(Reason.NOT_IN_STATE, f"deployment: {part}: roll out anew")
    roster = book.rosters.get(deployment.number)
    if deployment.reason is CloseReason.CANCELED:
        raise Refused(Reason.NOT_IN_STATE, f"deployment: {deployment.number} was canceled")
    if roster is None:
        detail = f"deployment: of {deployment.number} only the tallies are remembered"
        raise Refused(Reason.NOT_IN_STATE, detail)
    positions = retryable(step.state, deployment, command.devices)
    if not len(positions):
        detail = "devices: none of these tasks failed, timed out or was unreached"
        raise Refused(Reason.NOT_IN_STATE, detail)
    if not deployment.slot:
        book.reopen(deployment, _find_slot(step, len(roster), step.actor))
        deployment.charged = step.actor
        deployment.closed_at, deployment.reason = None, CloseReason.NONE
        step.emit(DeploymentChanged(deployment.number, deployment.state, deployment.reason))
    assert deployment.limits.deadline is not None
    stands = stands_since(step.state, deployment)  # then the time counts from its release on
    deployment.deadline = (step.now if stands is None else stands) + deployment.limits.deadline
    roster.own()
    roster.attempt[positions] += 1
    roster.flags[positions] = 0
    wait = Wait(TaskReason.RETRY.code, deployment.tenths(step.now))
    take(step, deployment, positions, Cause.ORDERED_RETRY, wait)
    here = np.flatnonzero(step.state.fleet.table.birth[roster.row] == roster.birth)
    compare_versions(step, deployment, roster, here)
    facts = {**about(step, deployment), "tasks": len(positions)}
    step.decide("retry_tasks", Outcome.DONE, (), facts=facts)
    close_if_over(step, deployment)
    return {"deployment": deployment.number, "retried": len(positions)}


def retryable(state: ClusterState, deployment: Deployment, devices: tuple[str, ...] = ()) -> Column:
    """Positions of the tasks that may have another attempt, of all or of these devices: of members
    that still are the devices that were meant. Its roster must be there."""
    fleet, roster = state.fleet, state.deployments.rosters[deployment.number]
    again = may(Cause.ORDERED_RETRY, roster.state) & (roster.attempt < MAX_ATTEMPTS)
    again &= roster.flags & REVERTED == 0
    again &= fleet.table.birth[roster.row] == roster.birth
    if devices:
        rows = [fleet.row(device) for device in devices]
        again &= np.isin(roster.row, [row for row in rows if row is not None])
    positions = np.flatnonzero(again)
    return positions[~told_again(state, deployment, positions)]
