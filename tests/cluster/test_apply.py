"""apply: total, deterministic, once per key, restorable at any point."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster import numbers
from stationkeep.cluster.apply import Applied, Done, Rejected, apply
from stationkeep.cluster.commands import (
    AdoptPlan,
    AdvanceTime,
    Barrier,
    ChangeSettings,
    Draft,
    Entry,
    Failover,
    FoundCluster,
    MemberSpec,
    Pause,
    RenewLeases,
    Resume,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.invariants import violations
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.decisions import Kind, Reason, kind_of
from stationkeep.cluster.state.operations import OPERATION_RETENTION, OperationStatus
from stationkeep.cluster.state.state import ClusterState
from tests.cluster.driver import ORBIT, Driver, found, names, settled
from tests.founding import founding
from tests.strategies import NODES, entries, wild_settings


def run(state: ClusterState, log: list[Entry]) -> list[Applied]:
    """Applies entries as they would come from the log, through bytes."""
    applied = []
    for entry in log:
        encoded = codec.stamp(entry.at, entry.wall, codec.encode_draft(entry.draft))
        applied.append(apply(state, codec.decode_entry(encoded), state.index + 1))
        assert list(violations(state)) == []
    return applied


@settings(max_examples=100)
@given(st.booleans(), st.lists(entries(), max_size=12), st.integers(0, 12))
def test_any_entries_in_any_order_are_answered_with_a_value(
    running: bool, log: list[Entry], restore_at: int
) -> None:
    """And a replica restored from a snapshot in between has the same future as one that was not."""
    state = settled(5).state if running else ClusterState()
    whole = codec.decode_snapshot(codec.encode_snapshot(state))
    expected = run(whole, log)
    first = run(state, log[:restore_at])
    restored = codec.decode_snapshot(codec.encode_snapshot(state))
    assert first + run(restored, log[restore_at:]) == expected
    assert codec.digest(restored) == codec.digest(whole)


@given(wild_settings())
def test_founding_with_any_settings_is_answered_with_a_value(wild: Settings) -> None:
    state = ClusterState()
    run(state, [Entry(0, 0, Draft(found(NODES, wild))), Entry(1, 1, Draft(AdvanceTime()))])
    codec.encode_snapshot(state)


def test_two_replicas_of_one_log_have_one_digest() -> None:
    driver = settled(5)
    other = ClusterState()
    for index, entry in enumerate(driver.log, 1):
        apply(other, codec.decode_entry(entry), index)
    assert codec.digest(other) == codec.digest(driver.state)


def test_cluster_time_never_goes_back() -> None:
    state = ClusterState()
    run(state, [Entry(500, 0, Draft(Barrier())), Entry(400, 0, Draft(AdvanceTime()))])
    assert state.time == 500


# Founding


def test_a_fresh_cluster_has_everyone_as_standby_and_nobody_heard_of() -> None:
    driver = Driver(3)
    assert driver.roles == "SSS"
    assert all(member.joining for member in driver.state.members.values())
    assert [d.matter for d in driver.state.decisions] == ["founding"]


def test_a_cluster_is_founded_once() -> None:
    driver = Driver(3)
    assert driver.refused(found(names(3)))[0] == "already_founded"


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        (founding("", (MemberSpec("a", "", ""),), ORBIT), "invalid", "has an id"),
        (found(()), "invalid", "1 to 99 members"),
        (found(("a", "a")), "invalid", "1 to 99 members"),
        (found(names(100)), "invalid", "1 to 99 members"),
        (found(("",)), "invalid", "members"),
        (found(("sat 1",)), "invalid", "members"),
        (found(("a" * 65,)), "invalid", "members"),
        (found(names(3), Settings(evaluation_interval=0)), "settings", "evaluation_interval"),
        (found(names(3), Settings(primary_lease=86_000)), "settings", "primary_lease x 1.05"),
        (found(names(3), Settings(heartbeat_timeout=2**62)), "settings", "heartbeat_timeout"),
    ],
)
def test_a_cluster_that_cannot_be_is_not_founded(
    command: FoundCluster, reason: str, words: str
) -> None:
    state = ClusterState()
    (applied,) = run(state, [Entry(0, 0, Draft(command))])
    assert isinstance(applied.outcome, Rejected)
    assert applied.outcome.reason == reason
    assert words in applied.outcome.detail
    assert not state.founded


def test_before_founding_only_time_passes() -> None:
    state = ClusterState()
    applied = run(
        state,
        [Entry(5, 0, Draft(c)) for c in (Barrier(), AdvanceTime(), Pause(1_000), RenewLeases(()))],
    )
    assert [isinstance(a.outcome, Done) for a in applied] == [True, True, False, False]
    assert isinstance(applied[-1].outcome, Rejected)
    assert applied[-1].outcome.reason == "not_founded"


# Idempotency keys


def test_a_key_repeated_gives_the_first_outcome_and_changes_nothing() -> None:
    driver = settled()
    first = driver.done(SetPriority("sat-003", 7), key="k", actor="eve", reason="test")
    assert driver.done(SetPriority("sat-004", 8), key="other") == {"priority": 8}
    decisions = driver.state.decisions_made
    assert driver.done(SetPriority("sat-003", 7), key="k", actor="eve") == first
    assert driver.state.decisions_made == decisions
    operation = driver.state.operations.find("eve", "k")
    assert operation is not None
    assert (operation.status, operation.kind) == (OperationStatus.DONE, "SetPriority")
    assert (operation.actor, operation.reason) == ("eve", "test")
    assert operation.result == first


def test_a_refusal_is_remembered_too_even_when_it_would_succeed_now() -> None:
    driver = settled()
    assert driver.refused(Switchover("sat-001"), key="k")[0] == "is_primary"
    driver.done(Switchover("sat-002"), key="next")
    assert driver.refused(Switchover("sat-001"), key="k")[0] == "is_primary"
    (operation,) = [one for one in driver.state.operations.values() if one.key == "k"]
    assert operation.status is OperationStatus.REFUSED


def test_a_key_used_for_another_command_is_refused() -> None:
    driver = settled()
    driver.done(Pause(5_000), key="k")
    reason, detail = driver.refused(Resume(), key="k")
    assert reason == "duplicate"
    assert "'k'" in detail
    assert driver.state.pause is not None


def test_outcomes_are_forgotten_after_the_retention_and_not_before() -> None:
    driver = settled()
    driver.done(Pause(5_000), key="k")
    driver.wait(OPERATION_RETENTION)
    assert driver.state.operations.find("", "k")
    driver.wait(1)
    assert driver.state.operations.find("", "k") is None


@pytest.mark.parametrize(
    "origin",
    [{"key": "k" * 129}, {"key": "k", "actor": "a" * 257}, {"key": "k", "reason": "r" * 1_025}],
)
def test_key_actor_and_reason_have_a_length_limit(origin: dict[str, str]) -> None:
    driver = settled()
    reason, detail = driver.refused(Pause(5_000), **origin)
    assert reason == "invalid"
    assert "characters" in detail
    assert len(driver.state.operations) == 0


def test_an_order_that_is_refused_is_counted_and_is_no_decision() -> None:
    driver = settled()
    before = driver.state.decisions_made
    driver.refused(Switchover("sat-001"), key="k", actor="eve")
    driver.refused(Switchover("sat-001"), key="l", actor="eve")
    assert driver.state.decisions_made == before
    assert driver.state.counters.refused == {"is_primary": 2}
    assert driver.events == []


def test_internal_commands_that_are_refused_leave_nothing_behind() -> None:
    driver = settled()
    assert driver.refused(AdoptPlan(driver.state.revision + 1, (), ()))[0] == "stale_revision"
    assert driver.refused(ChangeSettings({}))[0] == "invalid"


# Limits


def test_the_decision_log_keeps_the_newest_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.state.step.MAX_DECISIONS", 10)
    driver = settled()
    roles = [d for d in driver.state.decisions if kind_of(d) is Kind.ROLES]
    for priority in range(1, 21):
        driver.done(SetPriority("sat-003", priority), key=f"{priority}", actor="eve")
    state = driver.state
    assert len(state.decisions) == 10
    kept = [d.facts["to"] for d in state.decisions if kind_of(d) is Kind.ORDERS]
    assert kept == list(range(21 - len(kept), 21))
    assert [d for d in state.decisions if kind_of(d) is Kind.ROLES] == roles[-3:]
    assert state.forgotten["orders"] == state.decisions[-1].id - len(kept)
    assert state.decisions == sorted(state.decisions, key=lambda d: d.id)
    assert state.decisions[-1].id == state.decisions_made


def test_the_role_history_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stationkeep.cluster.roles.seat.MAX_ROLE_CHANGES", 4)
    driver = settled()
    for target in ("sat-002", "sat-003", "sat-004"):
        driver.done(Failover(target))
    assert [(c.node, c.epoch) for c in driver.state.role_changes] == [
        ("sat-002", 3),
        ("sat-003", 3),
        ("sat-003", 4),
        ("sat-004", 4),
    ]


def test_an_order_that_came_before_the_founding_may_come_again_under_its_key() -> None:
    state = ClusterState()

    def order(index: int) -> Done | Rejected:
        return apply(state, Entry(0, 0, Draft(Pause(60_000), "k")), index).outcome

    early = order(1)
    assert isinstance(early, Rejected)
    assert early.reason == Reason.NOT_FOUNDED
    members = (MemberSpec("sat-001", "127.0.0.1:1", "127.0.0.1:2"),)
    apply(state, Entry(0, 0, Draft(founding("c", members, Settings()))), 2)
    assert isinstance(order(3), Done)


@pytest.mark.parametrize("at", [numbers.CEILING - 1, 40 * numbers.DAY])
def test_time_passes_by_a_day_at_most(at: int) -> None:
    """A leader's word, once, is not the end of time: what comes later is applied."""
    state = ClusterState()
    entries = [Entry(at, 0, Draft(AdvanceTime())), Entry(5, 0, Draft(AdvanceTime()))]
    for index, entry in enumerate(entries, 2):
        assert apply(state, entry, index).outcome == Done()
    assert state.time == numbers.DAY


def test_time_that_really_passed_is_made_up_for() -> None:
    state = ClusterState()
    for index in range(2, 10):
        apply(state, Entry(5 * numbers.DAY, 0, Draft(AdvanceTime())), index)
    assert state.time == 5 * numbers.DAY
