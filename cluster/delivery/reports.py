"""What devices say of their tasks, in batches: each word taken once, however often it comes.

A word counts when deployment, device, birth and attempt are those of the present task and the table
of steps has one for it. One that was taken before is answered again; all others change nothing, and
the answer says why. Source: tasks.md, "What devices say".
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.coded import Coded
from stationkeep.cluster.commands import ReportTasks, TaskNote
from stationkeep.cluster.delivery.expiries import retry
from stationkeep.cluster.delivery.failures import note_failures
from stationkeep.cluster.delivery.members import present, running
from stationkeep.cluster.delivery.steps import Wait, close_if_over, take
from stationkeep.cluster.deployments.deployment import MAX_FAILURE_TEXT, Deployment
from stationkeep.cluster.deployments.lifecycle import (
    CAUSE_OF,
    CAUSES,
    PHASES,
    SAID_BY_DEVICES,
    STATES,
    WORDS,
    Cause,
    Phase,
    TaskReason,
    TaskState,
    Word,
    codes,
)
from stationkeep.cluster.deployments.roster import (
    ACCEPTED,
    CLAIMED,
    TENTH,
    TOLD_TO_CANCEL,
    Roster,
    detail_of,
)
from stationkeep.cluster.deployments.step_table import NO_STEP, TARGETS
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import column, row_column
from stationkeep.cluster.names import text_fault
from stationkeep.cluster.operators import existing
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.step import Refused, Step

MAX_POSTPONEMENT = 24 * 3_600
"""Seconds that a device may ask for at a time; the deployment's deadline ends them all."""


class Answer(Coded):
    """What became of one word. Its code in `answers` is its place in `ANSWERS`."""

    TAKEN = "taken"
    REPEATED = "repeated"
    """It had been taken before; to the device that is the same."""
    OUTDATED = "outdated"
    """The attempt is over."""
    ILLEGAL = "illegal"
    """A task in its state cannot come to that."""
    UNKNOWN = "unknown"
    """This device has no such task, or only the tallies are remembered."""


ANSWERS = tuple(Answer)
_CAUSES = np.array([CAUSE_OF[word].code for word in WORDS], np.uint8)
"""By the code of a word."""
_NEVER = 255
_ENDS = np.full(len(WORDS), _NEVER, np.uint8)
"""By the code of a word: the state of a task of which it has been taken."""
for _word, _state in {
    Word.SUCCEEDED: TaskState.SUCCEEDED,
    Word.FAILED: TaskState.FAILED,
    Word.REJECTED: TaskState.REJECTED,
    Word.POSTPONED: TaskState.QUEUED,
    Word.CANCELED: TaskState.CANCELED,
}.items():
    _ENDS[_word.code] = _state.code
_DECIDED = np.isin(
    np.arange(len(STATES)), codes((TaskState.TIMED_OUT, TaskState.CANCELED, TaskState.UNREACHED))
)
"""By the code of a state: whether the cluster has ended the task, whatever the device says now."""


class Batch(NamedTuple):
    """The columns of a `ReportTasks`; notes by position."""

    rows: Column
    births: Column
    deployments: Column
    attempts: Column
    words: Column
    phases: Column
    progress: Column
    reasons: Column
    notes: dict[int, TaskNote]

    def of(self, places: Column) -> "Batch":
        """Some of its rows."""
        notes = {n: self.notes[p] for n, p in enumerate(places.tolist()) if p in self.notes}
        columns = {
            field: values[places] for field, values in self._asdict().items() if field != "notes"
        }
        return Batch(**columns, notes=notes)


def report_tasks(step: Step, command: ReportTasks) -> dict[str, object]:
    """Takes every word that has a step; the others are answered one by one."""
    batch = _batch(command)
    existing(step, command.node)
    answers = np.full(len(batch.rows), Answer.UNKNOWN.code, np.uint8)
    for number in np.unique(batch.deployments).tolist():
        roster = step.state.deployments.rosters.get(number)
        if roster is not None:
            mine = np.flatnonzero(batch.deployments == number)
            deployment = step.state.deployments.known[number]
            places = present(step.state.fleet, roster, batch.rows[mine], batch.births[mine])
            mine, places = mine[places >= 0], places[places >= 0]
            answers[mine] = _Reported(step, deployment, roster, batch.of(mine), places).answers()
    counted = np.bincount(answers, minlength=len(ANSWERS)).tolist()
    counts = {answer.value: n for answer, n in zip(ANSWERS, counted, strict=True)}
    return {"answers": answers.tolist(), **counts}


def _batch(command: ReportTasks) -> Batch:
    rows = row_column(command.rows)
    columns = {
        field: column(field, getattr(command, field), dtype, len(rows), most)
        for field, dtype, most in _COLUMNS
    }
    return Batch(rows, **columns, notes=_notes(command.notes, len(rows)))


_COLUMNS = (
    ("births", "<u4", None),
    ("deployments", "<u4", None),
    ("attempts", "u1", None),
    ("words", "u1", len(WORDS) - 1),
    ("phases", "u1", len(PHASES) - 1),
    ("progress", "u1", 100),
    ("reasons", "u1", len(SAID_BY_DEVICES) - 1),
)


def _notes(notes: tuple[TaskNote, ...], rows: int) -> dict[int, TaskNote]:
    found: dict[int, TaskNote] = {}
    for note in notes:
        if not 0 <= note.position < rows or note.position in found:
            detail = f"notes: position {note.position} of {rows} rows, or given twice"
            raise Refused(Reason.INVALID, detail)
        if len(note.detail) > MAX_FAILURE_TEXT or text_fault(note.detail) is not None:
            rule = f"{note.detail[:80]!r} is not at most {MAX_FAILURE_TEXT} printable characters"
            raise Refused(Reason.INVALID, f"notes.detail: {rule}")
        if not 0 <= note.retry_after <= MAX_POSTPONEMENT:
            rule = f"{note.retry_after} is not between 0 and {MAX_POSTPONEMENT}"
            raise Refused(Reason.INVALID, f"notes.retry_after: {rule}")
        found[note.position] = note
    return found


class _Reported:
    """The words about one deployment, as they are judged and then taken."""

    def __init__(
        self, step: Step, deployment: Deployment, roster: Roster, batch: Batch, places: Column
    ) -> None:
        self.step, self.deployment, self.roster, self.batch = step, deployment, roster, batch
        self.places = places

    def answers(self) -> Column:
        """The answer to each word, which is taken where it may be."""
        roster, batch, places = self.roster, self.batch, self.places
        states, causes = roster.state[places], self._causes()
        legal = TARGETS[causes, states] != NO_STEP
        canceled = causes == Cause.CANCELLATION.code
        legal &= ~canceled | (roster.flags[places] & TOLD_TO_CANCEL > 0)
        answers = np.where(legal, Answer.TAKEN.code, Answer.ILLEGAL.code)
        answers[~legal & _DECIDED[states]] = Answer.OUTDATED.code
        answers[~legal & self._said_before(states)] = Answer.REPEATED.code
        answers[batch.attempts < roster.attempt[places]] = Answer.OUTDATED.code
        answers[batch.attempts > roster.attempt[places]] = Answer.UNKNOWN.code
        self._take(np.flatnonzero(answers == Answer.TAKEN.code), causes)
        return answers.astype(np.uint8)

    def _causes(self) -> Column:
        """A success is only claimed as long as the device reports another version, and what is put
        off when it was told to cancel is canceled."""
        told = self.roster.flags[self.places] & TOLD_TO_CANCEL > 0
        causes = _CAUSES[self.batch.words]
        causes[told & (causes == Cause.POSTPONEMENT.code)] = Cause.CANCELLATION.code
        says_so = causes == Cause.SUCCESS.code
        book, claiming = self.step.state.deployments, self.places[says_so]
        for artifact, mine in book.by_artifact(self.deployment, claiming):
            runs = running(self.step.state.fleet, self.roster, mine, artifact)
            causes[says_so & np.isin(self.places, mine[~runs])] = Cause.CLAIM.code
        return causes

    def _said_before(self, states: Column) -> Column:
        """Whether a task has come to where its word leads by that word."""
        same: Column = _ENDS[self.batch.words] == states
        postponed = self.batch.words == Word.POSTPONED.code
        same &= ~postponed | (self.roster.reason[self.places] == TaskReason.POSTPONED.code)
        return same

    def _take(self, taken: Column, causes: Column) -> None:
        if not len(taken):
            return
        self.roster.own()
        for code in np.unique(causes[taken]).tolist():
            mine = taken[causes[taken] == code]
            self._take_by(CAUSES[code], self.batch.of(mine), self.places[mine])
        close_if_over(self.step, self.deployment)

    def _take_by(self, cause: Cause, batch: Batch, positions: Column) -> None:
        match cause:
            case Cause.PROGRESS:
                self._go_on(batch, positions)
            case Cause.CLAIM:
                self._claim(positions)
            case Cause.FAILURE | Cause.REJECTION:
                self._fail(cause, batch, positions)
            case Cause.POSTPONEMENT:
                self._postpone(batch, positions)
            case _:
                why = TaskReason.CANCELED if cause is Cause.CANCELLATION else TaskReason.NONE
                take(self.step, self.deployment, positions, cause, Wait(why.code))

    def _go_on(self, batch: Batch, positions: Column) -> None:
        """Whoever goes on claims no longer that it has succeeded."""
        self.roster.flags[positions] &= 255 ^ CLAIMED
        self.roster.flags[positions] |= ACCEPTED
        silent_at = self.deployment.after(self.step.now, self.step.state.settings.progress_timeout)
        due = np.minimum(silent_at, self._over_at(positions))
        detail = detail_of(batch.phases, batch.progress)
        take(self.step, self.deployment, positions, Cause.PROGRESS, Wait(0, due, detail))

    def _claim(self, positions: Column) -> None:
        """It has the rest of its time to report the version: that counts, not its word."""
        self.roster.flags[positions] |= ACCEPTED | CLAIMED
        detail = detail_of(Phase.CONFIRMING.code, 100)
        wait = Wait(0, self._over_at(positions), detail)
        take(self.step, self.deployment, positions, Cause.CLAIM, wait)

    def _over_at(self, positions: Column) -> Column:
        """When these attempts have taken too long: of one that begins, from now on."""
        begun = self.roster.state[positions] == TaskState.IN_PROGRESS.code
        now = self.deployment.tenths(self.step.now)
        start: Column = np.where(begun, self.roster.since[positions], now).astype(np.int64)
        start += -(-self.step.state.settings.task_timeout // TENTH)
        return start

    def _fail(self, cause: Cause, batch: Batch, positions: Column) -> None:
        other = TaskReason.REJECTED if cause is Cause.REJECTION else TaskReason.OTHER
        reasons = np.where(batch.reasons == TaskReason.NONE.code, other.code, batch.reasons)
        take(self.step, self.deployment, positions, cause, Wait(reasons))
        texts = {n: note.detail for n, note in batch.notes.items()}
        note_failures(self.step, self.deployment, positions, texts)
        if cause is Cause.FAILURE:
            retry(self.step, self.deployment, self.roster, positions)

    def _postpone(self, batch: Batch, positions: Column) -> None:
        """As long as it asks for, and no shorter than an offer waits for its answer: each time
        that it puts its task off costs an offer."""
        wait = np.zeros(len(positions), np.int64)
        for n, note in batch.notes.items():
            wait[n] = note.retry_after * 1_000
        wait = -(-np.maximum(wait, self.step.state.settings.answer_time) // TENTH)
        due = self.deployment.after(self.step.now, 0) + wait
        why = TaskReason.POSTPONED.code
        take(self.step, self.deployment, positions, Cause.POSTPONEMENT, Wait(why, due))
