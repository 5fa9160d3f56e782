"""What devices say of their tasks: each word taken once, and only where it may be."""

from typing import Any

import pytest
from msgspec.structs import replace

from stationkeep.cluster.commands import RemoveDevice, ReportTasks, TaskNote
from stationkeep.cluster.delivery.tasks import task_of_device
from stationkeep.cluster.deployments.deployment import MAX_FAILURES, Limits, Target
from stationkeep.cluster.deployments.lifecycle import (
    TASK_REASONS,
    Phase,
    TaskReason,
    TaskState,
    Word,
)
from tests.cluster.delivery.deliveries import ALL, CAPABLE, DeliveryDriver
from tests.cluster.fleet.fleets import NODE, u8, u32


@pytest.fixture
def driver() -> DeliveryDriver:
    """Six capable devices on 1.0.0 that have all been offered 2.0.0."""
    made = DeliveryDriver()
    made.crowd(6)
    made.create()
    made.offer()
    return made


def words(driver: DeliveryDriver, *rows: int, **changed: Any) -> ReportTasks:
    """A batch in which these devices have begun."""
    count = len(rows)
    command = ReportTasks(
        NODE, u32(rows), u32(int(driver.fleet.table.birth[row]) for row in rows),
        u32([1] * count), u8([1] * count), u8([Word.IN_PROGRESS.code] * count), u8([0] * count),
        u8([0] * count), u8([0] * count),
    )  # fmt: skip
    return replace(command, **changed)


def test_a_device_says_how_far_it_is(driver: DeliveryDriver) -> None:
    said = {"phase": Phase.DOWNLOADING, "progress": 47}
    assert driver.say(Word.IN_PROGRESS, 1, **said) == "taken"  # type: ignore[arg-type]
    task = driver.task(1)
    assert (task.state, task.phase, task.progress) == ("in_progress", "downloading", 40)
    assert task.accepted
    assert task.due == driver.clock + 600_000
    driver.wait(5_000)
    assert driver.say(Word.IN_PROGRESS, 1, phase=Phase.INSTALLING, progress=100) == "taken"
    assert driver.task(1).since == task.since
    assert driver.task(1).due == driver.clock + 600_000
    assert driver.state.counters.task_transitions["offered>in_progress>"] == 1


def test_its_word_that_it_succeeded_is_not_enough(driver: DeliveryDriver) -> None:
    """Scenario 7: it goes on reporting 1.0.0."""
    driver.say(Word.IN_PROGRESS, 1)
    assert driver.say(Word.SUCCEEDED, 1) == "taken"
    assert (driver.task(1).state, driver.task(1).phase) == ("in_progress", "confirming")
    driver.wait(600_000)
    assert driver.say(Word.SUCCEEDED, 1) == "taken"  # which gives it no more time
    driver.wait(3_000_000)
    driver.expire()
    task = driver.task(1)
    assert (task.state, task.reason, task.attempt) == ("timed_out", "version_mismatch", 1)


def test_what_it_reports_is(driver: DeliveryDriver) -> None:
    driver.say(Word.IN_PROGRESS, 1)
    driver.run("2.0.0", 1)
    assert driver.states(1) == [TaskState.SUCCEEDED]
    assert task_of_device(driver.state, 1) is None
    assert driver.say(Word.SUCCEEDED, 1) == "repeated"


def test_a_task_without_an_artifact_succeeds_by_the_devices_word() -> None:
    driver = DeliveryDriver()
    driver.crowd(2)
    driver.create(artifact=None, task_type="reboot")
    driver.offer()
    assert driver.say(Word.SUCCEEDED, 0) == "taken"
    assert driver.states(0) == [TaskState.SUCCEEDED]


@pytest.mark.parametrize("reason", TASK_REASONS[1:12])
def test_only_some_failures_are_tried_again(driver: DeliveryDriver, reason: TaskReason) -> None:
    driver.say(Word.FAILED, 1, reason=reason)
    again = reason in ("download", "install", "reboot")
    assert driver.states(1) == [TaskState.QUEUED if again else TaskState.FAILED]
    assert driver.task(1).attempt == 1 + again
    assert driver.busy([1]) == [False]


def test_a_rejection_is_final(driver: DeliveryDriver) -> None:
    driver.say(Word.REJECTED, 1)
    task = driver.task(1)
    assert (task.state, task.reason) == ("rejected", "rejected")


def test_a_postponed_task_costs_no_attempt_and_frees_its_place(driver: DeliveryDriver) -> None:
    """Scenario 12."""
    driver.say(Word.IN_PROGRESS, 1)
    assert driver.say(Word.POSTPONED, 1, retry_after=600) == "taken"
    task = driver.task(1)
    assert (task.state, task.attempt, task.reason) == ("queued", 1, "postponed")
    assert driver.deployment().in_flight == 5
    assert driver.say(Word.POSTPONED, 1, retry_after=600) == "repeated"
    driver.wait(599_000)
    driver.keep_alive()
    assert driver.offer() == 0
    driver.wait(1_000)
    assert driver.offer() == 1
    assert driver.task(1).attempt == 1


@pytest.mark.parametrize("asked", [0, 1])
def test_a_task_is_put_off_for_as_long_as_an_offer_waits_at_least(
    driver: DeliveryDriver, asked: int
) -> None:
    """Each time costs an offer: a device that does nothing else makes no more than that."""
    driver.say(Word.POSTPONED, 1, retry_after=asked)
    driver.wait(59_000)
    assert driver.offer() == 0
    driver.wait(1_000)
    driver.keep_alive()
    assert driver.offer() == 1


def test_every_word_is_taken_once(driver: DeliveryDriver) -> None:
    """Scenario 13: what comes again, by whatever way, changes nothing and is answered."""
    for word, end in (
        (Word.FAILED, TaskState.FAILED),
        (Word.REJECTED, TaskState.REJECTED),
    ):
        row = list(Word).index(word)
        assert driver.say(word, row, reason=TaskReason.HASH) == "taken"
        assert driver.say(word, row, reason=TaskReason.HASH) == "repeated"
        assert driver.states(row) == [end]
    assert driver.deployment().failures[0].count == 2  # devices, however often they say it


def test_a_word_about_an_older_attempt_is_outdated(driver: DeliveryDriver) -> None:
    driver.say(Word.FAILED, 1, reason=TaskReason.INSTALL)
    driver.wait(60_000)
    driver.keep_alive()
    driver.offer()
    assert driver.task(1).attempt == 2
    for word in Word:
        assert driver.say(word, 1, attempt=1) == "outdated"
    assert driver.states(1) == [TaskState.OFFERED]


def test_nobody_knows_an_attempt_that_was_never_offered(driver: DeliveryDriver) -> None:
    assert driver.say(Word.IN_PROGRESS, 1, attempt=2) == "unknown"
    assert driver.say(Word.IN_PROGRESS, 1, deployment=1, attempt=9) == "unknown"
    assert driver.done(words(driver, 1, deployments=u32([7])))["unknown"] == 1


def test_a_word_of_a_device_that_is_gone_is_unknown(driver: DeliveryDriver) -> None:
    late = words(driver, 1, 2)
    driver.done(RemoveDevice("dev-0001"))
    answer = driver.done(late)
    assert (answer["answers"], answer["taken"], answer["unknown"]) == ([4, 0], 1, 1)
    driver.register("dev-0001", capabilities=CAPABLE)
    assert driver.done(late)["unknown"] == 1


def test_what_the_cluster_has_ended_is_outdated_and_what_the_device_has_is_illegal(
    driver: DeliveryDriver,
) -> None:
    driver.say(Word.IN_PROGRESS, 1, 2)
    driver.wait(600_000)
    driver.expire()
    driver.say(Word.FAILED, 3, reason=TaskReason.HASH)
    driver.run("2.0.0", 4)
    assert driver.say(Word.SUCCEEDED, 3) == "illegal"
    assert driver.say(Word.FAILED, 4) == "illegal"
    late = Limits(retries=0)
    driver.create(artifact=None, limits=late, task_type="x")
    driver.keep_alive()
    driver.offer()
    driver.say(Word.IN_PROGRESS, 5)
    driver.wait(600_000)
    driver.expire()
    assert driver.say(Word.FAILED, 5) == "outdated"


def test_a_report_may_be_about_several_deployments(driver: DeliveryDriver) -> None:
    driver.say(Word.REJECTED, 1, 2)
    driver.create(Target(devices=("dev-0001",)), artifact=None, task_type="x")
    driver.offer()
    answer = driver.done(words(driver, 1, 3, deployments=u32([2, 1])))
    assert answer["taken"] == 2
    assert driver.task(1, 2).state == driver.task(3, 1).state == "in_progress"


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"rows": u32([2, 1])}, "rows: not strictly ascending"),
        ({"births": b""}, "births: 0 bytes, 2 values of 4 bytes are due"),
        ({"words": u8([0, 6])}, "words: 6 is above 5"),
        ({"phases": u8([0, 6])}, "phases: 6 is above 5"),
        ({"progress": u8([0, 101])}, "progress: 101 is above 100"),
        ({"reasons": u8([0, 12])}, "reasons: 12 is above 11"),
        ({"attempts": u8([1])}, "attempts: 1 bytes"),
        ({"notes": (TaskNote(2),)}, "notes: position 2 of 2 rows"),
        ({"notes": (TaskNote(-1),)}, "notes: position -1 of 2 rows"),
        ({"notes": (TaskNote(0), TaskNote(0))}, "given twice"),
        ({"notes": (TaskNote(0, "x" * 201),)}, "notes.detail: 'xxx"),
        ({"notes": (TaskNote(0, "\x1b[2J"),)}, "notes.detail: '\\x1b[2J' is not"),
        ({"notes": (TaskNote(0, "", 86_401),)}, "notes.retry_after: 86401 is not between"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_as_a_whole(
    driver: DeliveryDriver, changed: dict[str, Any], detail: str
) -> None:
    reason, said = driver.refused(words(driver, 1, 2, **changed))
    assert reason == "invalid"
    assert detail in said


def test_only_members_report(driver: DeliveryDriver) -> None:
    assert driver.refused(replace(words(driver, 1), node="sat-999"))[0] == "unknown_node"


# -- failures --------------------------------------------------------------------------------------


def test_equal_failures_are_counted_together_with_an_example(driver: DeliveryDriver) -> None:
    driver.say(Word.FAILED, 1, 2, reason=TaskReason.DOWNLOAD, detail="HTTP 403")
    driver.say(Word.FAILED, 3, reason=TaskReason.DOWNLOAD, detail="HTTP 404")
    driver.say(Word.FAILED, 4)
    found = [(g.reason, g.text, g.count, g.device) for g in driver.deployment().failures]
    assert found == [
        ("download", "HTTP 403", 2, "dev-0001"),
        ("download", "HTTP 404", 1, "dev-0003"),
        ("other", "", 1, "dev-0004"),
    ]


def test_a_fleet_that_invents_texts_fills_no_memory() -> None:
    driver = DeliveryDriver()
    driver.crowd(100)
    driver.create(ALL)
    driver.offer()
    for row in driver.rows:
        driver.say(Word.FAILED, row, reason=TaskReason.HASH, detail=f"text {row}")
    groups = driver.deployment().failures
    assert sum(group.count for group in groups) == 100
    assert len(groups) <= MAX_FAILURES
    assert any(group.text == "" for group in groups)


def test_a_few_devices_that_invent_texts_hide_no_failure_of_the_others() -> None:
    driver = DeliveryDriver()
    driver.crowd(8)
    driver.create(limits=Limits(retries=10, deadline=30 * 86_400_000))
    for turn in range(11):
        driver.keep_alive()
        driver.offer()
        for row in range(6):
            text = f"{row} invents {turn}"
            driver.say(Word.FAILED, row, reason=TaskReason.INSTALL, detail=text)
        driver.wait(5_000_000)
        driver.expire()
    assert sum(group.count for group in driver.deployment().failures) > MAX_FAILURES
    driver.run("1.0.0", 6)
    driver.offer()
    assert driver.say(Word.FAILED, 6, reason=TaskReason.HASH, detail="not that file") == "taken"
    last = driver.deployment().failures[-1]
    assert (last.text, last.count, last.device) == ("not that file", 1, "dev-0006")
