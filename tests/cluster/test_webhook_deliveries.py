"""Cursors of the webhooks: forward only, and no more than a few."""

import pytest

from stationkeep.cluster.alarms import WEBHOOK_MISSED
from stationkeep.cluster.commands import RecordDelivery
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import MAX_WEBHOOKS
from tests.cluster.driver import settled


def test_a_cursor_moves_forward_only() -> None:
    driver = settled()
    driver.done(RecordDelivery("pager", 2))
    driver.done(RecordDelivery("pager", 3))
    assert driver.refused(RecordDelivery("pager", 2))[0] == Reason.STALE_REVISION
    assert driver.state.deliveries["pager"].upto == 3


@pytest.mark.parametrize("upto", [-1, 10**6, 2**64 - 1])
def test_nobody_is_told_of_what_was_not_decided(upto: int) -> None:
    reason, detail = settled().refused(RecordDelivery("pager", upto))
    assert reason == Reason.INVALID
    assert detail.startswith(f"upto: {upto} is not between 0 and")


def test_a_webhook_has_a_name() -> None:
    assert settled().refused(RecordDelivery("no name", 1))[0] == Reason.INVALID


def test_one_too_many_takes_the_place_of_the_longest_unused() -> None:
    driver = settled()
    for number in range(MAX_WEBHOOKS):
        driver.clock += 1
        driver.done(RecordDelivery(f"hook-{number}", 1))
    driver.done(RecordDelivery("hook-0", 2))
    driver.done(RecordDelivery("new", 1))
    assert len(driver.state.deliveries) == MAX_WEBHOOKS
    assert "hook-1" not in driver.state.deliveries
    assert {"hook-0", "hook-2", "new"} <= driver.state.deliveries.keys()


def test_who_missed_something_is_in_an_alarm_until_it_knows() -> None:
    driver = settled()
    driver.done(RecordDelivery("pager", 1, 3))
    assert driver.state.alarms[WEBHOOK_MISSED].detail == "pager: some up to decision 3"
    driver.done(RecordDelivery("other", 4))
    assert WEBHOOK_MISSED in driver.state.alarms
    driver.done(RecordDelivery("pager", 1, 3, 3))
    assert WEBHOOK_MISSED not in driver.state.alarms


def test_a_webhook_that_gives_way_to_another_takes_its_alarm_along() -> None:
    driver = settled()
    driver.done(RecordDelivery("gone", 1, 3))
    for number in range(MAX_WEBHOOKS):
        driver.clock += 1
        driver.done(RecordDelivery(f"hook-{number}", 1))
    assert WEBHOOK_MISSED not in driver.state.alarms
