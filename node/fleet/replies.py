"""What the intake says to devices, and the seam to whoever carries it to them."""

import enum
from typing import Protocol

import msgspec

from stationkeep.node.wire.tasks import TaskPayload


class Assignment(msgspec.Struct, frozen=True):
    """A device's ring, as its `ring_assignment` message says it.

    `reason`: a `MoveReason`. `at`: Unix ms since when, for display. `revision` rises with every
    change of the device: of two assignments the one with the higher is the newer.
    """

    device: str
    ring: str
    reason: str
    at: int
    revision: int


class Fault(enum.StrEnum):
    """Why a device is refused; what an HTTP status or a close code is made of."""

    INVALID = "invalid"
    UNKNOWN = "unknown"
    """No such device: it is to register (again)."""
    OUTDATED = "outdated"
    """A newer session of this device, or a newer status, is known."""
    BUSY = "busy"
    """Not now: no leader, or too many wait; `retry_after` says when."""
    STOPPING = "stopping"
    NOT_ENROLLED = "not_enrolled"
    """What it came by has ended, or does not take this device in."""


class IntakeRefusal(msgspec.Struct, frozen=True):
    """A word of a device that was not taken; nothing of it is kept.

    `field` and `rule` say what is wrong; `value` is what was said, where the rule does not quote
    it. `retry_after`: seconds, when the same may be taken later.
    """

    fault: Fault
    field: str
    value: str
    rule: str
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


def unknown(device: str) -> IntakeRefusal:
    """Of a device that is registered nowhere."""
    return IntakeRefusal(Fault.UNKNOWN, "device", device[:80], "it is registered first")


class Listener(Protocol):
    """One connection of one device. Called from the node's turn or from `register` itself: must
    not block and not raise; what it wants to say of it goes into a bounded buffer of its own."""

    def registered(self, assignment: Assignment) -> None:
        """The registration is in the log and applied here; the device may report."""
        ...

    def refused(self, refusal: IntakeRefusal) -> None:
        """The registration is not taken, or this node can no longer serve it (it has lost touch
        with the cluster); the connection is the device's no longer."""
        ...

    def assigned(self, assignment: Assignment) -> None:
        """The ring is another one now."""
        ...

    def task_sent(self, task: TaskPayload) -> None:
        """The device is to carry this out; it may have been sent before."""
        ...

    def task_canceled(self, task_id: str, reason: str) -> None:
        """A task that was sent is no longer wanted."""
        ...

    def superseded(self) -> None:
        """The device talks elsewhere, or a newer agent of it does. Nothing more will be said."""
        ...

    def removed(self) -> None:
        """An operator removed the device; it may register anew. Nothing more will be said."""
        ...
