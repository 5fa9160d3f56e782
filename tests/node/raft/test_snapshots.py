"""Sending snapshots through bad connections, and writing them without holding up the loop."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from stationkeep.cluster.state.codec import CodecError
from stationkeep.node.raft.engine import engine
from stationkeep.node.raft.storage import snapshot_store as store
from stationkeep.node.raft.storage.snapshot_file import Snapshot, decode, encode, pieces
from tests.node.raft.harness import TIMINGS, Cluster
from tests.node.raft.test_safety import Alone, entries, snapshot
from tests.node.raft.test_safety import chunks as cut


class Thread:
    """Does what it was given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one()


@pytest.fixture
def thread() -> Thread:
    return Thread()


@pytest.fixture
def alone(cluster: Any, thread: Thread) -> Alone:
    """Member n1, which snapshots reach; the test speaks for the others and does the reading."""
    return Alone(cluster(3, submit=thread.submit))


def applied(alone: Alone) -> int:
    return alone.c.rafts["n1"].applied_index


def behind(cluster: Any, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[Cluster, str, str]:
    """A leader whose log was compacted beyond what a follower, cut off, has. Many chunks."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 2_000)
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = cluster(timings=type(TIMINGS)(**{**fields, "compact_entries": 40}), **more)
    leader = c.elect()
    c.converge()
    away = c.followers()[0]
    c.partition(away)
    c.write(leader, *(b"k%d:" % n + bytes(500) for n in range(200)))
    c.run(1.0)
    return c, leader, away


def chunks(c: Cluster, leader: str, away: str) -> list[int]:
    """Numbers of the chunks sent to the one who was away."""
    return [m["chunk"][2] for s, p, m in c.seen if (s, p) == (leader, away) and "chunk" in m]


def test_s2_a_snapshot_goes_on_where_the_connection_broke(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    for part in (10, 20, 30):
        c.run_until(lambda part=part: max(chunks(c, leader, away), default=0) >= part)
        c.partition(away)
        c.run(0.3)
        c.heal()
    c.converge()
    sent = chunks(c, leader, away)
    assert sent.count(0) == 1, "it was begun once"
    assert max(sent) > 40
    assert len(sent) <= max(sent) + 1 + 3 * store.WINDOW, "only what was on its way again"


def test_s2_a_follower_that_lost_its_part_begins_anew(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    c.run_until(lambda: max(chunks(c, leader, away), default=0) >= 10)
    c.crash(away)
    c.start(away)
    c.converge()
    assert chunks(c, leader, away).count(0) == 2


def test_s2_lost_and_repeated_chunks_do_no_harm(cluster, monkeypatch) -> None:
    c, _, _ = behind(cluster, monkeypatch)
    c.drop = lambda s, p, m: "chunk" in m and c.random.random() < 0.2
    c.duplicate = lambda s, p, m: "chunk" in m and c.random.random() < 0.2
    c.heal()
    c.converge(120.0)


def test_s2_another_leader_sends_a_snapshot_of_its_own(cluster, monkeypatch) -> None:
    c, leader, away = behind(cluster, monkeypatch)
    c.heal()
    c.run_until(lambda: max(chunks(c, leader, away), default=0) >= 10)
    c.crash(leader)
    c.run_until(lambda: c.leader() is not None)
    c.converge()
    c.start(leader)
    c.converge()


def test_compaction_lets_go_slice_by_slice(cluster, monkeypatch) -> None:
    monkeypatch.setattr(engine, "COMPACTED_PER_TURN", 10)
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    c = cluster(1, timings=type(TIMINGS)(**{**fields, "compact_entries": 150}))
    c.elect()
    c.write("n1", *(b"k%d:" % n for n in range(200)))
    journal, firsts = c.journals["n1"], []
    while not firsts or firsts[-1] < 100:
        c.step()
        firsts.append(journal[0][1])
    steps = {b - a for a, b in itertools.pairwise(firsts)}
    assert max(steps) <= 10
    c.crash("n1")
    assert c.start("n1").applied_index >= 150, "a half compacted journal covers its snapshot"


# -- an arriving snapshot is read on a thread ----------------------------------------------------


def test_s2_an_arrived_snapshot_is_read_elsewhere_and_taken_in_a_later_turn(alone, thread) -> None:
    first, last = cut(20, 1, snapshot(20), 2)
    alone.chunk(1, first, commit=0)
    assert alone.chunk(1, last, commit=0)["wanted"] == 1, "not confirmed before it is in place"
    raft = alone.c.rafts["n1"]
    raft.turn()
    assert applied(alone) == 1
    assert raft.next_wakeup() <= alone.c.clock.now + 0.05, "it looks after what is being read"
    assert alone.chunk(1, last, commit=0)["wanted"] == 1
    thread.work()
    assert applied(alone) == 1, "a thread changes nothing"
    alone.c.seen.clear()
    raft.turn()
    assert applied(alone) == alone.commit == 20
    [(_, peer, answer)] = alone.c.seen
    assert (peer, answer["next_node_idx"], answer["success"]) == ("n2", 21, True)
    assert alone.chunk(1, last, commit=20)["next_node_idx"] == 21, "as to whoever missed that"


def test_s2_what_the_log_covers_by_the_time_it_is_read_is_not_taken(alone, thread) -> None:
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    alone.append(1, (1, 0), entries(1, 2, 30), commit=25)
    before = list(alone.log)
    thread.work()
    alone.c.rafts["n1"].turn()
    assert alone.log == before
    assert applied(alone) == 25
    assert [file.name for file in (alone.c.path / "n1").glob("snapshot*")] == []


def test_s2_a_snapshot_of_a_deposed_leader_is_taken_and_its_successor_told(alone, thread) -> None:
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    alone._ask("n3", {"type": "append_entries", "term": 2, "commit_index": 0})
    thread.work()
    alone.c.seen.clear()
    alone.c.rafts["n1"].turn()
    assert applied(alone) == 20, "what it covers is committed, whoever leads"
    [(_, peer, answer)] = alone.c.seen
    assert (peer, answer["term"], answer["next_node_idx"]) == ("n3", 2, 21)


def test_s2_without_a_leader_a_snapshot_is_taken_and_nobody_told(alone, thread) -> None:
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    alone.c.deliver("n3", "n1", {"type": "stale_term", "term": 7})
    thread.work()
    alone.c.seen.clear()
    alone.c.rafts["n1"].turn()
    assert applied(alone) == 20
    assert not [m for _, _, m in alone.c.seen if m.get("type") == "next_node_idx"]


def test_s2_another_snapshot_waits_until_the_first_was_read(alone, thread) -> None:
    [older], newer = cut(20, 1, snapshot(20), 1), cut(40, 1, snapshot(40), 2)
    alone.chunk(1, older, commit=0)
    assert alone.chunk(1, newer[0], commit=0)["wanted"] == 0
    thread.work()
    assert alone.chunk(1, newer[0], commit=0)["next_node_idx"] == 21
    assert alone.chunk(1, newer[0], commit=0)["wanted"] == 1
    alone.chunk(1, newer[1], commit=0)
    thread.work()
    alone.c.rafts["n1"].turn()
    assert applied(alone) == 40


def test_s2_damage_found_by_the_thread_makes_it_begin_anew(alone, thread) -> None:
    good = snapshot(20)
    [bad] = cut(20, 1, good[:-1] + bytes([good[-1] ^ 1]), 1)
    alone.chunk(1, bad, commit=0)
    thread.work()
    assert alone.chunk(1, cut(20, 1, good, 2)[1], commit=0)["wanted"] == 0
    assert applied(alone) == 1


def test_s7_a_state_that_cannot_be_read_is_not_installed(alone, thread) -> None:
    """Its checksum is right: another release wrote it, or somebody who is no leader. The node
    stays as it is, says why, and is open for another one a little later."""
    raft = alone.c.rafts["n1"]
    readable = raft._snapshots.prepare

    def unreadable(_: bytes) -> Callable[[], None]:
        raise CodecError("format 99")

    raft._snapshots.prepare = unreadable
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    thread.work()
    raft.turn()
    assert "cannot receive a snapshot: format 99" in raft.snapshot_error
    assert applied(alone) == 1
    raft._snapshots.prepare = readable
    alone.c.clock.now += store.RETRY_SECONDS
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    thread.work()
    raft.turn()
    assert applied(alone) == 20


@pytest.mark.parametrize("chunks", [1, 2])
def test_s11_a_disk_that_is_full_for_an_arriving_snapshot_is_reported(alone, chunks) -> None:
    """`/dev/full` takes what fits in the buffer and refuses the rest, also when it is closed."""
    part = alone.c.path / "n1" / "snapshot.part"
    part.symlink_to("/dev/full")
    raft = alone.c.rafts["n1"]
    raft._snapshots._submit = lambda work: work()
    for chunk in cut(20, 1, snapshot(20, size=20_000 * (chunks - 1)), chunks):
        alone.chunk(1, chunk, commit=0)
    raft.turn()
    assert "No space left on device" in raft.snapshot_error
    assert not part.is_symlink(), "what it holds is the journal's"
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    raft.turn()
    assert applied(alone) == 1, "not at once"
    alone.c.clock.now += store.RETRY_SECONDS
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    raft.turn()
    assert applied(alone) == 20


def test_s11_a_disk_that_refuses_to_put_a_snapshot_in_place_is_reported(
    alone, thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    raft, parts = alone.c.rafts["n1"], cut(20, 1, snapshot(20), 2)
    for part in parts:
        alone.chunk(1, part, commit=0)
    thread.work()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("stationkeep.node.raft.storage.snapshot_file.publish", refuse)
        assert alone.chunk(1, parts[1], commit=0)["wanted"] == 0, "all of it again"
    assert "No space left on device" in raft.snapshot_error
    assert applied(alone) == 1
    assert not (alone.c.path / "n1" / "snapshot.part").exists()
    alone.c.clock.now += store.RETRY_SECONDS
    for part in parts:
        alone.chunk(1, part, commit=0)
    thread.work()
    raft.turn()
    assert applied(alone) == 20
    assert raft.snapshot_error is None


@pytest.mark.parametrize("read", [False, True])
def test_a_node_that_stops_while_a_snapshot_is_read_starts_without_it(alone, thread, read) -> None:
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    if read:
        thread.work()
    alone.c.crash("n1")
    thread.work()
    assert alone.c.start("n1").applied_index == 1
    assert [file.name for file in (alone.c.path / "n1").glob("snapshot*")] == []


def compacting(alone: Alone) -> Any:
    """A member that is to write a snapshot of nine entries."""
    alone.append(1, (1, 0), entries(1, 2, 9), commit=9)
    raft = alone.c.rafts["n1"]
    raft._engine.forceLogCompaction()
    raft.turn()
    return raft


def test_what_nobody_foresaw_while_a_snapshot_is_written_stops_the_node(alone, thread) -> None:
    """Else the log would grow for ever, and nobody would know why."""

    def unforeseen() -> bytes:
        raise ZeroDivisionError

    alone.c.rafts["n1"]._snapshots._encode_state = lambda: unforeseen
    raft = compacting(alone)
    with pytest.raises(ZeroDivisionError):
        thread.work()
    with pytest.raises(ZeroDivisionError):
        raft.turn()


def test_s2_no_snapshot_is_begun_to_be_sent_while_its_successor_takes_its_place(
    alone, thread
) -> None:
    """The thread has renamed the file, and says so a moment later: it would be sent under the
    name of the older one, and refused by the follower as often as it came."""
    raft = compacting(alone)
    thread.work()
    raft.turn()
    alone.append(1, (9, 1), entries(1, 10, 15), commit=15)
    store, between = raft._snapshots, []
    write = store._files.write

    def renamed(*content: bytes) -> None:
        write(*content)
        between.append(store.getTransmissionData("n2"))

    store._files.write = renamed
    raft._engine.forceLogCompaction()
    raft.turn()
    thread.work()
    assert between == [None]
    assert store.getTransmissionData("n2")[:2] == (15, 1)


def test_nothing_is_written_while_a_snapshot_is_read(alone, thread) -> None:
    raft = alone.c.rafts["n1"]
    alone.append(1, (1, 0), entries(1, 2, 9), commit=9)
    alone.chunk(1, cut(20, 1, snapshot(20), 1)[0], commit=0)
    raft._engine.forceLogCompaction()
    raft.turn()
    assert len(thread.waiting) == 1
    thread.work()
    raft.turn()
    assert applied(alone) == 20
    assert alone.c.journals["n1"][0][1] == 19


def test_s2_it_converges_though_reading_takes_its_time_and_messages_are_lost(
    cluster, monkeypatch, thread
) -> None:
    c, leader, away = behind(cluster, monkeypatch, submit=thread.submit)
    thread.work()
    c.run(1.0)
    c.drop = lambda s, p, m: away in (s, p) and c.random.random() < 0.2
    c.heal()
    steps = itertools.count()

    def taken() -> bool:
        if next(steps) % 50 == 0:
            thread.work()
        return c.rafts[away].applied_index > 200

    c.run_until(taken, 60.0)
    c.converge(60.0)
    assert chunks(c, leader, away)


def test_memory_for_the_state_is_made_on_the_thread_before_the_state_is_taken(
    alone, thread
) -> None:
    done: list[str] = []
    store = alone.c.rafts["n1"]._snapshots
    take = store._encode_state
    store._make_room = lambda: done.append("room")
    store._encode_state = lambda: done.append("state") or take()
    raft = compacting(alone)
    assert done == []
    assert store.busy
    thread.work()
    assert done == ["room"]
    raft._engine.forceLogCompaction()  # as a log that is too long does with each tick
    raft.turn()
    assert done == ["room", "state"]
    thread.work()
    raft.turn()
    assert store.load().index == 9
    assert not store.busy


def test_a_file_of_pieces_is_that_of_the_whole() -> None:
    about = Snapshot("c", ("n1",), (b"", 8, 1), (b"\x00x", 9, 1), memoryview(b"abcdef"), ("n2",))
    whole = encode(about)
    parts = [b"ab", memoryview(b"cde"), b"", b"f"]
    assert b"".join(pieces(replace(about, state=memoryview(b"")), parts)) == whole
    assert decode(whole) == about
