"""From single statuses to a verdict that does not flap.

`unhealthy_statuses` unhealthy ones in a row make a device unhealthy, `healthy_statuses` healthy
ones in a row healthy again. The last eight judgements of a device are the bits of a byte, the
newest lowest, so that a whole batch is judged by a few operations on columns.
Source: rings.md, "Devices".
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.devices.table import Column

MAX_STATUSES = 8
"""Statuses of one device in one batch, and the longest run that a verdict may need."""


class Verdicts(NamedTuple):
    """Columns after the new statuses: bits, how many are known, and the verdict."""

    bits: Column
    known: Column
    healthy: Column


def follow(
    before: Verdicts, judged: Column, counts: Column, unhealthy_after: int, healthy_after: int
) -> Verdicts:
    """The verdicts after `counts` (0..8) further statuses of each device, whose judgements are
    the lowest bits of `judged`, the newest lowest. Runs through the statuses oldest first: a
    verdict may turn and turn back within one batch."""
    bits, known, healthy = before
    bits, known, healthy = bits.astype(np.uint8), known.astype(np.uint8), healthy.copy()
    sick, well = _ones(unhealthy_after), _ones(healthy_after)
    for age in range(int(counts.max(initial=0)) - 1, -1, -1):
        given = counts > age
        bits = np.where(given, (bits << 1) | ((judged >> age) & 1), bits).astype(np.uint8)
        known = np.where(given, np.minimum(known + 1, MAX_STATUSES), known).astype(np.uint8)
        turns_sick = given & healthy & (known >= unhealthy_after) & (bits & sick == 0)
        turns_well = given & ~healthy & (known >= healthy_after) & (bits & well == well)
        healthy ^= turns_sick | turns_well
    return Verdicts(bits, known, healthy)


def _ones(length: int) -> np.uint8:
    return np.uint8((1 << length) - 1)
