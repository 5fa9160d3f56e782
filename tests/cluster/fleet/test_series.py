"""Recorded CPU series as fleets: no device flaps, whatever real machines do.

The series are the Numenta Anomaly Benchmark's (`shared/data/nab`, five minutes a sample); where
the folder is not there a series of the same shape is made up.
"""

import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from stationkeep.cluster.devices.moves import FORCED, MoveReason
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Reading
from tests.cluster.fleet.fleets import FleetDriver

NAB = Path(__file__).parents[4] / "shared" / "data" / "nab"
LENGTH = 240
STEP = 30_000
"""A sample stands for one check interval here: ten times as fast as it was recorded."""


def recorded() -> Iterator[list[float]]:
    """CPU percent of each recorded machine, shifted against one another to make a fleet."""
    for path in sorted(NAB.glob("*cpu*.csv")):
        with path.open(encoding="utf-8") as file:
            values = [float(line["value"]) for line in csv.DictReader(file)]
        for shift in range(0, 8 * LENGTH, LENGTH):
            yield (values[shift:] + values[:shift])[:LENGTH]


def made_up() -> Iterator[list[float]]:
    """A load that rises and falls through the limit, with spikes."""
    for n in range(40):
        yield [
            60 + 30 * math.sin((t + n) / 9) + 25 * (t * (n + 3) % 17 == 0) for t in range(LENGTH)
        ]


SERIES = {"recorded": list(recorded()), "made_up": list(made_up())}


@pytest.mark.parametrize("name", [name for name, series in SERIES.items() if series])
@pytest.mark.parametrize("stretch", [1.0, 3.0])
def test_real_load_moves_devices_only_for_cause_and_never_to_and_fro(
    name: str, stretch: float
) -> None:
    """`stretch` makes quiet machines busy enough to cross the limit of 80 %."""
    driver, series = FleetDriver(), SERIES[name]
    rows = driver.crowd(len(series))
    sick_before: set[int] = set()
    for tick in range(LENGTH):
        driver.clock += STEP
        cpu = {row: min(100.0, stretch * one[tick]) for row, one in zip(rows, series, strict=True)}
        readings = {row: Reading(90, False, round(c * 100), 0, 0) for row, c in cpu.items()}
        driver.report(readings)
        driver.check(tick)
        devices = [driver.device(row) for row in rows]
        if not driver.fleet.braked:
            assert not [d for d in devices if not d.healthy and d.ring in (Ring.STAGE, Ring.PROD)]
        sick_before |= {d.row for d in devices if not d.healthy}
    for row in rows:
        moves = list(reversed(driver.fleet.history(row)))
        forced = [move.at for move in moves if move.reason in FORCED]
        assert all(later - sooner >= 300_000 for sooner, later in itertools.pairwise(forced))
        assert bool(forced) <= (row in sick_before)
        for before, after in itertools.pairwise(moves):
            assert after.reason is MoveReason.UNHEALTHY or after.at - before.at >= 300_000
