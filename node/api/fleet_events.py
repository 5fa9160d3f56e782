"""Events about devices as followers see them: counts of all, names of the first few.

An event is columns, one entry of the log may move thousands of devices. Names are looked up when
the event is sent, which may be much later: a row that has a new tenant by then gives no name.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.events import (
    AnyEvent,
    DevicesMoved,
    DevicesRegistered,
    DevicesTurned,
    DevicesWentOffline,
    DevicesWentOnline,
)
from cluster.fleet.fleet import Fleet
from cluster.fleet.moves import REASONS
from cluster.fleet.rings import RINGS, UNSET

MAX_NAMED = 100
"""Devices of one event that are named."""

Column = npt.NDArray[Any]


def told(event: AnyEvent, fleet: Fleet) -> dict[str, Any] | None:
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
        case DevicesRegistered() | DevicesWentOffline() | DevicesWentOnline():
            return {"count": len(event.rows) // 4, **_named(event, fleet)}
        case _:
            return None


def _moved(event: DevicesMoved, fleet: Fleet) -> dict[str, Any]:
    rows, births = _u32(event.rows), _u32(event.births)
    columns = [np.frombuffer(c, np.uint8) for c in (event.origins, event.rings, event.reasons)]
    moves = np.stack(columns, axis=1)
    kinds, counts = np.unique(moves, axis=0, return_counts=True)
    first = slice(MAX_NAMED)
    shown = zip(rows[first].tolist(), births[first].tolist(), moves[first], strict=True)
    return {
        "count": len(rows),
        "ways": [
            {**_way(kind), "count": int(number)} for kind, number in zip(kinds, counts, strict=True)
        ],
        "moves": [
            {"device": name, **_way(move)}
            for row, birth, move in shown
            if (name := _name(fleet, row, birth)) is not None
        ],
    }


def _way(move: Column) -> dict[str, Any]:
    origin, target, reason = (int(code) for code in move)
    return {
        "origin": None if origin == UNSET else RINGS[origin].value,
        "target": RINGS[target].value,
        "reason": REASONS[reason].value,
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
