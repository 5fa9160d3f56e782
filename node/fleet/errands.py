"""Tasks, between the log and the devices connected here.

A device is sent its task when it is offered, and again whenever it connects; it is sent word when
the task is canceled. Level-triggered: whoever may be concerned by what was applied is looked at,
and what it was sent is compared with the state. What a device says goes into the log in batches,
and it is answered only when that is committed and applied: a device says each end until then, to
whichever node it is connected to, and the state takes it once.

Of each device the newest word is kept until it is in the log (but progress of one task gives way to
the end of another): one command is on its way at a time.
Whatever ends or begins something goes at once, mere progress once a second.
Source: tasks.md, "What devices say".
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import structlog

from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import MAX_BATCH, Entry, ReportTasks, TaskNote
from stationkeep.cluster.delivery.reports import ANSWERS, MAX_POSTPONEMENT, Answer
from stationkeep.cluster.delivery.tasks import Task, position_of, task_at, task_of_device
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import MAX_FAILURE_TEXT
from stationkeep.cluster.deployments.lifecycle import (
    CAUSE_OF,
    NO_STEP,
    TARGETS,
    WORDS,
    Phase,
    TaskReason,
    TaskState,
    Word,
)
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.state.events import DeploymentChanged, TasksChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.duty import AT_ONCE, NEVER, Workbench
from stationkeep.node.fleet.connected import ConnectedDevices
from stationkeep.node.fleet.replies import Fault, IntakeRefusal
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.system.printable import printable
from stationkeep.node.wire import tasks as wire
from stationkeep.node.wire.messages import timestamp

FLUSH = 1.0
"""Seconds between two flushes of mere progress at the least."""
TIMEOUT = 5.0
RETRY = 0.25
"""Seconds until words are proposed again of which nobody knows whether they are in the log."""
TELLS_PER_TURN = 64
"""Devices looked at, and words answered, in one turn: up to 6 ms of work, as in the midst of a
deployment registrations and what devices say need time in the same turn."""
MAX_WORDS = 65_536
"""Devices whose word waits for the log; others are asked to come back."""
COME_BACK = 1.0
MAX_NOTES = 256
"""Words of one command that come with a text: 0.2 MB of them."""

log = structlog.get_logger("node.fleet")


class TaskAnswer(NamedTuple):
    """What became of a word that is committed and applied, or was refused there. `rule`: why it
    was, where it was."""

    task_id: str
    said: wire.TaskState
    answer: Answer
    rule: str


Answered = Callable[[TaskAnswer | None], None]
"""Called once at most; with None when a newer word of the device took the place of this one."""


class _Word(NamedTuple):
    birth: int
    deployment: int
    attempt: int
    update: wire.TaskUpdatePayload
    answered: Answered


class _Sent(NamedTuple):
    """What a device was sent last. `offered_at`: cluster ms of the offer, which may be repeated."""

    deployment: int
    attempt: int
    offered_at: int
    canceled: bool


class Errands:
    """Of one node."""

    def __init__(self, bench: Workbench, connected: ConnectedDevices) -> None:
        self._node, self._clock, self._wake = bench.node, bench.host.clock, bench.host.wake
        self._consensus, self._replica = bench.consensus, bench.replica
        self._propose, self._connected = bench.propose, connected
        self._sent: dict[int, _Sent] = {}
        self._rows: dict[int, None] = {}
        """Rows to look at, in this order."""
        self._look_at_all = False
        self._words: dict[int, _Word] = {}
        self._landed: deque[tuple[int, _Word, Answer]] = deque()
        """Words of one command, in the log, that are still to be answered."""
        self._under_way = self._urgent = False
        self._flushed_at = self._not_before = AT_ONCE
        self.results = dict.fromkeys(ANSWERS, 0)
        """Words by what became of them, since the start."""
        bench.replica.listen(self._on_applied)
        bench.replica.on_restored(self._on_restored)

    # -- what devices say -----------------------------------------------------------------------

    def say(
        self, device: str, update: wire.TaskUpdatePayload, answered: Answered
    ) -> IntakeRefusal | None:
        """Takes a word of a device about a task of its own; `answered` hears what came of it, or
        the refusal is returned."""
        row = self._replica.state.fleet.row(device)
        if row is None:
            rule = "it is registered first"
            return IntakeRefusal(Fault.UNKNOWN, "device", device[:80], rule)
        deployment, _, attempt = wire.identity_of(update.task_id)
        if deployment > U32:  # no command can say it, and no deployment has such a number
            self._say_unknown(update, answered)
            return None
        former = self._words.get(row)
        if former is None and len(self._words) >= MAX_WORDS:
            rule = f"words about tasks of {MAX_WORDS} devices wait for the log already"
            return IntakeRefusal(Fault.BUSY, "task_id", update.task_id, rule, COME_BACK)
        birth = int(self._replica.state.fleet.table.birth[row])
        self._keep(row, former, _Word(birth, deployment, attempt, update, answered))
        self._urgent = self._urgent or not self._is_progress(row, update)
        self._wake()
        return None

    def _keep(self, row: int, former: _Word | None, newer: _Word) -> None:
        """Of two words of a device the newer one. Only mere progress gives way to the end of
        another task: it is said again soon, and the end perhaps never."""
        if former is not None and _is_end_beside(former, newer):
            former, newer = newer, former
        self._words[row] = newer
        if former is not None:
            former.answered(None)

    def _say_unknown(self, update: wire.TaskUpdatePayload, answered: Answered) -> None:
        self.results[Answer.UNKNOWN] += 1
        rule = _RULES[Answer.UNKNOWN]
        answered(TaskAnswer(update.task_id, update.state, Answer.UNKNOWN, rule))

    def task(self, device: str) -> wire.TaskPayload | IntakeRefusal | None:
        """What a device without a connection is to do now, as far as this node has applied."""
        state = self._replica.state
        row = state.fleet.row(device)
        if row is None:
            rule = "it is registered first"
            return IntakeRefusal(Fault.UNKNOWN, "device", device[:80], rule)
        task = task_of_device(state, row)
        if task is None or task.told_to_cancel:
            return None
        return payload_of(state, task, self._replica.cluster_time())

    def _is_progress(self, row: int, update: wire.TaskUpdatePayload) -> bool:
        """Whether the task is known to be in progress, in that very phase."""
        if update.state is not wire.TaskState.IN_PROGRESS:
            return False
        state = self._replica.state
        task = task_of_device(state, row)
        if task is None or task.state is not TaskState.IN_PROGRESS or update.phase is None:
            return False
        return update.task_id == _id(state, task) and task.phase == update.phase.value

    # -- the turn -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Sends what is to be sent, to a bounded number; proposes what was said."""
        self._gather()
        for row in list(islice(self._rows, TELLS_PER_TURN)):
            del self._rows[row]
            self._look(row)
        if self._flush_due() <= self._clock.monotonic():
            self._flush()
        for _ in range(min(len(self._landed), TELLS_PER_TURN)):
            self._answer(*self._landed.popleft())

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` has something to do; infinite when nothing waits."""
        if self._rows or self._landed or self._look_at_all or self._connected.admitted:
            return self._clock.monotonic()
        return self._flush_due()

    # -- what devices are sent ------------------------------------------------------------------

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
            reason = None if before is None or before.canceled else self._withdrawn(row, before)
            if before is not None and reason is not None:
                id_ = wire.task_id(before.deployment, state.fleet.id(row), before.attempt)
                listener.task_canceled(id_, reason)
            return
        same = before is not None and before[:2] == (task.deployment, task.attempt)
        at = task.since if task.state is TaskState.OFFERED or before is None else before.offered_at
        self._sent[row] = _Sent(task.deployment, task.attempt, at, task.told_to_cancel)
        if task.told_to_cancel:
            if before is None or not (same and before.canceled):
                listener.task_canceled(_id(state, task), "the deployment was canceled")
        elif before is None or not same or before.offered_at != at:
            listener.task_sent(payload_of(state, task, self._replica.cluster_time()))

    def _withdrawn(self, row: int, before: _Sent) -> str | None:
        """Why a task that a device was sent is canceled; None when it is not."""
        state = self._replica.state
        deployment = state.deployments.known.get(before.deployment)
        if deployment is None or before.deployment not in state.deployments.rosters:
            return None
        position = position_of(state, deployment, row)
        if position is None:
            return None
        task = task_at(state, deployment, position)
        return str(task.reason) if task.state is TaskState.CANCELED else None

    # -- words on their way into the log --------------------------------------------------------

    def _flush_due(self) -> float:
        if not self._words or self._under_way or self._landed:
            return NEVER
        if self._consensus.leader is None:
            return self._clock.monotonic() + RETRY
        return max(self._not_before, AT_ONCE if self._urgent else self._flushed_at + FLUSH)

    def _flush(self) -> None:
        """Proposes the words that have waited longest; the others as soon as these are in the
        log."""
        rows = sorted(_batch(self._words))
        words = [self._words.pop(row) for row in rows]
        self._flushed_at, self._under_way = self._clock.monotonic(), True
        self._urgent = self._urgent and bool(self._words)
        command = _command(self._node, rows, words)
        batch = list(zip(rows, words, strict=True))
        self._propose(command, TIMEOUT, lambda result: self._on_done(batch, result))

    def _on_done(self, batch: list[tuple[int, _Word]], result: ProposalResult) -> None:
        self._under_way = False
        if not isinstance(result, Committed):
            self._again(batch)
        elif isinstance(result.applied.outcome, Rejected):
            refused = result.applied.outcome
            log.warning("task_words_refused", reason=refused.reason, detail=refused.detail)
        else:
            codes = result.applied.outcome.result["answers"]
            for (row, word), code in zip(batch, codes, strict=True):
                self._landed.append((row, word, ANSWERS[code]))

    def _again(self, batch: list[tuple[int, _Word]]) -> None:
        """Each word by itself may be repeated, unless a newer one came meanwhile."""
        self._not_before = self._clock.monotonic() + RETRY
        self._urgent = True
        for row, word in batch:
            newer = self._words.get(row)
            if newer is None:
                self._words[row] = word
            else:
                self._keep(row, word, newer)

    def _answer(self, row: int, word: _Word, answer: Answer) -> None:
        self.results[answer] += 1
        rule = self._rule(row, word) if answer is Answer.ILLEGAL else _RULES.get(answer, "")
        word.answered(TaskAnswer(word.update.task_id, word.update.state, answer, rule))

    def _rule(self, row: int, word: _Word) -> str:
        """What a device may say of a task as it is now."""
        state = self._replica.state
        deployment = state.deployments.known.get(word.deployment)
        kept = deployment is not None and word.deployment in state.deployments.rosters
        position = position_of(state, deployment, row) if kept and deployment is not None else None
        if position is None or deployment is None:
            return _RULES[Answer.UNKNOWN]
        now = task_at(state, deployment, position).state
        allowed = [said for said in WORDS if TARGETS[CAUSE_OF[said].code, now.code] != NO_STEP]
        return f"a task that is {now} can be {', '.join(allowed) or 'nothing else any more'}"

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
    artifact = state.deployments.artifact_of(deployment)
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
        deadline=timestamp(state.wall + deadline - state.time),
        timestamp=timestamp(state.wall + now - state.time),
    )  # fmt: skip


def _parameters(state: ClusterState, task: Task, artifact: Artifact | None) -> dict[str, str]:
    """With version and ring, from which an agent of the first protocol knows all it needs."""
    given = dict(state.deployments.known[task.deployment].parameters)
    ring = RINGS[state.fleet.table.ring[task.row]].value
    more = {"ring": ring} | ({"version": artifact.version} if artifact is not None else {})
    return given if len(given.keys() | more) > wire.MAX_TASK_PARAMETERS else more | given


def _id(state: ClusterState, task: Task) -> str:
    return wire.task_id(task.deployment, state.fleet.id(task.row), task.attempt)


_RULES = {
    Answer.UNKNOWN: "a task that was sent to this device",
    Answer.OUTDATED: "the attempt is over",
}
_WORD_CODES = {state: Word(state.value).code for state in wire.TaskState}
_PHASE_CODES: dict[wire.Phase | None, int] = {
    None: Phase.WAITING.code,
    **{phase: Phase(phase.value).code for phase in wire.Phase},
}
_REASON_CODES: dict[wire.TaskReason | None, int] = {
    None: TaskReason.NONE.code,
    **{reason: TaskReason(reason.value).code for reason in wire.TaskReason},
}


def _is_end_beside(former: _Word, newer: _Word) -> bool:
    """Whether one ends a task, and the other is about the progress of another task."""
    same = (former.deployment, former.attempt) == (newer.deployment, newer.attempt)
    progress = wire.TaskState.IN_PROGRESS
    return not same and former.update.state is not progress and newer.update.state is progress


def _batch(words: Mapping[int, _Word]) -> Iterator[int]:
    """The rows of one command, those first that have waited longest: a newer word of a device has
    the place of the one before."""
    notes = 0
    for row, word in islice(words.items(), MAX_BATCH):
        notes += _note_of(0, word) is not None
        if notes > MAX_NOTES:
            return
        yield row


def _command(node: str, rows: list[int], words: list[_Word]) -> ReportTasks:
    updates = [word.update for word in words]
    notes = (_note_of(position, word) for position, word in enumerate(words))
    return ReportTasks(
        node,
        rows=np.array(rows, "<u4").tobytes(),
        births=np.array([word.birth for word in words], "<u4").tobytes(),
        deployments=np.array([word.deployment for word in words], "<u4").tobytes(),
        attempts=bytes(word.attempt for word in words),
        words=bytes(_WORD_CODES[update.state] for update in updates),
        phases=bytes(_PHASE_CODES[update.phase] for update in updates),
        progress=bytes(update.progress or 0 for update in updates),
        reasons=bytes(_REASON_CODES[update.reason] for update in updates),
        notes=tuple(note for note in notes if note is not None),
    )


def _note_of(position: int, word: _Word) -> TaskNote | None:
    """The text of a failure, or when a task that is put off may be offered again."""
    update = word.update
    match update.state:
        case wire.TaskState.FAILED | wire.TaskState.REJECTED if update.detail:
            return TaskNote(position, detail=_last_line(update.detail))
        case wire.TaskState.POSTPONED if update.retry_after:
            return TaskNote(position, retry_after=min(update.retry_after, MAX_POSTPONEMENT))
        case _:
            return None


def _last_line(detail: str) -> str:
    """Of the end of a log the line that says what went wrong, most likely."""
    lines = [line for line in map(str.strip, detail.splitlines()) if line]
    return printable(lines[-1] if lines else "", None)[:MAX_FAILURE_TEXT]
