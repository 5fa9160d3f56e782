"""The way back: who goes, to what, in which order, and who cannot."""

from typing import Any

import pytest

from stationkeep.cluster.commands import AbortRollout, CancelDeployment, Pause, RollBackRollout
from stationkeep.cluster.deployments import book
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState, Word
from stationkeep.cluster.devices.table import MAX_DEVICES
from stationkeep.cluster.progression import invariants, openings
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Block
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import CAPABLE
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver, one_stage

URL = "https://updates.example/fw"
FILE = {"url": URL, "sha256": "0" * 64, "size": 1_000}
NEW = Artifact("2.0.0", **FILE)  # type: ignore[arg-type]


@pytest.fixture
def driver() -> RolloutDriver:
    return RolloutDriver.with_crowd(12)


def test_what_has_succeeded_may_be_rolled_back(driver: RolloutDriver) -> None:
    """Scenario 29."""
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    assert driver.rollout().state == "rolling_back"
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows
    assert driver.sentences("rollout")[-1].endswith("is rolled back: 12 back")


def test_who_is_away_goes_back_when_it_returns(driver: RolloutDriver) -> None:
    """Scenario 29."""
    driver.begin()
    driver.until("succeeded")
    driver.away = {4, 5}
    driver.lead(5)
    driver.roll_back()
    driver.until("rolled_back", 310)
    assert driver.rollout().reason == "deadline"
    assert "10 back, 2 pending" in driver.sentences("rollout")[-1]
    assert "rollback_incomplete" in driver.state.alarms
    driver.away = set()
    driver.lead(5)
    assert driver.runs("1.0.0") == driver.rows
    assert "rollback_incomplete" not in driver.state.alarms


def test_each_goes_back_to_what_it_ran_before(driver: RolloutDriver) -> None:
    driver.run("1.1.0", 3, 4)
    driver.run("0.9", 5)
    driver.begin()
    driver.until("succeeded")
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.1.0") == [3, 4]
    assert driver.runs("0.9") == [5]
    assert len(driver.runs("1.0.0")) == 9


def test_those_that_were_updated_last_go_back_first(driver: RolloutDriver) -> None:
    driver.begin(Plan(V2, limits=Limits(max_in_flight=1, first=0)))
    order: list[int] = []
    while driver.rollout().state != "succeeded":
        driver.lead()
        order += [row for row in driver.runs("2.0.0") if row not in order]
    driver.roll_back()
    back: list[int] = []
    while driver.rollout().state != "rolled_back":
        driver.lead()
        back += [row for row in driver.runs("1.0.0") if row not in back]
    # Two at a time go back, and who came at the same second may change places.
    places = [order.index(row) for row in back]
    assert places[:3] == sorted(places[:3], reverse=True) or places[0] >= 10
    assert sum(places[:6]) > sum(places[6:])


def a_rollout(version: str = "1.0.0", **plan: Any) -> RolloutDriver:
    driver = RolloutDriver()
    driver.crowd(3, app_version=version)
    driver.rest(20_000)
    driver.begin(Plan(NEW, stages=one_stage(), **plan))
    driver.until("succeeded")
    return driver


def test_of_whom_nothing_earlier_is_known_is_stranded() -> None:
    """Scenario 30."""
    driver = a_rollout("")
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.rollout().stranded == 3
    task = driver.task(0, driver.rollout().rollback)
    assert (task.state, task.reason) == (TaskState.REJECTED, TaskReason.NO_PREVIOUS)
    assert "devices_stranded" in driver.state.alarms
    assert driver.sentences("rollout")[-1].endswith("0 back, 3 stranded")
    driver.run("3.0.0", 0, 1, 2)
    driver.lead(2)
    assert "devices_stranded" not in driver.state.alarms


def test_a_fallback_is_for_those() -> None:
    """Scenario 30."""
    driver = a_rollout("", fallback=Artifact("1.9.4"))
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.9.4") == driver.rows


def test_a_file_that_nobody_knows_any_more_strands_too() -> None:
    driver = a_rollout("1.0.0")
    driver.roll_back()
    assert driver.rollout().stranded == 3


def test_a_file_that_is_still_known_is_what_they_get() -> None:
    driver = RolloutDriver()
    driver.crowd(3, app_version="0.9")
    driver.rest(20_000)
    old = Artifact("1.0.0", **FILE)  # type: ignore[arg-type]
    driver.begin(Plan(old, stages=one_stage()), "old")
    driver.lead(20)
    driver.begin(Plan(NEW, stages=one_stage()))
    driver.until("succeeded")
    driver.roll_back()
    back = driver.deployment(driver.rollout().rollback)
    assert driver.state.deployments.artifact_of(back) == old
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_devices_that_go_back_by_themselves_need_no_file() -> None:
    driver = RolloutDriver()
    able = CAPABLE | {"rollback": "yes"}
    driver.crowd(3, capabilities=able)
    driver.rest(20_000)
    driver.begin(Plan(NEW, stages=one_stage()))
    while driver.rollout().state != "succeeded":
        driver.lead()
        driver.run_as(able)
    driver.roll_back()
    back = driver.deployment(driver.rollout().rollback)
    assert (driver.rollout().stranded, back.task_type) == (0, "rollback")
    assert driver.state.deployments.artifact_of(back) == Artifact("1.0.0")


def test_a_device_that_installs_goes_back_when_that_has_ended(driver: RolloutDriver) -> None:
    driver.deaf = {0}
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(first=0)))
    driver.lead(2)
    driver.say(Word.IN_PROGRESS, 0)
    driver.roll_back()
    assert driver.task(0, 1).told_to_cancel
    assert driver.states(0, deployment=driver.rollout().rollback) == [TaskState.QUEUED]
    driver.lead(3)
    driver.install(0, "2.0.0")
    driver.deaf = set()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_a_device_that_went_silent_is_told_when_it_comes_back(driver: RolloutDriver) -> None:
    driver.deaf = {0}
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(first=0, retries=0)))
    driver.lead(2)
    driver.say(Word.IN_PROGRESS, 0)
    driver.lead(20)
    assert driver.states(0) == [TaskState.TIMED_OUT]
    driver.roll_back()
    driver.deaf = set()
    driver.run("2.0.0", 0)
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_a_hotfix_is_not_taken_back_with_what_it_mends(driver: RolloutDriver) -> None:
    """Its devices are superseded: they neither failed nor run what is rolled back."""
    driver.begin(Plan(V2, stages=one_stage(soak=600_000)))
    driver.until_stage("all", "soaking")
    fix = Plan(Artifact("2.0.1"), stages=one_stage(), priority=900, devices=("dev-0003",))
    driver.begin(fix, "fix")
    driver.lead(20)
    assert driver.runs("2.0.1") == [3]
    assert driver.states(3, deployment=1) == [TaskState.SUCCEEDED]
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("2.0.1") == [3]
    assert len(driver.runs("1.0.0")) == 11


def test_a_way_back_that_is_aborted_stops_where_it_is(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.away = {1}
    driver.lead(5)
    driver.roll_back()
    driver.lead(3)
    driver.abort()
    driver.until("aborted")
    assert driver.runs("2.0.0") == [1]
    driver.roll_back()
    driver.away = set()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_a_way_back_on_which_devices_failed_may_be_taken_again(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.deaf = {1}
    driver.roll_back()
    driver.lead(1)
    number = driver.rollout().rollback
    assert driver.say(Word.IN_PROGRESS, 1, deployment=number) == "taken"
    assert driver.say(Word.FAILED, 1, deployment=number, reason=TaskReason.DISK) == "taken"
    driver.until("rolled_back")
    assert driver.runs("2.0.0") == [1]
    assert "rollback_incomplete" in driver.state.alarms
    driver.deaf = set()
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows
    assert "rollback_incomplete" not in driver.state.alarms


def test_what_is_left_of_a_way_back_may_be_called_off(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.away = {1}
    driver.lead(5)
    driver.roll_back()
    number = driver.rollout().rollback
    assert driver.refused(CancelDeployment(number))[0] == "not_in_state"
    driver.until("rolled_back", 310)
    driver.order(CancelDeployment(number))
    assert driver.deployment(number).state == "closed"


def test_without_rosters_there_is_no_way_back(driver: RolloutDriver) -> None:
    driver.begin()
    driver.until("succeeded")
    driver.state.deployments.rosters.pop(1)
    reason, detail = driver.refused(RollBackRollout(NAME))
    assert reason == "rollback_gone"
    assert "roll an earlier version out instead" in detail


def test_rosters_of_a_rollout_that_goes_on_are_not_forgotten(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MAX_CLOSED_DEPLOYMENTS", 1)
    driver.begin()
    driver.until_stage("stage", "soaking")
    for _ in range(3):
        driver.create(artifact=Artifact("1.0.0"))
    assert {1, 2, 3} <= set(driver.state.deployments.rosters)
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_what_is_taken_back_when_it_is_over_makes_no_room_for_its_own_way_back(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever strayed would not be found any more."""
    monkeypatch.setattr(book, "MAX_TASKS", 30)
    driver.begin(Plan(V2, stages=one_stage(), rest=False))
    driver.until("succeeded")
    driver.create(artifact=Artifact("0.9.0"))  # which nobody needs any more
    assert [len(roster) for roster in driver.state.deployments.rosters.values()] == [12, 12]
    driver.roll_back()
    assert list(driver.state.deployments.rosters) == [1, 3]


def ended(driver: RolloutDriver, count: int) -> list[str]:
    """Rollouts that are over, each of which has come to another device."""
    for n in range(count):
        alone = Plan(V2, devices=(driver.fleet.id(n),), stages=one_stage(), rest=False)
        driver.begin(alone, f"r-{n}")
        driver.lead(3)
        driver.order(AbortRollout(f"r-{n}"))
        driver.until("aborted", name=f"r-{n}")
    return [f"r-{n}" for n in range(count)]


def test_so_many_are_taken_back_at_once_as_may_be_open() -> None:
    """Else no node could read the state again."""
    driver = RolloutDriver.with_crowd(33)
    names = ended(driver, 33)
    driver.away = set(driver.rows)
    for name in names[:-1]:
        driver.order(RollBackRollout(name))
    outcome: Any = driver.do(RollBackRollout(names[-1]), actor="ann", key="more").outcome
    assert (outcome.reason, outcome.detail) == (
        "limit", "rollout: 32 are open: abort one, or wait until one is over",
    )  # fmt: skip
    assert codec.decode_snapshot(codec.encode_snapshot(driver.state)).rollouts.any_open


def test_the_way_back_of_what_has_no_limit_in_flight_has_none_either(driver: RolloutDriver) -> None:
    """Twice as many as there can be devices: no node could read that."""
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(max_in_flight=MAX_DEVICES)))
    driver.until("succeeded")
    driver.roll_back()
    back = driver.deployment(driver.rollout().rollback)
    assert back.limits.max_in_flight == MAX_DEVICES
    codec.decode_snapshot(codec.encode_snapshot(driver.state))


@pytest.mark.parametrize(
    ("limit", "value", "rule"),
    [
        ("MAX_ROLLOUT_SLOTS", 3, "3 deployments of rollouts are open, at most 3"),
        ("MAX_ROLLOUT_TASKS", 4, "2 tasks beside 3 of rollouts, and 0 for taking them back"),
    ],
)
def test_ways_back_that_wait_for_devices_leave_room_to_others(
    driver: RolloutDriver, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, rule: str
) -> None:
    """They may do so for a month, long after their rollouts are over."""
    names = ended(driver, 4)
    driver.away = set(driver.rows)
    for module in (openings, invariants):
        monkeypatch.setattr(module, limit, value)
    for name in names[:3]:
        driver.order(RollBackRollout(name))
        driver.until("rolled_back", 310, name)
    outcome: Any = driver.do(RollBackRollout(names[3]), actor="ann", key="more").outcome
    assert outcome.reason == "limit"
    assert rule in outcome.detail


def stray(driver: RolloutDriver) -> int:
    """A device that was offered it, was told that it is canceled, and installs it all the same
    when all others are back."""
    driver.begin(Plan(V2, stages=one_stage(limits=Limits(first=0))))
    driver.deaf = {7}
    driver.lead(3)
    assert len(driver.runs("2.0.0")) == 11
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.task(7, 1).state is TaskState.CANCELED
    assert driver.runs("1.0.0") == driver.rows
    driver.deaf = set()
    return 7


def test_who_installs_it_after_all_is_named_until_it_is_gone(driver: RolloutDriver) -> None:
    row = stray(driver)
    driver.run("2.0.0", row)
    assert driver.rollout().state == "rolled_back"
    assert (
        "installed after all on 1 of its devices"
        in driver.state.alarms["rollback_incomplete"].detail
    )
    assert driver.sentences("strays") == [
        "rollout fw (app 2.0.0): dev-0007 installed it although that was called off"
    ]
    driver.run("2.0.0", row)
    assert len(driver.sentences("strays")) == 1
    driver.run("1.0.0", row)
    driver.lead(2)
    assert "rollback_incomplete" not in driver.state.alarms


def test_who_installed_it_after_all_goes_back_with_the_next_order(driver: RolloutDriver) -> None:
    row = stray(driver)
    driver.run("2.0.0", row)
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows
    assert "rollback_incomplete" not in driver.state.alarms


def unreached(driver: RolloutDriver) -> int:
    """A device that was offered it, and of which nothing was heard until its stage was over."""
    driver.deaf = {7}
    limits = Limits(first=0, deadline=60_000)
    driver.begin(Plan(V2, stages=one_stage(), rest=False, limits=limits))
    driver.until("succeeded")
    assert driver.task(7, 1).state is TaskState.UNREACHED
    driver.deaf = set()
    return 7


def test_who_was_given_up_and_has_installed_it_goes_back_with_the_others(
    driver: RolloutDriver,
) -> None:
    row = unreached(driver)
    driver.run("2.0.0", row)
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_who_was_given_up_and_installs_it_when_the_others_are_back_is_named(
    driver: RolloutDriver,
) -> None:
    row = unreached(driver)
    driver.roll_back()
    driver.until("rolled_back")
    driver.run("2.0.0", row)
    assert len(driver.sentences("strays")) == 1
    assert "rollback_incomplete" in driver.state.alarms
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_who_was_given_up_and_installs_it_while_the_others_go_back_is_named(
    driver: RolloutDriver,
) -> None:
    """Its deployment is still open, for somebody who has begun, and takes it for a success."""
    driver.deaf = {0, 7}
    limits = Limits(first=0, deadline=20_000)
    driver.begin(Plan(V2, stages=one_stage(), rest=False, limits=limits))
    driver.lead(2)
    while driver.task(7, 1).state is not TaskState.UNREACHED:
        driver.say(Word.IN_PROGRESS, 0)
        driver.lead(1)
    driver.roll_back()
    driver.lead(1)
    driver.run("2.0.0", 7)
    driver.run("2.0.0", 7)
    assert driver.task(7, 1).state is TaskState.SUCCEEDED
    assert len(driver.sentences("strays")) == 1
    driver.deaf = set()
    driver.install(0, "2.0.0")
    driver.until("rolled_back")
    assert driver.runs("2.0.0") == [7]
    assert "rollback_incomplete" in driver.state.alarms
    driver.run("2.0.0", 8)
    assert len(driver.sentences("strays")) == 1  # 8 has gone back, and was changed by somebody
    driver.roll_back()
    driver.until("rolled_back")
    assert 7 in driver.runs("1.0.0")


def block(driver: RolloutDriver) -> None:
    driver.state.rollouts.block(Block(V2, NAME, "all", "health", driver.clock))


@pytest.mark.parametrize("late", [True, False])
def test_what_was_proven_bad_is_taken_back_from_strays_at_once(
    driver: RolloutDriver, late: bool
) -> None:
    """After the others have gone back, or while they do."""
    driver.begin(Plan(V2, stages=one_stage(limits=Limits(first=0))))
    driver.deaf = {7}
    driver.lead(3)
    block(driver)
    driver.roll_back()
    if late:
        driver.until("rolled_back")
    driver.deaf = set()
    driver.run("2.0.0", 7)
    driver.until("rolling_back", 5)
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows
    assert "rollback_incomplete" not in driver.state.alarms
    told = driver.sentences("rollout")
    assert (
        "rollout fw (app 2.0.0) takes back what was installed after all: 1 device goes" in told[-2]
    )


def test_who_installs_what_was_aborted_keeps_it_and_goes_back_with_the_others(
    driver: RolloutDriver,
) -> None:
    driver.begin(Plan(V2, stages=one_stage(limits=Limits(first=0))))
    driver.deaf = {7}
    driver.lead(2)
    driver.abort()
    driver.until("aborted")
    driver.run("2.0.0", 7)
    assert driver.sentences("strays")[-1].endswith(
        "dev-0007 installed it although that was called off"
    )
    assert driver.rollout().state == "aborted"
    assert "rollback_incomplete" not in driver.state.alarms
    driver.deaf = set()
    driver.roll_back()
    driver.until("rolled_back")
    assert driver.runs("1.0.0") == driver.rows


def test_who_was_told_to_run_it_by_somebody_else_has_not_strayed(driver: RolloutDriver) -> None:
    row = stray(driver)
    driver.create(Target(devices=(driver.fleet.id(row),)))
    driver.lead(3)
    assert driver.runs("2.0.0") == [row]
    driver.run("2.0.0", row)
    assert driver.sentences("strays") == []
    assert driver.rollout().state == "rolled_back"


def test_who_was_told_to_run_another_system_by_somebody_else_has_strayed(
    driver: RolloutDriver,
) -> None:
    row = stray(driver)
    driver.create(Target(devices=(driver.fleet.id(row),)), Artifact("14", component="os"))
    driver.run("1.0.0", row, os_version="14")
    driver.run("2.0.0", row, os_version="14")
    assert len(driver.sentences("strays")) == 1


def test_during_a_pause_strays_are_named_and_left_alone(driver: RolloutDriver) -> None:
    row = stray(driver)
    block(driver)
    driver.order(Pause(60_000))
    driver.run("2.0.0", row)
    assert driver.rollout().state == "rolled_back"
    assert "rollback_incomplete" in driver.state.alarms


def test_who_is_in_the_midst_of_it_and_starts_anew_is_not_back_yet(driver: RolloutDriver) -> None:
    """It reports its former version until the new one is installed."""
    driver.deaf = set(driver.rows)
    driver.begin(Plan(V2, stages=one_stage(), limits=Limits(first=0)))
    driver.lead()
    driver.say(Word.IN_PROGRESS, 0, deployment=1)
    driver.roll_back()
    driver.run("1.0.0", 0)
    driver.deaf.clear()
    driver.install(0, "2.0.0")
    driver.until("rolled_back")
    assert driver.runs("2.0.0") == []
