"""Tasks, between the log and the devices connected here.

A device is sent its task when it is offered, and again whenever it connects; it is sent word when
the task is canceled, and again when it goes on all the same. Level-triggered: whoever may be
concerned by what was applied is looked at, and what it was sent is compared with the state. What
devices say goes the other way (`node.fleet.task_words`).
"""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Entry
from stationkeep.cluster.delivery.tasks import Task, position_of, task_at, task_of_device
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.state.events import DeploymentChanged, TasksChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.connected import ConnectedDevices
from stationkeep.node.fleet.replies import IntakeRefusal, unknown
from stationkeep.node.fleet.task_words import TaskWords
from stationkeep.node.fleet.windows import bounds
from stationkeep.node.wire import tasks as wire
from stationkeep.node.wire.messages import timestamp

TELLS_PER_TURN = 64
"""Devices looked at in one turn: up to 3 ms of work, as in the midst of a deployment registrations
and what devices say need time in the same turn."""

CALLED_OFF = "the deployment was canceled"


class _Sent(NamedTuple):
    """What a device was sent last. `offered_at`: cluster ms of the offer, which may be repeated."""

    deployment: int
    attempt: int
    offered_at: int
    canceled: bool


class Errands:
    """Of one node."""

    def __init__(self, bench: Workbench, connected: ConnectedDevices) -> None:
        self._clock, self._replica, self._connected = bench.host.clock, bench.replica, connected
        self._sent: dict[int, _Sent] = {}
        self._rows: dict[int, None] = {}
        """Rows to look at, in this order."""
        self._look_at_all = False
        self.words = TaskWords(bench, self._cancel)
        """What devices say."""
        bench.replica.listen(self._on_applied)
        bench.replica.on_restored(self._on_restored)

    # -- the turn -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Sends what is to be sent, to a bounded number; proposes and answers what was said."""
        self._gather()
        for row in list(islice(self._rows, TELLS_PER_TURN)):
            del self._rows[row]
            self._look(row)
        self.words.turn()

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` has something to do; infinite when nothing waits."""
        if self._rows or self._look_at_all or self._connected.admitted:
            return self._clock.monotonic()
        return self.words.next_wakeup()

    # -- what devices are sent ------------------------------------------------------------------

    def task(self, device: str) -> wire.TaskPayload | IntakeRefusal | None:
        """What a device without a connection is to do now, as far as this node has applied."""
        state = self._replica.state
        row = state.fleet.row(device)
        if row is None:
            return unknown(device)
        task = task_of_device(state, row)
        if task is None or task.told_to_cancel:
            return None
        return payload_of(state, task, self._replica.cluster_time())

    def _gather(self) -> None:
        for row in self._connected.admitted:
            self._sent.pop(row, None)
        self._note(self._connected.admitted)
        self._connected.admitted.clear()
        if self._look_at_all:
            self._look_at_all = False
            busy = np.flatnonzero(self._replica.state.fleet.table.task)
            self._note(self._connected.among(busy).tolist())
            self._note(self._sent)

    def _note(self, rows: Iterable[int]) -> None:
        self._rows.update(dict.fromkeys(rows))

    def _look(self, row: int) -> None:
        """Compares what a device was sent with what is so."""
        listener, before = self._connected.listener(row), self._sent.pop(row, None)
        if listener is None:
            return
        state = self._replica.state
        task = task_of_device(state, row)
        if task is None:
            if before is not None and not before.canceled:
                id_ = wire.task_id(before.deployment, state.fleet.id(row), before.attempt)
                self._cancel(row, id_)
            return
        same = before is not None and before[:2] == (task.deployment, task.attempt)
        at = task.since if task.state is TaskState.OFFERED or before is None else before.offered_at
        self._sent[row] = _Sent(task.deployment, task.attempt, at, task.told_to_cancel)
        if task.told_to_cancel:
            if before is None or not (same and before.canceled):
                listener.task_canceled(_id(state, task), CALLED_OFF)
        elif before is None or not same or before.offered_at != at:
            listener.task_sent(payload_of(state, task, self._replica.cluster_time()))

    def _cancel(self, row: int, task_id: str) -> None:
        """Tells a device that a task of its own is canceled, if it is. Also one that goes on with
        it: another node may have sent it, and died before it could say so."""
        listener = self._connected.listener(row)
        reason = self._withdrawn(row, wire.identity_of(task_id)[0])
        if listener is not None and reason is not None:
            listener.task_canceled(task_id, reason)

    def _withdrawn(self, row: int, number: int) -> str | None:
        """Why the task of a device in a deployment is canceled; None when it is not."""
        state = self._replica.state
        deployment = state.deployments.known.get(number)
        if deployment is None or number not in state.deployments.rosters:
            return None
        position = position_of(state, deployment, row)
        if position is None:
            return None
        task = task_at(state, deployment, position)
        if task.state is TaskState.TIMED_OUT and task.told_to_cancel:
            return CALLED_OFF
        return str(task.reason) if task.state is TaskState.CANCELED else None

    # -- what came of the log -------------------------------------------------------------------

    def _on_applied(self, _index: int, _entry: Entry | None, applied: Applied) -> None:
        for event in applied.events:
            if isinstance(event, DeploymentChanged):
                self._look_at_all = True
            elif isinstance(event, TasksChanged):
                rows = np.frombuffer(event.rows, "<u4")
                self._look_at_all |= event.count > len(rows)
                self._note(self._connected.among(rows).tolist())

    def _on_restored(self) -> None:
        """Anything may have happened meanwhile."""
        self._look_at_all = True


def payload_of(state: ClusterState, task: Task, now: int) -> wire.TaskPayload:
    """A task as its device is sent it at a cluster time; times as the cluster's wall clock has
    them, of which only the distances count."""
    deployment = state.deployments.known[task.deployment]
    artifact = state.deployments.artifact_of(deployment, task.variant)
    wall = state.wall + now - state.time
    after, before = bounds(state, deployment, task.row, wall)
    begun = task.since if task.state is TaskState.IN_PROGRESS else now
    deadline = max(now + 1_000, begun + state.settings.task_timeout)
    return wire.TaskPayload(
        task_id=_id(state, task),
        deployment=task.deployment,
        attempt=task.attempt,
        task_type=deployment.task_type,
        parameters=_parameters(state, task, artifact),
        artifact=None if artifact is None else wire.Artifact(
            artifact.component,
            artifact.version,
            artifact.url or None,
            artifact.sha256 or None,
            artifact.size or None,
            artifact.signature or None,
            artifact.key or None,
        ),
        rollout=deployment.rollout or None,
        variant=_variant(state, deployment, task),
        deadline=timestamp(wall + deadline - now),
        install_after=None if after is None else timestamp(after),
        install_before=None if before is None else timestamp(before),
        timestamp=timestamp(wall),
    )  # fmt: skip


def _variant(state: ClusterState, deployment: Deployment, task: Task) -> str | None:
    """The name of the variant that the device gets; on its way back it gets none."""
    rollout = state.rollouts.known.get(deployment.rollout)
    if rollout is None or deployment.undoes or not rollout.plan.variants:
        return None
    return rollout.plan.variants[task.variant].name


def _parameters(state: ClusterState, task: Task, artifact: Artifact | None) -> dict[str, str]:
    """With version and ring, from which an agent of the first protocol knows all it needs."""
    given = dict(state.deployments.known[task.deployment].parameters)
    ring = RINGS[state.fleet.table.ring[task.row]].value
    more = {"ring": ring} | ({"version": artifact.version} if artifact is not None else {})
    return given if len(given.keys() | more) > wire.MAX_TASK_PARAMETERS else more | given


def _id(state: ClusterState, task: Task) -> str:
    return wire.task_id(task.deployment, state.fleet.id(task.row), task.attempt)
