"""What devices say about tasks, on its way into the log.

It goes there in batches, and a device is answered only when that is committed and applied: a device
says each end until then, to whichever node it is connected to, and the state takes it once.

Of each device the newest word is kept until it is in the log (but progress of one task gives way to
the end of another): one command is on its way at a time.
Whatever ends or begins something goes at once, mere progress once a second.
Source: tasks.md, "What devices say".
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import structlog

from stationkeep.cluster.apply import Rejected
from stationkeep.cluster.commands import MAX_BATCH, ReportTasks, TaskNote
from stationkeep.cluster.delivery.reports import ANSWERS, MAX_POSTPONEMENT, Answer
from stationkeep.cluster.delivery.tasks import position_of, task_at, task_of_device
from stationkeep.cluster.deployments.deployment import MAX_FAILURE_TEXT
from stationkeep.cluster.deployments.lifecycle import (
    CAUSE_OF,
    WORDS,
    Phase,
    TaskReason,
    TaskState,
    Word,
)
from stationkeep.cluster.deployments.step_table import NO_STEP, TARGETS
from stationkeep.cluster.numbers import U32
from stationkeep.node.duty import AT_ONCE, NEVER, Workbench
from stationkeep.node.fleet.replies import Fault, IntakeRefusal, unknown
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.system.printable import printable
from stationkeep.node.wire import tasks as wire

FLUSH = 1.0
"""Seconds between two flushes of mere progress at the least."""
TIMEOUT = 5.0
RETRY = 0.25
"""Seconds until words are proposed again of which nobody knows whether they are in the log."""
ANSWERS_PER_TURN = 64
"""Up to 3 ms of work: as many devices are looked at in the same turn (`node.fleet.errands`)."""
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
WentOn = Callable[[int, str], None]
"""The device in a row goes on with this task, and the attempt is over."""


class _Word(NamedTuple):
    birth: int
    deployment: int
    attempt: int
    update: wire.TaskUpdatePayload
    answered: Answered


class TaskWords:
    """Of one node."""

    def __init__(self, bench: Workbench, went_on: WentOn) -> None:
        self._went_on = went_on
        self._node, self._clock, self._wake = bench.node, bench.host.clock, bench.host.wake
        self._consensus, self._replica = bench.consensus, bench.replica
        self._propose = bench.propose
        self._words: dict[int, _Word] = {}
        self._committed: deque[tuple[int, _Word, Answer]] = deque()
        """Words of one command, in the log, that are still to be answered."""
        self._under_way = self._urgent = False
        self._flushed_at = self._not_before = AT_ONCE
        self.results = dict.fromkeys(ANSWERS, 0)
        """Words by what became of them, since the start."""

    # -- what devices say -----------------------------------------------------------------------

    def say(
        self, device: str, update: wire.TaskUpdatePayload, answered: Answered
    ) -> IntakeRefusal | None:
        """Takes a word of a device about a task of its own; `answered` hears what came of it, or
        the refusal is returned."""
        row = self._replica.state.fleet.row(device)
        if row is None:
            return unknown(device)
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

    def _is_progress(self, row: int, update: wire.TaskUpdatePayload) -> bool:
        """Whether the task is known to be in progress, in that very phase."""
        if update.state is not wire.TaskState.IN_PROGRESS:
            return False
        state = self._replica.state
        task = task_of_device(state, row)
        if task is None or task.state is not TaskState.IN_PROGRESS or update.phase is None:
            return False
        return (
            update.task_id == wire.task_id(task.deployment, state.fleet.id(row), task.attempt)
            and task.phase == update.phase.value
        )

    # -- the turn -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Proposes what is due; answers a bounded number of what is in the log."""
        if self._flush_due() <= self._clock.monotonic():
            self._flush()
        for _ in range(min(len(self._committed), ANSWERS_PER_TURN)):
            self._answer(*self._committed.popleft())

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` has something to do; infinite when nothing waits."""
        return self._clock.monotonic() if self._committed else self._flush_due()

    # -- words on their way into the log --------------------------------------------------------

    def _flush_due(self) -> float:
        if not self._words or self._under_way or self._committed:
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
                self._committed.append((row, word, ANSWERS[code]))

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
        if answer is Answer.OUTDATED and word.update.state is wire.TaskState.IN_PROGRESS:
            self._went_on(row, word.update.task_id)

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
