"""Recording a check: every move is looked at again. rings.md, "Rebalancing"."""

import msgspec
import pytest

from stationkeep.cluster.commands import (
    AssignRing,
    Pause,
    RecordRebalance,
    RequestRebalance,
    SetRingShares,
)
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.state.events import DevicesMoved, RebalanceRequested, RingsChecked
from tests.cluster.fleet.fleets import FleetDriver, recorded, u8, u32


def sick_in_prod() -> tuple[FleetDriver, int]:
    """A fleet with one device that a check will move."""
    driver = FleetDriver()
    driver.crowd(12)
    (row, *_) = driver.in_ring(Ring.PROD)
    driver.sicken(row)
    return driver, row


def one_move(driver: FleetDriver, row: int, ring: int, reason: MoveReason) -> RecordRebalance:
    revision = int(driver.fleet.table.revision[row])
    checks = driver.fleet.checks
    return RecordRebalance(
        checks, False, u32([row]), u32([revision]), u8([ring]), u8([reason.code])
    )


def test_a_check_is_counted_told_and_decided() -> None:
    driver, row = sick_in_prod()
    driver.clock = 30_000
    driver.check()
    assert (driver.fleet.checks, driver.fleet.checked_at) == (1, 30_000)
    moved, decided, checked = driver.events
    assert isinstance(moved, DevicesMoved)
    assert checked == RingsChecked(1, 1)
    ring = driver.ring(row)
    assert decided.decision.facts == {"check": 1, "moves": {f"prod>{ring}>unhealthy": 1}}
    assert driver.state.counters.ring_moves[f"prod>{ring}>unhealthy"] == 1


def test_a_check_that_moves_nobody_is_counted_and_leaves_no_decision() -> None:
    driver = FleetDriver()
    driver.crowd(4)
    driver.check()
    assert driver.fleet.checks == 1
    assert driver.events == []


def test_a_check_that_was_asked_for_is_told_whatever_it_moved() -> None:
    driver = FleetDriver()
    driver.crowd(4)
    driver.done(RequestRebalance())
    driver.check()
    assert driver.events[-1] == RingsChecked(1, 0)


def test_a_late_check_is_refused_by_its_number() -> None:
    driver, _ = sick_in_prod()
    late = recorded(driver.plan_rings(), driver.fleet.checks)
    driver.check()
    reason, detail = driver.refused(late)
    assert reason == "stale_revision"
    assert "1 checks have been made" in detail


def test_a_check_in_parts_is_one_check() -> None:
    driver, _ = sick_in_prod()
    other = driver.in_ring(Ring.PROD)[1]
    driver.sicken(other)
    plan = driver.plan_rings()
    for place, more in ((0, True), (1, False)):
        part = slice(place, place + 1)
        driver.done(
            RecordRebalance(
                0, more, plan.rows[part].tobytes(), plan.revisions[part].tobytes(),
                plan.rings[part].tobytes(), plan.reasons[part].tobytes(),
            )
        )  # fmt: skip
        assert driver.fleet.checks == (not more)
    assert driver.events[-1] == RingsChecked(1, 2)
    assert sum(driver.decision.facts["moves"].values()) == 2


def test_a_move_whose_device_changed_since_is_left_out() -> None:
    driver, row = sick_in_prod()
    plan = driver.plan_rings()
    driver.done(AssignRing(driver.fleet.id(row), Ring.STAGE))
    assert driver.done(recorded(plan, 0)) == {"moved": 0, "left_out": 1, "braked": False}
    assert driver.ring(row) is Ring.STAGE


def test_who_recovered_since_is_not_sent_away() -> None:
    driver, row = sick_in_prod()
    plan = driver.plan_rings()
    driver.heal(row)
    assert driver.done(recorded(plan, 0))["moved"] == 0


def test_who_went_offline_since_is_not_moved() -> None:
    driver, _ = sick_in_prod()
    plan = driver.plan_rings()
    driver.clock += 60_000
    driver.silence()
    assert driver.done(recorded(plan, 0))["moved"] == 0


def test_who_fell_ill_since_is_not_sent_up() -> None:
    driver = FleetDriver()
    driver.crowd(40)
    driver.rest()
    driver.done(SetRingShares((0, 0, 1, 1)))
    plan = driver.plan_rings()
    sick = driver.in_ring(Ring.CANARY)[0]
    driver.sicken(sick)
    answer = driver.done(recorded(plan, 0))
    assert (answer["moved"], answer["left_out"]) == (19, 1)
    assert driver.ring(sick) is Ring.CANARY


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        (Ring.CANARY, MoveReason.UNHEALTHY),  # it is healthy
        (Ring.CANARY, MoveReason.POLICY),  # no policy sends it there
        (Ring.CANARY, MoveReason.SURPLUS),  # it has not dwelt
        (Ring.CANARY, MoveReason.PINNED),  # no reason of a check
        (Ring.PROD, MoveReason.SURPLUS),  # it stands there
    ],
)
def test_a_move_without_a_good_reason_is_left_out(ring: Ring, reason: MoveReason) -> None:
    driver = FleetDriver()
    driver.crowd(8)
    (row, *_) = driver.in_ring(Ring.PROD)
    assert driver.done(one_move(driver, row, ring.code, reason))["moved"] == 0


def test_rows_that_nobody_has_are_left_out() -> None:
    driver = FleetDriver()
    driver.crowd(2)
    codes = u8([1, 1])
    command = RecordRebalance(0, False, u32([7, 2**32 - 1]), u32([0, 0]), codes, codes)
    assert driver.done(command) == {"moved": 0, "left_out": 2, "braked": False}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rows": u32([1, 1])}, "rows: not strictly ascending"),
        ({"revisions": u32([1])}, "revisions: 4 bytes"),
        ({"rings": u8([4, 0])}, "rings: 4 is above 3"),
        ({"reasons": u8([0, 11])}, "reasons: 11 is above 10"),
    ],
)
def test_a_check_that_cannot_be_is_refused_as_a_whole(fields: dict[str, bytes], words: str) -> None:
    driver = FleetDriver()
    driver.crowd(2)
    command = RecordRebalance(0, False, u32([0, 1]), u32([1, 1]), u8([0, 0]), u8([6, 6]))
    reason, detail = driver.refused(msgspec.structs.replace(command, **fields))
    assert reason == "invalid"
    assert words in detail


def test_a_pause_of_automatic_changes_is_one_of_the_rings_too() -> None:
    driver, _ = sick_in_prod()
    driver.done(Pause(60_000))
    assert driver.refused(recorded(driver.plan_rings(), 0))[0] == "paused"


def test_an_operator_may_ask_for_a_check_at_once() -> None:
    driver, _ = sick_in_prod()
    driver.done(RequestRebalance(), actor="ann")
    assert driver.fleet.requested
    assert RebalanceRequested() in driver.events
    driver.check()
    assert not driver.fleet.requested
