"""Propagation and compliance: roles.md, "Action propagation and compliance"."""

from itertools import pairwise

import pytest

from stationkeep.cluster.commands import (
    Acknowledge,
    AdoptPlan,
    AnnounceActions,
    Change,
    Motion,
    RunAction,
    SetMaintenance,
    Switchover,
)
from stationkeep.cluster.roles.actions import pending_for
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import ActionAcknowledged, ActionClosed
from stationkeep.cluster.state.state import MAX_CLOSED_ACTIONS, ROLE_CHANGE, Action, ActionOutcome
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import Driver, settled


def failed_over(nodes: int = 4) -> Driver:
    """sat-002 has just got the seat; the role change is to be acknowledged."""
    driver = settled(nodes)
    for _ in range(3):
        driver.evaluate(0.45)
    driver.approve()
    return driver


def test_a_role_change_goes_to_every_alive_node_with_the_deadline_of_the_settings() -> None:
    """Counted from the end of the wait for the predecessor, whose lease still runs."""
    driver = failed_over()
    action = driver.action()
    assert action.name == ROLE_CHANGE
    assert action.targets == driver.ids
    assert action.epoch == 2
    assert action.deadline == driver.state.seat.fence_until + 30_000 > driver.clock + 60_000
    assert action.reason == Rule.PRIMARY_FAILED
    assert {c.node for c in action.changes} == {"sat-001", "sat-002"}


def test_compliance_is_acknowledged_successes_by_targets() -> None:
    driver = failed_over()
    action = driver.action()
    for done, node in enumerate(("sat-001", "sat-002", "sat-003"), 1):
        result = driver.done(Acknowledge(action.id, node, True))
        assert result == {"compliance": 250_000 * done}
        assert ActionAcknowledged(action.id, node, True) in driver.events
    driver.done(Acknowledge(action.id, "sat-004", True))
    assert ActionClosed(action.id, "compliant", 1_000_000) in driver.events
    assert driver.state.actions == {}
    assert driver.state.closed_actions[-1].outcome is ActionOutcome.COMPLIANT
    assert Action("a", "n", (), 0, 0, 0).compliance == 1_000_000


def test_an_action_waits_for_each_target_once_oldest_first() -> None:
    driver = failed_over()
    driver.done(RunAction("beacon", ("sat-003",)))
    assert [a.name for a in pending_for(driver.state, "sat-003")] == [ROLE_CHANGE, "beacon"]
    assert [a.name for a in pending_for(driver.state, "sat-004")] == [ROLE_CHANGE]
    driver.acknowledge("sat-004")
    assert pending_for(driver.state, "sat-003") == []


@pytest.mark.parametrize(
    ("action", "node", "reason"),
    [
        ("act-99", "sat-001", Reason.CLOSED),
        (None, "nobody", Reason.NOT_A_TARGET),
        (None, "sat-003", Reason.DUPLICATE),
    ],
)
def test_acknowledgements_that_do_not_count(action: str | None, node: str, reason: Reason) -> None:
    driver = failed_over()
    open_one = driver.action().id
    driver.done(Acknowledge(open_one, "sat-003", True))
    assert driver.refused(Acknowledge(action or open_one, node, True))[0] == reason


@pytest.mark.parametrize(("nodes", "missing", "compliant"), [(10, 1, True), (10, 2, False)])
def test_at_the_deadline_ninety_percent_are_enough(
    nodes: int, missing: int, compliant: bool
) -> None:
    driver = failed_over(nodes)
    driver.acknowledge(*driver.ids[-missing:])
    driver.wait(30_000)
    closed = driver.state.closed_actions[-1]
    assert closed.outcome is (ActionOutcome.COMPLIANT if compliant else ActionOutcome.NONCOMPLIANT)
    escalated = [m.id for m in driver.state.members.values() if m.escalated_by]
    assert escalated == ([] if compliant else list(driver.ids[-missing:]))
    assert ("compliance" in driver.state.alarms) is not compliant


def test_below_the_threshold_the_missing_and_the_failed_are_escalated_and_told() -> None:
    driver = failed_over()
    action = driver.action()
    driver.done(Acknowledge(action.id, "sat-001", True))
    driver.done(Acknowledge(action.id, "sat-003", False, "hook failed: exit 3"))
    driver.done(Acknowledge(action.id, "sat-004", True))
    driver.wait(29_999)
    assert driver.state.actions
    driver.wait(1)
    assert {m.id: m.escalated_by for m in driver.state.members.values() if m.escalated_by} == {
        "sat-002": action.id, "sat-003": action.id,
    }  # fmt: skip
    (escalation,) = driver.decided("escalation")
    assert escalation.subjects == ("sat-002", "sat-003")
    assert escalation.facts["compliance"] == 500_000
    assert escalation.facts["failures"] == {"sat-003": "hook failed: exit 3"}


def test_an_escalated_primary_is_demoted_to_standby_by_trigger_2() -> None:
    driver = failed_over()
    driver.acknowledge("sat-002")
    driver.clock += 1
    assert driver.evaluate(0.1).motions[0].rule is Rule.PRIMARY_NONCOMPLIANT
    driver.approve()
    assert driver.role("sat-002") is Role.STANDBY
    assert driver.state.seat.holder == "sat-003"


def test_an_action_that_no_target_can_run_is_refused_when_it_is_ordered() -> None:
    driver = settled()
    reason, detail = driver.refused(RunAction("becon"))
    assert reason == Reason.UNKNOWN_ACTION
    assert detail == "name: no node has a hook for becon; did you mean beacon?"
    assert driver.refused(RunAction("x")) == (reason, "name: no node has a hook for x")


def test_a_target_that_cannot_run_it_is_named() -> None:
    driver = settled()
    driver.done(AnnounceActions("sat-002", ("reboot",)))
    driver.done(AnnounceActions("sat-004", ()))
    reason, detail = driver.refused(RunAction("beacon"))
    assert reason == Reason.UNKNOWN_ACTION
    assert detail == "targets: sat-002, sat-004 cannot run beacon: no hook for it"
    driver.done(RunAction("beacon", ("sat-001", "sat-003")))


def test_who_has_said_nothing_yet_cannot_run_anything() -> None:
    driver = settled()
    driver.member("sat-003").actions = None
    assert "sat-003 cannot" in driver.refused(RunAction("beacon", ("sat-003",)))[1]


@pytest.mark.parametrize(
    ("command", "reason", "detail"),
    [
        (AnnounceActions("nobody", ()), Reason.UNKNOWN_NODE, "nobody"),
        (AnnounceActions("sat-001", ("a b",)), Reason.INVALID, "names: 'a b' is not a name"),
        (AnnounceActions("sat-001", ("x" * 200,)), Reason.INVALID, "names"),
        (
            AnnounceActions("sat-001", tuple(f"a{n}" for n in range(65))),
            Reason.INVALID,
            "names: 65 is not between 0 and 64",
        ),
    ],
)
def test_what_cannot_be_announced(command: AnnounceActions, reason: Reason, detail: str) -> None:
    driver = settled()
    before = driver.member("sat-001").actions
    refused = driver.refused(command)
    assert refused[0] == reason
    assert detail in refused[1]
    assert driver.member("sat-001").actions == before


def test_who_has_lost_its_hook_is_waited_for_no_longer_and_not_escalated() -> None:
    """An action was ordered, and a target came back with another configuration."""
    driver = settled()
    driver.done(RunAction("beacon", ("sat-001", "sat-003")))
    action = driver.action()
    driver.done(Acknowledge(action.id, "sat-003", True))
    driver.done(AnnounceActions("sat-001", ("reboot",)))
    assert action.outcome is ActionOutcome.COMPLIANT
    driver.wait(30_000)
    assert not driver.member("sat-001").escalated_by


def test_an_action_that_fails_everywhere_costs_nobody_the_seat() -> None:
    driver = settled()
    driver.done(RunAction("beacon"))
    action = driver.action().id
    for node in driver.ids:
        driver.done(Acknowledge(action, node, False, "exit status 1"))
    driver.wait(30_000)
    driver.clock += 1
    plan = driver.evaluate(0.1)
    assert plan.motions == ()
    assert [(h.rule, h.reason) for h in plan.held] == [
        (Rule.PRIMARY_NONCOMPLIANT, Reason.NO_CANDIDATE)
    ]
    assert {why for _, why in plan.held[0].rejected} == {Reason.ESCALATED}
    assert "no_candidate" in driver.state.alarms


def test_a_hook_that_fails_everywhere_does_not_send_the_seat_round() -> None:
    """Each rested node may try once in its cool-down, and no node in its cool-down."""
    driver = settled()
    for _ in range(40):
        driver.evaluate(0.1)
        driver.approve()
        primary = driver.state.seat.holder
        assert primary is not None
        driver.acknowledge(primary)
    changes = [c for c in driver.state.role_changes if c.rule is Rule.PRIMARY_NONCOMPLIANT]
    taken = [c for c in changes if c.target is Role.PRIMARY]
    window = driver.state.settings.hysteresis_window
    for node in driver.ids:
        times = [c.at for c in taken if c.node == node]
        assert all(later - earlier >= window for earlier, later in pairwise(times))


def test_a_large_clusters_word_does_not_outweigh_a_primary_that_could_not_take_over() -> None:
    driver = failed_over(12)
    assert driver.state.seat.holder == "sat-002"
    driver.acknowledge("sat-002")
    driver.wait(30_000)
    assert driver.state.closed_actions[-1].outcome is ActionOutcome.NONCOMPLIANT
    assert driver.member("sat-002").escalated_by


def test_an_escalated_node_that_is_not_primary_keeps_its_role() -> None:
    driver = failed_over()
    driver.acknowledge("sat-003", "sat-004")
    for _ in range(12):
        driver.settle()
    assert driver.state.seat.holder == "sat-002"
    assert driver.member("sat-004").escalated_by


def test_enacting_something_later_ends_the_escalation() -> None:
    driver = failed_over()
    driver.acknowledge("sat-003", "sat-004")
    driver.wait(30_000)
    assert driver.member("sat-003").escalated_by
    driver.done(RunAction("beacon", ("sat-003", "sat-004")))
    driver.done(Acknowledge(driver.action().id, "sat-003", True))
    driver.done(Acknowledge(driver.action().id, "sat-004", False))
    assert not driver.member("sat-003").escalated_by
    assert driver.member("sat-004").escalated_by
    assert "compliance" in driver.state.alarms
    driver.done(RunAction("beacon", ("sat-004",)))
    driver.done(Acknowledge(driver.action().id, "sat-004", True))
    assert not driver.member("sat-004").escalated_by
    assert "compliance" not in driver.state.alarms


def test_knowing_of_somebody_elses_change_clears_others_but_not_the_primary() -> None:
    driver = failed_over()
    primary = driver.state.seat.holder
    assert primary == "sat-002"
    driver.done(Acknowledge(driver.action().id, "sat-001", True))  # it waits no longer
    driver.wait(30_000)
    assert driver.member(primary).escalated_by
    driver.done(SetMaintenance("sat-001", 60_000))
    driver.done(Acknowledge(driver.action().id, primary, True))
    driver.done(Acknowledge(driver.action().id, "sat-003", True))
    assert driver.member(primary).escalated_by
    assert not driver.member("sat-003").escalated_by


def test_a_later_change_of_the_same_nodes_supersedes_an_open_one() -> None:
    driver = failed_over()
    first = driver.action()
    driver.done(SetMaintenance("sat-001", 60_000))
    assert first.outcome is ActionOutcome.SUPERSEDED
    assert first.id not in driver.state.actions
    driver.wait(30_000)
    assert [d.facts["action"] for d in driver.decided("escalation")] == ["act-4"]


def test_who_is_told_to_wait_has_its_time_from_the_end_of_the_wait() -> None:
    """A PRIMARY that froze in a switchover: its successor waits longer than a deadline."""
    driver = settled(5)
    driver.renew()
    driver.done(Switchover("sat-002"))
    for _ in range(2):
        driver.evaluate(None)
        assert driver.state.seat.holder == "sat-002"
    assert not any(member.escalated_by for member in driver.state.members.values())
    driver.wait(driver.state.seat.fence_until - driver.clock)
    assert driver.state.seat.active
    assert driver.action().deadline == driver.clock + 30_000
    driver.acknowledge("sat-001")
    driver.wait(30_000)
    escalated = [m.id for m in driver.state.members.values() if m.escalated_by]
    assert (driver.state.seat.holder, escalated) == ("sat-002", ["sat-001"])


def test_a_wait_that_ends_early_brings_the_deadline_forward() -> None:
    driver = settled()
    driver.renew()
    driver.done(Switchover("sat-002"))
    driver.wait(2_000)
    driver.done(Acknowledge(driver.action().id, "sat-001", True))
    assert driver.action().deadline == driver.clock + 30_000


def test_one_entry_that_comes_late_ends_the_wait_before_the_deadline() -> None:
    driver = settled()
    driver.renew()
    driver.done(Switchover("sat-002"))
    driver.wait(1_000_000)
    assert driver.state.seat.active
    assert not any(member.escalated_by for member in driver.state.members.values())


def test_a_change_of_other_nodes_does_not() -> None:
    driver = failed_over(5)
    first = driver.action()
    isolate = Motion(Rule.ISOLATE, (Change("sat-005", Role.STANDBY, Role.SAFE_MODE),), 2, {})
    driver.done(AdoptPlan(driver.state.revision, (isolate,), ()))
    driver.approve()
    assert driver.role("sat-005") is Role.SAFE_MODE
    assert first.outcome is ActionOutcome.OPEN


def test_a_detail_is_kept_short() -> None:
    driver = failed_over()
    driver.done(Acknowledge(driver.action().id, "sat-003", False, "x" * 9_999))
    assert len(driver.action().acks["sat-003"].detail) == 500


def test_an_operators_action_is_propagated_the_same_way() -> None:
    driver = settled()
    result = driver.done(
        RunAction("beacon", ("sat-004", "sat-003"), {"mode": "fast"}, 7_000),
        key="k", actor="eve", reason="drill",
    )  # fmt: skip
    action = driver.action()
    assert action.targets == ("sat-003", "sat-004")
    assert (action.actor, action.reason) == ("eve", "drill")
    assert action.parameters == {"mode": "fast"}
    assert result == {
        "action": action.id,
        "targets": ["sat-003", "sat-004"],
        "deadline_ms": driver.clock + 7_000,
    }
    decision = driver.decided("action", Outcome.DONE)[0]
    assert decision.subjects == ("sat-003", "sat-004")
    assert decision.facts["parameters"] == {"mode": "fast"}, "who ordered what, in full"
    driver.done(RunAction("beacon"))
    assert driver.action().targets == driver.ids


def test_the_number_of_remembered_actions_is_limited() -> None:
    driver = settled(2)
    for _ in range(MAX_CLOSED_ACTIONS + 3):
        driver.done(RunAction("beacon", ("sat-002",)))
        driver.acknowledge()
    assert len(driver.state.closed_actions) == MAX_CLOSED_ACTIONS
