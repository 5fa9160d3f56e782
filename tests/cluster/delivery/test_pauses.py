"""A pause of all automatic changes takes no deployment's time away, whoever ordered it."""

import pytest

from stationkeep.cluster.commands import AdvanceTime, ChangeSettings, Pause, Resume, RetryTasks
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.deployments.lifecycle import TaskReason, Word
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import DeliveryDriver

HOUR = 3_600_000


@pytest.fixture
def driver() -> DeliveryDriver:
    made = DeliveryDriver()
    made.crowd(3)
    return made


def over(driver: DeliveryDriver, milliseconds: int) -> None:
    """So much time passes, in which a leader looks for waits that are over."""
    end = driver.clock + milliseconds
    while driver.clock < end:
        driver.clock += min(milliseconds // 8, end - driver.clock)
        driver.done(AdvanceTime())
        driver.expire()


def test_nobody_becomes_unreached_by_a_pause(driver: DeliveryDriver) -> None:
    made = driver.create(limits=Limits(deadline=HOUR))
    over(driver, HOUR // 2)
    driver.done(Pause(3 * HOUR))
    over(driver, 2 * HOUR)
    assert driver.tallies() == {"queued": 3}
    driver.done(ChangeSettings({"swarm_mode": False}))
    over(driver, 2 * HOUR)
    driver.done(ChangeSettings({"swarm_mode": True}))
    assert driver.state.pause is None
    assert made.deadline - driver.clock == HOUR // 2
    over(driver, HOUR)
    assert driver.tallies() == {"unreached": 3}


def test_what_is_ordered_in_a_pause_has_its_own_time_from_its_end_on(
    driver: DeliveryDriver,
) -> None:
    driver.done(Pause(3 * HOUR))
    over(driver, HOUR)
    made = driver.create(limits=Limits(deadline=HOUR // 2))
    over(driver, HOUR)
    driver.done(Resume())
    assert made.deadline - driver.clock == HOUR // 2


def test_what_is_tried_again_in_a_pause_has_its_own_time_from_its_end_on(
    driver: DeliveryDriver,
) -> None:
    made = driver.create(limits=Limits(deadline=HOUR, retries=0))
    driver.offer()
    driver.say(Word.IN_PROGRESS, *driver.rows)
    driver.say(Word.FAILED, *driver.rows, reason=TaskReason.OTHER)
    driver.done(Pause(3 * HOUR))
    over(driver, HOUR)
    driver.done(RetryTasks(made.number))
    over(driver, HOUR)
    driver.done(Resume())
    assert made.deadline - driver.clock == HOUR


def test_a_snapshot_within_a_pause_changes_nothing(driver: DeliveryDriver) -> None:
    driver.create(limits=Limits(deadline=HOUR))
    driver.done(Pause(3 * HOUR))
    over(driver, 2 * HOUR)
    driver.state = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    driver.done(Resume())
    assert driver.deployment().deadline - driver.clock == HOUR
