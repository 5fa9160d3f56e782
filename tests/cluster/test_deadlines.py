"""What falls due as cluster time passes, and that the leader is told when."""

import pytest

from stationkeep.cluster.commands import Pause, PutPolicy, RunAction, SetMaintenance, Switchover
from stationkeep.cluster.deadlines import next_due
from stationkeep.cluster.state.state import ClusterState
from tests.cluster.driver import Driver, settled


def test_nothing_is_due_in_a_settled_cluster() -> None:
    assert next_due(settled().state) is None
    assert next_due(ClusterState()) is None


def due_in(driver: Driver) -> int:
    due = next_due(driver.state)
    assert due is not None
    return due - driver.clock


@pytest.mark.parametrize(
    ("command", "milliseconds"),
    [
        (Pause(7_000), 7_000),
        (SetMaintenance("sat-003", 8_000), 8_000),
        (PutPolicy("sat-003", "p", "safety", 1, ("*->*",), 9_000), 9_000),
        (RunAction("beacon", (), {}, 6_000), 6_000),
        (Switchover("sat-002"), 78_751),  # the lease; its action's time begins then
    ],
)
def test_each_pending_thing_says_when_it_is_due(command: object, milliseconds: int) -> None:
    driver = settled()
    driver.renew()
    driver.done(command)  # type: ignore[arg-type]
    assert due_in(driver) == milliseconds


def test_a_proposal_is_due_at_its_deadline() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.5)
    assert due_in(driver) == 5_000


def test_a_waiting_seat_is_due_when_its_fence_is() -> None:
    driver = settled()
    driver.renew()
    driver.done(Switchover("sat-002"))
    driver.wait(30_000)
    assert due_in(driver) == 78_751 - 30_000


def test_the_earliest_comes_first_and_all_that_is_due_passes_at_once() -> None:
    driver = settled()
    driver.done(Pause(7_000))
    driver.done(SetMaintenance("sat-003", 8_000))
    driver.done(RunAction("beacon", ("sat-004",), {}, 6_000))
    assert due_in(driver) == 6_000
    driver.wait(100_000)
    assert next_due(driver.state) is None
    assert driver.state.pause is None
    assert driver.state.actions == {}


def test_whatever_entry_comes_lets_pass_what_is_due() -> None:
    driver = settled()
    driver.done(Pause(7_000))
    driver.clock += 7_000
    driver.renew()
    assert driver.state.pause is None


def test_what_falls_due_with_an_operators_order_is_not_put_down_to_the_operator() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-003", 5_000), key="k1", actor="ann", reason="bolts")
    driver.clock += 6_000
    driver.done(Pause(60_000), key="k2", actor="eve", reason="drill")
    expiry, pause = driver.new_decisions()
    assert (expiry.matter, expiry.actor, expiry.comment, expiry.key) == ("maintenance", "", "", "")
    assert (pause.matter, pause.actor, pause.comment, pause.key) == ("pause", "eve", "drill", "k2")
