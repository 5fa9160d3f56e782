"""What a device remembers of its tasks: the one that it carries out, and how the last ones ended.

A book is a value; `machine` makes the next one of it, and `spool` keeps it through crashes.
"""

import hashlib

import msgspec

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.wire.tasks import Phase, TaskPayload, TaskUpdatePayload

MAX_OUTCOMES = 16
"""Ends of tasks that are remembered, the newest ones."""
LONGEST_TASK = 7 * 24 * 3_600.0
"""Seconds that a task may take, whatever a node says."""


class Moment(msgspec.Struct, frozen=True):
    """By a clock that nobody sets: the boot's id, and seconds since then."""

    boot: str
    uptime: float

    def since(self, other: "Moment") -> float:
        """Seconds from `other` to this; where a reboot lies between, those that are certain."""
        return max(0.0, self.uptime - (other.uptime if other.boot == self.boot else 0.0))


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is carried out. `told`: when it came, which is what its times count from.
    `previous`: the version before it. `runs`: how often its command was started. `in_parts`: the
    download was resumed, so that a wrong hash may be that of two halves; `refetched`: it was
    begun anew for that."""

    task: TaskPayload
    phase: Phase
    told: Moment
    previous: str = ""
    runs: int = 0
    in_parts: bool = False
    refetched: bool = False
    rebooting_since: str = ""
    """The boot that is to end."""

    @property
    def resumed(self) -> bool:
        """Whether its command was started before."""
        return self.runs > 1

    @property
    def version(self) -> str:
        """The version that is to run; empty for a task that is about none."""
        return self.task.artifact.version if self.task.artifact is not None else ""

    def left(self, now: Moment) -> float:
        """Seconds until its deadline."""
        allowed = self.task.seconds_until(self.task.deadline)
        return min(LONGEST_TASK, allowed) - now.since(self.told)

    def barred(self, now: Moment) -> str:
        """Why installing may not begin any more; what has begun may end."""
        task = self.task
        if self.runs > 0 or (task.install_after, task.install_before) == (None, None):
            return ""
        if now.boot != self.told.boot:
            return "nobody knows what time it is after a reboot"
        before = task.install_before
        closed = before is not None and now.since(self.told) >= task.seconds_until(before)
        return "its window has closed" if closed else ""

    def opens_in(self, now: Moment) -> float:
        """Seconds until installing may begin."""
        after = self.task.install_after
        if self.runs > 0 or after is None:
            return 0.0
        return max(0.0, self.task.seconds_until(after) - now.since(self.told))


class Outcome(msgspec.Struct, frozen=True):
    """How a task ended. `content`: of what task; numbers alone are no identity, since a cluster
    that was built anew counts from 1 again. `acknowledged`: a node has it in the log."""

    update: TaskUpdatePayload
    content: str
    acknowledged: bool = False


class Installed(msgspec.Struct, frozen=True):
    """A version that a task installed, while the device said of itself that it ran `over`."""

    version: str
    over: str


class Postponed(msgspec.Struct, frozen=True):
    """For how long, in all, the device has put a deployment off."""

    content: str
    deployment: int
    seconds: int


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`outcomes`: oldest first. `given`: versions that the device was said to run at its start, by
    component; `installed`: what tasks have made of them."""

    device: str
    job: Job | None = None
    outcomes: tuple[Outcome, ...] = ()
    postponed: Postponed | None = None
    given: dict[str, str] = {}
    installed: dict[str, Installed] = {}

    def version(self, component: str) -> str:
        """What runs now. Who starts the agent with another version than before has installed that
        one by hand, whatever a task installed earlier."""
        given, installed = self.given.get(component, ""), self.installed.get(component)
        return installed.version if installed is not None and installed.over == given else given

    def outcome(self, task: TaskPayload) -> Outcome | None:
        """How exactly this task ended."""
        content = content_of(task)
        for outcome in self.outcomes:
            if outcome.update.task_id == task.task_id and outcome.content == content:
                return outcome
        return None


def content_of(task: TaskPayload) -> str:
    """What the task is about, whoever tells it, when, and however often. Nodes add the ring in
    which the device stands at that moment, and it may be moved before it is told again."""
    said = (
        task.task_type,
        sorted(item for item in task.parameters.items() if item[0] != "ring"),
        task.artifact,
        task.rollout,
        task.variant,
    )
    return hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).hexdigest()


class SpoilError(ValueError):
    """A spool holds what no agent of this device has written."""


def written(book: Book) -> bytes:
    """A book as it is kept."""
    return msgspec.json.encode(book)


def read(content: bytes | None, device: str) -> Book:
    """The book of a device; an empty one where none was kept yet. Raises `SpoilError`."""
    if content is None:
        return Book(device=device)
    try:
        book = msgspec.json.decode(content, type=Book)
    except UNREADABLE as error:
        raise SpoilError(str(explain(error, "json"))) from error
    if book.device != device:
        raise SpoilError(f"device {book.device!r} refused: it is that of another device")
    return book
