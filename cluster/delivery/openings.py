"""A deployment opens, and is called off: by an operator's order, or as a part of a rollout.

Whether it may is for others to say (`orders`, `cluster.progression`). Source: tasks.md,
"Deployments".
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.delivery.members import Members
from stationkeep.cluster.delivery.steps import Wait, may, take
from stationkeep.cluster.deployments.artifacts import MAX_ARTIFACTS, Artifact
from stationkeep.cluster.deployments.deployment import (
    TOKEN,
    CloseReason,
    Deployment,
    DeploymentState,
    Limits,
)
from stationkeep.cluster.deployments.lifecycle import Cause, TaskReason, TaskState
from stationkeep.cluster.deployments.roster import TOLD_TO_CANCEL, Roster
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import DeploymentChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step


class Order(NamedTuple):
    """What a deployment is to be; `artifacts` by variant, None: nothing is installed. The fields
    are those of `Deployment`."""

    task_type: str
    parameters: dict[str, str]
    artifacts: tuple[Artifact | None, ...]
    target: str
    priority: int
    limits: Limits
    allow_downgrade: bool
    require: HealthRule | None
    actor: str
    comment: str
    rollout: str = ""
    undoes: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()


def roster_of(step: Step, members: Members) -> Roster:
    """The tasks of members as they begin."""
    births = step.state.fleet.table.birth[members.rows]
    roster = Roster.of(members.rows, births, members.states)
    roster.reason[roster.in_state(TaskState.CANCELED)] = TaskReason.NEWER_INSTALLED.code
    return roster


def check_artifact(step: Step, artifact: Artifact) -> None:
    """Refuses an artifact that is known as another file, or that there is no room for."""
    fault = artifact_fault(step.state, artifact)
    if fault is not None:
        raise Refused(*fault)


def artifact_fault(state: ClusterState, artifact: Artifact) -> tuple[Reason, str] | None:
    """Why an artifact cannot be installed: it is known as another file, or there is no room."""
    known = state.deployments.artifacts
    other = known.differing(artifact)
    if other is not None:
        is_other = f"{artifact.component} {artifact.version} is known with {other.sha256}"
        detail = f"artifact.sha256: {artifact.sha256}, and {is_other}: give it another version"
        return Reason.ARTIFACT_DIFFERS, detail
    if not known.has_room_for(artifact):
        return Reason.LIMIT, f"artifact: {MAX_ARTIFACTS} are in use"
    return None


def enter(step: Step, order: Order, roster: Roster, incapable: int, slot: int) -> Deployment:
    """Opens a deployment, which there is room for. It is not closed yet, although it may be
    over."""
    book, now = step.state.deployments, step.now
    book.make_room(len(roster))
    numbers = [0 if a is None else book.artifacts.number(a) for a in order.artifacts]
    limits = _complete(step, order.limits)
    assert limits.deadline is not None
    deployment = Deployment(
        number=book.opened + 1,
        slot=slot,
        task_type=order.task_type,
        parameters=order.parameters,
        artifact=numbers[0],
        variants=numbers[1:],
        target=order.target,
        priority=order.priority,
        require=order.require,
        allow_downgrade=order.allow_downgrade,
        limits=limits,
        deadline=now + limits.deadline,
        actor=order.actor,
        charged=order.actor,
        comment=order.comment,
        opened_at=now,
        wall=step.wall,
        members=len(roster),
        incapable=incapable,
        tallies=roster.tally(),
        rate=limits.pace.start if limits.pace else 0,
        tokens=TOKEN if limits.pace else 0,
        tokens_at=now,
        rollout=order.rollout,
        undoes=list(order.undoes),
        overrides=list(order.overrides),
        on_trial=bool(limits.first),
    )
    book.add(deployment, roster)
    step.emit(DeploymentChanged(deployment.number, deployment.state, deployment.reason))
    return deployment


def _complete(step: Step, given: Limits) -> Limits:
    """What was left out is the setting of this time."""
    settings = step.state.settings
    return Limits(
        max_in_flight=given.max_in_flight or settings.max_in_flight,
        pace=given.pace,
        deadline=given.deadline or settings.deployment_deadline,
        retries=settings.task_retries if given.retries is None else given.retries,
        first=given.first or 0,
    )


class Withdrawn(NamedTuple):
    """Tasks canceled at once, and those in progress, which were told to cancel."""

    canceled: int
    in_progress: int


def withdraw(step: Step, deployment: Deployment) -> Withdrawn:
    """Calls an open deployment off: what has not begun is canceled at once, what has begun is told
    to; it is over when the last of those has ended, which their own deadlines see to."""
    roster = step.state.deployments.rosters[deployment.number]
    waiting = np.flatnonzero(may(Cause.WITHDRAWAL, roster.state))
    take(step, deployment, waiting, Cause.WITHDRAWAL, Wait(TaskReason.CANCELED.code))
    roster.own()
    running = roster.in_state(TaskState.IN_PROGRESS)
    roster.flags[running] |= TOLD_TO_CANCEL
    deployment.state = DeploymentState.CLOSING
    if len(running):
        step.emit(DeploymentChanged(deployment.number, deployment.state, CloseReason.CANCELED))
    return Withdrawn(len(waiting), len(running))
