"""Every wait ends: tasks.md, "Waits and retries"."""

import pytest

from stationkeep.cluster.commands import ExpireTasks, RegisterDevices
from stationkeep.cluster.delivery.expiries import plan_expiries
from stationkeep.cluster.delivery.tasks import Delay, standing
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.deployments.lifecycle import Phase, TaskReason, TaskState, Word
from tests.cluster.delivery.deliveries import ALL, DeliveryDriver
from tests.cluster.fleet.fleets import NODE, u8, u32

MINUTE = 60_000
ONE = Target(devices=("dev-0001",))


@pytest.fixture
def driver() -> DeliveryDriver:
    """Four capable devices on 1.0.0."""
    made = DeliveryDriver()
    made.crowd(4)
    return made


def pass_time(driver: DeliveryDriver, milliseconds: int) -> None:
    """Time goes by, and everybody is heard of."""
    driver.wait(milliseconds)
    driver.keep_alive()


def test_an_offer_that_is_not_answered_is_made_again_and_costs_no_attempt(
    driver: DeliveryDriver,
) -> None:
    driver.create(ONE)
    driver.offer()
    driver.wait(59_999)
    assert driver.expire() == 0
    driver.wait(1)
    assert driver.expire() == 1
    task = driver.task(1)
    assert (task.state, task.attempt, task.reason) == ("queued", 1, "unanswered")
    assert not driver.busy([1])[0]
    assert driver.offer() == 0
    pass_time(driver, 36_000)  # 30 s, a fifth more or less
    assert driver.offer() == 1


def test_offers_come_later_and_later_and_after_eight_no_more(driver: DeliveryDriver) -> None:
    driver.create(ONE)
    waits = []
    for _ in range(8):
        assert driver.offer() == 1
        pass_time(driver, MINUTE)
        driver.expire()
        task = driver.task(1)
        waits.append(0 if task.due is None else task.due - driver.clock)
        pass_time(driver, waits[-1])
    assert waits == [*sorted(waits[:-1]), 0]
    assert max(waits) <= 1.2 * 3_600_000
    assert driver.task(1).reason is TaskReason.NOT_ANSWERING
    assert standing(driver.state, driver.task(1), driver.clock).delay is Delay.NOT_ANSWERING
    pass_time(driver, 2 * 3_600_000)
    assert driver.offer() == 0
    driver.run("1.0.0", 1)
    assert driver.offer() == 1


def test_a_device_that_goes_silent_in_the_midst_has_timed_out_and_tries_again(
    driver: DeliveryDriver,
) -> None:
    driver.create(ONE)
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.wait(9 * MINUTE)
    driver.say(Word.IN_PROGRESS, 1, progress=50)
    driver.wait(9 * MINUTE)
    assert driver.expire() == 0
    pass_time(driver, MINUTE)
    assert driver.expire() == 1
    task = driver.task(1)
    assert (task.state, task.attempt, task.reason) == ("queued", 2, "retry")
    assert driver.state.counters.task_transitions["in_progress>timed_out>silent"] == 1
    group = driver.deployment().failures[0]
    assert (group.reason, group.count, group.device) == ("silent", 1, "dev-0001")


def test_one_attempt_has_an_end_however_much_is_said_of_it(driver: DeliveryDriver) -> None:
    driver.create(ONE, limits=Limits(retries=0))
    driver.offer()
    for n in range(12):
        assert driver.say(Word.IN_PROGRESS, 1, progress=n) == "taken"
        driver.wait(5 * MINUTE)
        expected = 1 if n == 11 else 0
        assert driver.expire() == expected
    assert driver.states(1) == [TaskState.TIMED_OUT]
    assert driver.deployment().state == "closed"


def test_retries_wait_longer_each_time_and_end(driver: DeliveryDriver) -> None:
    driver.create(ONE)
    waits = []
    for attempt in (1, 2, 3):
        driver.offer()
        assert driver.task(1).attempt == attempt
        driver.say(Word.FAILED, 1, reason=TaskReason.DOWNLOAD)
        task = driver.task(1)
        if attempt < 3:
            assert task.due is not None
            waits.append(task.due - driver.clock)
            pass_time(driver, waits[-1])
    assert driver.states(1) == [TaskState.FAILED]
    assert 24_000 <= waits[0] <= 36_000
    assert 3.9 <= waits[1] / waits[0] <= 4.1


def test_who_could_not_be_reached_until_the_deadline_is_to_blame_for_nothing(
    driver: DeliveryDriver,
) -> None:
    driver.create(limits=Limits(deadline=10 * MINUTE))
    driver.wait(MINUTE)
    driver.silence()
    driver.wait(9 * MINUTE)
    assert driver.expire() == 4
    assert driver.tallies() == {"unreached": 4}
    assert driver.task(0).reason is TaskReason.UNREACHED
    assert driver.deployment().failures == []
    assert driver.deployment().state == "closed"


def test_who_had_begun_and_went_silent_until_the_deadline_has_failed(
    driver: DeliveryDriver,
) -> None:
    driver.create(ONE, limits=Limits(deadline=20 * MINUTE))
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.wait(10 * MINUTE)
    driver.expire()
    driver.silence()
    assert driver.states(1) == [TaskState.QUEUED]
    driver.wait(10 * MINUTE)
    driver.expire()
    assert driver.tallies() == {"timed_out": 1}


def test_nothing_is_offered_after_the_deadline(driver: DeliveryDriver) -> None:
    driver.create(limits=Limits(deadline=MINUTE, max_in_flight=1))
    driver.offer()
    pass_time(driver, MINUTE)
    assert driver.offer() == 0
    driver.expire()
    assert driver.tallies() == {"queued": 1, "unreached": 3}
    driver.expire()
    assert driver.tallies() == {"unreached": 4}


def test_a_plan_of_a_deposed_leader_ends_nothing_too_early(driver: DeliveryDriver) -> None:
    driver.create()
    driver.offer()
    early = ExpireTasks(1, u32(range(4)), u8([1] * 4))
    assert driver.done(early) == {"expired": 0}
    driver.wait(MINUTE)
    (plan,) = plan_expiries(driver.state, driver.clock)
    assert driver.done(plan) == {"expired": 4}
    assert driver.done(plan) == {"expired": 0}


def test_a_long_list_is_over_in_several_plans() -> None:
    driver = DeliveryDriver()
    driver.crowd(4)
    for n in range(3):
        driver.create(ALL, limits=Limits(deadline=MINUTE), priority=n)
    driver.wait(MINUTE)
    assert [part.deployment for part in plan_expiries(driver.state, driver.clock)] == [3, 2, 1]


def test_a_device_that_comes_back_in_time_is_offered_its_next_attempt(
    driver: DeliveryDriver,
) -> None:
    driver.create(ONE)
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1, phase=Phase.REBOOTING)
    driver.wait(10 * MINUTE)
    driver.expire()
    driver.silence()
    driver.wait(10 * MINUTE)
    again = driver.registration("dev-0001", None, app_version="1.0.0", session=2,
                                capabilities={"deployment": "true"})  # fmt: skip
    driver.done(RegisterDevices(NODE, (again,)))
    assert driver.offer() == 1
    assert driver.task(1).attempt == 2


def test_who_goes_on_after_it_claimed_success_and_falls_silent_is_only_silent(
    driver: DeliveryDriver,
) -> None:
    driver.create(ONE)
    driver.offer()
    driver.say(Word.SUCCEEDED, 1)
    driver.say(Word.IN_PROGRESS, 1, phase=Phase.INSTALLING)
    driver.wait(10 * MINUTE)
    driver.expire()
    assert (driver.task(1).state, driver.task(1).attempt) == ("queued", 2)
