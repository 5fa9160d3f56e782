"""The only writer of the state."""

from typing import Any

import msgspec

from cluster.commands import Entry
from cluster.events import AnyEvent
from cluster.state import ClusterState


class Done(msgspec.Struct, frozen=True):
    """The command had its effect; `result` is what a client is told."""

    result: dict[str, Any] = {}


class Rejected(msgspec.Struct, frozen=True):
    """A rule refused the command; nothing changed but time. `reason` is a `decisions.Reason`."""

    reason: str
    detail: str = ""


class Applied(msgspec.Struct, frozen=True):
    """What one entry did."""

    outcome: Done | Rejected
    events: tuple[AnyEvent, ...] = ()


def apply(state: ClusterState, entry: Entry, index: int) -> Applied:
    """Applies a committed entry. Total: never raises; refusals are values."""
    raise NotImplementedError
