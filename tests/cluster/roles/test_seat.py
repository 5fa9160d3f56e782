"""The PRIMARY seat: epochs, handover by acknowledgement and by fence, never two.

roles.md, "Leases and handover".
"""

from stationkeep.cluster.commands import (
    Acknowledge,
    Echo,
    Failover,
    RecordEvaluation,
    RenewLeases,
    SetMaintenance,
    Switchover,
)
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.events import LeasesEchoed, SeatActivated
from stationkeep.cluster.state.state import Action
from tests.cluster.driver import ORBIT, Driver, settled

LEASE_WITH_DRIFT = 75_000 * 105 // 100 + 1


def switched() -> tuple[Driver, Action]:
    """A switchover from sat-001 to sat-002, just ordered."""
    driver = settled()
    driver.renew()
    driver.done(Switchover("sat-002"))
    return driver, driver.action()


def test_the_first_primary_is_active_at_once_at_epoch_1() -> None:
    driver = Driver(3)
    driver.settle()
    seat = driver.state.seat
    assert (seat.holder, seat.epoch, seat.active) == ("sat-001", 1, True)


def test_the_epoch_rises_by_one_at_every_change_of_holder() -> None:
    driver = settled()
    for epoch, target in enumerate(("sat-002", "sat-003", "sat-001"), 2):
        driver.done(Failover(target))
        assert driver.state.seat.epoch == epoch


def test_a_successor_waits_for_its_predecessor() -> None:
    driver, _ = switched()
    seat = driver.state.seat
    assert (seat.holder, seat.active, seat.predecessor) == ("sat-002", False, "sat-001")
    assert seat.fence_until == driver.clock + LEASE_WITH_DRIFT


def test_the_acknowledged_demotion_ends_the_wait() -> None:
    driver, action = switched()
    driver.clock += 2_000
    driver.done(Acknowledge(action.id, "sat-001", True))
    assert driver.state.seat.active
    assert SeatActivated("sat-002", 2, None) in driver.events
    (handover,) = driver.decided("handover", Outcome.NOTED)
    assert handover.subjects == ("sat-002", "sat-001")
    assert handover.facts == {"epoch": 2, "waited_ms": 2_000}


def test_a_failed_demotion_does_not() -> None:
    driver, action = switched()
    driver.done(Acknowledge(action.id, "sat-001", False, "hook failed"))
    assert not driver.state.seat.active


def test_nobody_elses_acknowledgement_does() -> None:
    driver, action = switched()
    for node in ("sat-002", "sat-003", "sat-004"):
        driver.done(Acknowledge(action.id, node, True))
    assert not driver.state.seat.active


def test_an_acknowledgement_of_another_change_at_the_same_epoch_does_not() -> None:
    """Whoever is not among the changed acknowledges at once, its demotion may still be running."""
    driver, demotion = switched()
    driver.done(Failover("sat-003"))  # supersedes the demotion's action, epoch 3
    assert demotion.id not in driver.state.actions
    driver.done(Acknowledge(driver.action().id, "sat-001", True))
    assert not driver.state.seat.active

    driver = settled(5)
    driver.done(Failover("sat-003"))
    driver.done(SetMaintenance("sat-002", 60_000))  # a BACKUP is drained: epoch 2 as well
    assert driver.action().epoch == driver.state.seat.epoch
    driver.done(Acknowledge(driver.action().id, "sat-001", True))
    assert not driver.state.seat.active


def test_the_lease_run_out_ends_the_wait_at_the_millisecond() -> None:
    driver, _ = switched()
    driver.wait(LEASE_WITH_DRIFT - 1)
    assert not driver.state.seat.active
    driver.wait(1)
    assert driver.state.seat.active


def test_the_lease_is_counted_from_when_the_newest_echoed_report_was_received() -> None:
    driver = settled()
    received = driver.clock - 4_000
    driver.renew("sat-001", received_at=received)
    assert driver.member("sat-001").lease_until >= received + LEASE_WITH_DRIFT
    before = driver.member("sat-001").lease_until
    driver.clock += 60_000
    driver.renew("sat-001", received_at=driver.clock + 99_999)  # never later than now
    assert driver.member("sat-001").lease_until == driver.clock + LEASE_WITH_DRIFT > before


def test_a_lease_never_shrinks_even_when_the_setting_does() -> None:
    from stationkeep.cluster.commands import ChangeSettings

    driver = settled()
    driver.renew()
    before = driver.member("sat-001").lease_until
    driver.done(ChangeSettings({"primary_lease": 30_000}))
    driver.renew()
    assert driver.member("sat-001").lease_until == before


def test_only_newer_reports_are_echoed_and_a_restart_counts_as_newer() -> None:
    driver = settled()
    now = driver.clock
    driver.done(RenewLeases((Echo("sat-001", 5, 2, now), Echo("sat-002", 5, 9, now))))
    assert driver.events == [LeasesEchoed((("sat-001", 5, 2), ("sat-002", 5, 9)))]
    driver.done(RenewLeases((Echo("sat-001", 5, 2, now), Echo("sat-002", 4, 99, now))))
    assert driver.events == []
    driver.done(RenewLeases((Echo("sat-001", 6, 1, now), Echo("nobody", 9, 9, now))))
    assert driver.events == [LeasesEchoed((("sat-001", 6, 1),))]


def test_an_evaluation_echoes_too() -> None:
    driver = settled()
    echo = Echo("sat-001", 7, 1, driver.clock)
    driver.done(RecordEvaluation(driver.state.evaluations, (), (echo,)))
    assert driver.events[0] == LeasesEchoed((("sat-001", 7, 1),))


def test_a_dead_primarys_lease_is_over_before_trigger_1_fires_so_failover_adds_no_wait() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(None)
    driver.approve()
    assert driver.state.seat.holder == "sat-002"
    assert driver.state.seat.active
    (handover,) = driver.decided("handover")
    assert handover.facts == {"epoch": 2, "waited_ms": 0, "failover_ms": 60_000}
    assert driver.state.counters.failover_ms == [60_000]
    assert driver.state.counters.failover_buckets == {
        str(bound): 1 for bound in (60, 120, 180, 240, 300, 600)
    }


def test_a_second_failover_still_waits_for_the_one_who_may_be_acting() -> None:
    """The holder in between was never active: its word says nothing about its predecessor."""
    driver, _ = switched()
    fence = driver.state.seat.fence_until
    driver.clock += 1_000
    driver.renew("sat-002", "sat-003", "sat-004")
    driver.done(Failover("sat-003"))
    seat = driver.state.seat
    assert (seat.holder, seat.predecessor, seat.fence_until) == ("sat-003", "sat-001", fence)
    driver.done(Acknowledge(driver.action().id, "sat-002", True))
    assert not seat.active
    driver.wait(fence - driver.clock)
    assert seat.active


def test_giving_the_seat_back_to_the_one_who_may_be_acting_needs_no_wait() -> None:
    driver, _ = switched()
    driver.done(Failover("sat-001"))
    seat = driver.state.seat
    assert (seat.holder, seat.epoch, seat.active) == ("sat-001", 3, True)


def test_a_drained_primary_hands_over_like_any_other() -> None:
    driver = settled()
    driver.renew()
    driver.done(SetMaintenance("sat-001", 60_000))
    assert driver.roles == "SPSS"
    assert not driver.state.seat.active
    driver.acknowledge("sat-002")
    assert driver.state.seat.active


def test_failovers_are_counted_only_for_a_failed_primary() -> None:
    driver, _ = switched()
    driver.acknowledge()
    assert driver.state.counters.failovers == 0


def test_the_number_of_remembered_failover_times_is_limited() -> None:
    from stationkeep.cluster.roles.seat import _count_failover
    from stationkeep.cluster.state.state import MAX_FAILOVERS, Counters

    counters = Counters()
    for _ in range(MAX_FAILOVERS + 5):
        _count_failover(counters, 700_000)
    assert len(counters.failover_ms) == MAX_FAILOVERS
    assert counters.failovers == MAX_FAILOVERS + 5
    assert counters.failover_buckets == {}  # slower than every bound


def test_orbit_leases_are_those_this_file_counts_with() -> None:
    assert ORBIT.primary_lease == 75_000
