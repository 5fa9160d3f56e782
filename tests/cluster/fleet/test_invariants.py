"""Each invariant of a fleet notices what it is there for."""

from collections.abc import Callable

import numpy as np
import pytest

from stationkeep.cluster.commands import AssignRing
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.invariants import violations
from tests.cluster.fleet.fleets import FleetDriver


def tally_off(fleet: Fleet) -> None:
    fleet.table.tally[0] += 1


def row_lost(fleet: Fleet) -> None:
    del fleet.table.rows[fleet.id(2)]


def row_free_and_used(fleet: Fleet) -> None:
    fleet.table.free.append(1)


def twins(fleet: Fleet) -> None:
    fleet.table.birth[1] = fleet.table.birth[2]


def no_kind(fleet: Fleet) -> None:
    fleet.table.kinds.all[0] = None


def pin_without_row(fleet: Fleet) -> None:
    fleet.table.pinned[0] = False


def pinned_and_moved(fleet: Fleet) -> None:
    fleet.table.reason[0] = 0


def stands_elsewhere(fleet: Fleet) -> None:
    rows = np.arange(4)
    fleet.table.count(rows, -1)
    fleet.table.ring[3] = (fleet.table.ring[3] + 1) % 4
    fleet.table.count(rows, 1)


def unexplained(fleet: Fleet) -> None:
    fleet.moves.total -= 2


def not_joined(fleet: Fleet) -> None:
    fleet.moves._ring["origin"][4] = 1


@pytest.mark.parametrize(
    ("break_it", "name"),
    [
        (tally_off, "indexes_agree: the tally"),
        (row_lost, "indexes_agree: ids and rows"),
        (row_free_and_used, "indexes_agree: a row is neither"),
        (twins, "indexes_agree: two devices"),
        (no_kind, "indexes_agree: a device of no kind"),
        (pin_without_row, "pins_hold: pins"),
        (pinned_and_moved, "pins_hold: dev-0000 was moved"),
        (stands_elsewhere, "the_log_explains: dev-0003 does not stand"),
        (unexplained, "the_log_explains"),
        (not_joined, "the_log_explains"),
    ],
)
def test_a_broken_fleet_is_noticed(break_it: Callable[[Fleet], None], name: str) -> None:
    driver = FleetDriver()
    driver.crowd(4)
    driver.done(AssignRing(driver.fleet.id(0), Ring.PROD))
    break_it(driver.fleet)
    assert any(line.startswith(f"fleet.{name}") for line in violations(driver.state))


def test_a_limit_passed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.fleet.invariants.MAX_DEVICES", 1)
    driver = FleetDriver()
    driver.crowd(1)
    assert list(violations(driver.state)) == []
    with pytest.raises(AssertionError):
        driver.crowd(1)
    assert list(violations(driver.state)) == ["fleet.within_limits: devices 2 > 1"]
