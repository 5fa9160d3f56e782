"""The roster of a deployment: one task for each of its devices, in columns, ascending by row.

A task has no id of its own: deployment, device and attempt are its identity. Its device is found
by binary search, and is the one that was meant only while it has the `birth` noted here: rows of
the device table are given to other devices. Times are tenths of a second after the deployment
opened.
"""

from typing import TypeVar

import numpy as np

from stationkeep.cluster.deployments.lifecycle import STATES, TaskState
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.numbers import U32

TENTH = 100
"""ms; one step of a roster's times."""
MAX_ATTEMPTS = 15
MAX_UNANSWERED = 8
"""Offers in a row that a device may leave unanswered before it is offered no more."""
LATEST = U32

COLUMNS: dict[str, str] = {
    "row": "<u4",
    "birth": "<u4",
    "since": "<u4",  # when it came into its state; of IN_PROGRESS, when it began
    "due": "<u4",  # when its wait ends: QUEUED, its next offer; OFFERED and IN_PROGRESS, its time
    "version": "<u2",  # what the device ran when first offered: number in `Versions`, 0 unknown
    "state": "u1",
    "attempt": "u1",  # from 1
    "variant": "u1",
    "detail": "u1",  # IN_PROGRESS: phase and progress; QUEUED, OFFERED: offers left unanswered
    "reason": "u1",
    "flags": "u1",
}
ACCEPTED = 1 << 0
"""The device said once that it has begun."""
SUPERSEDED = 1 << 2
"""It succeeded, and runs by now what another deployment had it install."""
REVERTED = 1 << 4
"""It succeeded, and then reported another version."""
TOLD_TO_CANCEL = 1 << 5
CLAIMED = 1 << 7
"""The device's newest word was that it has succeeded, and it reports another version."""

_PHASE_BITS = 4
_Byte = TypeVar("_Byte", int, Column)


class Roster:
    """The columns. A copy of them all is shared until something changes (`own`)."""

    row: Column
    birth: Column
    since: Column
    due: Column
    version: Column
    state: Column
    attempt: Column
    variant: Column
    detail: Column
    reason: Column
    flags: Column

    def __init__(self, columns: dict[str, Column]) -> None:
        self._shared = False
        for name in COLUMNS:
            setattr(self, name, columns[name])

    @classmethod
    def of(cls, rows: Column, births: Column, states: Column) -> "Roster":
        """Tasks of these rows, which ascend, that begin in these states."""
        columns = {name: np.zeros(len(rows), dtype) for name, dtype in COLUMNS.items()}
        columns["row"][:], columns["birth"][:], columns["state"][:] = rows, births, states
        columns["attempt"][:] = 1
        return cls(columns)

    def __len__(self) -> int:
        return len(self.row)

    def columns(self) -> dict[str, Column]:
        """All as they are now, however they change later."""
        self._shared = True
        return {name: getattr(self, name) for name in COLUMNS}

    def own(self) -> None:
        """Whoever writes asks first: what somebody else may still read is copied."""
        if self._shared:
            for name in COLUMNS:
                setattr(self, name, getattr(self, name).copy())
            self._shared = False

    def find(self, rows: Column, births: Column) -> Column:
        """The positions of these devices' tasks, -1 where there is none."""
        if not len(self):
            return np.full(len(rows), -1, np.intp)
        sought = rows.astype(self.row.dtype, copy=False)  # else all of `row` is copied into theirs
        places = np.minimum(np.searchsorted(self.row, sought), len(self) - 1)
        same = (self.row[places] == rows) & (self.birth[places] == births)
        return np.where(same, places, -1)

    def tally(self) -> list[int]:
        """How many tasks are in each state, by its code."""
        counts: list[int] = np.bincount(self.state, minlength=len(STATES)).tolist()
        return counts

    @property
    def active(self) -> Column:
        """By position, whether the device is taken."""
        taken: Column = self.state == TaskState.OFFERED.code
        taken |= self.state == TaskState.IN_PROGRESS.code
        return taken

    def in_state(self, state: TaskState) -> Column:
        """Positions of the tasks in a state."""
        return np.flatnonzero(self.state == state.code)


def detail_of(phase: _Byte, progress: _Byte) -> _Byte:
    """Phase and progress (0 to 100, kept in steps of ten) in one byte, or a column of such."""
    return progress // 10 << _PHASE_BITS | phase


def phase_of(detail: Column) -> Column:
    """Codes of the phases."""
    phase: Column = detail & ((1 << _PHASE_BITS) - 1)
    return phase


def progress_of(detail: Column) -> Column:
    """Percent, in steps of ten."""
    progress: Column = (detail >> _PHASE_BITS) * 10
    return progress
