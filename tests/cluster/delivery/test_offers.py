"""Who is offered a task, and when: tasks.md, "Offering". What the leader plans apply checks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import (
    ChangeSettings,
    OfferTasks,
    Pause,
    ReleaseBrake,
    RemoveDevice,
    Resume,
)
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.delivery.tasks import Delay, standing
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace, Target
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState, Word
from stationkeep.cluster.devices.status import Condition, HealthRule, Reading
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.fleet.fleets import GOOD, u8, u32

LOW = Reading(battery=15, charging=False, cpu=100, memory=100, disk=100)
CHARGING = Reading(battery=15, charging=True, cpu=100, memory=100, disk=100)


@pytest.fixture
def driver() -> DeliveryDriver:
    """Twelve capable devices on 1.0.0."""
    made = DeliveryDriver()
    made.crowd(12)
    return made


def offered(driver: DeliveryDriver, deployment: int = 0) -> list[int]:
    return [row for row in driver.rows if driver.task(row, deployment).state is TaskState.OFFERED]


def test_everybody_who_is_there_is_offered_its_task_and_is_taken(driver: DeliveryDriver) -> None:
    driver.create()
    assert driver.offer() == 12
    assert driver.busy(driver.rows) == [True] * 12
    assert driver.offer() == 0


def test_the_task_remembers_what_its_device_ran(driver: DeliveryDriver) -> None:
    none = driver.crowd(1, app_version="")
    driver.create()
    driver.offer()
    assert (driver.task(0).previous, driver.task(*none).previous) == ("1.0.0", "")


def test_nobody_is_offered_anything_while_it_is_offline(driver: DeliveryDriver) -> None:
    driver.create()
    driver.clock += 60_000
    driver.report({5: GOOD})
    driver.silence()
    assert driver.offer() == 1
    driver.report(dict.fromkeys(driver.rows, GOOD))
    assert driver.offer() == 11


def test_a_low_battery_waits_unless_it_is_charging(driver: DeliveryDriver) -> None:
    driver.report({1: LOW, 2: CHARGING})
    driver.create()
    driver.offer()
    assert driver.states(1, 2) == [TaskState.QUEUED, TaskState.OFFERED]
    driver.report({1: GOOD})
    assert driver.offer() == 1


def test_a_deployment_may_require_something_else_or_nothing(driver: DeliveryDriver) -> None:
    driver.report({1: LOW})
    driver.create(require=None)
    assert driver.offer() == 12
    driver.create(require=HealthRule((Condition("cpu", "<", 1_000),)), priority=900)
    driver.run("2.0.0", *driver.rows)
    assert driver.offer() == 0
    driver.create(artifact=Artifact("3.0.0"), require=HealthRule((Condition("cpu", "<", 1_000),)))
    assert (driver.offer(), offered(driver)) == (1, [1])


def test_a_device_that_never_reported_figures_is_not_held_against_them(
    driver: DeliveryDriver,
) -> None:
    (silent,) = driver.crowd(1, reading=None)
    driver.create()
    driver.offer()
    assert driver.states(silent) == [TaskState.OFFERED]


def test_a_paused_cluster_offers_nothing(driver: DeliveryDriver) -> None:
    driver.create()
    (planned,) = plan_offers(driver.state, driver.clock)
    driver.done(Pause(10_000))
    assert plan_offers(driver.state, driver.clock) == []
    assert driver.refused(planned) == ("paused", "no task is offered: cluster_paused")
    driver.done(Resume())
    assert driver.offer() == 12


def test_nothing_is_offered_without_swarm_mode_or_under_the_storm_brake(
    driver: DeliveryDriver,
) -> None:
    driver.create()
    (planned,) = plan_offers(driver.state, driver.clock)
    driver.done(ChangeSettings({"swarm_mode": False}))
    assert (driver.offer(), driver.refused(planned)[0]) == (0, "paused")
    driver.done(ChangeSettings({"swarm_mode": True}))
    driver.sicken(*driver.rows[:9])
    assert driver.fleet.braked
    assert (driver.offer(), driver.refused(planned)[0]) == (0, "paused")
    driver.done(ReleaseBrake())
    assert driver.offer() == 3


def test_no_more_are_in_flight_than_there_may_be(driver: DeliveryDriver) -> None:
    driver.create(limits=Limits(max_in_flight=5))
    assert driver.offer() == 5
    assert driver.offer() == 0
    busy = offered(driver)
    driver.say(Word.IN_PROGRESS, *busy)
    assert driver.offer() == 0
    driver.run("2.0.0", *busy[:2])
    assert driver.offer() == 2


def test_the_setting_limits_what_does_not_limit_itself(driver: DeliveryDriver) -> None:
    driver.done(ChangeSettings({"max_in_flight": 3}))
    driver.create()
    assert driver.offer() == 3


def test_the_pace_is_kept_and_grows_with_good_minutes() -> None:
    driver = DeliveryDriver()
    driver.crowd(300)
    driver.create(limits=Limits(pace=Pace(60, 1_000)))
    count = 0
    for _ in range(60):
        count += driver.offer()
        driver.run("2.0.0", *offered(driver))
        driver.wait(1_000)
        assert count <= 60
    assert count == 60
    assert driver.deployment().rate == 120
    driver.keep_alive()
    for _ in range(60):
        count += driver.offer()
        driver.wait(1_000)
    assert 175 <= count <= 181


def test_offers_missed_while_nobody_led_are_made_up_for_ten_seconds_at_most(
    driver: DeliveryDriver,
) -> None:
    driver.create(limits=Limits(pace=Pace(60, 60)))
    driver.wait(50_000)
    driver.keep_alive()
    assert driver.offer() == 10


def test_who_puts_its_task_off_again_and_again_lets_the_others_go_first() -> None:
    driver = DeliveryDriver()
    driver.crowd(3)
    driver.create(limits=Limits(max_in_flight=1))
    turns: list[int] = []
    driver.wait(1_000)
    for _ in range(3):
        assert driver.offer() == 1
        turns += offered(driver)
        driver.say(Word.POSTPONED, turns[-1], retry_after=1)
        driver.wait(61_000)
        driver.keep_alive()
    assert sorted(turns) == driver.rows


def test_the_higher_priority_goes_first_and_the_lower_waits_for_each_device(
    driver: DeliveryDriver,
) -> None:
    driver.create(artifact=Artifact("1.5.0"))
    driver.create(Target(devices=("dev-0001", "dev-0002")), priority=900)
    assert driver.offer() == 12
    assert driver.states(1, 2) == [TaskState.OFFERED] * 2
    assert driver.states(1, 2, deployment=1) == [TaskState.QUEUED] * 2
    driver.say(Word.POSTPONED, 1, retry_after=600)
    assert driver.offer() == 0
    driver.say(Word.FAILED, 2, reason=TaskReason.HASH)
    assert driver.offer() == 1
    assert driver.states(2, deployment=1) == [TaskState.OFFERED]


def test_a_lower_priority_is_refused_in_apply_too(driver: DeliveryDriver) -> None:
    driver.create(artifact=Artifact("1.5.0"))
    (planned,) = plan_offers(driver.state, driver.clock)
    driver.create(Target(devices=("dev-0001",)), priority=900)
    assert driver.done(planned) == {"offered": 11, "left_out": 1}


def test_two_of_one_priority_share_no_device(driver: DeliveryDriver) -> None:
    driver.create(artifact=Artifact("1.5.0"), limits=Limits(max_in_flight=5))
    driver.create(artifact=Artifact("1.6.0"))
    plan = plan_offers(driver.state, driver.clock)
    assert [part.deployment for part in plan] == [1, 2]
    assert [driver.done(part)["offered"] for part in plan] == [5, 7]


def test_whatever_no_longer_holds_is_left_out_of_a_late_plan(driver: DeliveryDriver) -> None:
    driver.create()
    (planned,) = plan_offers(driver.state, driver.clock)
    driver.done(RemoveDevice("dev-0000"))
    driver.report({1: LOW})
    driver.run("2.0.0", 2)
    driver.run("3.0.0", 3)
    driver.register("newcomer", capabilities=CAPABLE)
    assert driver.done(planned) == {"offered": 8, "left_out": 4}
    assert driver.done(planned) == {"offered": 0, "left_out": 12}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (OfferTasks(1, u32([12]), u8([1])), "positions: 12 is beyond the 12 tasks"),
        (OfferTasks(1, u32([2, 1]), u8([1, 1])), "positions: not strictly ascending"),
        (OfferTasks(1, u32([1]), u8([1, 1])), "attempts: 2 bytes, 1 values"),
        (OfferTasks(1, b"abc", b""), "positions: 3 bytes are not"),
        (OfferTasks(9, b"", b""), "deployment: 9 is not open"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    driver: DeliveryDriver, command: OfferTasks, words: str
) -> None:
    driver.create()
    assert words in driver.refused(command)[1]


def test_an_offer_of_another_attempt_is_left_out(driver: DeliveryDriver) -> None:
    driver.create()
    assert driver.done(OfferTasks(1, u32([3]), u8([2])))["left_out"] == 1


def test_who_is_first_is_drawn_by_lot_and_stays_drawn() -> None:
    driver = DeliveryDriver()
    driver.crowd(60)
    driver.create(limits=Limits(max_in_flight=10))
    driver.create(artifact=Artifact("3.0.0"), limits=Limits(max_in_flight=10))
    first, second = (
        np.frombuffer(part.positions, "<u4").tolist()
        for part in plan_offers(driver.state, driver.clock)
    )
    assert first != list(range(10)) != second
    assert len({*first, *second}) == 20
    again, _ = plan_offers(driver.state, driver.clock)
    assert np.frombuffer(again.positions, "<u4").tolist() == first


@given(st.integers(1, 40), st.integers(1, 12), st.sets(st.integers(0, 39)))
def test_a_plan_made_on_the_present_state_is_carried_out_whole(
    devices: int, cap: int, offline: set[int]
) -> None:
    driver = DeliveryDriver()
    driver.crowd(devices)
    driver.create(limits=Limits(max_in_flight=cap))
    driver.clock += 60_000
    driver.report({row: GOOD for row in driver.rows if row not in offline})
    driver.silence()
    there = len(set(driver.rows) - offline)
    for part in plan_offers(driver.state, driver.clock):
        assert driver.done(part)["left_out"] == 0
    assert driver.deployment().in_flight == min(cap, there)


# The first ones


def trial(driver: DeliveryDriver, first: int = 1) -> list[int]:
    """A deployment whose first devices are told one at a time; who was told by now."""
    driver.create(limits=Limits(first=first))
    driver.offer()
    return offered(driver)


def settled(driver: DeliveryDriver) -> None:
    """So long after that it is known how a device does."""
    driver.clock += 30_000
    driver.keep_alive()


def test_the_first_is_told_alone_until_it_has_succeeded_and_is_well(
    driver: DeliveryDriver,
) -> None:
    (row,) = trial(driver)
    assert driver.offer() == 0
    assert standing(driver.state, driver.task((row + 1) % 12), driver.clock).delay is Delay.FIRST
    driver.run("2.0.0", row)
    assert driver.offer() == 0
    settled(driver)
    assert driver.offer() == 11


def test_one_that_is_ill_afterwards_does_not_count(driver: DeliveryDriver) -> None:
    (row,) = trial(driver)
    driver.run("2.0.0", row)
    settled(driver)
    driver.sicken(row)
    assert driver.offer() == 1


def test_while_the_first_tries_again_nobody_else_is_told(driver: DeliveryDriver) -> None:
    (row,) = trial(driver)
    driver.say(Word.IN_PROGRESS, row)
    driver.say(Word.FAILED, row, reason=TaskReason.INSTALL)
    assert driver.offer() == 0
    driver.clock += 40_000
    driver.keep_alive()
    driver.offer()
    assert offered(driver) == [row]


def test_a_first_one_that_has_gone_offline_holds_nobody_up(driver: DeliveryDriver) -> None:
    (row,) = trial(driver)
    driver.say(Word.IN_PROGRESS, row)
    driver.say(Word.FAILED, row, reason=TaskReason.INSTALL)
    driver.clock += 61_000
    driver.report({other: GOOD for other in driver.rows if other != row})
    driver.silence()
    assert driver.offer() == 1
    assert offered(driver) != [row]
