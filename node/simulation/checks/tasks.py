"""What must hold of tasks, seen from outside all nodes: each step that the log takes, and each
answer that a device gets.

A task's steps follow one another by the table of steps, and an attempt begins once; an end that is
acknowledged is in the log, and stays; no wait outlasts its end for long. What one state must be in
itself is `cluster.delivery.invariants`, which `checks` looks at after every entry.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.apply import Applied, Done
from stationkeep.cluster.commands import Entry, Registration, ReportTasks
from stationkeep.cluster.delivery.expiries import plan_expiries
from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.delivery.tasks import tasks_of
from stationkeep.cluster.deployments.lifecycle import (
    CAUSE_OF,
    STATES,
    TASK_REASONS,
    TRANSITIONS,
    WORDS,
    TaskReason,
    TaskState,
    Word,
)
from stationkeep.cluster.devices.status import Reading, failing
from stationkeep.cluster.devices.table import NEVER
from stationkeep.cluster.state.events import TasksChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.wire import tasks as wire

LATE = 5_000
"""Cluster ms beyond its end by which a wait is recorded as over: two looks of the leader, and the
commits of what is planned then."""
_WAYS = {(origin, way.target) for way in TRANSITIONS.values() for origin in way.origins}
_ENDS = {w.value: TRANSITIONS[CAUSE_OF[w]].target for w in WORDS if w is not Word.IN_PROGRESS}
"""What a device says at an end → the state that its task comes to by that."""

Key = tuple[int, int, int]
"""Deployment, birth of the device, attempt."""


class TaskChecks:
    """Of one world."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._judged = 0
        self._standing: dict[tuple[int, int], tuple[int, TaskState]] = {}
        """Deployment and birth → attempt and state, after the newest entry that any node has
        applied; of tasks that have taken a step."""
        self._begun: set[Key] = set()
        self._reached: set[tuple[Key, TaskState]] = set()
        self._taken: set[tuple[Key, str]] = set()
        self._reported: set[tuple[str, str, str]] = set()
        """Device, component, and a version of it that the device itself has reported."""

    def watch(self, member: SimulatedNode) -> None:
        """A process of this member has started: what it applies is looked at."""

        def applied(index: int, entry: Entry | None, what: Applied) -> None:
            if index <= self._judged:
                return
            self._judged = index
            for event in what.events:
                if isinstance(event, TasksChanged):
                    for step in _steps(event):
                        self._take(step)
                    _are_ready(member.replica.state, event)
                    self._are_true(member.replica.state, event)
            command = None if entry is None else entry.draft.command
            if isinstance(command, ReportTasks) and isinstance(what.outcome, Done):
                changes = [event for event in what.events if isinstance(event, TasksChanged)]
                ended = {step.key for event in changes for step in _steps(event)}
                self._note_taken(command, what.outcome.result["answers"], ended)

        member.replica.listen(applied)

    def reported(self, said: Registration) -> None:
        """A device registers, and says what it runs."""
        self._reported.add((said.id, "app", said.app_version))
        self._reported.add((said.id, "os", said.os_version))

    # -- the log -------------------------------------------------------------------------------

    def _take(self, step: "_Step") -> None:
        task, key = (step.deployment, step.birth), step.key
        tried, stood = self._standing.get(task, (1, TaskState.QUEUED))
        again = step.target is TaskState.QUEUED and step.attempt == tried + 1
        if step.origin is not stood or (step.attempt != tried and not again):
            raise Violation("steps follow one another", f"{step} from {stood} at attempt {tried}")
        if (step.origin, step.target) not in _WAYS:
            raise Violation("steps are in the table", f"{step}")
        self._standing[task] = step.attempt, step.target
        self._reached.add((key, step.target))
        if step.target is TaskState.IN_PROGRESS:
            if key in self._begun:
                raise Violation("an attempt begins once", f"{step}, and not for the first time")
            self._begun.add(key)
        elif step.reason is TaskReason.POSTPONED:  # which costs no attempt
            self._begun.discard(key)

    def _note_taken(self, command: ReportTasks, answers: list[int], ended: set[Key]) -> None:
        """A word that is taken says what becomes of the very attempt that it is about: `ended`
        took a step by this command. (Who has succeeded may have said so before.)"""
        births = np.frombuffer(command.births, "<u4").tolist()
        deployments = np.frombuffer(command.deployments, "<u4").tolist()
        columns = (deployments, births, command.attempts, command.words, answers)
        for deployment, birth, attempt, word, answer in zip(*columns, strict=True):
            if answer != Answer.TAKEN.code:
                continue
            key, said = (deployment, birth, attempt), WORDS[word]
            if key not in ended and said not in (Word.IN_PROGRESS, Word.SUCCEEDED):
                raise Violation("a word is about its own attempt", f"{said} of {key} ended another")
            self._taken.add((key, said.value))

    def _are_true(self, state: ClusterState, event: TasksChanged) -> None:
        """Whoever has succeeded with a version has reported it, whatever nodes made of that."""
        roster = state.deployments.rosters[event.deployment]
        rows, births = (np.frombuffer(column, "<u4") for column in (event.rows, event.births))
        done = np.frombuffer(event.targets, "u1") == TaskState.SUCCEEDED.code
        places = roster.find(rows[done], births[done])
        deployment = state.deployments.known[event.deployment]
        for artifact, mine in state.deployments.by_artifact(deployment, places):
            for row in roster.row[mine].tolist():
                claim = state.fleet.table.ids[row], artifact.component, artifact.version
                if claim not in self._reported:
                    said = f"{claim} succeeded in deployment {event.deployment}"
                    raise Violation("what devices report decides", said)

    # -- what devices are told -----------------------------------------------------------------

    def answered(self, member: SimulatedNode, births: Iterable[int], answer: TaskAnswer) -> None:
        """A device hears what became of its word: what is acknowledged is in the log. `births`:
        all that it has heard of; the node knows that which it has not heard of yet."""
        end = _ENDS.get(answer.said)
        if end is None or answer.answer not in (Answer.TAKEN, Answer.REPEATED):
            return
        deployment, device, attempt = wire.identity_of(answer.task_id)
        fleet = member.replica.state.fleet
        row = fleet.row(device)
        known = () if row is None else (int(fleet.table.birth[row]),)
        keys = [(deployment, birth, attempt) for birth in (*births, *known)]
        repeated = answer.answer is Answer.REPEATED
        if not any(
            (repeated and (key, end) in self._reached) or (key, answer.said.value) in self._taken
            for key in keys
        ):
            said = f"{answer.task_id} {answer.said} is acknowledged as {answer.answer}"
            raise Violation("an acknowledged end is in the log", f"{said} by {member.name}")

    # -- the end -------------------------------------------------------------------------------

    def in_time(self, member: SimulatedNode) -> None:
        """No wait has outlasted its end for long, by the clock of a leader; whatever is put off
        when its deployment is past its deadline waits from then on."""
        state, then = member.replica.state, member.replica.cluster_time() - LATE
        for step in plan_expiries(state, then):
            deployment = state.deployments.known[step.deployment]
            since = state.deployments.rosters[step.deployment].since
            positions = np.frombuffer(step.positions, "<u4")
            if (since[positions] <= deployment.tenths(then)).any():
                said = f"tasks of deployment {step.deployment} wait longer than they may"
                raise Violation("every wait ends in time", said)

    def settled(self) -> None:
        """Nothing has a device any more, and every task is where its last step led it."""
        state = self._members.newest_state()
        busy = np.flatnonzero(state.fleet.table.task).tolist()
        if busy:
            raise Violation("in flight returns to 0", f"rows {busy} are busy")
        for birth, task in _tasks(state):
            stands = self._standing.get((task[0], birth))
            if stands is not None and stands != task[1:]:
                said = f"task {task} of birth {birth} came to {stands} by its steps"
                raise Violation("an end stays", said)


class _Step(NamedTuple):
    """One task's step; `attempt` after it."""

    deployment: int
    birth: int
    attempt: int
    origin: TaskState
    target: TaskState
    reason: TaskReason

    @property
    def key(self) -> Key:
        return self.deployment, self.birth, self.attempt


def _steps(event: TasksChanged) -> Iterator[_Step]:
    births = np.frombuffer(event.births, "<u4").tolist()
    columns = (births, event.attempts, event.origins, event.targets, event.reasons)
    for birth, attempt, origin, target, reason in zip(*columns, strict=True):
        states = STATES[origin], STATES[target]
        yield _Step(event.deployment, birth, attempt, *states, TASK_REASONS[reason])


def _are_ready(state: ClusterState, event: TasksChanged) -> None:
    """Whoever is offered a task meets what its deployment requires, by its newest status."""
    require, table = state.deployments.known[event.deployment].require, state.fleet.table
    for row, target in zip(np.frombuffer(event.rows, "<u4").tolist(), event.targets, strict=True):
        if require is None or STATES[target] is not TaskState.OFFERED:
            continue
        cpu, memory, disk = (int(column[row]) for column in (table.cpu, table.memory, table.disk))
        battery, charging = int(table.battery[row]), bool(table.charging[row])
        reading = Reading(battery, charging, cpu, memory, disk)
        broken = failing(require, reading)
        if broken and table.updated_at[row] != NEVER:
            said = f"{table.ids[row]} is offered deployment {event.deployment} with {reading}"
            raise Violation("offers go to the ready", said)


def _tasks(state: ClusterState) -> Iterator[tuple[int, tuple[int, int, TaskState]]]:
    for row in state.fleet.table.rows.values():
        for task in tasks_of(state, row):
            yield task.birth, (task.deployment, task.attempt, task.state)
