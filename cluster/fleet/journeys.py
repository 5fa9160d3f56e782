"""Changing assignments: the one place where a device's ring or pin changes."""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.devices.moves import MOVE, REASONS, MoveReason
from stationkeep.cluster.devices.rings import RINGS, UNSET, Ring
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import packed
from stationkeep.cluster.state.events import DevicesMoved
from stationkeep.cluster.state.step import Step


class Journey(NamedTuple):
    """Devices, the ring each is assigned to (maybe its own), and why, as columns."""

    rows: Column
    rings: Column
    reasons: Column

    @classmethod
    def of(cls, rows: Column, rings: Column, reason: MoveReason) -> "Journey":
        """All for one reason."""
        return cls(rows, rings, np.full(len(rows), reason.code, np.uint8))


def travel(step: Step, journey: Journey) -> dict[str, int]:
    """Assigns, writes the log of moves and tells of it; how many moves of each kind there were
    ("from>to>reason"). The rows are in use and no row comes twice."""
    fleet, (rows, rings, reasons) = step.state.fleet, journey
    table = fleet.table
    newly = reasons == MoveReason.REGISTERED.code
    origins = np.where(newly, UNSET, table.ring[rows]).astype(np.uint8)
    with table.counted(rows):
        table.ring[rows] = rings
    # Who was sent away for its health has a home to return to, until it is elsewhere above.
    settled = (rings >= Ring.STAGE.code) | (reasons == MoveReason.PINNED.code)
    home = np.where(settled, UNSET, table.home[rows])
    table.home[rows] = np.where(reasons == MoveReason.UNHEALTHY.code, origins, home)
    table.reason[rows] = reasons
    table.revision[rows] += 1
    table.ring_since[rows[origins != rings]] = step.now
    moves = np.zeros(len(rows), MOVE)
    moves["row"], moves["birth"], moves["at"] = rows, table.birth[rows], step.now
    moves["origin"], moves["target"], moves["reason"] = origins, rings, reasons
    fleet.moves.add(moves, step.actor)
    step.emit(
        DevicesMoved(
            packed(rows, "<u4"),
            packed(moves["birth"], "<u4"),
            origins.tobytes(),
            packed(rings, "u1"),
            packed(reasons, "u1"),
        )
    )
    return _tell(step.state.counters.ring_moves, origins, rings, reasons)


def _tell(
    counters: dict[str, int], origins: Column, rings: Column, reasons: Column
) -> dict[str, int]:
    """Adds to the counters and returns what was added."""
    codes = (origins.astype(np.int64) << 16) | (rings.astype(np.int64) << 8) | reasons
    found, counts = np.unique(codes, return_counts=True)
    told: dict[str, int] = {}
    for code, count in zip(found.tolist(), counts.tolist(), strict=True):
        origin = "" if code >> 16 == UNSET else RINGS[code >> 16].value
        key = f"{origin}>{RINGS[code >> 8 & 255].value}>{REASONS[code & 255].value}"
        told[key] = count
        counters[key] = counters.get(key, 0) + count
    return told
