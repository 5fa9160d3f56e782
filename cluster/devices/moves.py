"""The log of the newest moves of the whole fleet: which device was where, since when, and why.

Columns in a ring buffer: 21 bytes a move, so that a quarter of a million cost 5 MB.
Source: rings.md, "Ring assignment" ("checkable from the log").
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stationkeep.cluster.coded import Coded
from stationkeep.cluster.devices.rings import UNSET

MAX_MOVES = 262_144
MAX_ACTORS = 4_096
"""Actors remembered by name; moves of further actors are remembered without one."""
_FIRST_CAPACITY = 256

Rows = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]


class MoveReason(Coded):
    """Why an assignment changed. The code of a reason in columns is its place in `REASONS`."""

    REGISTERED = "registered"
    PINNED = "pinned"
    RELEASED = "released"
    EXPIRED = "expired"  # the pin has run out
    UNHEALTHY = "unhealthy"
    POLICY = "policy"
    SURPLUS = "surplus"
    RECOVERED = "recovered"
    BUDGET = "budget"
    ROTATE = "rotate"
    RANDOM = "random"


REASONS = tuple(MoveReason)
FORCED = (MoveReason.UNHEALTHY, MoveReason.POLICY)
"""What a device must do, however short it has dwelt."""
VOLUNTARY = (
    MoveReason.SURPLUS, MoveReason.RECOVERED, MoveReason.BUDGET, MoveReason.ROTATE,
    MoveReason.RANDOM,
)  # fmt: skip
AUTOMATIC = FORCED + VOLUNTARY
"""The reasons that a rebalance check may give."""

MOVE = np.dtype([
    ("row", "<u4"), ("birth", "<u4"), ("at", "<i8"), ("origin", "u1"), ("target", "u1"),
    ("reason", "u1"), ("actor", "<u2"),
])  # fmt: skip
"""One move. `origin` is `UNSET` for a registration; `actor` indexes `MoveLog.actors`."""


class MoveLog:
    """The newest `MAX_MOVES` moves, oldest first when read."""

    def __init__(self) -> None:
        self.total = 0
        """Moves ever made."""
        self.actors: list[str] = [""]
        self._ring: npt.NDArray[Any] = np.zeros(_FIRST_CAPACITY, MOVE)

    def __len__(self) -> int:
        return min(self.total, MAX_MOVES)

    def add(self, moves: npt.NDArray[Any], actor: str = "") -> None:
        """Appends moves made by one entry; fills in their actor."""
        moves["actor"] = self._actor(actor)
        self._make_room(len(moves))
        places = (self.total + np.arange(len(moves))) % len(self._ring)
        self._ring[places] = moves
        self.total += len(moves)

    def _actor(self, name: str) -> int:
        if name in self.actors:
            return self.actors.index(name)
        if len(self.actors) >= MAX_ACTORS:
            return 0
        self.actors.append(name)
        return len(self.actors) - 1

    def _make_room(self, more: int) -> None:
        """Doubles the buffer up to its limit; until then nothing has wrapped around."""
        capacity = len(self._ring)
        while capacity < min(self.total + more, MAX_MOVES):
            capacity *= 2
        if capacity > len(self._ring):
            larger = np.zeros(capacity, MOVE)
            larger[: self.total] = self._ring[: self.total]
            self._ring = larger

    def in_order(self) -> npt.NDArray[Any]:
        """A copy of what is remembered, oldest first."""
        if self.total <= len(self._ring):
            return self._ring[: self.total].copy()
        start = self.total % len(self._ring)
        return np.concatenate([self._ring[start:], self._ring[:start]])

    def of(self, row: int, birth: int, limit: int) -> npt.NDArray[Any]:
        """The newest `limit` moves of one device, newest first: one vectorised pass."""
        ring = self._ring[: len(self)]
        found = np.flatnonzero((ring["row"] == row) & (ring["birth"] == birth))
        # Age by place: what lies at or after the next place to be written is oldest.
        age = (found - self.total) % len(self._ring)
        return ring[found[np.argsort(-age, kind="stable")][:limit]].copy()

    @classmethod
    def of_image(cls, moves: npt.NDArray[Any], total: int, actors: list[str]) -> "MoveLog":
        """The log that `in_order`, `total` and `actors` describe."""
        log = cls()
        log.total, log.actors = total - len(moves), actors
        capacity = _FIRST_CAPACITY
        while capacity < len(moves):
            capacity *= 2
        log._ring = np.zeros(capacity, MOVE)
        places = (log.total + np.arange(len(moves))) % capacity
        log._ring[places] = moves
        log.total = total
        return log


def origin_of(code: int) -> int | None:
    """The ring code that a move began at; None for a registration."""
    return None if code == UNSET else code
