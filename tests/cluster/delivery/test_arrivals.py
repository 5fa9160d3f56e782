"""A device runs what it reports: tasks.md, "Versions"."""

import pytest

from stationkeep.cluster.commands import RegisterDevices, RemoveDevice
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState, Word
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver
from tests.cluster.fleet.fleets import NODE

ONE = Target(devices=("dev-0001",))


@pytest.fixture
def driver() -> DeliveryDriver:
    """Four capable devices on 1.0.0, and a deployment of 2.0.0 to all."""
    made = DeliveryDriver()
    made.crowd(4)
    made.create()
    return made


@pytest.mark.parametrize("before", ["queued", "offered", "in_progress", "next attempt"])
def test_the_version_asked_for_ends_the_task_whatever_the_attempt(
    driver: DeliveryDriver, before: str
) -> None:
    if before != "queued":
        driver.offer()
    if before in ("in_progress", "next attempt"):
        driver.say(Word.IN_PROGRESS, 1)
    if before == "next attempt":
        driver.say(Word.FAILED, 1, reason=TaskReason.REBOOT)
    driver.run("2.0.0", 1)
    assert driver.states(1) == [TaskState.SUCCEEDED]
    assert driver.busy([1]) == [False]


def test_a_device_that_timed_out_or_was_unreached_and_has_it_after_all_succeeded(
    driver: DeliveryDriver,
) -> None:
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.say(Word.SUCCEEDED, 1)
    driver.wait(3_600_000)
    driver.expire()
    assert driver.states(1) == [TaskState.TIMED_OUT]
    driver.run("2.0.0", 1)
    assert driver.states(1) == [TaskState.SUCCEEDED]


def test_a_success_that_falls_back_is_a_failure_for_good(driver: DeliveryDriver) -> None:
    """Scenario 8."""
    driver.run("2.0.0", 1)
    driver.run("1.0.0", 1)
    task = driver.task(1)
    assert (task.state, task.reason) == ("failed", "reverted")
    driver.run("2.0.0", 1)
    assert driver.states(1) == [TaskState.FAILED]
    assert driver.deployment().failures[0].reason is TaskReason.REVERTED


def test_a_registration_that_names_no_version_says_nothing_of_what_runs(
    driver: DeliveryDriver,
) -> None:
    driver.run("2.0.0", 1)
    driver.run("", 1, 2)
    assert driver.states(1, 2) == [TaskState.SUCCEEDED, TaskState.QUEUED]


def test_a_newer_version_cancels_what_has_not_begun(driver: DeliveryDriver) -> None:
    driver.offer()
    driver.say(Word.IN_PROGRESS, 2)
    driver.run("3.0.0", 1, 2)
    assert driver.states(1, 2) == [TaskState.CANCELED, TaskState.IN_PROGRESS]
    assert driver.task(1).reason is TaskReason.NEWER_INSTALLED


def test_a_version_that_cannot_be_compared_is_only_different(driver: DeliveryDriver) -> None:
    driver.run("blue", 1)
    assert driver.states(1) == [TaskState.QUEUED]


def test_a_deployment_that_allows_downgrades_goes_on_against_a_newer_version() -> None:
    driver = DeliveryDriver()
    driver.crowd(2)
    driver.create(allow_downgrade=True)
    driver.run("3.0.0", 0)
    assert driver.states(0) == [TaskState.QUEUED]


def test_a_registration_that_repeats_itself_changes_nothing(driver: DeliveryDriver) -> None:
    again = driver.registration("dev-0001", None, app_version="2.0.0", capabilities=CAPABLE)
    driver.done(RegisterDevices(NODE, (again,)))
    before = driver.task(1)
    driver.wait(10_000)
    driver.done(RegisterDevices(NODE, (again,)))
    assert driver.task(1) == before


def test_an_older_session_does_not_say_what_runs(driver: DeliveryDriver) -> None:
    driver.run("1.0.0", 1, session=5)
    old = driver.registration("dev-0001", None, app_version="2.0.0", session=4)
    driver.done(RegisterDevices(NODE, (old,)))
    assert driver.states(1) == [TaskState.QUEUED]


def test_a_removed_device_has_nothing_to_do_any_more(driver: DeliveryDriver) -> None:
    driver.create(ONE, artifact=Artifact("1.5.0"))
    driver.offer()
    driver.done(RemoveDevice("dev-0001"))
    assert driver.tallies(1) == {"canceled": 1, "offered": 3}
    assert driver.tallies(2) == {"canceled": 1}
    assert driver.deployment(2).state == "closed"
    driver.register("fresh", app_version="1.0.0", capabilities=CAPABLE)
    assert driver.fleet.row("fresh") == 1
    assert driver.offer() == 0
    driver.run("2.0.0", 1)
    assert driver.tallies(1) == {"canceled": 1, "offered": 3}


def test_what_another_deployment_had_it_install_is_no_reversion(driver: DeliveryDriver) -> None:
    driver.run("2.0.0", 1)
    driver.create(Target(devices=("dev-0001", "dev-0002")), Artifact("2.1.0"))
    driver.run("2.1.0", 1)
    assert driver.states(1, deployment=1) == [TaskState.SUCCEEDED]
    driver.run("1.0.0", 1)
    assert driver.states(1, deployment=1) == [TaskState.SUCCEEDED]
    assert driver.states(1, deployment=2) == [TaskState.FAILED]


def test_what_another_deployment_had_it_install_of_something_else_excuses_no_reversion(
    driver: DeliveryDriver,
) -> None:
    driver.run("2.0.0", 1)
    two = Target(devices=("dev-0001", "dev-0002"))
    driver.create(two, Artifact("14", component="os"))
    driver.run("2.0.0", 1, os_version="14")
    assert driver.states(1, deployment=2) == [TaskState.SUCCEEDED]
    driver.run("1.0.0", 1, os_version="14")
    assert driver.states(1, deployment=1) == [TaskState.FAILED]
    assert driver.states(1, deployment=2) == [TaskState.SUCCEEDED]


def test_falling_back_to_what_an_earlier_deployment_installed_is_a_reversion(
    driver: DeliveryDriver,
) -> None:
    driver.run("2.0.0", 1)
    driver.create(Target(devices=("dev-0001", "dev-0002")), Artifact("2.1.0"))
    driver.run("2.1.0", 1)
    driver.run("2.0.0", 1)
    assert driver.states(1, deployment=2) == [TaskState.FAILED]
