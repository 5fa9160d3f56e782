"""What a device is told to do, and what it says became of it (node/guide/agents.md, "Tasks").

(deployment, device, attempt) is the identity of a task, written `17/slave-001/2`. A node tells a
task, and tells it again until the device has said something of it; a device says how it goes, and
says the end again until a node acknowledges that it is in the log.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from stationkeep.cluster.numbers import U32

MAX_TASK_DETAIL = 2_048
"""Characters of what a device says of a task: the end of its log when it failed."""
MAX_ARTIFACT_BYTES = 1 << 40
MAX_ATTEMPT = 15
MAX_POSTPONED = 24 * 3_600
"""Seconds for which a device may put one deployment off, in all."""
MAX_URL = 1_024
MAX_TASK_PARAMETERS = 32
MAX_TASK_PARAMETER = 1_024
"""Characters of one."""

TASK_ID_PATTERN = r"^[1-9][0-9]{0,9}/[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}/[1-9][0-9]?\Z"
TASK_TYPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
VERSION_PATTERN = r"^[A-Za-z0-9._+~-]+\Z"
SHA256_PATTERN = r"^[0-9a-f]{64}\Z"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"
VERSION_RULE = "letters, digits and . _ + ~ -"
TASK_PATTERN_RULES = {
    TASK_ID_PATTERN: "DEPLOYMENT/DEVICE/ATTEMPT, such as 17/slave-001/1",
    TASK_TYPE_PATTERN: "letters, digits and _ . - beginning with a letter or digit",
    VERSION_PATTERN: VERSION_RULE,
    SHA256_PATTERN: "64 hex digits in lower case",
    TIME_PATTERN: "a time as 2026-11-29T15:00:00Z",
}

TaskId = Annotated[str, Meta(pattern=TASK_ID_PATTERN)]
TaskType = Annotated[str, Meta(min_length=1, max_length=64, pattern=TASK_TYPE_PATTERN)]
Version = Annotated[str, Meta(min_length=1, max_length=64, pattern=VERSION_PATTERN)]
Label = Annotated[str, Meta(max_length=64)]
Time = Annotated[str, Meta(pattern=TIME_PATTERN)]
"""A text in both encodings, as `messages.timestamp` writes it."""
ROLLBACK = "rollback"
"""The task type whose version is one that the device has had before."""
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]


class TaskState(enum.StrEnum):
    """What a device can say that a task has come to; all but the first are ends of an attempt."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    POSTPONED = "postponed"
    """To be told again after `retry_after`; costs no attempt."""
    CANCELED = "canceled"


class Phase(enum.StrEnum):
    """How far a task in progress is, in this order; a retry goes back, and so does a restart."""

    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    WAITING = "waiting"
    """For the moment from which it may begin."""
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    CONFIRMING = "confirming"
    """That what runs now is what was asked for."""


CANCELABLE = frozenset({Phase.DOWNLOADING, Phase.VERIFYING, Phase.WAITING})
"""From installing on a task runs to its end."""


class TaskReason(enum.StrEnum):
    """Why a device failed or rejected a task."""

    REJECTED = "rejected"
    """It does not want to."""
    PRECONDITION = "precondition"
    """It cannot carry out such a task: what the task needs, or what the task says, is not so."""
    DOWNLOAD = "download"
    HASH = "hash"
    """What was downloaded is not the artifact, by size or SHA-256."""
    SIGNATURE = "signature"
    DISK = "disk"
    """No room, or a disk that refuses."""
    INSTALL = "install"
    REBOOT = "reboot"
    VERSION_MISMATCH = "version_mismatch"
    """It was carried out, and another version runs than was asked for."""
    AGENT_LOST = "agent_lost"
    """The agent ended in the midst of it too often."""


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """`component`: which reported version it changes, "app" or "os". Without a `url` there is
    nothing to download: the version says it all. `signature`: base64, Ed25519 over the 32 bytes
    of the hash, by the key of that name."""

    component: Annotated[str, Meta(pattern=r"^(?:app|os)\Z")]
    version: Version
    url: Annotated[str, Meta(min_length=1, max_length=MAX_URL)] | None = None
    sha256: Sha256 | None = None
    size: Annotated[int, Meta(ge=1, le=MAX_ARTIFACT_BYTES)] | None = None
    signature: Annotated[str, Meta(max_length=128)] | None = None
    key: Label | None = None


Parameters = Annotated[
    dict[Label, Annotated[str, Meta(max_length=MAX_TASK_PARAMETER)]],
    Meta(max_length=MAX_TASK_PARAMETERS),
]


class TaskPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of the times is their distance from `timestamp`, when the node wrote this: the
    device's own clock may say anything. `install_after` and `install_before` bound the moment at
    which installing may begin."""

    task_id: TaskId
    deployment: Annotated[int, Meta(ge=1, le=U32)]
    attempt: Annotated[int, Meta(ge=1, le=MAX_ATTEMPT)]
    task_type: TaskType
    parameters: Parameters = {}
    rollout: Label | None = None
    variant: Label | None = None
    artifact: Artifact | None = None
    deadline: Time
    install_after: Time | None = None
    install_before: Time | None = None
    timestamp: Time

    def __post_init__(self) -> None:
        """Raises ValueError for what contradicts itself, or is no moment."""
        deployment, _, attempt = identity_of(self.task_id)
        if (deployment, attempt) != (self.deployment, self.attempt):
            raise ValueError(f"task_id: {self.task_id} is not of this deployment and attempt")
        for time in (self.deadline, self.install_after, self.install_before, self.timestamp):
            self.seconds_until(time or self.timestamp)

    def seconds_until(self, time: str) -> float:
        """From when the node wrote this; negative for what was before."""
        return (
            datetime.fromisoformat(time) - datetime.fromisoformat(self.timestamp)
        ).total_seconds()


class TaskUpdatePayload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`phase` and `progress` (percent) are those of a task in progress; `reason` why it failed or
    was rejected; `retry_after` (s) when one that is postponed may be told again;
    `installed_version` what runs now, where it succeeded."""

    task_id: TaskId
    state: TaskState
    phase: Phase | None = None
    progress: Annotated[int, Meta(ge=0, le=100)] | None = None
    reason: TaskReason | None = None
    detail: Annotated[str, Meta(max_length=MAX_TASK_DETAIL)] = ""
    installed_version: Version | None = None
    retry_after: Annotated[int, Meta(ge=1, le=MAX_POSTPONED)] | None = None


class TaskAckPayload(msgspec.Struct, frozen=True):
    """The update is in the log and applied: the device need not say it again. `outdated`: it
    changed nothing, since the attempt is over."""

    task_id: str
    state: str
    outdated: bool = False


class TaskCancelPayload(msgspec.Struct, frozen=True):
    """The task is no longer wanted; the device says whether it could still be canceled."""

    task_id: str
    reason: str


def is_version(given: object) -> bool:
    """Whether a device may say that it runs this."""
    try:
        msgspec.convert(given, Version)
    except msgspec.ValidationError:
        return False
    return True


def task_id(deployment: int, device: str, attempt: int) -> str:
    """`17/slave-001/2`."""
    return f"{deployment}/{device}/{attempt}"


def identity_of(task_id: str) -> tuple[int, str, int]:
    """(deployment, device, attempt) of a decoded `TaskId`."""
    deployment, device, attempt = task_id.split("/")
    return int(deployment), device, int(attempt)


RULES: Mapping[str, str] = {
    "state": ", ".join(TaskState),
    "phase": ", ".join(Phase),
    "reason": ", ".join(TaskReason),
}
"""Of fields of which a decoder says no more than that the value is none of the known ones."""
