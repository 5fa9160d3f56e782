"""The steps that a task may take: the only source of them, for apply, documents and diagrams.

A step is a cause that meets a state. Where the table has none the cause changes nothing, and is
answered, or left out. Source: tasks.md, "Table of transitions".
"""

from typing import NamedTuple

from stationkeep.cluster.coded import Coded


class TaskState(Coded):
    """Where a task stands. Its code in columns is its place in `STATES`."""

    QUEUED = "queued"
    ALREADY_INSTALLED = "already_installed"
    OFFERED = "offered"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    UNREACHED = "unreached"


STATES = tuple(TaskState)
ACTIVE = (TaskState.OFFERED, TaskState.IN_PROGRESS)
"""The device is taken: no other task is offered to it, and no check moves it."""
UNFINISHED = (TaskState.QUEUED, *ACTIVE)


class Phase(Coded):
    """What a device is doing while its task is IN_PROGRESS."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    CONFIRMING = "confirming"


PHASES = tuple(Phase)


class TaskReason(Coded):
    """Why a task is in its state, where the state alone does not say it."""

    NONE = ""
    # what a device says of a failure
    DOWNLOAD = "download"
    INSTALL = "install"
    REBOOT = "reboot"
    HASH = "hash"
    SIGNATURE = "signature"
    PRECONDITION = "precondition"
    VERSION_MISMATCH = "version_mismatch"
    AGENT_LOST = "agent_lost"
    DISK = "disk"
    REJECTED = "rejected"
    OTHER = "other"
    # why it waits
    POSTPONED = "postponed"  # the device asked for it
    RETRY = "retry"  # the attempt before this one failed
    UNANSWERED = "unanswered"  # an offer ran out
    NOT_ANSWERING = "not_answering"  # so many in a row that no more are made
    # how it ended
    SILENT = "silent"
    REVERTED = "reverted"
    CANCELED = "canceled"  # the deployment was
    NEWER_INSTALLED = "newer_installed"
    REMOVED = "removed"
    UNREACHED = "unreached"  # until the deadline, and it had begun nothing
    NO_PREVIOUS = "no_previous"  # nothing is known that it could go back to


TASK_REASONS = tuple(TaskReason)
SAID_BY_DEVICES = TASK_REASONS[: TASK_REASONS.index(TaskReason.OTHER) + 1]
"""Reasons that a report may give."""
RETRYABLE = (TaskReason.DOWNLOAD, TaskReason.SILENT, TaskReason.INSTALL, TaskReason.REBOOT)
"""What another attempt may mend; a device that fell back once will again."""


class Word(Coded):
    """What a device says that its task has come to; all but the first end the attempt."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    POSTPONED = "postponed"
    CANCELED = "canceled"


WORDS = tuple(Word)


class Cause(Coded):
    """What makes a task take a step."""

    OFFER = "offer"
    UNANSWERED = "unanswered"
    PROGRESS = "progress"
    CLAIM = "claim"
    SUCCESS = "success"
    FAILURE = "failure"
    REJECTION = "rejection"
    POSTPONEMENT = "postponement"
    CANCELLATION = "cancellation"
    INSTALLED = "installed"
    NEWER = "newer"
    REVERSION = "reversion"
    SILENCE = "silence"
    DEADLINE = "deadline"
    GIVEN_UP = "given_up"
    RETRY = "retry"
    ORDERED_RETRY = "ordered_retry"
    WITHDRAWAL = "withdrawal"
    REMOVAL = "removal"


CAUSES = tuple(Cause)


class Transition(NamedTuple):
    """Where a cause leads: whoever is in one of the `origins` goes to `target`. `who` brings it
    about, and only where the `guard` holds."""

    origins: tuple[TaskState, ...]
    target: TaskState
    who: str
    guard: str


_S = TaskState
_PRESENT = "of the present attempt"
TRANSITIONS: dict[Cause, Transition] = {
    Cause.OFFER: Transition(
        (_S.QUEUED,), _S.OFFERED, "leader", "the device is there, ready and free for it"),
    Cause.UNANSWERED: Transition(
        (_S.OFFERED,), _S.QUEUED, "leader", "offer_timeout has passed; costs no attempt"),
    Cause.PROGRESS: Transition(ACTIVE, _S.IN_PROGRESS, "device", _PRESENT),
    Cause.CLAIM: Transition(
        ACTIVE, _S.IN_PROGRESS, "device", "says succeeded, and reports another version as yet"),
    Cause.SUCCESS: Transition(
        ACTIVE, _S.SUCCEEDED, "device", "reports the artifact's version, if there is one"),
    Cause.FAILURE: Transition(ACTIVE, _S.FAILED, "device", _PRESENT),
    Cause.REJECTION: Transition(ACTIVE, _S.REJECTED, "device", _PRESENT),
    Cause.POSTPONEMENT: Transition(
        ACTIVE, _S.QUEUED, "device", "for offer_timeout at least, 24 h at most; costs no attempt"),
    Cause.CANCELLATION: Transition(
        (_S.IN_PROGRESS,), _S.CANCELED, "device", "was told to cancel"),
    Cause.INSTALLED: Transition(
        (*UNFINISHED, _S.TIMED_OUT, _S.UNREACHED), _S.SUCCEEDED, "registration",
        "reports the artifact's version, whatever the attempt"),
    Cause.NEWER: Transition(
        (_S.QUEUED, _S.OFFERED), _S.CANCELED, "registration",
        "reports a newer version, and no downgrade is allowed"),
    Cause.REVERSION: Transition(
        (_S.SUCCEEDED,), _S.FAILED, "registration",
        "reports another version while the deployment is open, which no other has it run"),
    Cause.SILENCE: Transition(
        (_S.IN_PROGRESS,), _S.TIMED_OUT, "leader",
        "progress_timeout since its last word, or task_timeout since it began"),
    Cause.DEADLINE: Transition(
        (_S.QUEUED,), _S.UNREACHED, "leader", "the deployment's deadline, and it never began"),
    Cause.GIVEN_UP: Transition(
        (_S.QUEUED,), _S.TIMED_OUT, "leader", "the deployment's deadline, and it had begun once"),
    Cause.RETRY: Transition(
        (_S.FAILED, _S.TIMED_OUT), _S.QUEUED, "apply",
        "retries are left, and the reason is one that a retry may mend"),
    Cause.ORDERED_RETRY: Transition(
        (_S.FAILED, _S.TIMED_OUT, _S.UNREACHED), _S.QUEUED, "operator",
        "fewer than 15 attempts, and it has not reverted"),
    Cause.WITHDRAWAL: Transition(
        (_S.QUEUED, _S.OFFERED), _S.CANCELED, "operator", "cancels the deployment"),
    Cause.REMOVAL: Transition(UNFINISHED, _S.CANCELED, "operator", "removes the device"),
}  # fmt: skip
"""Tasks begin QUEUED; where the device reports the artifact's version ALREADY_INSTALLED, where it
reports a newer one CANCELED."""

CAUSE_OF: dict[Word, Cause] = {
    Word.IN_PROGRESS: Cause.PROGRESS,
    Word.SUCCEEDED: Cause.SUCCESS,
    Word.FAILED: Cause.FAILURE,
    Word.REJECTED: Cause.REJECTION,
    Word.POSTPONED: Cause.POSTPONEMENT,
    Word.CANCELED: Cause.CANCELLATION,
}


def codes(states: tuple[TaskState, ...]) -> list[int]:
    """What columns call these states."""
    return [state.code for state in states]


def table() -> str:
    """The steps as a table in Markdown, for the guide."""
    rows = ["| cause | from | to | by | where |", "| --- " * 5 + "|"]
    for cause, transition in TRANSITIONS.items():
        origins = ", ".join(transition.origins)
        rows.append(
            f"| {cause} | {origins} | {transition.target} | {transition.who} | {transition.guard} |"
        )
    return "\n".join(rows)


def mermaid() -> str:
    """The same as a diagram: every pair of states once, with all that leads between them."""
    causes: dict[tuple[TaskState, TaskState], list[Cause]] = {}
    for cause, transition in TRANSITIONS.items():
        for origin in transition.origins:
            causes.setdefault((origin, transition.target), []).append(cause)
    lines = ["stateDiagram-v2", "    [*] --> queued", "    [*] --> already_installed"]
    lines += [f"    {a} --> {b}: {', '.join(how)}" for (a, b), how in causes.items()]
    return "\n".join(lines)
