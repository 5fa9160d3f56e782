"""What this node heard of devices since the log last took it: one column each, by table row.

A million devices may speak to a node; so nothing here is an object per device, and what is done
to many of them at once (a batched report, a flush, a comparison with the table) is a handful of
passes over columns. A row number is only good together with its birth: when a device is removed,
its row goes to another one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stationkeep.cluster.commands import MetricColumn
from stationkeep.cluster.devices.status import (
    BUILT_IN,
    FULL,
    FULL_BATTERY,
    MAX_METRICS,
    HealthRule,
    Reading,
)
from stationkeep.cluster.devices.table import Table
from stationkeep.cluster.numbers import SEQUENCE, U32

Rows = NDArray[np.intp]
"""Row numbers, each at most once."""
MAX_COUNT = 8
"""Statuses of one device in one flush of which the verdicts are kept: as many as bits fit."""
NEVER = -np.inf
ROW_BYTES, VALUE_BYTES = 26, 8
"""Of a device in a `ReportDevices`, and of each of its custom metrics."""
REGISTRATION_EVERY, REGISTRATIONS_AT_ONCE = 5.0, 8
"""Seconds from one registration of a device to the next in the long run, and how many at once.
Two agents of one id that throw each other out would else fill the log as fast as they can."""
_SHIFT, _LOW = np.uint64(32), np.uint64(U32)

_COLUMNS = {
    "birth": np.uint32,
    "order": np.uint64,  # session, sequence: the newest word heard here
    "battery": np.uint8,
    "charging": np.uint8,
    "cpu": np.uint16,
    "memory": np.uint16,
    "disk": np.uint16,
    "bits": np.uint8,  # verdicts of the newest statuses, the newest lowest
    "count": np.uint8,  # how many of them the log has not been told
    "dirty": np.bool_,  # something is to be flushed
    "flushed": np.float64,  # monotonic s of the newest flush; NEVER
    "connected": np.bool_,
    "revision": np.uint32,  # revision of the assignment that the device was told
    "queued": np.bool_,  # is to be told another one
    "paced": np.float64,  # monotonic s up to which its registrations here are accounted for
}
_READING = ("battery", "charging", "cpu", "memory", "disk")


class StatusColumns(msgspec.Struct, frozen=True):
    """A batch of statuses: `ids` and arrays of the same length, readings in fixed point.

    `metrics`: for each name the positions within the batch (u32) and their values (i32).
    """

    ids: Sequence[str]
    sessions: NDArray[np.uint32]
    sequences: NDArray[np.uint32]
    battery: NDArray[np.uint8]
    charging: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    memory: NDArray[np.uint16]
    disk: NDArray[np.uint16]
    metrics: tuple[tuple[str, NDArray[np.uint32], NDArray[np.int32]], ...] = ()

    def orders_after(self, known: NDArray[np.uint64], chosen: Rows) -> NDArray[np.uint64]:
        """The orders of the statuses `chosen`. Where an agent does not number (0), it is the
        known session's, and the next in it."""
        sessions, sequences = self.sessions[chosen], self.sequences[chosen]
        session = np.where(sessions == 0, known >> _SHIFT, sessions.astype(np.uint64))
        next_ = (known & _LOW) + np.uint64(1)
        sequence = np.where(sequences == 0, next_, sequences.astype(np.uint64))
        return session << _SHIFT | sequence & _LOW

    def in_range(self) -> NDArray[np.bool_]:
        """Whether each reading's figures can be; one that cannot would spoil a whole command."""
        percents = np.maximum(np.maximum(self.cpu, self.memory), self.disk)
        return (self.battery <= FULL_BATTERY) & (percents <= FULL)

    def judge(self, rule: HealthRule) -> NDArray[np.bool_]:
        """`cluster.devices.status.judge_one` of each."""
        healthy = np.ones(len(self.ids), np.bool_)
        for condition in rule.conditions:
            holds: Any = condition.holds  # compares arrays as it does integers
            if condition.metric in BUILT_IN:
                excused = rule.charging_excuses_battery and condition.metric == "battery"
                fine = holds(getattr(self, condition.metric))
                healthy &= fine | (self.charging != 0) if excused else fine
            for name, positions, values in self.metrics:
                if name == condition.metric:
                    healthy[positions] &= holds(values)
        return healthy


def order_of(session: int, sequence: int) -> int:
    """One number that rises as (session, sequence) does."""
    return session << 32 | sequence


def orders(sessions: NDArray[np.uint32], sequences: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """`order_of` for whole columns."""
    return sessions.astype(np.uint64) << _SHIFT | sequences


def within_reach(said: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """`cluster.fleet.registration.sequence_fault` for whole columns of orders."""
    base, step = np.uint64(SEQUENCE.base), np.uint64(SEQUENCE.step)
    near: NDArray[np.bool_] = ((said & _LOW) <= base + step) | (said <= known + step)
    return near


def births_in(table: Table, rows: Rows | int) -> Any:
    """Births of these rows in the table; 0 beyond its end (a snapshot may have made it smaller),
    as of rows that are free."""
    births = table.birth
    inside = np.less(rows, len(births))
    return np.where(inside, births[np.where(inside, rows, 0)], 0)


def ages(rows: Rows) -> Rows:
    """For each of these rows, ascending, how many of the same follow it."""
    ages: Rows = np.searchsorted(rows, rows, side="right") - 1 - np.arange(len(rows))
    return ages


class StatusBuffer:
    """The columns; they grow with the table."""

    birth: NDArray[np.uint32]
    order: NDArray[np.uint64]
    battery: NDArray[np.uint8]
    charging: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    memory: NDArray[np.uint16]
    disk: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    count: NDArray[np.uint8]
    dirty: NDArray[np.bool_]
    flushed: NDArray[np.float64]
    connected: NDArray[np.bool_]
    revision: NDArray[np.uint32]
    queued: NDArray[np.bool_]
    paced: NDArray[np.float64]

    def __init__(self) -> None:
        self.capacity = 0
        self.metrics: dict[int, dict[str, int]] = {}
        """Row → newest custom metrics that the log was not told."""
        for name, kind in _COLUMNS.items():
            setattr(self, name, np.zeros(0, kind))

    def reach(self, rows: int) -> None:
        """Makes room for rows below `rows`."""
        if rows <= self.capacity:
            return
        more = max(1_024, rows, 2 * self.capacity) - self.capacity
        for name, kind in _COLUMNS.items():
            setattr(self, name, np.concatenate((getattr(self, name), np.zeros(more, kind))))
        self.capacity += more
        self.flushed[-more:] = NEVER

    def forget(self, rows: Rows) -> None:
        """Nothing was heard of these, and nothing said to them."""
        for name in _COLUMNS:
            getattr(self, name)[rows] = 0
        self.flushed[rows] = NEVER
        if self.metrics:
            for row in rows.tolist():
                self.metrics.pop(row, None)

    def too_soon(self, row: int, now: float) -> float:
        """Seconds until the device may register here again; 0, and counted, when it may now."""
        accounted = max(float(self.paced[row]), now)
        wait = accounted - now - (REGISTRATIONS_AT_ONCE - 1) * REGISTRATION_EVERY
        if wait > 0:
            return wait
        self.paced[row] = accounted + REGISTRATION_EVERY
        return 0.0

    # -- taking in -----------------------------------------------------------------------------

    def note(self, row: int, reading: Reading, healthy: bool) -> None:
        """One status, newer than everything heard before."""
        self.battery[row], self.charging[row] = reading.battery, reading.charging
        self.cpu[row], self.memory[row], self.disk[row] = (
            reading.cpu,
            reading.memory,
            reading.disk,
        )
        self.bits[row] = (int(self.bits[row]) << 1 | healthy) & 0xFF
        self.count[row] = min(int(self.count[row]) + 1, MAX_COUNT)
        if reading.metrics:
            self._add_metrics(row, reading.metrics)

    def know(self, row: int, reading: Reading, healthy: bool, now: float) -> None:
        """The log has counted this status, by another way than a flush, at monotonic s `now`.
        Older ones that it has not been told are left out: they would seem to be newer."""
        self.note(row, reading, healthy)
        self.count[row], self.flushed[row] = 0, now
        self.metrics.pop(row, None)

    def note_many(
        self, rows: Rows, chosen: Rows, batch: StatusColumns, healthy: NDArray[np.bool_]
    ) -> None:
        """The statuses at the positions `chosen` of a batch, one for each of `rows`."""
        for name in _READING:
            getattr(self, name)[rows] = getattr(batch, name)[chosen]
        self.bits[rows] = self.bits[rows] << 1 | healthy[chosen]
        self.count[rows] = np.minimum(self.count[rows] + 1, MAX_COUNT)
        if batch.metrics:
            self._note_metrics(rows, chosen, batch)

    def _note_metrics(self, rows: Rows, chosen: Rows, batch: StatusColumns) -> None:
        row_at = dict(zip(chosen.tolist(), rows.tolist(), strict=True))
        for name, positions, values in batch.metrics:
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                row = row_at.get(position)
                if row is not None:
                    self._add_metrics(row, {name: value})

    def _add_metrics(self, row: int, metrics: dict[str, int]) -> None:
        """The newest of each; of names without end, whatever comes first."""
        known = self.metrics.setdefault(row, {})
        for name, value in metrics.items():
            if name in known or len(known) < MAX_METRICS:
                known[name] = value

    def says_nothing_new(self, row: int, reading: Reading, healthy: bool, verdict: bool) -> bool:
        """Whether a status repeats what the log has: the same readings, judged as the one before
        and as the standing verdict. Counting it would change no verdict, now or later."""
        return (
            self.count[row] == 0
            and self.flushed[row] > NEVER
            and not reading.metrics
            and healthy == verdict == bool(self.bits[row] & 1)
            and all(getattr(self, name)[row] == getattr(reading, name) for name in _READING)
        )

    # -- handing over --------------------------------------------------------------------------

    def columns(self, rows: Rows, metrics: Sequence[str]) -> dict[str, Any]:
        """The fields of a `ReportDevices` for these rows, as they are now. `metrics`: the names
        that the fleet knows; of others as many as it may still learn."""
        little = {
            name: np.ascontiguousarray(getattr(self, name)[rows]).tobytes()
            for name in ("battery", "charging", "bits")
        }
        little |= {
            name: getattr(self, name)[rows].astype("<u2").tobytes()
            for name in ("cpu", "memory", "disk")
        }
        order = self.order[rows]
        return little | {
            "rows": rows.astype("<u4").tobytes(),
            "births": self.birth[rows].astype("<u4").tobytes(),
            "sessions": (order >> _SHIFT).astype("<u4").tobytes(),
            "sequences": (order & _LOW).astype("<u4").tobytes(),
            "counts": self.count[rows].tobytes(),
            "metrics": self._metric_columns(rows, metrics),
        }

    def _metric_columns(self, rows: Rows, known: Sequence[str]) -> tuple[MetricColumn, ...]:
        found: dict[str, list[tuple[int, int]]] = {name: [] for name in known}
        if self.metrics:
            for position, row in enumerate(rows.tolist()):
                for name, value in self.metrics.get(row, {}).items():
                    if name in found or len(found) < MAX_METRICS:
                        found.setdefault(name, []).append((position, value))
        return tuple(
            MetricColumn(
                name,
                np.array([position for position, _ in pairs], "<u4").tobytes(),
                np.array([value for _, value in pairs], "<i4").tobytes(),
            )
            for name, pairs in sorted(found.items())
            if pairs
        )

    def rich(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows have custom metrics to tell."""
        rich = np.zeros(self.capacity, np.bool_)
        rich[np.fromiter(self.metrics, np.intp, len(self.metrics))] = True
        return rich[rows]

    def sizes(self, rows: Rows) -> Rows:
        """Bytes that each of these rows takes in a `ReportDevices`."""
        values = np.zeros(len(rows), np.intp)
        rich = self.rich(rows)
        values[rich] = [len(self.metrics[row]) for row in rows[rich].tolist()]
        return ROW_BYTES + VALUE_BYTES * values

    def handed_over(self, rows: Rows, now: float) -> None:
        """What was heard of these rows is on its way into the log, at monotonic s `now`."""
        self.dirty[rows] = False
        self.count[rows] = 0
        self.flushed[rows] = now
        for row in rows[self.rich(rows)].tolist():
            del self.metrics[row]
