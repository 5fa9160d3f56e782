"""Devices in the order of a figure: the first of a million rows, which are seen in slices.

What comes first is known only when every row was seen, but no more than a page is ever kept. A page
begins after the last device of the one before, so that rows whose figure has changed meanwhile move
and all others are told once.
"""

import enum
from collections.abc import Sequence

import numpy as np

from stationkeep.cluster.devices.table import NEVER, Column, Table

UNKNOWN = 1 << 62
"""Stands for the figure of a device that never sent any: last, whichever way the order goes."""


class Figure(enum.StrEnum):
    """What devices can be put in the order of, the lowest first."""

    BATTERY = "battery"
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    SEEN = "seen"  # heard last: the most recent first
    RING_SINCE = "ring_since"  # in their rings for the longest first


Place = tuple[int, int]
"""Where a device stands in an order: its figure, and its row among equals."""


class Ranking:
    """The first `most` places of an order behind the place `after`."""

    def __init__(
        self, figure: Figure, *, descending: bool, most: int, after: Place | None = None
    ) -> None:
        self._figure, self._descending = figure, descending
        self._most, self._after = most, after
        self._figures = np.zeros(0, np.int64)
        self._rows = np.zeros(0, np.int64)

    def take(self, table: Table, rows: Sequence[int]) -> None:
        """Sees some rows, each of which is in use."""
        seen = np.asarray(rows, np.int64)
        figures = self._of(table, seen)
        if self._after is not None:
            figure, row = self._after
            behind = (figures > figure) | ((figures == figure) & (seen > row))
            figures, seen = figures[behind], seen[behind]
        figures, seen = np.append(self._figures, figures), np.append(self._rows, seen)
        first = np.lexsort((seen, figures))[: self._most]
        self._figures, self._rows = figures[first], seen[first]

    def places(self) -> list[Place]:
        """Figure and row of each, in order."""
        return list(zip(self._figures.tolist(), self._rows.tolist(), strict=True))

    def _of(self, table: Table, rows: Column) -> Column:
        match self._figure:
            case Figure.SEEN:
                figures = -table.seen_at[rows].astype(np.int64)
            case Figure.RING_SINCE:
                figures = table.ring_since[rows].astype(np.int64)
            case figure:
                figures = getattr(table, figure)[rows].astype(np.int64)
        if self._descending:
            figures = -figures
        if self._figure in _REPORTED:
            figures[table.updated_at[rows] == NEVER] = UNKNOWN
        return figures


_REPORTED = frozenset({Figure.BATTERY, Figure.CPU, Figure.MEMORY, Figure.DISK})
