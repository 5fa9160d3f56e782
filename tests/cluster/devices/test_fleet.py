"""What may be asked of a fleet, and the log of moves."""

import numpy as np
import pytest

from stationkeep.cluster.commands import AssignRing, ReleaseRing
from stationkeep.cluster.devices import moves as moves_module
from stationkeep.cluster.devices.fleet import Page
from stationkeep.cluster.devices.moves import MOVE, MoveLog
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.selector import parse
from tests.cluster.fleet.fleets import BAD, FleetDriver


def mixed() -> FleetDriver:
    """Six devices of two models, one unhealthy, one offline."""
    driver = FleetDriver()
    for n in range(6):
        driver.register(
            f"dev-{n}", name=f"Device {n}", labels={"model": f"Pixel {8 + n % 2}"}, os_version="14"
        )
    driver.sicken(0)
    driver.clock += 60_000
    driver.report(dict.fromkeys(range(5), None))
    driver.silence()
    return driver


@pytest.mark.parametrize(
    ("selector", "rows"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("model=Pixel 8", [0, 2, 4]),
        ("model=Pixel 8, health=healthy", [2, 4]),
        ("health=unhealthy", [0]),
        ("health=offline", [5]),
        ("id in (dev-1, dev-5)", [1, 5]),
        ("name=Device 3", [3]),
        ("os=14, app!=1", [0, 1, 2, 3, 4, 5]),
        ("site=lab", []),
    ],
)
def test_devices_by_selector(selector: str, rows: list[int]) -> None:
    assert mixed().fleet.select(terms=parse(selector)).rows == rows


def test_devices_by_ring_health_and_presence() -> None:
    fleet = mixed().fleet
    by_ring = [fleet.select(ring=ring).rows for ring in Ring]
    assert sorted(row for rows in by_ring for row in rows) == [0, 1, 2, 3, 4, 5]
    assert fleet.select(terms=parse("ring=prod")).rows == by_ring[3]
    assert fleet.select(healthy=False).rows == [0]
    assert fleet.select(online=False).rows == [5]


def test_pages_follow_one_another_without_gap_or_repetition() -> None:
    fleet, seen, after = mixed().fleet, [], -1
    for _ in range(3):
        page = fleet.select(after=after, limit=2)
        seen += page.rows
        after = page.next_row if page.next_row is not None else 99
    assert seen == [0, 1, 2, 3, 4, 5]
    assert page.next_row is None
    assert fleet.select(after=99) == Page([], None)
    assert fleet.select(limit=0).rows == []


def test_a_page_looks_at_a_limited_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.devices.fleet.SCAN", 4)
    monkeypatch.setattr("stationkeep.cluster.devices.fleet.SCAN_EACH", 1)
    fleet = mixed().fleet
    assert fleet.select(online=False) == Page([], 3)
    assert fleet.select(online=False, after=3) == Page([5], None)
    assert fleet.select(terms=parse("name=Device 2")) == Page([], 0)


def test_counts_by_ring() -> None:
    driver = FleetDriver()
    driver.crowd(8)
    (pinned, other) = driver.in_ring(Ring.PROD)
    driver.done(AssignRing(driver.fleet.id(pinned), Ring.PROD))
    driver.sicken(other)
    prod = driver.fleet.counts()[Ring.PROD]
    assert (prod.total, prod.healthy, prod.unhealthy, prod.pinned, prod.offline) == (2, 1, 1, 1, 0)
    assert sum(driver.fleet.quota_by_ring().values()) == 7


def test_a_history_is_of_one_device_newest_first() -> None:
    driver = FleetDriver()
    driver.crowd(3)
    for ring in (Ring.DEV, Ring.PROD):
        driver.clock += 1_000
        driver.done(AssignRing(driver.fleet.id(1), ring), actor="ann")
    driver.done(ReleaseRing(driver.fleet.id(1)))
    moves = driver.fleet.history(1)
    assert [move.reason for move in moves] == ["released", "pinned", "pinned", "registered"]
    assert [move.at for move in moves] == [2_000, 2_000, 1_000, 0]
    assert [move.actor for move in moves] == ["", "ann", "ann", ""]
    assert moves[:2] == driver.fleet.history(1, limit=2)
    assert len(driver.fleet.history(0)) == 1


def moves_of(rows: list[int]) -> np.ndarray:
    moves = np.zeros(len(rows), MOVE)
    moves["row"], moves["birth"] = rows, 1
    return moves


def test_the_log_keeps_the_newest_moves_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_module, "MAX_MOVES", 8)
    monkeypatch.setattr(moves_module, "_FIRST_CAPACITY", 2)
    log = MoveLog()
    for at in range(11):
        moves = moves_of([at % 3])
        moves["at"] = at
        log.add(moves, "ann")
    assert log.in_order()["at"].tolist() == list(range(3, 11))
    assert log.of(1, 1, 10)["at"].tolist() == [10, 7, 4]
    assert log.of(1, 2, 10)["at"].tolist() == []
    copy = MoveLog.of_image(log.in_order(), log.total, list(log.actors))
    copy.add(moves_of([9]))
    log.add(moves_of([9]))
    assert copy.in_order().tobytes() == log.in_order().tobytes()


def test_more_moves_at_once_than_the_log_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_module, "MAX_MOVES", 8)
    monkeypatch.setattr(moves_module, "_FIRST_CAPACITY", 2)
    log = MoveLog()
    log.add(moves_of(list(range(20))))
    assert log.in_order()["row"].tolist() == list(range(12, 20))
    assert (len(log), log.total) == (8, 20)


def test_whoever_comes_after_so_many_actors_is_remembered_as_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moves_module, "MAX_ACTORS", 2)
    log = MoveLog()
    for actor in ("ann", "ben", "ann"):
        log.add(moves_of([0]), actor)
    assert [log.actors[code] for code in log.in_order()["actor"]] == ["ann", "", "ann"]


def test_an_unhealthy_first_status_is_one_of_the_figures() -> None:
    driver = FleetDriver()
    driver.crowd(2, reading=BAD)
    assert sum(c.unhealthy for c in driver.fleet.counts().values()) == 2
