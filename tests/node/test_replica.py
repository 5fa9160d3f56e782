"""The replica: totality, cluster time, and the bounded memory of events."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.apply import Applied, Done, Rejected
from stationkeep.cluster.commands import (
    AdvanceTime,
    AnyCommand,
    Barrier,
    Draft,
    MemberSpec,
    Pause,
    RegisterDevices,
    Registration,
)
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.events import DevicesWentOffline
from stationkeep.node import replica as module
from stationkeep.node.replica import Replica, snake_case
from tests.founding import founding
from tests.node.world import ManualClock

FOUND = founding("c", (MemberSpec("a", "a:1", "a:2"),), PROFILES["demo"])


def entry(command: AnyCommand, at: int = 0, key: str = "") -> bytes:
    return codec.stamp(at, 0, codec.encode_draft(Draft(command, key, "me", "why")))


def founded() -> tuple[Replica, ManualClock]:
    clock = ManualClock()
    replica = Replica(clock)
    assert isinstance(replica.apply(entry(FOUND), 1).outcome, Done)
    return replica, clock


@given(st.binary(max_size=200))
def test_apply_refuses_any_bytes_as_a_value(content: bytes) -> None:
    """But those above its level, which never come into its log."""
    replica, _ = founded()
    if len(content) > 16 and content[16] > HIGHEST:
        with pytest.raises(codec.TooNew):
            replica.check(content)
        return
    applied = replica.apply(content, 2)
    assert isinstance(applied.outcome, Done | Rejected)
    assert replica.state.index == 2


def test_time_goes_on_from_where_the_log_stands() -> None:
    replica, clock = founded()
    replica.apply(entry(AdvanceTime(), 5_000), 2)
    clock.now = 1_000.0  # leaderless for long: cluster time stood still
    assert replica.cluster_time() == 5_000
    replica.took_office()
    clock.now += 1.25
    assert replica.cluster_time() == 6_250
    assert codec.decode_entry(replica.stamp(codec.encode_draft(Draft(Barrier())))).at == 6_250


def test_a_stamp_that_never_came_into_the_log_does_not_move_time_in_a_later_office() -> None:
    replica, clock = founded()
    replica.took_office()
    clock.now = 3_600.0  # its whole machine slept; it appends once more before it is deposed
    replica.stamp(codec.encode_draft(Draft(Barrier())))
    replica.apply(entry(AdvanceTime(), 2_000), 2)  # the log of its successor
    replica.took_office()
    clock.now += 1.0
    assert codec.decode_entry(replica.stamp(codec.encode_draft(Draft(Barrier())))).at == 3_000


def test_stamps_never_go_back_and_never_fall_behind_the_log() -> None:
    replica, clock = founded()
    replica.took_office()
    draft = codec.encode_draft(Draft(Barrier()))
    clock.now = 2.0
    stamps = [codec.decode_entry(replica.stamp(draft)).at]
    replica.apply(entry(AdvanceTime(), 9_000), 2)
    stamps.append(codec.decode_entry(replica.stamp(draft)).at)
    clock.now = 3.0
    stamps.append(codec.decode_entry(replica.stamp(draft)).at)
    assert stamps == [2_000, 9_000, 9_000]


def test_what_was_heard_before_office_counts_from_its_beginning() -> None:
    replica, clock = founded()
    heard = clock.monotonic()
    clock.now = 4.0
    replica.apply(entry(AdvanceTime(), 7_000), 2)
    replica.took_office()
    assert replica.cluster_time_at(heard) == 7_000


def test_settings_before_founding_are_the_configured_ones() -> None:
    replica = Replica(ManualClock(), PROFILES["demo"])
    assert replica.settings.report_interval == 200
    replica.apply(entry(FOUND), 1)
    assert replica.settings is replica.state.settings


def test_listeners_hear_every_entry_after_it_is_applied() -> None:
    replica, _ = founded()
    heard: list[tuple[int, int]] = []
    replica.listen(lambda index, *_: heard.append((index, replica.state.index)))
    replica.apply(entry(Barrier()), 2)
    replica.apply(b"garbage", 3)
    assert heard == [(2, 2), (3, 3)]


def test_events_are_resumed_behind_an_id() -> None:
    replica, _ = founded()
    begun = replica.cursor_after(None)
    for index in range(2, 5):
        replica.apply(entry(Pause(1_000 * index), key=f"k{index}"), index)
    events = replica.events_from(begun, 100)
    assert [e.kind for e in events].count("pause_changed") == 3
    assert len({e.id for e in events}) == len(events)
    behind = replica.cursor_after(events[2].id)
    assert replica.events_from(behind, 100) == events[3:]
    assert replica.cursor_after(events[-1].id) == replica.cursor_after(None)


def test_forgotten_events_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 4)
    replica, _ = founded()
    first = replica.events_from(0, 1)[0].id
    for index in range(2, 12):
        replica.apply(entry(Pause(1_000 * index), key=f"k{index}"), index)
    assert replica.cursor_after(first) < replica.oldest_cursor
    assert replica.cursor_after("garbage") < replica.oldest_cursor
    assert len(replica.events_from(0, 100)) == 4


def test_a_snapshot_replaces_the_state_and_leaves_a_gap() -> None:
    donor, _ = founded()
    donor.apply(entry(Pause(60_000), key="k"), 2)
    replica, _ = founded()
    cursor = replica.cursor_after(None)
    told: list[int] = []
    replica.on_restored(lambda: told.append(replica.state.index))
    replica.prepare(donor.snapshot())()
    assert told == [2]
    assert codec.digest(replica.state) == codec.digest(donor.state)
    assert cursor < replica.oldest_cursor
    assert replica.cursor_after("1.0") < replica.oldest_cursor  # what 2 brought was skipped
    assert replica.cursor_after("2.9") == replica.oldest_cursor


def test_an_unreadable_snapshot_changes_nothing() -> None:
    replica, _ = founded()
    before: Any = replica.state
    with pytest.raises(codec.CodecError):
        replica.prepare(b"\x00\x01garbage")()
    assert replica.state is before


def test_a_replaced_fleet_is_let_go_piece_by_piece_and_whole() -> None:
    replica, _ = founded()
    ids = [f"device-{n}" for n in range(100)]
    devices = tuple(Registration(id_) for id_ in ids)
    replica.apply(entry(RegisterDevices("a", devices)), 2)
    table = replica.state.fleet.table
    (kept,) = [id_ for id_ in table.rows if id_ == "device-7"]
    del table
    in_use = sys.getrefcount(kept)
    replica.prepare(founded()[0].snapshot())()
    assert sys.getrefcount(kept) < in_use, "nobody can find it any more"
    for index in range(3, 10):
        replica.apply(entry(AdvanceTime()), index)
    assert sys.getrefcount(kept) == 2


def test_kinds_are_in_snake_case() -> None:
    assert snake_case("ActionAcknowledged") == "action_acknowledged"


def test_events_that_name_thousands_of_devices_are_remembered_by_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_EVENT_BYTES", 10_000)
    replica, _ = founded()
    event = DevicesWentOffline(rows=bytes(2_000), births=bytes(2_000))
    for index in range(2, 7):
        replica._remember(index, Applied(Done(), (event,)))
    kept = replica.events_from(replica.oldest_cursor, 100)
    assert [streamed.id for streamed in kept] == ["5.0", "6.0"]
    assert replica.cursor_after("2.0") < replica.oldest_cursor, "whoever resumes there sees a gap"
