"""Room: rosters of closed deployments go, oldest first of whoever has the most, and their tallies
stay."""

import numpy as np
import pytest

from stationkeep.cluster.commands import CancelDeployment, RetryTasks
from stationkeep.cluster.delivery.tasks import tasks_of
from stationkeep.cluster.deployments import book as module
from stationkeep.cluster.deployments import forgetting
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.book import Versions
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.deployments.roster import Roster
from tests.cluster.delivery.deliveries import ALL, DeliveryDriver

ONE = Target(devices=("dev-0001",))


@pytest.fixture
def driver() -> DeliveryDriver:
    made = DeliveryDriver()
    made.crowd(4)
    return made


def canceled(
    driver: DeliveryDriver, target: Target = ONE, version: str = "2.0.0", actor: str = ""
) -> int:
    number = driver.create(target, Artifact(version), actor).number
    driver.done(CancelDeployment(number))
    return number


def test_rosters_make_room_and_tallies_stay(
    driver: DeliveryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TASKS", 6)
    numbers = [canceled(driver) for _ in range(4)]
    driver.create()
    book = driver.state.deployments
    assert list(book.rosters) == [*numbers[2:], 5]
    assert driver.tallies(numbers[0]) == {"canceled": 1}
    assert [task.deployment for task in tasks_of(driver.state, 1)] == [5, *numbers[:1:-1]]
    assert driver.refused(RetryTasks(numbers[0]))[0] == "not_in_state"


def test_the_longest_closed_deployment_is_forgotten_and_its_artifact_with_it(
    driver: DeliveryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CLOSED_DEPLOYMENTS", 2)
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        canceled(driver, version=version)
    book = driver.state.deployments
    assert list(book.known) == book.closed == [2, 3]
    assert {a.version for a in book.artifacts.known.values()} == {"1.2.0", "1.3.0"}


@pytest.mark.parametrize(
    "others", [["bob"], ["anonymous@192.0.2.1", "anonymous@192.0.2.2"], ["b", "c", "d", "e", "f"]]
)
def test_who_orders_much_pushes_out_nobody_elses_deployments(
    driver: DeliveryDriver, monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    """Nor under names that are invented."""
    monkeypatch.setattr(module, "MAX_CLOSED_DEPLOYMENTS", 10)
    monkeypatch.setattr(forgetting, "MAX_ACCOUNTS", 3)
    own = [canceled(driver, actor="ann") for _ in range(2)]
    for number in range(20):
        newest = canceled(driver, actor=others[number % len(others)])
    book = driver.state.deployments
    assert len(book.known) == 10
    assert {*own, newest} <= set(book.known) & set(book.rosters)


def test_who_has_the_most_tasks_makes_room_for_more(
    driver: DeliveryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TASKS", 10)
    own = canceled(driver, actor="ann")
    large, *small = [canceled(driver, t, actor="bob") for t in (ALL, ONE, ONE)]
    driver.create(ALL, actor="cyd")
    book = driver.state.deployments
    assert list(book.rosters) == [own, *small, 5]
    assert list(book.known) == [own, large, *small, 5]


def test_slots_are_given_back(driver: DeliveryDriver) -> None:
    first = driver.create(ONE)
    second = driver.create(ONE)
    assert (first.slot, second.slot) == (1, 2)
    driver.done(CancelDeployment(1))
    assert (first.slot, driver.create(ONE).slot) == (0, 1)


def test_versions_that_no_roster_refers_to_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VERSIONS", 3)
    versions = Versions()
    roster = Roster.of(np.arange(2), np.ones(2), np.zeros(2))
    assert versions.numbers(["a", "b", "c", ""], []) == {"a": 1, "b": 2, "c": 3, "": 0}
    roster.version[:] = [1, 3]
    assert versions.numbers(["d", "a"], [roster]) == {"d": 2, "a": 1}
    assert versions[2] == "d"
    roster.version[:] = [2, 3]
    assert versions.numbers(["e", "f"], [roster]) == {"e": 1, "f": 0}
    assert versions.numbers(["e", "f"], [roster]) == {"e": 1, "f": 0}
