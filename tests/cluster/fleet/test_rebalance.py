"""The plan of a check of the rings: rings.md, "Rebalancing" and "Bounded movement"."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import AssignRing, ReleaseRing, SetRingPolicies, SetRingShares
from stationkeep.cluster.devices.moves import REASONS, MoveReason
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.settings import Settings, merge
from tests.cluster.fleet.fleets import BAD, GOOD, QUIET, FleetDriver

LOW = (Ring.CANARY, Ring.DEV)


def reasons(driver: FleetDriver, seed: int = 0) -> Counter[str]:
    """Why a check would move devices, counted."""
    return Counter(REASONS[code].value for code in driver.plan_rings(seed).reasons)


def drained(driver: FleetDriver, ring: Ring, count: int) -> None:
    """Takes devices out of a ring by hand and lets go of them: the ring lacks them now."""
    for row in driver.in_ring(ring)[:count]:
        driver.done(AssignRing(driver.fleet.id(row), Ring.DEV))
        driver.done(ReleaseRing(driver.fleet.id(row)))


# Must


def test_unhealthy_devices_leave_prod_and_stage_for_canary_and_dev_at_the_next_check() -> None:
    driver = FleetDriver()
    driver.crowd(40)
    sick = [*driver.in_ring(Ring.PROD)[:3], *driver.in_ring(Ring.STAGE)[:3]]
    driver.sicken(*sick)
    assert reasons(driver) == {"unhealthy": 6}
    assert driver.check() == {"moved": 6, "left_out": 0, "braked": False}
    assert {driver.ring(row) for row in sick} == set(LOW)
    assert driver.distribution == (13, 13, 7, 7)
    assert driver.device(sick[0]).ring_reason is MoveReason.UNHEALTHY
    assert driver.check()["moved"] == 0


def test_those_in_canary_and_dev_stay_where_they_are() -> None:
    driver = FleetDriver()
    driver.crowd(40)
    driver.sicken(*driver.in_ring(Ring.CANARY), *driver.in_ring(Ring.DEV))
    assert driver.check()["moved"] == 0


def test_quota_yields_where_canary_and_dev_are_full() -> None:
    driver = FleetDriver()
    driver.done(SetRingShares((1, 1, 9, 9), (2, 2, 0, 0)))
    driver.crowd(40)
    driver.sicken(*driver.in_ring(Ring.PROD)[:8])
    driver.check()
    assert driver.distribution[:2] == (6, 6)


def test_an_offline_device_keeps_its_ring() -> None:
    driver = FleetDriver()
    driver.crowd(8)
    (gone, *_) = driver.in_ring(Ring.PROD)
    driver.sicken(gone)
    driver.clock += 60_000
    driver.silence()
    driver.check()
    assert driver.ring(gone) is Ring.PROD
    driver.report({gone: None})
    driver.check()
    assert driver.ring(gone) in LOW


def test_a_pinned_device_stays_whatever_its_health() -> None:
    driver = FleetDriver()
    driver.crowd(8)
    (pinned, *_) = driver.in_ring(Ring.PROD)
    driver.done(AssignRing(driver.fleet.id(pinned), Ring.PROD))
    driver.sicken(pinned)
    driver.rest()
    driver.check()
    assert driver.ring(pinned) is Ring.PROD


def test_who_stands_against_its_policy_moves_however_short_it_has_dwelt() -> None:
    driver = FleetDriver()
    rows = driver.crowd(8, labels={"model": "Pixel 8"})
    driver.crowd(8, labels={"model": "Pixel 9"})
    driver.done(SetRingPolicies((RingPolicy("p8", "model=Pixel 8", (Ring.STAGE, Ring.PROD)),)))
    assert reasons(driver) == {"policy": 4}
    driver.check()
    assert Counter(driver.ring(row) for row in rows) == {Ring.STAGE: 4, Ring.PROD: 4}


def test_a_policy_waits_for_health_and_then_for_the_hold() -> None:
    driver = FleetDriver()
    driver.done(SetRingPolicies((RingPolicy("vip", "vip=yes", (Ring.PROD,)),)))
    driver.crowd(8)
    (vip,) = driver.crowd(1, labels={"vip": "yes"})
    driver.sicken(vip)
    driver.check()
    assert driver.ring(vip) in LOW
    driver.check()
    driver.heal(vip)
    driver.clock += 299_999
    driver.keep_alive()
    driver.check()
    assert driver.ring(vip) in LOW
    driver.clock += 1
    driver.check()
    assert driver.ring(vip) is Ring.PROD


# Home again


def test_one_device_leaves_prod_and_comes_back_only_after_its_five_healthy_minutes() -> None:
    driver = FleetDriver()
    driver.crowd(12)
    (device, *_) = driver.in_ring(Ring.PROD)
    driver.sicken(device)
    driver.check()
    assert driver.distribution[3] == 2
    driver.rest(600_000)
    driver.check()
    driver.heal(device)
    driver.rest(299_999)
    driver.check()
    assert driver.ring(device) in LOW
    driver.rest(1)
    assert driver.check()["moved"] == 1
    assert driver.ring(device) is Ring.PROD
    assert driver.device(device).ring_reason is MoveReason.RECOVERED
    assert driver.distribution == (3, 3, 3, 3)


def test_nobody_comes_home_to_a_ring_that_is_full() -> None:
    driver = FleetDriver()
    driver.crowd(12)
    (device, *_) = driver.in_ring(Ring.PROD)
    driver.sicken(device)
    driver.check()
    (other, *_) = driver.in_ring(Ring.CANARY if driver.ring(device) is Ring.DEV else Ring.DEV)
    driver.done(AssignRing(driver.fleet.id(other), Ring.PROD))
    driver.done(ReleaseRing(driver.fleet.id(other)))
    driver.heal(device)
    driver.rest()
    assert driver.check()["moved"] == 0


# Level


def test_inside_the_band_nobody_moves() -> None:
    driver = FleetDriver()
    driver.crowd(400)
    drained(driver, Ring.PROD, 8)
    driver.rest()
    assert driver.distribution == (100, 108, 100, 92)
    assert driver.check()["moved"] == 0


def test_outside_the_band_surplus_goes_to_deficit_and_nobody_else_moves() -> None:
    driver = FleetDriver()
    driver.crowd(400)
    drained(driver, Ring.PROD, 9)
    driver.rest()
    before = {row: driver.ring(row) for row in driver.rows}
    assert driver.check()["moved"] == 9
    moved = {row: driver.ring(row) for row in driver.rows if driver.ring(row) is not before[row]}
    assert {before[row] for row in moved} == {Ring.DEV}
    assert set(moved.values()) == {Ring.PROD}
    assert driver.distribution == (100, 100, 100, 100)


def test_those_that_dwelt_longest_go_first() -> None:
    driver = FleetDriver()
    old = driver.crowd(10)
    driver.rest()
    new = driver.crowd(10)
    for row in [*driver.in_ring(Ring.PROD)]:
        driver.done(AssignRing(driver.fleet.id(row), Ring.PROD))
    driver.done(SetRingShares((1, 1, 1, 0)))
    driver.rest()
    driver.done(SetRingShares((0, 1, 1, 0)))
    longest = [row for row in driver.in_ring(Ring.CANARY) if row in old]
    later = [row for row in driver.in_ring(Ring.CANARY) if row in new]
    assert longest
    assert later
    driver.done(SetRingShares((len(later), 6, 6, 0)))
    driver.check()
    assert all(driver.ring(row) is Ring.CANARY for row in later[: driver.distribution[0]])


def test_nobody_moves_before_it_has_dwelt() -> None:
    driver = FleetDriver()
    driver.crowd(40)
    driver.done(SetRingShares((1, 1, 1, 5)))
    driver.clock += 299_999
    assert driver.check()["moved"] == 0
    driver.rest(1)
    assert driver.check()["moved"] == 15
    assert driver.distribution == (5, 5, 5, 25)
    arrived = [row for row in driver.in_ring(Ring.PROD) if driver.device(row).ring_since]
    driver.done(SetRingShares((1, 1, 1, 0)))
    driver.rest(299_999)
    driver.check()
    assert driver.in_ring(Ring.PROD) == arrived


def test_only_who_was_healthy_for_long_goes_up_and_anybody_goes_down() -> None:
    driver = FleetDriver()
    driver.crowd(40)
    driver.rest()
    canary = driver.in_ring(Ring.CANARY)
    driver.sicken(*canary[:8])
    driver.done(SetRingShares((0, 1, 0, 1)))
    driver.check()
    assert driver.distribution == (0, 20, 0, 20)
    assert {driver.ring(row) for row in canary[:8]} == {Ring.DEV}


def test_the_band_is_never_less_than_one_device() -> None:
    driver = FleetDriver()
    driver.crowd(8)
    drained(driver, Ring.PROD, 1)
    driver.rest()
    assert driver.distribution == (2, 3, 2, 1)
    assert driver.check()["moved"] == 0
    drained(driver, Ring.PROD, 1)
    driver.rest()
    assert driver.check()["moved"] == 2
    assert driver.distribution == (2, 2, 2, 2)


def test_every_policy_is_balanced_for_itself() -> None:
    driver = FleetDriver()
    driver.crowd(40, labels={"site": "x"})
    driver.crowd(40)
    first = RingPolicy("x", "site=x", (Ring.CANARY, Ring.PROD))
    driver.done(SetRingPolicies((first, RingPolicy("others", "", (), (7, 1, 1, 1)))))
    driver.rest()
    driver.check()
    assert driver.distribution == (20 + 28, 4, 4, 20 + 4)


# Redistribution


def with_mode(mode: str, **more: int) -> Settings:
    return merge(QUIET, {"redistribution": mode, **more})


def test_the_budget_moves_a_tenth_of_the_surplus_in_a_tenth_of_the_checks() -> None:
    driver = FleetDriver(with_mode("budget"))
    driver.crowd(2_000)
    drained(driver, Ring.PROD, 38)
    driver.rest()
    sizes = Counter(reasons(driver, seed)["budget"] for seed in range(400))
    assert set(sizes) == {0, 4}
    assert 20 <= sizes[4] <= 60
    for seed in range(40):
        plan = driver.plan_rings(seed)
        assert {driver.ring(int(row)) for row in plan.rows} <= {Ring.DEV}
        assert {RINGS[code] for code in plan.rings} <= {Ring.PROD}


def test_rotate_redraws_one_cohort_a_check_and_each_once_in_ten() -> None:
    driver = FleetDriver(with_mode("rotate"))
    rows = driver.crowd(400)
    seen: Counter[int] = Counter()
    for _ in range(10):
        driver.rest()
        plan = driver.plan_rings()
        seen.update(plan.rows[plan.reasons == MoveReason.ROTATE.code].tolist())
        lots = driver.fleet.table.lot[plan.rows[plan.reasons == MoveReason.ROTATE.code]]
        assert {int(lot) % 10 for lot in lots} <= {driver.fleet.checks % 10}
        driver.check()
    assert max(seen.values()) == 1
    assert 0.6 * len(rows) < len(seen) < 0.9 * len(rows)


def test_random_moves_each_device_with_the_given_probability_to_any_eligible_ring() -> None:
    driver = FleetDriver(with_mode("random"))
    driver.crowd(2_000)
    driver.rest()
    plan = driver.plan_rings()
    assert set(plan.reasons.tolist()) == {MoveReason.RANDOM.code}
    assert 110 < len(plan.rows) < 190
    assert set(plan.rings.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("mode", ["budget", "rotate", "random"])
def test_exempt_in_every_mode_are_the_pinned_the_offline_and_who_has_not_dwelt(mode: str) -> None:
    driver = FleetDriver(with_mode(mode, redistribution_fraction=1_000_000))
    driver.crowd(40)
    drained(driver, Ring.PROD, 1)
    assert driver.plan_rings().rows.tolist() == []
    driver.clock += 300_000
    driver.silence()
    assert driver.plan_rings().rows.tolist() == []
    driver.keep_alive()
    for row in driver.rows:
        driver.done(AssignRing(driver.fleet.id(row), driver.ring(row)))
    assert driver.plan_rings().rows.tolist() == []


@pytest.mark.parametrize("mode", ["rotate", "random"])
def test_no_mode_sends_up_who_is_not_fit_nor_anybody_where_its_policy_forbids(mode: str) -> None:
    driver = FleetDriver(with_mode(mode, redistribution_fraction=1_000_000))
    driver.done(SetRingPolicies((RingPolicy("two", "k=v", (Ring.DEV, Ring.PROD)),)))
    bound = driver.crowd(40, labels={"k": "v"})
    sick = driver.crowd(20, reading=BAD)
    driver.rest()
    for seed in range(5):
        plan = driver.plan_rings(seed)
        sent = dict(zip(plan.rows.tolist(), plan.rings.tolist(), strict=True))
        assert {sent[row] for row in bound if row in sent} <= {1, 3}
        assert {sent[row] for row in sick if row in sent} <= {0, 1}


def test_a_fraction_of_nothing_redistributes_nothing() -> None:
    driver = FleetDriver(with_mode("rotate", redistribution_fraction=0))
    driver.crowd(40)
    driver.rest()
    assert driver.plan_rings().rows.tolist() == []


def test_an_empty_fleet_needs_no_plan() -> None:
    driver = FleetDriver()
    assert driver.plan_rings().rows.tolist() == []
    assert driver.check() == {"moved": 0, "left_out": 0, "braked": False}


def test_a_plan_is_the_same_for_the_same_draw() -> None:
    driver = FleetDriver(with_mode("random"))
    driver.crowd(200)
    driver.rest()
    one, other = driver.plan_rings(3), driver.plan_rings(3)
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.rings, other.rings)


# No flapping


@settings(max_examples=25)
@given(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=10, max_size=80))
def test_health_that_flips_at_random_forces_at_most_one_move_in_a_period(
    series: list[list[bool]],
) -> None:
    """A status every 30 s, a check after each: between two forced moves of one device lie the
    five healthy minutes that it needs to come back."""
    driver = FleetDriver(with_mode("budget"))
    rows = driver.crowd(8)
    for number, statuses in enumerate(series):
        driver.clock += 30_000
        given_now = zip(rows, statuses, strict=True)
        driver.report({row: GOOD if healthy else BAD for row, healthy in given_now})
        driver.check(number)
    for row in rows:
        forced = [m.at for m in driver.fleet.history(row) if m.reason is MoveReason.UNHEALTHY]
        assert all(later - sooner >= 300_000 for later, sooner in itertools.pairwise(forced))
