"""The device table: one row of columns for each device.

Columns are numpy arrays with explicit types and byte order, so that every machine computes and
writes the same; they grow by doubling. A row that is given up is given to a later device, and
`birth`, the number of the registration that filled it, tells the two apart. What devices have in
common (versions, capabilities, labels) is kept once for all of a kind.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

MAX_DEVICES = 1_048_576
_FIRST_CAPACITY = 64
NEVER = -(1 << 62)
"""Stands for the time of something that has not happened."""

COLUMNS: dict[str, str] = {
    "birth": "<u4",  # 0: the row is free
    "revision": "<u4",  # of the assignment: rises with every change of ring or pin
    "ring": "u1",
    "reason": "u1",  # why it stands there
    "pinned": "?",
    "home": "u1",  # the ring its ill health sent it away from, UNSET: none
    "policy": "u1",
    "healthy": "?",  # the verdict
    "bits": "u1",  # the last judgements, newest lowest
    "known": "u1",  # how many of `bits` were made, at most 8
    "online": "?",
    "ring_since": "<i8",
    "turned_at": "<i8",  # when the verdict last changed; NEVER: as at registration
    "seen_at": "<i8",
    "updated_at": "<i8",  # newest status with figures
    "session": "<u4",
    "sequence": "<u4",
    "battery": "u1",
    "charging": "?",
    "cpu": "<u2",
    "memory": "<u2",
    "disk": "<u2",
    "served_by": "<u2",  # place in `Fleet.nodes`
    "kind": "<u4",
    "lot": "<u4",  # keyed hash of the id: decides ties and cohorts
}
Column = npt.NDArray[Any]


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What devices have in common; tuples sorted by name, so that equal kinds are equal."""

    os_version: str
    app_version: str
    capabilities: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]


class Spec(msgspec.Struct, frozen=True):
    """What a device said of itself when it registered."""

    id: str
    name: str
    os_version: str
    app_version: str
    capabilities: dict[str, str]
    labels: dict[str, str]


class Table:
    """The columns, the ids and names beside them, and who has which row."""

    birth: Column
    revision: Column
    ring: Column
    reason: Column
    pinned: Column
    home: Column
    policy: Column
    healthy: Column
    bits: Column
    known: Column
    online: Column
    ring_since: Column
    turned_at: Column
    seen_at: Column
    updated_at: Column
    session: Column
    sequence: Column
    battery: Column
    charging: Column
    cpu: Column
    memory: Column
    disk: Column
    served_by: Column
    kind: Column
    lot: Column

    def __init__(self) -> None:
        self.used = 0
        """Rows below this one have been given out at some time; the others never."""
        self.free: list[int] = []
        """Rows given up, the last one is given out next."""
        self.rows: dict[str, int] = {}
        self.ids: list[str] = []
        self.names: list[str] = []
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.zeros(_FIRST_CAPACITY, dtype))

    def __len__(self) -> int:
        return len(self.rows)
