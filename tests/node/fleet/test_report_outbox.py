"""A flush on its way into the log: the same content again until it is there, a few at a time."""

from typing import Any

import pytest

from stationkeep.cluster.commands import ReportDevices
from stationkeep.node.fleet import report_outbox as flush
from stationkeep.node.fleet.report_outbox import Outbox
from tests.node.fleet.proposing import Proposals, bench
from tests.node.world import ManualClock


def report(number: int) -> ReportDevices:
    empty: dict[str, Any] = dict.fromkeys(ReportDevices.__struct_fields__[1:-1], b"")
    return ReportDevices(f"node-{number}", **empty)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log() -> Proposals:
    return Proposals()


def box(clock: ManualClock, log: Proposals, count: int = 1) -> Outbox:
    outbox = Outbox(bench(clock, log))
    outbox.put(report(number) for number in range(count))
    outbox.turn()
    return outbox


@pytest.mark.parametrize("failure", ["lose", "no_leader"])
def test_what_failed_is_proposed_again_unchanged(
    clock: ManualClock, log: Proposals, failure: str
) -> None:
    outbox = box(clock, log)
    getattr(log, failure)()
    outbox.turn()
    assert not log.commands, "not at once: there may be no leader for a while"
    assert outbox.next_wakeup() == clock.monotonic() + flush.RETRY
    clock.now += flush.RETRY
    outbox.turn()
    assert log.commands == [report(0)]
    assert not outbox.empty
    log.commit()
    assert outbox.empty
    assert outbox.next_wakeup() == float("inf")


def test_what_is_under_way_holds_up_the_next_flush(clock: ManualClock, log: Proposals) -> None:
    outbox = box(clock, log)
    assert not outbox.empty
    with pytest.raises(AssertionError):
        outbox.put([report(1)])


def test_few_commands_are_under_way_at_a_time(clock: ManualClock, log: Proposals) -> None:
    outbox = box(clock, log, count=10)
    assert log.commands == [report(number) for number in range(flush.IN_FLIGHT)]
    log.commit()
    outbox.turn()
    assert log.commands == [report(number) for number in range(1, flush.IN_FLIGHT + 1)]


def test_a_refused_command_is_not_tried_for_ever(clock: ManualClock, log: Proposals) -> None:
    outbox = box(clock, log)
    log.reject("invalid", "rows: not ascending")
    assert outbox.empty
