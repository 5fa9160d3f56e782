"""How a device carries out its tasks: what happened goes in, the next book comes out.

No I/O, no clock. What is to be done now follows from the book alone (the phase of its job), and so
does what is to be said (`said`). Whoever keeps each book before acting on it may be killed at any
moment: the same book, read again, goes on (`Started`).

    downloading → verifying → waiting → installing ──→ confirming → an outcome
         ↑____________|                      └→ rebooting ──┘

Each phase also ends in an outcome when it fails, at its deadline, and, before installing, when the
task is canceled. A restart goes back to where nothing is taken on trust: what was downloaded is
verified again before a command is started again.
"""

from collections.abc import Callable
from typing import assert_never

import msgspec
from msgspec.structs import replace

from stationkeep.node.agent.tasks.book import (
    MAX_OUTCOMES,
    Book,
    Installed,
    Job,
    Moment,
    Outcome,
    Postponed,
    content_of,
)
from stationkeep.node.system.printable import printable_lines
from stationkeep.node.wire.tasks import (
    CANCELABLE,
    MAX_POSTPONED,
    MAX_TASK_DETAIL,
    Phase,
    TaskPayload,
    TaskReason,
    TaskState,
    TaskUpdatePayload,
)

MOST_RESUMED = 3
"""Times that a command is started again after the agent ended in the midst of it."""
BUSY_SECONDS = 30
"""After which a task may be told again that came while another one could not be left."""

NEXT = {
    Phase.DOWNLOADING: Phase.VERIFYING,
    Phase.VERIFYING: Phase.WAITING,
    Phase.WAITING: Phase.INSTALLING,
    Phase.INSTALLING: Phase.CONFIRMING,
    Phase.REBOOTING: Phase.CONFIRMING,
}
"""What follows when a phase is done. What is confirmed is over."""
AFTER_RESTART = {
    Phase.DOWNLOADING: Phase.DOWNLOADING,
    Phase.VERIFYING: Phase.VERIFYING,
    Phase.WAITING: Phase.VERIFYING,
    Phase.INSTALLING: Phase.VERIFYING,
    Phase.REBOOTING: Phase.REBOOTING,
    Phase.CONFIRMING: Phase.CONFIRMING,
}
"""Where a task goes on that the agent was killed in. After a reboot it is confirmed instead."""
LATE = {
    Phase.DOWNLOADING: TaskReason.DOWNLOAD,
    Phase.VERIFYING: TaskReason.DOWNLOAD,
    Phase.INSTALLING: TaskReason.INSTALL,
    Phase.REBOOTING: TaskReason.REBOOT,
    Phase.CONFIRMING: TaskReason.VERSION_MISMATCH,
}
"""Why a task failed that was in this phase at its deadline; of one that waits see `_expired`."""


class Started(msgspec.Struct, frozen=True):
    """The agent starts. `given`: versions that run, as far as it was told, by component; those of
    `certain` ones it has seen."""

    now: Moment
    given: dict[str, str]
    certain: frozenset[str] = frozenset()


class Told(msgspec.Struct, frozen=True):
    """A node tells a task, perhaps not for the first time."""

    task: TaskPayload
    now: Moment


class CancelAsked(msgspec.Struct, frozen=True):
    task_id: str


class Acknowledged(msgspec.Struct, frozen=True):
    """What was said of a task is in the log, or nobody will ever take it."""

    task_id: str
    state: str


class Unwanted(msgspec.Struct, frozen=True):
    """Nodes know no such task."""

    task_id: str


class Done(msgspec.Struct, frozen=True):
    """The present phase is done. `in_parts`: of a download."""

    in_parts: bool = False


class Incomplete(msgspec.Struct, frozen=True):
    """What is to be verified is not all there; `refetched`: nothing of it is, on purpose."""

    refetched: bool = False


class RebootNeeded(msgspec.Struct, frozen=True):
    """The command is done; the boot is to end."""

    boot: str


class Confirmed(msgspec.Struct, frozen=True):
    """What was asked for runs; `version` is empty where no version was."""

    version: str = ""


class Ended(msgspec.Struct, frozen=True):
    """The present phase ended the task. `retry_after`: of one that is postponed."""

    state: TaskState
    reason: TaskReason | None = None
    detail: str = ""
    retry_after: int | None = None


class Expired(msgspec.Struct, frozen=True):
    """The deadline has passed. `log`: what a command that was killed then had said."""

    log: str = ""


class Unsaved(msgspec.Struct, frozen=True):
    """The book with this job cannot be kept."""

    why: str


Result = Done | Incomplete | RebootNeeded | Confirmed | Ended | Expired | Unsaved
"""What comes of the job's present phase."""
Event = Started | Told | CancelAsked | Acknowledged | Unwanted | Result
Answer = TaskUpdatePayload | None
"""What is said once, and not kept."""


def step(book: Book, event: Event) -> tuple[Book, Answer]:
    """The book after an event."""
    match event:
        case Started():
            return _started(book, event), None
        case Told():
            return _told(book, event.task, event.now)
        case CancelAsked():
            return _cancel(book, event.task_id)
        case Acknowledged():
            return _acknowledged(book, event.task_id, event.state), None
        case Unwanted():
            return _unwanted(book, event.task_id), None
        case _:
            return (book if book.job is None else _worked(book, book.job, event)), None


def said(book: Book) -> list[TaskUpdatePayload]:
    """What nodes have not acknowledged yet, oldest first, and how the present task goes."""
    ends = [outcome.update for outcome in book.outcomes if not outcome.acknowledged]
    if book.job is None:
        return ends
    phase, task_id = book.job.phase, book.job.task.task_id
    return [*ends, TaskUpdatePayload(task_id=task_id, state=TaskState.IN_PROGRESS, phase=phase)]


# -- the agent's start ---------------------------------------------------------------------------


def _started(book: Book, event: Started) -> Book:
    installed = {name: i for name, i in book.installed.items() if name not in event.certain}
    book = replace(book, given=event.given, installed=installed)
    job = book.job
    if job is None:
        return book
    if job.phase is not Phase.REBOOTING:
        return replace(book, job=replace(job, phase=AFTER_RESTART[job.phase]))
    if job.rebooting_since != event.now.boot:
        return replace(book, job=replace(job, phase=Phase.CONFIRMING))
    if job.runs > MOST_RESUMED:
        return _fail(book, job, TaskReason.REBOOT, "the same boot goes on after several tries")
    return replace(book, job=replace(job, runs=job.runs + 1))


# -- what nodes say ------------------------------------------------------------------------------


def _told(book: Book, task: TaskPayload, now: Moment) -> tuple[Book, Answer]:
    outcome, job = book.outcome(task), book.job
    if outcome is not None and not _may_begin_anew(outcome):
        return _unacknowledged(book, outcome), None
    if job is not None and _same(job, task):
        return replace(book, job=replace(job, task=task, told=now)), None
    if _is_older(book, task):
        return book, None
    if job is not None and not _can_be_left(job):
        return book, TaskUpdatePayload(
            task_id=task.task_id,
            state=TaskState.POSTPONED,
            detail=f"busy with {job.task.task_id}",
            retry_after=BUSY_SECONDS,
        )
    if job is not None:
        detail = f"task {task.task_id} came instead"
        book = _end(book, job, Ended(TaskState.CANCELED, detail=detail))
    return _begun(book, task, now), None


def _begun(book: Book, task: TaskPayload, now: Moment) -> Book:
    outcomes = tuple(o for o in book.outcomes if o.update.task_id != task.task_id)
    artifact = task.artifact
    previous = book.version("app" if artifact is None else artifact.component)
    has_file = artifact is not None and artifact.url is not None
    phase = Phase.DOWNLOADING if has_file else Phase.VERIFYING
    job = Job(task=task, phase=phase, told=now, previous=previous)
    book = replace(book, outcomes=outcomes, job=job)
    runs_already = artifact is not None and artifact.version == previous
    return _worked(book, job, Confirmed(previous)) if runs_already else book


def _same(job: Job, task: TaskPayload) -> bool:
    return job.task.task_id == task.task_id and content_of(job.task) == content_of(task)


def _may_begin_anew(outcome: Outcome) -> bool:
    """Of the same attempt only what was put off, and nodes know of that."""
    return outcome.update.state is TaskState.POSTPONED and outcome.acknowledged


def _is_older(book: Book, task: TaskPayload) -> bool:
    """Whether a later attempt at the same is known: the word was long under way."""
    content = content_of(task)
    known = [(o.update.task_id, o.content) for o in book.outcomes]
    if book.job is not None:
        known.append((book.job.task.task_id, content_of(book.job.task)))
    prefix, _, _ = task.task_id.rpartition("/")
    return any(
        of == content
        and id_.rpartition("/")[0] == prefix
        and int(id_.rpartition("/")[2]) > task.attempt
        for id_, of in known
    )


def _can_be_left(job: Job) -> bool:
    """Whether nothing of it was run yet."""
    return job.phase in CANCELABLE and job.runs == 0


def _cancel(book: Book, task_id: str) -> tuple[Book, Answer]:
    """A task that this device knows nothing of is none that it could go on with."""
    job = book.job
    if job is not None and job.task.task_id == task_id:
        can = _can_be_left(job)
        return (_end(book, job, Ended(TaskState.CANCELED)) if can else book), None
    known = [outcome for outcome in book.outcomes if outcome.update.task_id == task_id]
    if known:
        return _unacknowledged(book, known[-1]), None
    return book, TaskUpdatePayload(task_id=task_id, state=TaskState.CANCELED)


def _acknowledged(book: Book, task_id: str, state: str) -> Book:
    return _marked(
        book, lambda o: o.update.task_id == task_id and o.update.state == state, acknowledged=True
    )


def _unacknowledged(book: Book, outcome: Outcome) -> Book:
    """It is said again until it is acknowledged again."""
    return _marked(book, lambda o: o is outcome, acknowledged=False)


def _unwanted(book: Book, task_id: str) -> Book:
    """Nobody wants to hear of it any more; what has begun goes on all the same. What has not is
    forgotten: a node that tells it again means it."""
    job = book.job
    if job is not None and job.task.task_id == task_id and _can_be_left(job):
        book = replace(book, job=None)
    return _marked(book, lambda o: o.update.task_id == task_id, acknowledged=True)


# -- what comes of the present phase -------------------------------------------------------------


def _worked(book: Book, job: Job, event: Result) -> Book:
    match event:
        case Done():
            return _advanced(book, replace(job, in_parts=job.in_parts or event.in_parts))
        case Incomplete():
            again = replace(job, phase=Phase.DOWNLOADING, in_parts=False)
            return replace(book, job=replace(again, refetched=job.refetched or event.refetched))
        case RebootNeeded():
            rebooting = replace(job, phase=Phase.REBOOTING, rebooting_since=event.boot)
            return replace(book, job=rebooting)
        case Confirmed():
            return _confirmed(book, job, event.version)
        case Ended():
            return _end(book, job, event)
        case Expired():
            return _expired(book, job, event.log)
        case Unsaved():
            return _unsaved(book, job, event.why)
        case _:
            assert_never(event)


def _advanced(book: Book, job: Job) -> Book:
    phase = NEXT[job.phase]
    if phase is not Phase.INSTALLING:
        return replace(book, job=replace(job, phase=phase))
    if job.runs > MOST_RESUMED:
        return _fail(book, job, TaskReason.AGENT_LOST, f"the agent ended in {job.runs} runs of it")
    return replace(book, job=replace(job, phase=phase, runs=job.runs + 1))


def _confirmed(book: Book, job: Job, version: str) -> Book:
    """A version that was not asked for is no success, but it is what runs now."""
    artifact = job.task.artifact
    if artifact is not None and version:
        over = book.given.get(artifact.component, "")
        installed = book.installed | {artifact.component: Installed(version, over)}
        book = replace(book, installed=installed)
    if artifact is not None and version != artifact.version:
        detail = f"version {version or 'unknown'} runs, {artifact.version} was asked for"
        return _fail(book, job, TaskReason.VERSION_MISMATCH, detail)
    return _end(book, job, Ended(TaskState.SUCCEEDED))


def _expired(book: Book, job: Job, log: str) -> Book:
    if job.phase is Phase.WAITING and job.runs == 0:  # that costs no attempt, and forgets the runs
        opens = job.task.install_after is not None
        why = "its window did not open" if opens else "it waited to begin until its time was over"
        return _end(book, job, Ended(TaskState.POSTPONED, detail=why))
    reason = LATE.get(job.phase, TaskReason.INSTALL)
    return _fail(book, job, reason, f"{log}\nnot done by the deadline".strip())


def _unsaved(book: Book, job: Job, why: str) -> Book:
    """Nothing is begun that a restart would not know of. What the command has done already stays
    done: a restart would run it again, which it must bear."""
    if job.phase in {Phase.REBOOTING, Phase.CONFIRMING}:
        return book
    return _fail(book, job, TaskReason.DISK, f"the spool cannot be written: {why}")


def _fail(book: Book, job: Job, reason: TaskReason, detail: str) -> Book:
    return _end(book, job, Ended(TaskState.FAILED, reason, detail))


def _end(book: Book, job: Job, end: Ended) -> Book:
    if end.state is TaskState.POSTPONED:
        book, end = _put_off(book, job, end)
    version = book.version(job.task.artifact.component) if job.task.artifact is not None else ""
    update = TaskUpdatePayload(
        task_id=job.task.task_id,
        state=end.state,
        reason=end.reason,
        detail=printable_lines(end.detail)[-MAX_TASK_DETAIL:],
        installed_version=version or None if end.state is TaskState.SUCCEEDED else None,
        retry_after=end.retry_after,
    )
    outcomes = (*book.outcomes, Outcome(update, content_of(job.task)))[-MAX_OUTCOMES:]
    return replace(book, job=None, outcomes=outcomes)


def _put_off(book: Book, job: Job, end: Ended) -> tuple[Book, Ended]:
    """A deployment can be put off for so long in all, and then no more."""
    content, deployment = content_of(job.task), job.task.deployment
    former, spent = book.postponed, 0
    if former is not None and (former.content, former.deployment) == (content, deployment):
        spent = former.seconds
    left = MAX_POSTPONED - spent
    if left < 1:
        detail = f"put off for {MAX_POSTPONED // 3_600} h already"
        return book, Ended(TaskState.REJECTED, TaskReason.REJECTED, detail)
    seconds = min(left, max(1, end.retry_after or 1))
    book = replace(book, postponed=Postponed(content, deployment, spent + seconds))
    return book, replace(end, retry_after=seconds)


def _marked(book: Book, which: Callable[[Outcome], bool], *, acknowledged: bool) -> Book:
    marked = tuple(replace(o, acknowledged=acknowledged) if which(o) else o for o in book.outcomes)
    return replace(book, outcomes=marked)
