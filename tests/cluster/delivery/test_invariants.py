"""Each invariant of tasks is seen to fail: a check that cannot fail checks nothing."""

from collections.abc import Callable

import pytest

from stationkeep.cluster.delivery.invariants import INVARIANTS
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import DeploymentState, Target
from stationkeep.cluster.deployments.lifecycle import TaskState, Word
from stationkeep.cluster.invariants import violations
from tests.cluster.delivery.deliveries import DeliveryDriver


def working() -> DeliveryDriver:
    """Two deployments in every stage of their lives."""
    driver = DeliveryDriver()
    driver.crowd(6)
    driver.create()
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1, 2)
    driver.run("2.0.0", 3)
    driver.create(Target(devices=("dev-0003",)), Artifact("3.0.0"))
    return driver


def _miscounted(driver: DeliveryDriver) -> None:
    driver.deployment(1).tallies[TaskState.QUEUED.code] += 1


def _forgotten_in_the_table(driver: DeliveryDriver) -> None:
    driver.fleet.table.task[1] = 0


def _busy_with_nothing(driver: DeliveryDriver) -> None:
    driver.fleet.table.task[3] = 2


def _two_of_one_device(driver: DeliveryDriver) -> None:
    roster = driver.state.deployments.rosters[2]
    roster.row[0], roster.birth[0] = 1, 2
    roster.state[0] = TaskState.OFFERED.code


def _of_a_device_that_is_gone(driver: DeliveryDriver) -> None:
    driver.state.deployments.rosters[1].birth[1] = 99


def _waiting_for_a_device_that_is_gone(driver: DeliveryDriver) -> None:
    driver.state.deployments.rosters[2].birth[0] = 99


def _closed_too_early(driver: DeliveryDriver) -> None:
    driver.deployment(2).state = DeploymentState.CLOSED


def _still_waiting_although_canceled(driver: DeliveryDriver) -> None:
    driver.deployment(1).state = DeploymentState.CLOSING


def _without_an_end(driver: DeliveryDriver) -> None:
    driver.state.deployments.rosters[1].due[1] = 0


def _over_before_it_began(driver: DeliveryDriver) -> None:
    driver.deployment(2).deadline = driver.deployment(2).opened_at


def _another_version(driver: DeliveryDriver) -> None:
    driver.fleet.table.kind[3] = driver.fleet.table.kind[0]


def _too_many_in_flight(driver: DeliveryDriver) -> None:
    deployment = driver.deployment(1)
    deployment.limits = type(deployment.limits)(2, None, 1, 1)


def _rows_astray(driver: DeliveryDriver) -> None:
    roster = driver.state.deployments.rosters[1]
    roster.row[:] = roster.row[::-1].copy()


def _no_attempt(driver: DeliveryDriver) -> None:
    driver.state.deployments.rosters[1].attempt[0] = 0


BROKEN: dict[str, list[Callable[[DeliveryDriver], None]]] = {
    "tallies_recount": [_miscounted],
    "one_task_a_device": [
        _forgotten_in_the_table, _busy_with_nothing, _two_of_one_device, _of_a_device_that_is_gone,
    ],
    "closed_are_over": [_closed_too_early, _still_waiting_although_canceled],
    "every_wait_ends": [_without_an_end, _over_before_it_began],
    "only_reported_successes": [_another_version],
    "unfinished_are_there": [_waiting_for_a_device_that_is_gone],
    "within_limits": [_too_many_in_flight],
    "rosters_hold": [_rows_astray, _no_attempt],
}  # fmt: skip


def test_a_state_that_rules_made_breaks_none() -> None:
    assert list(violations(working().state)) == []


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.__name__)
def test_each_is_seen_to_fail(invariant: Callable[..., str | None]) -> None:
    for broken in BROKEN[invariant.__name__]:
        driver = working()
        broken(driver)
        assert invariant(driver.state), broken.__name__
        assert any(f"delivery.{invariant.__name__}" in fault for fault in violations(driver.state))
