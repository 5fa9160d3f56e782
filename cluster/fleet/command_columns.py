"""Columns as commands carry them: bytes that claim to be arrays, believed only after a look.

A command that breaks one of these rules is refused as a whole: it comes from a node that is
broken, and none of what it says can be trusted. Little-endian everywhere.
"""

import numpy as np

from stationkeep.cluster.commands import MAX_BATCH
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.step import Refused


def column(field: str, content: bytes, dtype: str, rows: int, most: int | None = None) -> Column:
    """The array in `content`; refused unless it has `rows` values, none above `most`."""
    width = np.dtype(dtype).itemsize
    if len(content) != rows * width:
        rule = f"{len(content)} bytes, {rows} values of {width} bytes are due"
        raise Refused(Reason.INVALID, f"{field}: {rule}")
    values = np.frombuffer(content, dtype)
    if most is not None and rows and int(values.max()) > most:
        raise Refused(Reason.INVALID, f"{field}: {int(values.max())} is above {most}")
    return values


def row_column(content: bytes, field: str = "rows") -> Column:
    """The rows that a command speaks of: u32, strictly ascending, at most `MAX_BATCH`."""
    if len(content) % 4 or len(content) > 4 * MAX_BATCH:
        rule = f"{len(content)} bytes are not 0 to {MAX_BATCH} values of 4 bytes"
        raise Refused(Reason.INVALID, f"{field}: {rule}")
    rows = np.frombuffer(content, "<u4")
    if len(rows) > 1 and not bool((rows[1:] > rows[:-1]).all()):
        raise Refused(Reason.INVALID, f"{field}: not strictly ascending")
    return rows


def packed(values: Column, dtype: str) -> bytes:
    """An array as events and commands carry it."""
    return values.astype(dtype, copy=False).tobytes()
