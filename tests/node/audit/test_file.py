"""The audit file: every decision once, whatever is restarted, torn or skipped."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.commands import (
    AnyCommand,
    Draft,
    MemberSpec,
    Pause,
    Switchover,
)
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.node.audit import chain, file, refusals
from stationkeep.node.audit.file import AuditFile
from stationkeep.node.replica import Replica
from tests.founding import founding
from tests.node.world import ManualClock


def entry(command: AnyCommand, key: str = "") -> bytes:
    return codec.stamp(0, 0, codec.encode_draft(Draft(command, key, "me", "why")))


LOG = [
    entry(founding("c", (MemberSpec("a", "a:1", "a:2"),), PROFILES["demo"])),
    *(entry(Pause(60_000 + n), f"k{n}") for n in range(8)),
]


def replay(replica: Replica, entries: list[bytes], first: int = 1) -> None:
    for index, content in enumerate(entries, start=first):
        replica.apply(content, index)


def written(path: Path, replica: Replica, node: str = "sat-001") -> AuditFile:
    """The audit file of a node whose entries come one in each turn."""
    audit = AuditFile(path, replica, node)
    replica.listen(lambda *_: audit.turn())
    return audit


def begun(folder: Path) -> tuple[Path, Replica, AuditFile]:
    """A file of its own, and what is written to it."""
    path, replica = folder / "audit.jsonl", Replica(ManualClock())
    return path, replica, written(path, replica)


@contextmanager
def full_disk() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(file, "regular", refuse)
        yield


def ids(path: Path) -> list[int]:
    records = map(json.loads, path.read_text().splitlines())
    return [record["id"] for record in records if "id" in record]


def test_every_decision_is_written_with_its_sentence(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replica = Replica(ManualClock())
    written(path, replica)
    replay(replica, LOG)
    assert ids(path) == [d.id for d in replica.state.decisions]
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["matter"] == "pause"
    assert last["sentence"]


def test_a_replayed_log_writes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for length in (3, 5, len(LOG)):
        replica = Replica(ManualClock())
        written(path, replica)
        replay(replica, LOG[:length])
        assert ids(path) == [d.id for d in replica.state.decisions]


def test_a_torn_line_is_cut_off_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replica = Replica(ManualClock())
    written(path, replica)
    replay(replica, LOG[:4])
    path.write_bytes(path.read_bytes()[:-7])
    again = Replica(ManualClock())
    written(path, again)
    replay(again, LOG)
    assert ids(path) == [d.id for d in again.state.decisions]


def test_a_snapshot_that_skips_entries_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeep.node.audit.file.SLICE", 2)
    path = tmp_path / "audit.jsonl"
    donor = Replica(ManualClock())
    replay(donor, LOG)
    replica = Replica(ManualClock())
    audit = AuditFile(path, replica, "sat-001")
    replay(replica, LOG[:3])
    while audit.behind:
        audit.turn()
    had = len(ids(path))
    replica.prepare(donor.snapshot())()
    replica.apply(entry(Pause(1_000), "last"), len(LOG) + 1)
    assert len(ids(path)) == had, "the turn that took it writes none of them"
    for more in range(1, len(LOG)):
        audit.turn()
        assert len(ids(path)) <= had + 2 * more, "a slice a turn"
        if not audit.behind:
            break
    assert ids(path) == [d.id for d in replica.state.decisions]
    replica.apply(entry(Pause(1_001), "after"), len(LOG) + 2)
    audit.turn()
    assert ids(path) == [d.id for d in replica.state.decisions]


def test_what_the_state_forgets_before_it_is_written_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot with a full state, and behind it a log with more than a slice a turn."""
    monkeypatch.setattr("stationkeep.cluster.state.step.MAX_DECISIONS", 6)
    monkeypatch.setattr("stationkeep.node.audit.file.MAX_DECISIONS", 6)
    monkeypatch.setattr("stationkeep.node.audit.file.SLICE", 1)
    path = tmp_path / "audit.jsonl"
    donor, replica = Replica(ManualClock()), Replica(ManualClock())
    replay(donor, LOG)
    first, last = donor.state.decisions[0].id, donor.state.decisions[-1].id
    audit = AuditFile(path, replica, "sat-001")
    replica.prepare(donor.snapshot())()
    for n in range(12):
        replica.apply(entry(Pause(1_000 + n), f"m{n}"), len(LOG) + 1 + n)
        if n % 4 == 3:
            audit.turn()
            assert len(ids(path)) >= n - 1, "no more is owed than the state holds"
    while audit.behind:
        audit.turn()
    assert ids(path) == list(range(first, last + 13))


def test_a_state_loaded_before_listening_is_caught_up(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replica = Replica(ManualClock())
    replay(replica, LOG)
    AuditFile(path, replica, "sat-001").catch_up()
    assert ids(path) == [d.id for d in replica.state.decisions]


def test_a_disk_that_refuses_is_reported_and_made_up_for(tmp_path: Path) -> None:
    path, replica, audit = begun(tmp_path)
    replay(replica, LOG[:3])
    with full_disk():
        replay(replica, LOG[3:6], first=4)
        audit.turn()
        assert "No space left" in audit.broken
        assert not audit.behind, "not tried again before there is more to write"
    replay(replica, LOG[6:], first=7)
    audit.turn()
    assert audit.broken == ""
    assert ids(path) == [d.id for d in replica.state.decisions]


def test_a_disk_that_refuses_at_the_start_stops_no_node(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.mkdir()
    replica = Replica(ManualClock())
    audit = AuditFile(path, replica, "sat-001")
    assert "Is a directory" in audit.broken
    replay(replica, LOG[:3])
    path.rmdir()
    replay(replica, LOG[3:], first=4)
    audit.turn()
    assert audit.broken == ""
    assert ids(path) == [d.id for d in replica.state.decisions]


# Refused orders


def refused(number: int, actor: str = "me", at: int = 0) -> bytes:
    draft = Draft(Switchover("nobody"), f"r{number}", actor, "why", "10.0.0.9 via sat-001")
    return codec.stamp(at, 0, codec.encode_draft(draft))


def notes(path: Path) -> list[dict[str, Any]]:
    records = map(json.loads, path.read_text().splitlines())
    return [record for record in records if "refused" in record]


def test_a_refused_order_is_noted_between_the_decisions(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replica = Replica(ManualClock())
    written(path, replica)
    replay(replica, [*LOG, refused(1), entry(Pause(5_000), "last")])
    [note] = notes(path)
    assert note["refused"] == "Switchover"
    assert (note["actor"], note["origin"]) == ("me", "10.0.0.9 via sat-001")
    assert ids(path) == [d.id for d in replica.state.decisions]
    verdict = chain.verify([path])
    assert (verdict.fault, verdict.notes, verdict.refusals) == ("", [], 1)
    assert verdict.decisions == len(replica.state.decisions)


def test_what_one_turn_brings_is_written_together_and_in_its_order(tmp_path: Path) -> None:
    path, replica = tmp_path / "audit.jsonl", Replica(ManualClock())
    audit = AuditFile(path, replica, "sat-001")
    replay(replica, LOG)
    assert not path.exists()
    replay(replica, [refused(1), entry(Pause(5_000), "last")], first=len(LOG) + 1)
    audit.turn()
    assert not audit.behind
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    *_, before, note, last = lines
    assert (before["key"], note["key"], last["key"]) == ("k7", "r1", "last")
    assert ids(path) == [d.id for d in replica.state.decisions]
    assert chain.verify([path]).fault == ""


def test_a_replayed_log_notes_no_refusal_twice(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = [*LOG, refused(1), refused(2), entry(Pause(5_000), "more"), refused(3)]
    for length in range(len(LOG), len(log) + 1):
        replica = Replica(ManualClock())
        written(path, replica)
        replay(replica, log[:length])
    assert [note["key"] for note in notes(path)] == ["r1", "r2", "r3"]
    assert ids(path) == [d.id for d in replica.state.decisions]
    assert chain.verify([path]).fault == ""


def test_a_flood_of_refusals_is_noted_in_part_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replica = Replica(ManualClock())
    written(path, replica)
    flood = [refused(n, f"actor-{n % 2}") for n in range(500)]
    replay(replica, [*LOG, *flood, refused(500, at=refusals.WINDOW)])
    *some, last = notes(path)
    assert len(some) == 2 * refusals.MOST_OF_ONE
    assert last["unwritten"] == 500 - len(some)
    invented = [refused(600 + n, f"invented-{n}", at=2 * refusals.WINDOW) for n in range(500)]
    replay(replica, invented, first=len(LOG) + 502)
    assert len(notes(path)) == len(some) + 1 + refusals.MOST
    assert ids(path) == [d.id for d in replica.state.decisions]


def test_refused_orders_are_noted_again_as_soon_as_the_disk_allows(tmp_path: Path) -> None:
    """In a quiet cluster the next decision may be hours away."""
    path, replica, audit = begun(tmp_path)
    replay(replica, LOG)
    with full_disk():
        replay(replica, [refused(1)], first=len(LOG) + 1)
        assert "No space left" in audit.broken
    replay(replica, [refused(2)], first=len(LOG) + 2)
    assert audit.broken == ""
    [note] = notes(path)
    assert note["key"] == "r2"
    assert chain.verify([path]).fault == ""


def test_no_refused_order_is_noted_before_a_decision_that_the_file_lacks(tmp_path: Path) -> None:
    path, replica, audit = begun(tmp_path)
    replay(replica, LOG[:5])
    with full_disk():
        replay(replica, LOG[5:], first=6)
    replay(replica, [refused(1), entry(Pause(5_000), "last")], first=len(LOG) + 1)
    audit.turn()
    assert notes(path) == []
    assert ids(path) == [d.id for d in replica.state.decisions]
