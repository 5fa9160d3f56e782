"""Events about devices as followers see them: the count, and the names of the first few.

One log entry may move thousands of devices, so an event consists of columns. Names are looked up
when the event is sent, which may be much later: a row that another device uses by then is omitted.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stationkeep.cluster.deployments.lifecycle import STATES, TASK_REASONS
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.moves import REASONS, MoveReason
from stationkeep.cluster.devices.rings import RINGS, UNSET, Ring
from stationkeep.cluster.state.events import (
    AnyEvent,
    DevicesMoved,
    DevicesRegistered,
    DevicesTurned,
    DevicesWentOffline,
    DevicesWentOnline,
    TasksChanged,
)

MAX_NAMED = 100
"""Devices of one event that are named."""

Column = npt.NDArray[Any]


def fleet_event(event: AnyEvent, fleet: Fleet) -> dict[str, Any] | None:
    """The data of an event about devices; None for any other event."""
    match event:
        case DevicesMoved():
            return _moved(event, fleet)
        case DevicesTurned():
            return {
                "turned_healthy": event.turned_healthy,
                "turned_unhealthy": event.turned_unhealthy,
                **_named(event, fleet),
            }
        case TasksChanged():
            return _tasks(event, fleet)
        case DevicesRegistered() | DevicesWentOffline() | DevicesWentOnline():
            return {"count": len(event.rows) // 4, **_named(event, fleet)}
        case _:
            return None


def _moved(event: DevicesMoved, fleet: Fleet) -> dict[str, Any]:
    rows, births = _u32(event.rows), _u32(event.births)
    ways = (event.origins, event.rings, event.reasons)
    columns: list[Column] = [np.frombuffer(way, np.uint8) for way in ways]
    named = [column[:MAX_NAMED].tolist() for column in (rows, births)]
    named += [column[:MAX_NAMED].tolist() for column in columns]
    return {
        "count": len(rows),
        "ways": [{**_way(*way), "count": count} for way, count in count_ways(*columns).items()],
        "moves": [
            {"device": name, **_way(_ring(origin), RINGS[ring], REASONS[reason])}
            for row, birth, origin, ring, reason in zip(*named, strict=True)
            if (name := _name(fleet, row, birth)) is not None
        ],
    }


def _tasks(event: TasksChanged, fleet: Fleet) -> dict[str, Any]:
    """One step of tasks: all of them by one cause, though not all from one state."""
    named = [_u32(column)[:MAX_NAMED].tolist() for column in (event.rows, event.births)]
    named += [
        np.frombuffer(column, np.uint8)[:MAX_NAMED].tolist()
        for column in (event.origins, event.targets, event.reasons, event.attempts)
    ]
    return {
        "deployment": event.deployment,
        "count": event.count,
        "tasks": [
            {
                "task_id": f"{event.deployment}/{name}/{attempt}",
                "device": name,
                "origin": STATES[origin].value,
                "state": STATES[target].value,
                "reason": TASK_REASONS[reason].value,
            }
            for row, birth, origin, target, reason, attempt in zip(*named, strict=True)
            if (name := _name(fleet, row, birth)) is not None
        ],
    }


def _ring(code: int) -> Ring | None:
    return None if code == UNSET else RINGS[code]


def count_ways(
    origins: Column, rings: Column, reasons: Column
) -> dict[tuple[Ring | None, Ring, MoveReason], int]:
    """The number of moves by origin (None: a registration), target and reason. Counts in bins
    rather than sorting: there may be a million moves."""
    nowhere, codes = len(RINGS), len(REASONS)
    start = np.minimum(origins, nowhere).astype(np.intp)
    counts = np.bincount((start * nowhere + rings) * codes + reasons)
    ways = {}
    for code in np.flatnonzero(counts).tolist():
        way, reason = divmod(code, codes)
        origin, target = divmod(way, nowhere)
        from_ = None if origin == nowhere else RINGS[origin]
        ways[from_, RINGS[target], REASONS[reason]] = int(counts[code])
    return ways


def _way(origin: Ring | None, target: Ring, reason: MoveReason) -> dict[str, Any]:
    return {
        "origin": None if origin is None else origin.value,
        "target": target.value,
        "reason": reason.value,
    }


def _named(event: Any, fleet: Fleet) -> dict[str, Any]:
    rows, births = (_u32(c)[:MAX_NAMED].tolist() for c in (event.rows, event.births))
    names = [_name(fleet, row, birth) for row, birth in zip(rows, births, strict=True)]
    return {"devices": [name for name in names if name is not None]}


def _name(fleet: Fleet, row: int, birth: int) -> str | None:
    table = fleet.table
    return table.ids[row] if row < table.used and table.birth[row] == birth else None


def _u32(column: bytes) -> npt.NDArray[np.uint32]:
    return np.frombuffer(column, "<u4")
