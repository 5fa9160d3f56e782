"""What one user may take of what all need: remembered operations, places in the decision log."""

from collections import Counter
from itertools import count

import pytest

from stationkeep.cluster.apply import apply
from stationkeep.cluster.commands import (
    Command,
    Failover,
    Pause,
    ReleaseBrake,
    Resume,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.progression.sentences import TEXTS
from stationkeep.cluster.state import codec, operations
from stationkeep.cluster.state.decisions import (
    OF_ROLLOUTS,
    SHARES,
    Decision,
    Kind,
    Outcome,
    kind_of,
    make_room,
)
from stationkeep.cluster.state.operations import MIN_RETENTION, Operation
from tests.cluster.driver import Driver, settled

ROOM = 12
_numbers = count()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A cluster that remembers a dozen operations, of three actors by name."""
    monkeypatch.setattr(operations, "MAX_OPERATIONS", ROOM)
    monkeypatch.setattr(operations, "MAX_ACCOUNTS", 3)
    return settled()


def order(driver: Driver, actor: str, key: str = "") -> None:
    number = next(_numbers)
    driver.done(SetPriority("sat-003", number % 900 + 1), key=key or f"{number}", actor=actor)


def known(driver: Driver, actor: str, key: str) -> Operation | None:
    return driver.state.operations.find(actor, key)


def test_the_same_key_of_another_actor_is_another_operation() -> None:
    driver = settled()
    driver.done(SetPriority("sat-003", 1), key="k", actor="eve")
    driver.done(SetPriority("sat-003", 2), key="k", actor="mallory")
    assert driver.state.members["sat-003"].priority == 2
    driver.done(SetPriority("sat-003", 1), key="k", actor="eve")
    assert driver.state.members["sat-003"].priority == 2


def test_a_retry_of_one_without_a_name_may_come_from_another_address() -> None:
    driver = settled()
    driver.done(SetPriority("sat-003", 1), key="k", actor="anonymous@10.0.0.1")
    driver.done(SetPriority("sat-003", 2), key="other", actor="eve")
    driver.done(SetPriority("sat-003", 1), key="k", actor="anonymous@10.0.0.2")
    assert driver.state.members["sat-003"].priority == 2


def test_whoever_uses_most_is_refused_and_nobody_else(driver: Driver) -> None:
    order(driver, "eve", "first")
    for _ in range(ROOM - 1):
        order(driver, "mallory")
    reason, detail = driver.refused(SetPriority("sat-003", 5), key="more", actor="mallory")
    assert reason == "quota"
    assert detail == "12 operations are remembered, 11 of this actor; room in 60 s"
    order(driver, "eve")
    order(driver, "operator")
    assert known(driver, "eve", "first")
    assert len(driver.state.operations) == ROOM


def test_what_is_older_than_any_retry_makes_room_for_its_own_actor(driver: Driver) -> None:
    for number in range(ROOM):
        order(driver, "eve", f"k{number}")
    driver.wait(MIN_RETENTION)
    order(driver, "eve", "new")
    assert known(driver, "eve", "k0") is None
    assert known(driver, "eve", "k1")


def test_refusals_make_room_at_once(driver: Driver) -> None:
    for number in range(3 * ROOM):
        driver.refused(Switchover("nobody"), key=f"k{number}", actor="mallory")
    order(driver, "mallory")
    assert len(driver.state.operations) == ROOM


def test_invented_names_share_one_account(driver: Driver) -> None:
    order(driver, "eve", "first")
    order(driver, "operator", "second")
    for number in range(ROOM - 2):
        order(driver, f"invented-{number}")
    reason, detail = driver.refused(SetPriority("sat-003", 5), key="more", actor="one-more")
    assert reason == "quota"
    assert "9 of all who have asked lately" in detail
    order(driver, "eve")
    assert known(driver, "eve", "first")
    assert known(driver, "operator", "second")


def test_what_is_known_of_a_key_is_the_same_on_a_restored_replica(driver: Driver) -> None:
    """Two gave the same key; the newer one makes room first, since its actor has more."""
    order(driver, "alice", key="shared")
    order(driver, "mallory", key="shared")
    for _ in range(ROOM - 1):
        driver.do(Failover("nobody"), key=f"{next(_numbers)}", actor="mallory")
    restored = codec.decode_snapshot(codec.encode_snapshot(driver.state)).operations
    for known in (driver.state.operations, restored):
        assert known.find("mallory", "shared") is None
        assert known.find("alice", "shared") is not None


@pytest.mark.parametrize(
    "command", [Resume(), Failover("sat-002"), ReleaseBrake(), Pause(60_000)], ids=str
)
def test_an_order_that_ends_trouble_is_taken_whoever_filled_the_table(
    driver: Driver, command: Command
) -> None:
    for number in range(ROOM):
        order(driver, f"invented-{number}")
    driver.done(command, key="rescue", actor="never-seen-before")
    for number in range(2 * ROOM):
        driver.done(Resume(), key=f"resume-{number}", actor="mallory")
    driver.done(command if not isinstance(command, Failover) else Resume(), key="own", actor="eve")


def test_a_restored_replica_makes_room_as_one_that_was_never_restarted(driver: Driver) -> None:
    for actor in ("a", "b", "c", "d", "e", "b", "d"):
        order(driver, actor)
    other = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert other.operations.accounts() == driver.state.operations.accounts() == {
        "a": 1, "b": 2, "c": 1, "": 3,
    }  # fmt: skip
    driver.state, kept = other, driver.state
    applied = len(driver.log)
    for actor in ("d", "e", "f", "a", "g", "a", "b"):
        driver.do(SetPriority("sat-003", 5), key=f"{next(_numbers)}", actor=actor)
    for index, entry in enumerate(driver.log[applied:], applied + 1):
        apply(kept, codec.decode_entry(entry), index)
    assert codec.digest(kept) == codec.digest(driver.state)


def test_the_shares_of_the_log_are_the_whole_of_it() -> None:
    assert set(SHARES) == set(Kind)
    assert sum(SHARES.values()) == 100


def test_all_that_is_decided_about_rollouts_is_of_one_kind() -> None:
    assert TEXTS.keys() == OF_ROLLOUTS


def test_orders_push_out_neither_alarms_nor_changes_of_roles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = settled()
    driver.state.decisions.clear()
    monkeypatch.setattr("stationkeep.cluster.state.step.MAX_DECISIONS", 200)
    driver.sample(0.1, None, None, None)  # silent, and so many that the brake is on
    driver.done(Failover("sat-002", force=True), key="f", actor="eve")
    told = [d for d in driver.state.decisions if kind_of(d) in (Kind.ROLES, Kind.ALARMS)]
    assert {kind_of(d) for d in told} == {Kind.ROLES, Kind.ALARMS}
    for _ in range(1_000):
        order(driver, "mallory")
    assert [d for d in driver.state.decisions if kind_of(d) in (Kind.ROLES, Kind.ALARMS)] == told
    assert len(driver.state.decisions) <= 200


def test_no_kind_falls_below_its_share_for_the_sake_of_another() -> None:
    """Nor is the whole log looked through for each decision of a flood."""
    most, looked = 1_000, 0
    log: list[Decision] = []
    forgotten: dict[str, int] = {}
    others = [kind for kind in Kind if kind is not Kind.BOOK]
    plan = [kind for kind in others for _ in range(most * SHARES[kind] // 100)]
    for number, kind in enumerate([Kind.ROLES, *plan, *[Kind.BOOK] * 3_000], 1):
        log.append(Decision(number, 1, 1, 1, "x", Outcome.NOTED, (), kind=kind.value))
        before = len(log)
        make_room(log, forgotten, most)
        looked += len(log) < before
    kept = Counter(decision.kind for decision in log)
    assert {kind: kept[kind] for kind in others} == {
        kind: most * SHARES[kind] // 100 for kind in others
    }
    assert looked <= 3_000 // (most // 100) + len(Kind)
