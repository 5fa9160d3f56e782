"""Deployments and their tasks as JSON."""

from typing import Any

import msgspec

from stationkeep.cluster.delivery.expiries import time_left
from stationkeep.cluster.delivery.explain import HOLDS, say_standing
from stationkeep.cluster.delivery.offers import hold_of
from stationkeep.cluster.delivery.tasks import Task
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.rollouts.rollout import Block
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.base import View


class BlockView(View, frozen=True):
    """The gate that was proven broken with an artifact."""

    rollout: str
    stage: str
    gate: str
    age_s: float


class ArtifactView(View, frozen=True):
    """What is installed. `deployments`: those, open or remembered, that install it; `blocked`: why
    it may not be rolled out."""

    component: str
    version: str
    url: str
    sha256: str
    size: int
    signature: str
    key: str
    notes: str
    deployments: list[int]
    blocked: BlockView | None


class PaceView(View, frozen=True):
    """Offers a minute: `from`, times `factor` whenever as many have succeeded, `to` at most;
    `now`: at present."""

    start: int = msgspec.field(name="from")
    most: int = msgspec.field(name="to")
    factor: int
    now: int


class FailureView(View, frozen=True):
    """Equal failures: how many, and a device that had one."""

    reason: str
    text: str
    count: int
    device: str


class DeploymentView(View, frozen=True):
    """`GET /v1/deployments/N`. `tallies`: tasks by state; `held`: why none is offered at present;
    `rollout`: of which it is a part; `*_s`: seconds from now. `rostered`: whether its tasks can
    still be listed."""

    deployment: int
    task_type: str
    parameters: dict[str, str]
    component: str | None
    version: str | None
    target: str
    priority: int
    require: str | None
    allow_downgrade: bool
    max_in_flight: int | None
    retries: int | None
    pace: PaceView | None
    state: str
    reason: str
    held: str | None
    rollout: str | None
    members: int
    incapable: int
    tallies: dict[str, int]
    in_flight: int
    failures: list[FailureView]
    actor: str
    comment: str
    opened_at: int
    age_s: float
    deadline_s: float
    closed_s: float | None
    rostered: bool


class DeploymentList(View, frozen=True):
    items: list[DeploymentView]
    next: str | None


class TaskView(View, frozen=True):
    """One task. `since_s`: seconds in its state; `due_s`: until it is offered again, or has run
    out; `waits`: why a queued one waits; `version`: what is installed; `previous`: what the device
    ran before."""

    task_id: str
    deployment: int
    version: str | None
    device: str
    ring: Ring
    state: str
    attempt: int
    reason: str
    phase: str | None
    progress: int
    since_s: float
    due_s: float | None
    previous: str
    canceling: bool
    waits: str | None


class TaskList(View, frozen=True):
    items: list[TaskView]
    next: str | None


class ArtifactList(View, frozen=True):
    items: list[ArtifactView]
    next: str | None


class CreatedView(View, frozen=True):
    """201 of `POST /v1/tasks`: `members` devices have a task, of which some have nothing to do;
    `incapable` ones have none."""

    operation: str
    deployment: int
    members: int
    already_installed: int
    newer_installed: int
    incapable: int


def deployment_view(state: ClusterState, deployment: Deployment, now: int) -> DeploymentView:
    """A deployment at cluster time `now`."""
    artifact = state.deployments.artifact_of(deployment)
    hold = hold_of(state) if deployment.open else None
    closed = deployment.closed_at
    return DeploymentView(
        deployment=deployment.number,
        task_type=deployment.task_type,
        parameters=deployment.parameters,
        component=None if artifact is None else artifact.component,
        version=None if artifact is None else artifact.version,
        target=deployment.target,
        priority=deployment.priority,
        require=None if deployment.require is None else str(deployment.require),
        allow_downgrade=deployment.allow_downgrade,
        max_in_flight=deployment.limits.max_in_flight,
        retries=deployment.limits.retries,
        pace=_pace(deployment),
        state=deployment.state,
        reason=deployment.reason,
        held=say_held(deployment) if hold is None else HOLDS[hold],
        rollout=deployment.rollout or None,
        members=deployment.members,
        incapable=deployment.incapable,
        tallies=deployment.tallied(),
        in_flight=deployment.in_flight,
        failures=[
            FailureView(group.reason, group.text, group.count, group.device)
            for group in deployment.failures
        ],
        actor=deployment.actor,
        comment=deployment.comment,
        opened_at=deployment.wall,
        age_s=_seconds(now - deployment.opened_at),
        deadline_s=_seconds(time_left(state, deployment, now)),
        closed_s=None if closed is None else _seconds(now - closed),
        rostered=deployment.number in state.deployments.rosters,
    )


def say_held(deployment: Deployment) -> str | None:
    """Why its rollout has nothing of it offered."""
    held = deployment.held
    return f"rollout {deployment.rollout} has nothing offered ({held})" if held else None


def _pace(deployment: Deployment) -> PaceView | None:
    pace = deployment.limits.pace
    return None if pace is None else PaceView(pace.start, pace.most, pace.factor, deployment.rate)


def task_view(state: ClusterState, task: Task, now: int) -> TaskView:
    """A task, of a device that is still registered, at cluster time `now`."""
    table, device = state.fleet.table, state.fleet.id(task.row)
    deployment = state.deployments.known[task.deployment]
    artifact = state.deployments.artifact_of(deployment, task.variant)
    waits = task.state is TaskState.QUEUED
    return TaskView(
        task_id=f"{task.deployment}/{device}/{task.attempt}",
        deployment=task.deployment,
        version=None if artifact is None else artifact.version,
        device=device,
        ring=RINGS[table.ring[task.row]],
        state=task.state,
        attempt=task.attempt,
        reason=task.reason,
        phase=task.phase,
        progress=task.progress,
        since_s=_seconds(now - task.since),
        due_s=None if task.due is None else _seconds(task.due - now),
        previous=task.previous,
        canceling=task.told_to_cancel,
        waits=say_standing(state, task) if waits else None,
    )


def artifact_view(
    artifact: Artifact, deployments: list[int], block: Block | None, now: int
) -> ArtifactView:
    """An artifact, the deployments that install it, and why nobody may roll it out, at cluster time
    `now`."""
    given: dict[str, Any] = msgspec.structs.asdict(artifact)
    blocked = None
    if block is not None:
        blocked = BlockView(block.rollout, block.stage, block.gate, _seconds(now - block.at))
    return ArtifactView(**given, deployments=deployments, blocked=blocked)


def _seconds(milliseconds: int) -> float:
    return max(0, milliseconds) / 1_000
