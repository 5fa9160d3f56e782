"""The storm brake: rings.md, "Rebalancing"."""

from stationkeep.cluster.alarms import DEVICE_STORM
from stationkeep.cluster.commands import AssignRing, ReleaseBrake
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.sentences import sentence
from tests.cluster.fleet.fleets import BAD, GOOD, FleetDriver, recorded


def stormy(sick: int) -> tuple[FleetDriver, list[int]]:
    """Twenty devices, so many of which turn unhealthy at once."""
    driver = FleetDriver()
    rows = driver.crowd(20)
    driver.check()
    driver.clock += 1
    driver.sicken(*rows[:sick])
    return driver, rows


def storm_told(driver: FleetDriver) -> list[str]:
    """What the decision log says of storms."""
    told = [d for d in driver.decided("alarm") if d.facts["name"] == DEVICE_STORM]
    return [sentence(decision) for decision in told]


def test_fifty_five_percent_at_once_are_no_storm_yet() -> None:
    driver, _ = stormy(11)
    assert not driver.fleet.braked
    assert driver.check()["moved"] > 0


def test_more_than_that_within_one_check_stops_automatic_moves_with_an_alarm() -> None:
    driver, _ = stormy(12)
    assert driver.fleet.braked
    assert "12 of 20 devices online turned unhealthy" in driver.state.alarms[DEVICE_STORM].detail
    assert driver.check() == {"moved": 0, "left_out": 0, "braked": True}
    assert driver.distribution == (5, 5, 5, 5)
    assert storm_told(driver) == [
        "alarm device_storm: 12 of 20 devices online turned unhealthy within one check; "
        "automatic moves wait"
    ]


def test_a_plan_made_before_the_storm_moves_nobody_in_it() -> None:
    driver, rows = stormy(4)
    plan = driver.plan_rings()
    assert len(plan.rows)
    driver.sicken(*rows[4:12])
    answer = driver.done(recorded(plan, driver.fleet.checks))
    assert (answer["moved"], answer["braked"]) == (0, True)


def test_turning_one_after_the_other_over_many_checks_is_no_storm() -> None:
    driver = FleetDriver()
    rows = driver.crowd(20)
    for start in range(0, 20, 5):
        driver.sicken(*rows[start : start + 5])
        driver.clock += 30_000
        driver.check()
    assert not driver.fleet.braked
    assert driver.distribution[2:] == (0, 0)


def test_who_is_well_again_before_the_check_does_not_count() -> None:
    driver, rows = stormy(8)
    driver.heal(*rows[:8])
    driver.sicken(*rows[8:16])
    assert not driver.fleet.braked


def test_the_ill_who_fall_silent_make_no_storm_among_those_who_stay() -> None:
    driver, rows = stormy(11)
    driver.clock += 59_000
    driver.report(dict.fromkeys(rows[11:], GOOD))
    driver.clock += 1_000
    assert driver.silence(rows[:11]) == {"offline": 11}
    driver.clock += 60_000
    assert driver.silence(rows[11:]) == {"offline": 9}
    assert not driver.fleet.braked
    assert not storm_told(driver)


def test_the_storm_passes_when_no_more_than_that_share_is_unhealthy() -> None:
    driver, rows = stormy(14)
    driver.heal(*rows[:2])
    assert driver.fleet.braked
    driver.heal(rows[2])
    assert not driver.fleet.braked
    assert DEVICE_STORM not in driver.state.alarms
    assert driver.check()["moved"] > 0


def test_an_operator_releases_the_brake_and_the_same_storm_does_not_put_it_on_again() -> None:
    driver, rows = stormy(14)
    assert driver.done(ReleaseBrake(), actor="ann") == {"was_braked": True}
    assert not driver.fleet.braked
    assert storm_told(driver)[1:] == [
        "alarm device_storm is over: 14 of 20 devices online are unhealthy (by ann)"
    ]
    driver.report(dict.fromkeys(rows[:14], BAD))
    assert driver.check()["moved"] > 0
    upper = [*driver.in_ring(Ring.STAGE), *driver.in_ring(Ring.PROD)]
    assert all(driver.device(row).healthy for row in upper)
    assert driver.done(ReleaseBrake()) == {"was_braked": False}


def test_registration_and_orders_go_on_under_the_brake() -> None:
    driver, rows = stormy(14)
    (row,) = driver.crowd(1, reading=BAD)
    assert driver.ring(row) in (Ring.CANARY, Ring.DEV)
    driver.done(AssignRing(driver.fleet.id(rows[0]), Ring.DEV))
    assert driver.ring(rows[0]) is Ring.DEV
