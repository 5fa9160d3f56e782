"""What must hold of a fleet in every state. `cluster.invariants` checks it with the rest."""

import numpy as np

from stationkeep.cluster.devices.credentials import Standing
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.moves import MAX_MOVES, REASONS, MoveReason
from stationkeep.cluster.devices.rings import UNSET
from stationkeep.cluster.devices.status import MAX_METRICS
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.fleet.orders import MAX_PINS


def indexes_agree(fleet: Fleet) -> str | None:
    """Ids, rows, free rows, kinds and the tally say the same as the columns."""
    table = fleet.table
    living = np.flatnonzero(table.birth[: table.used])
    if {row: table.ids[row] for row in living.tolist()} != {
        row: device for device, row in table.rows.items()
    }:
        return "ids and rows differ"
    if sorted([*living.tolist(), *table.free]) != list(range(table.used)):
        return "a row is neither free nor in use, or both"
    if len(np.unique(table.birth[living])) < len(living):
        return "two devices of one birth"
    if not np.array_equal(
        np.bincount(table.codes(living), minlength=table.tally.size), table.tally
    ):
        return "the tally is not what a count gives"
    if any(table.kinds.all[kind] is None for kind in table.kind[living].tolist()):
        return "a device of no kind"
    return None


def within_limits(fleet: Fleet) -> str | None:
    """Everything that grows has its limit."""
    sizes = {
        "devices": (len(fleet), MAX_DEVICES),
        "pins": (len(fleet.pins), MAX_PINS),
        "metrics": (len(fleet.metrics), MAX_METRICS),
        "moves": (len(fleet.moves), MAX_MOVES),
    }
    over = [f"{name} {size} > {limit}" for name, (size, limit) in sizes.items() if size > limit]
    return ", ".join(over) or None


def credentials_hold(fleet: Fleet) -> str | None:
    """Every credential that is good is a hash, and no row that is free has one."""
    table, used = fleet.table, slice(0, fleet.table.used)
    hashed = table.proof[used] != np.zeros((), table.proof.dtype)
    if np.any((table.credential[used] == Standing.GOOD) & ~hashed):
        return "a good credential without a hash"
    kept = hashed | (table.credential[used] != Standing.NONE)
    return "a free row has a credential" if np.any(kept & (table.birth[used] == 0)) else None


def pins_hold(fleet: Fleet) -> str | None:
    """A pinned device stands where its pin put it: nothing moved it since."""
    table = fleet.table
    pinned = np.flatnonzero(table.pinned[: table.used])
    if pinned.tolist() != sorted(fleet.pins):
        return f"pins {sorted(fleet.pins)}, pinned rows {pinned.tolist()}"
    moved = pinned[table.reason[pinned] != MoveReason.PINNED.code]
    return f"{fleet.id(int(moved[0]))} was moved although it is pinned" if len(moved) else None


def the_log_explains(fleet: Fleet) -> str | None:
    """Each device's moves follow one another, and the newest led to where it stands."""
    moves, table = fleet.moves.in_order(), fleet.table
    moves = moves[table.birth[moves["row"]] == moves["birth"]]
    order = np.argsort(moves["row"], kind="stable")
    moves = moves[order]
    same = moves["row"][1:] == moves["row"][:-1]
    if np.any(same & (moves["origin"][1:] != moves["target"][:-1])):
        return "a move begins where the one before it did not end"
    newest = moves[np.append(~same, True)[: len(moves)]]
    astray = newest["target"] != table.ring[newest["row"]]
    if np.any(astray):
        row = int(newest["row"][astray][0])
        return f"{fleet.id(row)} does not stand where the log led it"
    if fleet.moves.total <= MAX_MOVES and len(newest) != len(fleet):
        return "a device without a move that explains it"
    if np.any((moves["origin"] == UNSET) != (moves["reason"] == REGISTERED)):
        return "a move from nowhere that is no registration"
    return None


REGISTERED = REASONS.index(MoveReason.REGISTERED)
INVARIANTS = (indexes_agree, within_limits, credentials_hold, pins_hold, the_log_explains)
