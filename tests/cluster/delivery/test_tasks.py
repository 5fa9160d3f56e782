"""What can be asked of tasks: those of a device, why one waits, and in which words."""

from typing import Any

import pytest

from stationkeep.cluster.commands import (
    CancelDeployment,
    ChangeSettings,
    Pause,
    RemoveDevice,
    Resume,
    RetryTasks,
)
from stationkeep.cluster.delivery.explain import explain_device
from stationkeep.cluster.delivery.tasks import Delay, standing, task_of_device, tasks_of
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace, Target
from stationkeep.cluster.deployments.lifecycle import Phase, TaskReason, Word
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.fleet.explain import explain_device as explain_ring
from stationkeep.cluster.sentences import sentence
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.fleet.fleets import GOOD

LOW = Reading(battery=15, charging=False, cpu=100, memory=100, disk=100)
ONE = Target(devices=("dev-0001",))


@pytest.fixture
def driver() -> DeliveryDriver:
    """Four capable devices on 1.0.0."""
    made = DeliveryDriver()
    made.crowd(4)
    return made


def lines(driver: DeliveryDriver, row: int = 1) -> list[str]:
    """What an explanation says of tasks."""
    ring = explain_ring(driver.state, row).summary
    told = explain_device(driver.state, row).summary
    assert told[: len(ring)] == ring
    return told[len(ring) :]


def told(driver: DeliveryDriver) -> str:
    return "; ".join(lines(driver))


def why(driver: DeliveryDriver, row: int = 1) -> tuple[Delay | None, int]:
    return standing(driver.state, driver.task(row), driver.clock)


def test_a_device_has_its_tasks_newest_first_and_at_most_one_that_has_it(
    driver: DeliveryDriver,
) -> None:
    driver.create()
    driver.create(ONE, Artifact("3.0.0"))
    assert [task.deployment for task in tasks_of(driver.state, 1)] == [2, 1]
    assert [task.deployment for task in tasks_of(driver.state, 2)] == [1]
    assert task_of_device(driver.state, 1) is None
    driver.offer()
    has = task_of_device(driver.state, 1)
    assert has == driver.task(1, 1)


def test_the_next_tenant_of_a_row_has_none_of_its_tasks(driver: DeliveryDriver) -> None:
    driver.create()
    driver.done(RemoveDevice("dev-0001"))
    driver.register("fresh", capabilities=CAPABLE)
    assert tasks_of(driver.state, 1) == []
    assert lines(driver) == []


def test_why_a_task_waits_is_the_first_thing_in_its_way(driver: DeliveryDriver) -> None:
    driver.create(ONE, Artifact("3.0.0"), priority=900)
    driver.create(limits=Limits(1, Pace(1, 1)))
    assert why(driver) == (Delay.PRIORITY, 1)
    assert "deployment 1 goes before, by its priority" in told(driver)
    driver.offer()
    assert why(driver) == (Delay.BUSY, 1)
    assert "deployment 1 has the device" in told(driver)
    driver.say(Word.REJECTED, 1, deployment=1)
    assert why(driver) == (Delay.MAX_IN_FLIGHT, 0)
    assert "1 tasks are in flight (max_in_flight)" in told(driver)
    driver.say(Word.REJECTED, *[row for row in (0, 2, 3) if driver.task(row).state == "offered"])
    assert why(driver) == (Delay.PACE, 0)
    assert "the pace is 1 a minute" in told(driver)
    driver.wait(60_000)
    driver.keep_alive()
    assert why(driver) == (None, 0)
    assert "it is offered next" in told(driver)
    driver.report({1: LOW})
    assert why(driver) == (Delay.REQUIRE, 0)
    assert "battery > 20" in told(driver)
    driver.wait(60_000)
    driver.silence()
    assert why(driver) == (Delay.OFFLINE, 0)
    assert "the device is offline; for another" in told(driver)
    driver.done(Pause(1_000))
    assert why(driver) == (Delay.HELD, 0)
    assert "automatic changes are paused" in told(driver)
    driver.done(Resume())
    driver.done(ChangeSettings({"swarm_mode": False}))
    assert "automatic changes are switched off" in told(driver)
    driver.done(ChangeSettings({"swarm_mode": True}))
    driver.wait(86_400_000)
    assert why(driver) == (Delay.DEADLINE, 0)
    assert "the time of its deployment is over" in told(driver)


def test_a_wait_says_for_what_and_how_long(driver: DeliveryDriver) -> None:
    driver.create(ONE)
    driver.offer()
    driver.say(Word.POSTPONED, 1, retry_after=600)
    assert why(driver) == (Delay.NOT_BEFORE, 0)
    (line,) = lines(driver)
    assert line == (
        "its task 1/dev-0001/1 (app 2.0.0) waits: the device put it off, the next offer is in 600s"
    )


def test_a_task_under_way_says_how_far_it_is(driver: DeliveryDriver) -> None:
    driver.create(ONE)
    driver.offer()
    driver.wait(5_000)
    assert lines(driver) == [
        "its task 1/dev-0001/1 (app 2.0.0) was offered 5s ago and is not answered yet",
        "no check moves it meanwhile, and no other task is offered to it",
    ]
    driver.say(Word.IN_PROGRESS, 1, phase=Phase.DOWNLOADING, progress=40)
    driver.wait(7_000)
    assert "is downloading, 40 %, for 7s" in lines(driver)[0]
    driver.done(CancelDeployment(1))
    assert "and was told to cancel" in lines(driver)[0]


@pytest.mark.parametrize(
    ("order", "name"),
    [
        ({"task_type": "reboot", "artifact": None}, "deployment 1 (reboot to all)"),
        ({"task_type": "flash"}, "deployment 1 (flash app 2.0.0 to all)"),
    ],
)
def test_a_type_of_ones_own_is_said_in_decisions(
    driver: DeliveryDriver, order: dict[str, Any], name: str
) -> None:
    driver.create(**order)
    assert sentence(driver.state.decisions[-1]).startswith(f"{name} opened: 4 devices")


def test_decisions_about_deployments_are_sentences(driver: DeliveryDriver) -> None:
    driver.crowd(1, app_version="2.0.0")
    driver.crowd(1, app_version="3.0.0")
    driver.crowd(2, capabilities={})
    driver.create(actor="ann")
    driver.offer()
    driver.say(Word.FAILED, 1, reason=TaskReason.HASH)
    driver.run("2.0.0", 0, 2, 3)
    driver.done(RetryTasks(1), key="r", actor="ann", reason="mended")
    driver.report({1: GOOD})
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.wait(65_000)
    driver.done(CancelDeployment(1), key="c", actor="bob")
    driver.say(Word.CANCELED, 1)
    told = [sentence(d) for d in driver.state.decisions if "deployment" in d.facts]
    name = "deployment 1 (app 2.0.0 to all)"
    assert told == [
        f"{name} opened: 6 devices, 1 of them have it, 1 of them have a newer version, "
        "2 devices cannot carry out tasks (by ann)",
        f"{name} completed after 0s: 1 already installed, 3 succeeded, 1 failed, 1 canceled",
        f"{name}: another attempt for 1 device (by ann: mended)",
        f"{name} canceled for 0 devices; 1 device had begun and may still finish (by bob)",
        f"{name} canceled after 65s: 1 already installed, 3 succeeded, 2 canceled",
    ]
