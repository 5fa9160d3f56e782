"""Deployments are created, canceled and retried: tasks.md, "Deployments"."""

from typing import Any

import pytest

from stationkeep.cluster.commands import (
    MAX_BATCH,
    CancelDeployment,
    CreateDeployment,
    RemoveDevice,
    RetryTasks,
)
from stationkeep.cluster.delivery.orders import MAX_OPEN_OF_ONE, MAX_OPEN_ORDERED
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Pace, Target
from stationkeep.cluster.deployments.lifecycle import Phase, TaskReason, TaskState, Word
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule
from tests.cluster.delivery.deliveries import ALL, CAPABLE, V2, DeliveryDriver

Q, S, F = TaskState.QUEUED, TaskState.SUCCEEDED, TaskState.FAILED
HASHED = Artifact("2.0.0", "app", "https://h/f", "0" * 64, 10)


@pytest.fixture
def driver() -> DeliveryDriver:
    """Twelve capable devices on 1.0.0, three a ring."""
    made = DeliveryDriver()
    made.crowd(12)
    return made


def test_a_ring_is_its_devices_of_that_moment(driver: DeliveryDriver) -> None:
    members = driver.in_ring(Ring.PROD)
    deployment = driver.create(Target(Ring.PROD))
    assert (deployment.members, deployment.number) == (3, 1)
    assert driver.states(*members) == [Q, Q, Q]
    driver.crowd(4)
    assert driver.tallies() == {"queued": 3}


def test_a_selector_a_list_and_all_name_members_too(driver: DeliveryDriver) -> None:
    ios = driver.crowd(2, os_version="iOS 17", labels={"site": "x"})
    driver.sicken(3)
    upper = [*driver.in_ring(Ring.STAGE), *driver.in_ring(Ring.PROD)]
    for target, rows in (
        (ALL, driver.rows),
        (Target(selector="os=iOS 17, site=x"), ios),
        (Target(selector="os!=iOS 17"), [row for row in driver.rows if row not in ios]),
        (Target(selector="id in (dev-0001, dev-0003, nobody)"), [1, 3]),
        (Target(selector="id!=dev-0001"), [row for row in driver.rows if row != 1]),
        (Target(selector="health!=healthy"), [3]),
        (Target(selector="ring in (prod, stage), health=healthy"), [r for r in upper if r != 3]),
        (Target(devices=("dev-0005", "dev-0002")), [2, 5]),
    ):
        number = driver.create(target).number
        assert driver.state.deployments.rosters[number].row.tolist() == sorted(rows)


def test_devices_without_the_capability_are_never_members(driver: DeliveryDriver) -> None:
    plain = driver.crowd(3, capabilities={})
    told_no = driver.crowd(1, capabilities={"deployment": "false"})
    labelled = driver.crowd(1, capabilities={}, labels=CAPABLE)
    deployment = driver.create()
    assert (deployment.members, deployment.incapable) == (12, 5)
    reason, detail = driver.refused(CreateDeployment(Target(devices=("dev-0012",))))
    assert reason == "incapable"
    assert "1 without the capability" in detail
    assert len(plain + told_no + labelled) == 5


def test_who_has_the_version_already_is_told_nothing(driver: DeliveryDriver) -> None:
    has = driver.crowd(1, app_version="2.0.0")
    driver.create()
    assert driver.states(*has) == [TaskState.ALREADY_INSTALLED]
    assert driver.offer() == 12
    only = driver.create(Target(devices=(driver.fleet.id(*has),)))
    assert (only.state, only.reason) == ("closed", "completed")


def test_who_has_a_newer_version_is_passed_over_unless_a_downgrade_is_allowed(
    driver: DeliveryDriver,
) -> None:
    ahead = driver.crowd(1, app_version="2.1.0")
    other = driver.crowd(1, app_version="blue")
    driver.create()
    assert driver.states(*ahead, *other) == [TaskState.CANCELED, Q]
    assert driver.task(*ahead).reason is TaskReason.NEWER_INSTALLED
    driver.create(allow_downgrade=True)
    assert driver.states(*ahead, *other) == [Q, Q]


def test_an_artifact_of_the_system_goes_by_the_version_of_the_system(
    driver: DeliveryDriver,
) -> None:
    has = driver.crowd(1, os_version="14.1", app_version="9.9.9")
    driver.create(artifact=Artifact("14.1", "os"))
    assert driver.states(*has) == [TaskState.ALREADY_INSTALLED]
    assert driver.tallies() == {"already_installed": 1, "queued": 12}


def test_a_task_without_an_artifact_goes_to_everyone(driver: DeliveryDriver) -> None:
    driver.create(artifact=None, task_type="reboot", parameters={"when": "now"})
    assert driver.tallies() == {"queued": 12}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": Target()}, "target: 0 given, exactly one"),
        ({"target": Target(Ring.PROD, devices=("dev-0001",))}, "target: 2 given, exactly one"),
        ({"target": Target(selector="os in (")}, "target.selector: character 8"),
        ({"target": Target(selector="a=\x1b[2J")}, "target.selector: 'a=\\x1b[2J' is not one line"),
        ({"target": Target(devices=("dev-0001",) * 2)}, "target.devices: a device is named twice"),
        ({"target": Target(devices=tuple(map(str, range(10_001))))}, "target.devices: 10001 given"),
        ({"task_type": "a b"}, "task_type: 'a b' is not a name"),
        ({"priority": 1_001}, "priority: 1001 is not between 0 and 1000"),
        ({"priority": -1}, "priority: -1 is not between 0 and 1000"),
        ({"limits": Limits(0)}, "limits.max_in_flight: 0 is not between 1"),
        ({"limits": Limits(deadline=9)}, "limits.deadline: 9 is not between 10"),
        ({"limits": Limits(retries=11)}, "limits.retries: 11 is not between 0 and 10"),
        ({"limits": Limits(pace=Pace(0))}, "limits.pace: from 0 to 1000 is not within 1"),
        ({"limits": Limits(pace=Pace(9, 8))}, "limits.pace: from 9 to 8 is not within"),
        ({"limits": Limits(pace=Pace(factor=0))}, "limits.pace.factor: 0 is not between 1"),
        ({"parameters": {"a b": ""}}, "parameters: 'a b' is not a name"),
        ({"parameters": {"a": "x" * 1_025}}, "parameters.a: 1025 characters, at most 1024"),
        ({"parameters": {"a": "\x1b"}}, "parameters.a: '\\x1b' is not one line"),
        ({"parameters": {f"p{n}": "" for n in range(33)}}, "parameters: 33 given, at most 32"),
        ({"parameters": {f"p{n}": "x" * 900 for n in range(10)}}, "bytes in all, at most"),
        ({"parameters": {f"p{n}": "💡" * 900 for n in range(3)}}, "10806 bytes in all, at most"),
        ({"require": HealthRule(())}, "require: a health rule has 1 to 16 conditions"),
        ({"require": HealthRule((Condition("cpu", "=", 1),))}, "require: operator '='"),
        ({"artifact": Artifact("a b")}, "artifact.version: 'a b' is not 1 to 64"),
    ],
)
def test_what_cannot_be_is_refused_with_field_value_and_rule(
    driver: DeliveryDriver, given: dict[str, Any], words: str
) -> None:
    reason, detail = driver.refused(CreateDeployment(**({"target": ALL} | given)))
    assert reason == "invalid"
    assert words in detail


def test_an_unknown_device_is_named(driver: DeliveryDriver) -> None:
    target = Target(devices=("dev-0001", "ghost"))
    reason, detail = driver.refused(CreateDeployment(target))
    assert (reason, detail) == ("unknown_device", "target.devices: no such device: 'ghost'")


def test_the_same_version_with_another_hash_is_refused(driver: DeliveryDriver) -> None:
    driver.create(artifact=HASHED)
    other = Artifact("2.0.0", "app", "https://h/f", "f" * 64, 10)
    reason, detail = driver.refused(CreateDeployment(ALL, artifact=other))
    assert reason == "artifact_differs"
    assert "f" * 64 in detail
    assert "0" * 64 in detail


# -- shares ----------------------------------------------------------------------------------------


def test_nobody_can_take_all_the_places_there_are(driver: DeliveryDriver) -> None:
    one = Target(devices=("dev-0001",))
    for _ in range(MAX_OPEN_OF_ONE):
        driver.create(one, actor="ann")
    reason, detail = driver.refused(CreateDeployment(one), key="more", actor="ann")
    assert (reason, detail.split(":")[0]) == ("quota", "16 deployments of this actor are open")
    for _ in range(MAX_OPEN_ORDERED - MAX_OPEN_OF_ONE):
        driver.create(one, actor="bob")
    assert driver.refused(CreateDeployment(one), key="more", actor="cid")[0] == "limit"
    driver.done(CancelDeployment(1), key="c", actor="ann")
    driver.create(one, actor="cid")


def test_whoever_opens_a_deployment_again_is_charged_for_it(driver: DeliveryDriver) -> None:
    failed(driver)  # nobody's
    one = Target(devices=("dev-0001",))
    for _ in range(MAX_OPEN_OF_ONE):
        driver.create(one, artifact=None, actor="ann")
    refused = driver.refused(RetryTasks(1), key="r", actor="ann")
    assert refused[0] == "quota"
    driver.done(RetryTasks(1), key="r", actor="bob")
    for _ in range(MAX_OPEN_OF_ONE - 1):
        driver.create(one, artifact=None, actor="bob")
    assert driver.refused(CreateDeployment(one), key="more", actor="bob")[0] == "quota"


def test_whoever_gives_no_name_shares_one_place(driver: DeliveryDriver) -> None:
    one = Target(devices=("dev-0001",))
    for n in range(MAX_OPEN_OF_ONE):
        driver.create(one, actor=f"anonymous@10.0.0.{n}")
    more = {"key": "more", "actor": "anonymous@10.0.0.99"}
    assert driver.refused(CreateDeployment(one), **more)[0] == "quota"


def test_an_order_that_comes_twice_opens_one_deployment(driver: DeliveryDriver) -> None:
    order = CreateDeployment(ALL, artifact=V2)
    first = driver.done(order, key="k", actor="ann")
    assert driver.done(order, key="k", actor="ann") == first
    assert len(driver.state.deployments) == 1


# -- cancel ----------------------------------------------------------------------------------------


def test_canceling_ends_what_has_not_begun_and_lets_the_rest_finish(
    driver: DeliveryDriver,
) -> None:
    driver.create(limits=Limits(max_in_flight=4))
    driver.offer()
    busy = [row for row in driver.rows if driver.task(row).state is TaskState.OFFERED]
    driver.say(Word.IN_PROGRESS, *busy[:2])
    answer = driver.done(CancelDeployment(1), key="c", actor="ann")
    assert answer == {"deployment": 1, "canceled": 10, "in_progress": 2}
    assert driver.deployment().state == "closing"
    assert driver.offer() == 0
    assert driver.busy(busy) == [True, True, False, False]
    assert driver.task(busy[0]).told_to_cancel
    assert driver.refused(CancelDeployment(1))[0] == "not_in_state"
    assert driver.say(Word.CANCELED, busy[0]) == "taken"
    driver.run("2.0.0", busy[1])
    assert (driver.deployment().state, driver.deployment().reason) == ("closed", "canceled")
    assert driver.tallies() == {"succeeded": 1, "canceled": 11}
    assert driver.busy(busy) == [False] * 4


def test_a_canceled_deployment_ends_by_its_own_deadlines(driver: DeliveryDriver) -> None:
    driver.create(Target(devices=("dev-0001",)))
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.done(CancelDeployment(1))
    driver.wait(600_000)
    assert driver.expire() == 1
    assert driver.states(1) == [TaskState.TIMED_OUT]
    assert driver.deployment().state == "closed"


def test_what_is_put_off_when_it_was_told_to_cancel_is_canceled(driver: DeliveryDriver) -> None:
    driver.create(Target(devices=("dev-0001",)))
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1)
    driver.done(CancelDeployment(1))
    assert driver.say(Word.POSTPONED, 1, retry_after=60) == "taken"
    assert driver.states(1) == [TaskState.CANCELED]
    assert driver.deployment().state == "closed"


def test_only_what_was_told_to_cancel_can_say_that_it_did(driver: DeliveryDriver) -> None:
    driver.create()
    driver.offer()
    driver.say(Word.IN_PROGRESS, 1, phase=Phase.DOWNLOADING)
    assert driver.say(Word.CANCELED, 1) == "illegal"
    assert driver.states(1) == [TaskState.IN_PROGRESS]


def test_what_is_unknown_cannot_be_canceled_or_retried(driver: DeliveryDriver) -> None:
    for command in (CancelDeployment(7), RetryTasks(7)):
        assert driver.refused(command) == ("unknown_deployment", "no such deployment: '7'")


# -- retry -----------------------------------------------------------------------------------------


def failed(driver: DeliveryDriver) -> None:
    """A deployment to all that has failed for good on one device, and is closed."""
    driver.create()
    driver.offer()
    driver.say(Word.FAILED, 3, reason=TaskReason.HASH)
    driver.run("2.0.0", *[row for row in driver.rows if row != 3])
    assert driver.deployment().state == "closed"


def test_a_retry_opens_a_closed_deployment_again(driver: DeliveryDriver) -> None:
    failed(driver)
    assert driver.done(RetryTasks(1), key="r", actor="ann") == {"deployment": 1, "retried": 1}
    assert driver.deployment().state == "open"
    assert driver.task(3).attempt == 2
    assert driver.offer() == 1
    driver.run("2.0.0", 3)
    assert driver.tallies() == {"succeeded": 12}
    assert driver.deployment().state == "closed"


def test_a_retry_sees_who_runs_another_version_since_the_deployment_closed(
    driver: DeliveryDriver,
) -> None:
    failed(driver)
    driver.run("2.1.0", 5)
    assert driver.states(5) == [S]
    driver.done(RetryTasks(1))
    assert (driver.task(5).state, driver.task(5).reason) == (F, TaskReason.REVERTED)
    assert driver.states(3) == [Q]


def test_a_retry_of_nothing_but_what_runs_by_now_is_over_at_once(driver: DeliveryDriver) -> None:
    failed(driver)
    driver.run("2.0.0", 3)
    assert driver.done(RetryTasks(1))["retried"] == 1
    assert driver.deployment().state == "closed"
    assert driver.tallies() == {"succeeded": 12}


def test_a_retry_has_the_time_that_the_deployment_was_given(driver: DeliveryDriver) -> None:
    failed(driver)
    driver.wait(100_000_000)
    driver.keep_alive()
    driver.done(RetryTasks(1))
    assert driver.deployment().deadline == driver.clock + 86_400_000


def test_a_retry_names_devices_or_means_all_that_failed(driver: DeliveryDriver) -> None:
    driver.create(limits=Limits(retries=0))
    driver.offer()
    driver.say(Word.FAILED, 1, 2, 3, reason=TaskReason.INSTALL)
    assert driver.done(RetryTasks(1, ("dev-0002", "dev-0005")))["retried"] == 1
    assert driver.states(1, 2, 3) == [F, Q, F]
    assert driver.done(RetryTasks(1))["retried"] == 2
    assert driver.refused(RetryTasks(1))[0] == "not_in_state"


def test_fifteen_attempts_are_enough(driver: DeliveryDriver) -> None:
    driver.create(Target(devices=("dev-0001",)), limits=Limits(retries=0))
    for attempt in range(1, 16):
        driver.offer()
        assert driver.task(1).attempt == attempt
        driver.say(Word.FAILED, 1, reason=TaskReason.INSTALL)
        if attempt < 15:
            driver.done(RetryTasks(1))
    assert driver.refused(RetryTasks(1))[0] == "not_in_state"


def test_a_device_that_is_gone_is_not_retried(driver: DeliveryDriver) -> None:
    failed(driver)
    driver.done(RemoveDevice("dev-0003"))
    driver.register("dev-0003", capabilities=CAPABLE)
    assert driver.refused(RetryTasks(1))[0] == "not_in_state"


def test_what_was_canceled_stays_canceled(driver: DeliveryDriver) -> None:
    driver.create()
    driver.offer()
    driver.say(Word.FAILED, 1, reason=TaskReason.HASH)
    driver.done(CancelDeployment(1))
    assert driver.refused(RetryTasks(1)) == ("not_in_state", "deployment: 1 was canceled")


def test_more_than_a_batch_is_canceled_in_one_entry() -> None:
    driver = DeliveryDriver()
    driver.crowd(MAX_BATCH + 10)
    driver.create()
    driver.done(CancelDeployment(1))
    (change,) = [e for e in driver.events if type(e).__name__ == "TasksChanged"]
    assert (change.count, len(change.rows) // 4) == (MAX_BATCH + 10, MAX_BATCH)
