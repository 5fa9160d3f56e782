"""Statuses in batches: figures, presence and verdicts, without a loop over devices.

Source: rings.md, "Devices" ("the cluster replicates what decides").
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.commands import MarkOffline, MetricColumn, ReportDevices
from stationkeep.cluster.devices.status import FULL, FULL_BATTERY, MAX_METRICS, MISSING, is_metric
from stationkeep.cluster.devices.table import Column, Table
from stationkeep.cluster.fleet.command_columns import column, packed, row_column
from stationkeep.cluster.fleet.storm import turned, watch
from stationkeep.cluster.fleet.verdicts import MAX_STATUSES, Verdicts, follow
from stationkeep.cluster.operators import existing
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import DevicesTurned, DevicesWentOffline, DevicesWentOnline
from stationkeep.cluster.state.step import Refused, Step

MAX_NODES = 65_535


class Batch(NamedTuple):
    """Rows that reported, and how their statuses were judged: see `ReportDevices`."""

    rows: Column
    bits: Column
    counts: Column


def serving(step: Step, node: str) -> int:
    """The number of a node that serves devices; it must be a member."""
    nodes = step.state.fleet.nodes
    if node in nodes:
        return nodes.index(node)
    existing(step, node)
    if len(nodes) >= MAX_NODES:
        raise Refused(Reason.LIMIT, f"node: {MAX_NODES} nodes have served devices")
    nodes.append(node)
    return len(nodes) - 1


def report_devices(step: Step, command: ReportDevices) -> dict[str, object]:
    """Takes rows that are newer than the table, and leaves out the others."""
    rows = row_column(command.rows)
    births = column("births", command.births, "<u4", len(rows))
    sessions = column("sessions", command.sessions, "<u4", len(rows))
    sequences = column("sequences", command.sequences, "<u4", len(rows))
    counts = column("counts", command.counts, "u1", len(rows), MAX_STATUSES)
    bits = column("bits", command.bits, "u1", len(rows))
    figures = {
        field: column(field, getattr(command, field), dtype, len(rows), most)
        for field, dtype, most in _FIGURES
    }
    metrics = _metrics(command.metrics, len(rows))
    number = serving(step, command.node)

    table = step.state.fleet.table
    ours = _same(table, rows, births)
    places = np.where(ours, rows, 0)  # any row that is there, for those that are not
    newer = ours & (table.session[places] == sessions) & (sequences > table.sequence[places])
    taken = np.flatnonzero(newer)
    here = rows[taken].astype(np.intp)
    table.sequence[here] = sequences[taken]
    table.served_by[here] = number
    told = taken[counts[taken] > 0]
    _write(step, rows[told].astype(np.intp), {f: c[told] for f, c in figures.items()})
    ignored = _write_metrics(table, rows, newer & (counts > 0), metrics)
    take_in(step, Batch(here, bits[taken], counts[taken]))
    watch(step)
    answer: dict[str, object] = {
        "applied": len(taken),
        "outdated": int(ours.sum()) - len(taken),
        "unknown": len(rows) - int(ours.sum()),
    }
    return answer | ({"ignored_metrics": ignored} if ignored else {})


_FIGURES = (
    ("battery", "u1", FULL_BATTERY),
    ("charging", "u1", 1),
    ("cpu", "<u2", FULL),
    ("memory", "<u2", FULL),
    ("disk", "<u2", FULL),
)


def _same(table: Table, rows: Column, births: Column) -> Column:
    """Which rows exist and still belong to the devices meant. (A free row has birth 0.)"""
    there = rows < table.used
    same: Column = there & (births > 0) & (table.birth[np.where(there, rows, 0)] == births)
    return same


def _write(step: Step, rows: Column, figures: dict[str, Column]) -> None:
    table = step.state.fleet.table
    table.updated_at[rows] = step.now
    for field, values in figures.items():
        getattr(table, field)[rows] = values


class _Metric(NamedTuple):
    name: str
    positions: Column
    values: Column


def _metrics(columns: tuple[MetricColumn, ...], rows: int) -> list[_Metric]:
    if len(columns) > MAX_METRICS:
        raise Refused(Reason.INVALID, f"metrics: {len(columns)} columns, at most {MAX_METRICS}")
    found = []
    for given in columns:
        if not is_metric(given.name):
            raise Refused(Reason.INVALID, f"metrics: {given.name[:40]!r} is not a metric's name")
        field = f"metrics.{given.name}"
        positions = row_column(given.positions, field)
        if len(positions) and int(positions[-1]) >= rows:
            raise Refused(Reason.INVALID, f"{field}: position {positions[-1]} of {rows} rows")
        values = column(field, given.values, "<i4", len(positions))
        if len(values) and int(values.min()) == MISSING:
            raise Refused(Reason.INVALID, f"{field}: {MISSING} stands for no value")
        found.append(_Metric(given.name, positions, values))
    return found


def _write_metrics(table: Table, rows: Column, taken: Column, metrics: list[_Metric]) -> list[str]:
    """Writes the metrics of rows that are taken. Names beyond what a fleet may know are left out
    and reported: one device that invents metrics must not silence the others of its batch."""
    ignored = []
    for name, positions, values in metrics:
        mine = taken[positions]
        if not table.knows_metric(name):
            ignored.append(name)
        elif mine.any():
            table.metric(name)[rows[positions[mine]].astype(np.intp)] = values[mine]
    return ignored


def take_in(step: Step, batch: Batch) -> None:
    """Records that these devices reported, and what their statuses do to the verdicts."""
    fleet, (rows, bits, counts) = step.state.fleet, batch
    table, settings = fleet.table, step.state.settings
    table.seen_at[rows] = step.now
    healthy = table.healthy[rows]
    after = follow(
        Verdicts(table.bits[rows], table.known[rows], healthy),
        bits,
        counts,
        settings.unhealthy_statuses,
        settings.healthy_statuses,
    )
    table.bits[rows], table.known[rows] = after.bits, after.known
    back, other = ~table.online[rows], after.healthy != healthy
    changed = rows[back | other]
    if not len(changed):
        return
    with table.counted(changed):
        table.online[rows[back]] = True
        table.healthy[rows[other]] = after.healthy[other]
    if back.any():
        step.emit(DevicesWentOnline(*named(table, rows[back])))
    if other.any():
        turned(step, rows[other], after.healthy[other])
        step.emit(
            DevicesTurned(
                *named(table, rows[other]),
                packed(after.healthy[other], "u1"),
                int(after.healthy[other].sum()),
                int((~after.healthy[other]).sum()),
            )
        )


def named(table: Table, rows: Column) -> tuple[bytes, bytes]:
    """Rows and births, as events tell who is meant."""
    return packed(rows, "<u4"), packed(table.birth[rows], "<u4")


def mark_offline(step: Step, command: MarkOffline) -> dict[str, object]:
    """Marks devices offline that have really been silent for long enough; they keep their rings."""
    rows = row_column(command.rows)
    births = column("births", command.births, "<u4", len(rows))
    table = step.state.fleet.table
    ours = rows[_same(table, rows, births)].astype(np.intp)
    silent = step.now - table.seen_at[ours] >= step.state.settings.device_offline_after
    gone = ours[table.online[ours] & silent]
    if len(gone):
        with table.counted(gone):
            table.online[gone] = False
        step.emit(DevicesWentOffline(*named(table, gone)))
        watch(step)
    return {"offline": len(gone)}
