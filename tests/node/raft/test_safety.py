"""Hazards S1-S8, S10: one member, and a leader or followers played by hand.

Each of these fails when the guard that it names is taken out.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from stationkeep.cluster.state.codec import TooNew
from stationkeep.node.ports import Committed
from stationkeep.node.raft import (
    CorruptJournal,
    CorruptSnapshot,
    Guards,
    Journal,
    LogDiverged,
    Snapshot,
    WrongDataDir,
    encode,
    read_snapshot,
    restore_into,
    write_file,
)
from stationkeep.node.raft.engine.progress import PATIENCE_FLOOR, Progress, Request
from tests.node.raft.harness import GOOD_VOTE, TIMINGS, Cluster, Machine

Entries = list[tuple[bytes, int, int]]


class Alone:
    """Member n1 of three; the test speaks for n2 and n3. Time stands still."""

    def __init__(self, c: Cluster) -> None:
        self.c = c
        c.journals["n1"].settle()  # it has not just lost its disk, and waits for nobody
        self.seq = 0

    def append(self, term: int, previous: tuple[int, int], entries: Entries, commit: int,
               leader: str = "n2") -> dict[str, Any]:  # fmt: skip
        """Sends an append_entries and returns the answer."""
        return self._ask(leader, self.message(term, previous, entries, commit))

    def message(self, term: int, previous: tuple[int, int], entries: Entries,
                commit: int) -> dict[str, Any]:  # fmt: skip
        return {
            "type": "append_entries", "term": term, "commit_index": commit,
            "prevLogIdx": previous[0], "prevLogTerm": previous[1], "entries": entries,
        }  # fmt: skip

    def chunk(self, term: int, chunk: tuple[Any, ...], commit: int) -> dict[str, Any]:
        return self._ask("n2", {
            "type": "append_entries", "term": term, "commit_index": commit, "chunk": chunk,
        })  # fmt: skip

    def _ask(self, leader: str, message: dict[str, Any]) -> dict[str, Any]:
        self.seq += 1
        self.c.seen.clear()
        self.c.deliver(leader, "n1", {**message, "seq": self.seq})
        answers = [m for s, p, m in self.c.seen if (s, p) == ("n1", leader)]
        assert len(answers) == 1
        assert answers[0]["seq"] == self.seq
        return answers[0]

    @property
    def log(self) -> Entries:
        return self.c.journals["n1"][0:]

    @property
    def commit(self) -> int:
        return self.c.rafts["n1"].commit_index


def entries(term: int, first: int, last: int) -> Entries:
    return [(b"\x00@%d/%d" % (term, i), i, term) for i in range(first, last + 1)]


@pytest.fixture
def alone(cluster) -> Alone:
    return Alone(cluster(3))


def snapshot(index: int, term: int = 1, size: int = 0) -> bytes:
    machine = Machine()
    machine.log = [(i, b"%d" % i) for i in range(2, index + 1)]
    machine.keys = {b"pad": 0, b"x" * size: 0}
    pair = entries(term, index - 1, index)
    return encode(Snapshot("c", ("n1", "n2", "n3"), pair[0], pair[1], machine.snapshot()))


def chunks(index: int, term: int, data: bytes, total: int) -> list[tuple[Any, ...]]:
    size = -(-len(data) // total)
    return [(index, term, n, total, data[n * size : (n + 1) * size]) for n in range(total)]


# -- levels --------------------------------------------------------------------------------------


def test_an_entry_above_its_level_stops_a_node_before_it_is_written(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 5), commit=5)
    message = alone.message(1, (5, 1), [(b"\x00@above", 6, 1)], commit=6)
    for _ in range(3):  # links double messages, and one may be nonsense
        alone.c.deliver("n2", "n1", {**message, "seq": 7})
    assert alone.c.rafts["n1"].rejected == {"it needs a level that this release has not": 3}
    with pytest.raises(TooNew, match="install a newer release"):
        alone.c.deliver("n2", "n1", {**message, "seq": 8})
    assert alone.log[1:] == entries(1, 2, 5)


# -- S1, S2: snapshots ---------------------------------------------------------------------------


def test_s1_chunks_commit_nothing_of_an_unverified_log(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 6), commit=1)
    parts = chunks(20, 2, snapshot(20, 2), 3)
    alone.chunk(2, parts[0], commit=20)
    assert alone.commit == 1
    alone.chunk(2, parts[1], commit=20)
    assert alone.commit == 1
    answer = alone.chunk(2, parts[2], commit=25)
    assert alone.commit == alone.c.rafts["n1"].applied_index == 20
    assert (answer["next_node_idx"], answer["success"]) == (21, True)
    assert [e[1] for e in alone.log] == [19, 20]


def test_s1_a_sign_of_life_commits_nothing(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 6), commit=1)
    answer = alone._ask("n3", {"type": "append_entries", "term": 2, "commit_index": 20})
    assert alone.commit == 1
    assert (answer["success"], answer["reset"]) == (False, False)


def test_s2_a_stale_snapshot_changes_nothing(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 30), commit=25)
    before = list(alone.log)
    for part in chunks(10, 1, snapshot(10), 2):
        answer = alone.chunk(1, part, commit=25)
        assert (answer["next_node_idx"], answer["success"]) == (11, True)
    assert alone.log == before
    assert alone.commit == 25


def test_s2_chunks_of_two_snapshots_are_never_mixed(alone: Alone) -> None:
    older, newer = (chunks(i, 1, snapshot(i), 3) for i in (10, 20))
    assert alone.chunk(1, older[0], commit=0)["wanted"] == 1
    assert alone.chunk(1, newer[1], commit=0)["wanted"] == 0
    assert alone.chunk(1, older[2], commit=0)["wanted"] == 1  # a gap
    assert alone.chunk(1, older[1], commit=0)["wanted"] == 2
    assert alone.chunk(1, older[1], commit=0)["wanted"] == 2  # twice
    assert alone.chunk(1, newer[0], commit=0)["wanted"] == 1  # begins anew
    assert alone.chunk(1, older[2], commit=0)["wanted"] == 0
    assert alone.chunk(1, newer[1], commit=0)["wanted"] == 2
    assert alone.chunk(1, newer[2], commit=0)["next_node_idx"] == 21
    assert alone.c.rafts["n1"].applied_index == 20


def test_s2_a_snapshot_damaged_on_the_way_is_not_installed(alone: Alone) -> None:
    data = bytearray(snapshot(20))
    data[-1] ^= 1
    parts = chunks(20, 1, bytes(data), 2)
    alone.chunk(1, parts[0], commit=0)
    assert alone.chunk(1, parts[1], commit=0)["wanted"] == 0
    assert alone.c.rafts["n1"].applied_index == 1
    assert not (alone.c.path / "n1" / "snapshot").exists()


# -- S3: append_entries --------------------------------------------------------------------------


def test_s3_a_repeated_smaller_batch_erases_nothing(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 10), commit=1)
    answer = alone.append(1, (1, 0), entries(1, 2, 4), commit=1)
    assert [e[1] for e in alone.log] == list(range(1, 11))
    assert (answer["next_node_idx"], answer["success"]) == (5, True)


def test_s3_nothing_new_commits_only_what_was_verified(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 10), commit=1)
    alone.append(2, (1, 0), entries(1, 2, 4), commit=9, leader="n3")
    assert alone.commit == 4
    alone.append(2, (6, 1), [], commit=9, leader="n3")
    assert alone.commit == 6


def test_s3_only_what_conflicts_is_replaced(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 10), commit=5)
    new = entries(1, 2, 7) + entries(2, 8, 8)
    answer = alone.append(2, (1, 0), new, commit=6, leader="n3")
    assert alone.log[1:] == new
    assert (answer["next_node_idx"], answer["success"]) == (9, True)
    assert alone.commit == 6


def test_s3_entries_below_a_compacted_log_are_known(alone: Alone) -> None:
    alone.chunk(1, chunks(20, 1, snapshot(20), 1)[0], commit=0)
    answer = alone.append(1, (10, 1), entries(1, 11, 15), commit=20)
    assert (answer["next_node_idx"], answer["success"]) == (16, True)
    answer = alone.append(1, (10, 1), entries(1, 11, 23), commit=22)
    assert (answer["next_node_idx"], answer["success"]) == (24, True)
    assert ([e[1] for e in alone.log], alone.commit) == ([19, 20, 21, 22, 23], 22)


@pytest.mark.parametrize(
    ("previous", "new"),
    [
        ((1, 0), entries(1, 2, 3) + entries(2, 4, 4)),  # another entry in a committed place
        ((5, 2), []),  # another term in a committed place
        ((4, 1), entries(2, 5, 5)),
    ],
)
def test_s3_rewriting_what_is_committed_stops_the_node(alone: Alone, previous, new) -> None:
    alone.append(1, (1, 0), entries(1, 2, 5), commit=5)
    message = alone.message(2, previous, new, commit=5)
    for _ in range(3):  # links double messages, and one may be nonsense
        alone.c.deliver("n3", "n1", {**message, "seq": 7})
    assert alone.c.rafts["n1"].rejected == {"it contradicts what is committed": 3}
    with pytest.raises(LogDiverged, match="committed here"):
        alone.c.deliver("n3", "n1", {**message, "seq": 8})
    assert alone.log[1:] == entries(1, 2, 5)


def test_s3_one_contradiction_is_forgotten_when_the_leader_agrees(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 5), commit=5)
    for seq in (7, 8, 9):  # each alone, and what the leader itself says in between
        alone.c.deliver("n3", "n1", {**alone.message(2, (5, 2), [], commit=5), "seq": seq})
        alone.append(2, (5, 1), [], commit=5)
    assert alone.log[1:] == entries(1, 2, 5)


# -- S4: replies ---------------------------------------------------------------------------------


def leading(c: Cluster) -> tuple[str, str, str]:
    leader = c.elect()
    c.converge()
    first, second = c.followers()
    c.drop = lambda *_: True  # from here on the test speaks for the followers
    return leader, first, second


def birth(c: Cluster, name: str) -> int:
    return c.journals[name].birth


def reply(c: Cluster, follower: str, leader: str, **fields: Any) -> None:
    engine = c.rafts[leader]._engine
    message = {
        "type": "next_node_idx", "term": engine.raftCurrentTerm, "seq": engine._seq,
        "birth": birth(c, follower), "reset": False, "success": True, **fields,
    }  # fmt: skip
    c.deliver(follower, leader, message)


def test_s4_replies_of_another_term_are_no_acknowledgement(cluster) -> None:
    c = cluster()
    leader, first, _ = leading(c)
    raft = c.rafts[leader]
    before = raft.commit_index
    c.propose(leader, b"a")
    raft.turn()
    last = raft._engine.last_index()
    for term in (raft.term - 1, raft.term + 1):
        reply(c, first, leader, term=term, next_node_idx=last + 1)
        assert raft.commit_index == before
    reply(c, first, leader, seq=raft._engine._seq + 1, next_node_idx=last + 1)  # never asked
    reply(c, first, leader, next_node_idx=last + 2)  # more than there is
    assert raft.commit_index == before
    reply(c, first, leader, next_node_idx=last + 1)
    assert raft.commit_index == last


def test_s4_a_success_never_moves_next_backwards() -> None:
    progress = Progress(match=10, next=50)
    progress.succeeded(20)
    assert (progress.match, progress.next) == (20, 50)
    progress.succeeded(15)
    assert (progress.match, progress.next) == (20, 50)
    progress.succeeded(60)
    assert (progress.match, progress.next) == (60, 61)


def test_s4_a_reset_older_than_the_last_reset_is_dropped() -> None:
    progress = Progress(match=10, next=50)
    assert progress.reset(seq=5, wanted=20, newest=9, now=0.0)
    assert progress.next == 20
    for late in (4, 5, 9):
        assert not progress.reset(seq=late, wanted=15, newest=12, now=0.0)
    assert progress.next == 20
    assert progress.reset(seq=10, wanted=3, newest=12, now=0.0)
    assert progress.next == 11, "never below what is known to match"


def test_a_reset_of_a_request_that_overtook_another_is_believed_when_that_is_lost() -> None:
    progress = Progress(match=10, next=14)
    progress.sent(1, Request(11, 12, 100, commit=0, at=0.0))
    progress.sent(2, Request(13, 13, 100, commit=0, at=0.0))
    assert not progress.reset(seq=2, wanted=11, newest=2, now=0.01), "the first is on its way"
    assert progress.next == 14
    assert progress.reset(seq=2, wanted=11, newest=2, now=PATIENCE_FLOOR)
    assert progress.next == 11


def test_what_is_not_answered_is_sent_again_from_where_it_began() -> None:
    progress = Progress(match=0, next=14)
    progress.sent(1, Request(11, 12, 100, commit=0, at=0.0))
    progress.sent(2, Request(13, 13, 100, commit=0, at=0.0))
    assert progress.overdue_at() == PATIENCE_FLOOR
    progress.send_again(newest=2)
    assert (progress.next, progress.flying_bytes) == (11, 0)
    progress.sent(3, Request(11, 13, 200, commit=0, at=1.0))
    assert progress.overdue_at() == 1.0 + 2 * PATIENCE_FLOOR, "with more patience each time"
    progress.succeeded(13)
    assert progress.overdue_at() == math.inf


def test_s4_after_a_reconnect_it_goes_on_behind_what_matches(cluster) -> None:
    c = cluster()
    leader, first, _ = leading(c)
    raft, node = c.rafts[leader], c.rafts[leader]._engine.nodes[first]
    c.propose(leader, b"lost on the way")
    raft.turn()
    progress = raft._engine.progress[node]
    assert progress.next > progress.match + 1
    raft.disconnected(first)
    raft.connected(first)
    assert progress.next == progress.match + 1


# -- S5: nothing leaves before it is on disk -----------------------------------------------------


def vote(c: Cluster, candidate: str, term: int) -> int:
    """Asks n1 for its vote; how many it gave."""
    c.seen.clear()
    c.deliver(candidate, "n1", {
        "type": "request_vote", "term": term, "last_log_index": 99, "last_log_term": term - 1,
        "transfer": True,
    })  # fmt: skip
    return len(c.sent("n1", "response_vote"))


def test_s5_a_vote_outlives_a_crash(cluster) -> None:
    c = cluster()
    c.elect()
    c.converge()
    c.drop = lambda *_: True
    assert vote(c, "n2", 7) == 1
    c.crash("n1")
    c.start("n1")
    assert c.rafts["n1"].term == 7
    assert vote(c, "n3", 7) == 0
    assert vote(c, "n3", 8) == 1


def forgetful(c: Cluster, name: str) -> None:
    """The member comes back without its disk."""
    c.erase(name)
    c.start(name)


def test_s5_who_lost_its_disk_is_sent_everything_again_and_settles(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.write(leader, *(b"%d:" % n for n in range(50)))
    c.converge()
    name = c.followers()[0]
    forgetful(c, name)
    assert not c.journals[name].settled
    c.converge()
    assert c.journals[name].settled
    assert c.leader() == leader


def test_s5_a_forgotten_acknowledgement_commits_nothing(cluster) -> None:
    c = cluster()
    leader, first, _ = leading(c)
    raft, node = c.rafts[leader], c.rafts[leader]._engine.nodes[first]
    c.propose(leader, b"a")
    raft.turn()
    reply(c, first, leader, next_node_idx=raft.commit_index + 1)
    old, asked = birth(c, first), raft._engine._seq
    forgetful(c, first)
    reply(c, first, leader, next_node_idx=2, success=False, reset=True)
    progress = raft._engine.progress[node]
    assert progress.match == 0
    appends = [m for _, p, m in c.seen if p == first and m.get("type") == "append_entries"]
    assert appends[-1]["prevLogIdx"] == 1, "from the beginning"
    commit = raft.commit_index
    last = raft._engine.last_index()
    reply(c, first, leader, birth=old, seq=asked, next_node_idx=last + 1)
    assert (progress.match, raft.commit_index) == (0, commit), "a late word of the lost journal"


def test_s5_who_lost_its_disk_elects_nobody_that_lacks_what_it_acknowledged(cluster) -> None:
    c = cluster()
    leader = c.elect()
    c.converge()
    lost, behind = c.followers()
    c.partition(behind)
    c.write(leader, b"acknowledged by two:")
    c.crash(leader)
    c.heal()
    forgetful(c, lost)
    c.run(10.0)
    assert c.leader() is None, "no quorum knows what was committed"
    c.start(leader)
    c.elect()
    c.converge()
    assert [d for _, d in c.machines[lost].log] == [b"acknowledged by two:"]


def test_s5_an_answered_append_outlives_a_crash(alone: Alone) -> None:
    assert alone.append(3, (1, 0), entries(3, 2, 9), commit=1)["success"]
    alone.c.crash("n1")
    alone.c.start("n1")
    assert alone.log[1:] == entries(3, 2, 9)
    assert alone.c.rafts["n1"].term == 3


# -- S6, S7: journal and snapshot at start -------------------------------------------------------


def compacted(c: Cluster) -> str:
    """A cluster whose member n1 has a snapshot and a longer log; n1 is down."""
    c.write(c.elect(), *(b"k%d:" % n for n in range(100)))
    c.converge()
    c.run(0.2)
    assert (c.path / "n1" / "snapshot").exists()
    c.write(c.elect(), *(b"l%d:" % n for n in range(5)))
    c.converge()
    c.crash("n1")
    return "n1"


@pytest.fixture
def small(cluster) -> Cluster:
    fields = {f: getattr(TIMINGS, f) for f in TIMINGS.__struct_fields__}
    return cluster(timings=type(TIMINGS)(**{**fields, "compact_entries": 40}))


def test_s6_a_crash_between_snapshot_and_compaction(alone: Alone) -> None:
    """The snapshot is there, the journal not compacted yet: nothing of it may go."""
    alone.append(1, (1, 0), entries(1, 2, 30), commit=30)
    alone.c.crash("n1")
    write_file(alone.c.path / "n1" / "snapshot", snapshot(20))
    raft = alone.c.start("n1")
    assert raft.applied_index == 20
    assert alone.log[-1] == entries(1, 30, 30)[0]
    assert alone.log[0][1] <= 19
    raft.turn()
    alone.append(1, (30, 1), [], commit=30)
    assert raft.applied_index == 30


def test_s6_a_crash_between_received_snapshot_and_journal(alone: Alone) -> None:
    alone.append(1, (1, 0), entries(1, 2, 10), commit=5)
    alone.c.crash("n1")
    write_file(alone.c.path / "n1" / "snapshot", snapshot(50, 3))
    raft = alone.c.start("n1")
    assert (raft.applied_index, raft.commit_index, raft.term) == (50, 50, 3)
    assert [e[1] for e in alone.log] == [49, 50]


def test_s6_a_journal_that_begins_after_the_snapshot_is_refused(small: Cluster) -> None:
    name = compacted(small)
    write_file(small.path / name / "snapshot", snapshot(5))
    with pytest.raises(CorruptJournal, match="the snapshot ends at 5"):
        small.start(name)
    small.journals.pop(name).abandon()


def test_s6_a_compacted_journal_without_its_snapshot_is_refused(small: Cluster) -> None:
    name = compacted(small)
    (small.path / name / "snapshot").unlink()
    with pytest.raises(CorruptJournal, match="there is no snapshot"):
        small.start(name)
    small.journals.pop(name).abandon()


@pytest.mark.parametrize("place", [0, 9, 40, -1])
def test_s7_a_damaged_snapshot_stops_the_node_with_advice(small: Cluster, place: int) -> None:
    name = compacted(small)
    path = small.path / name / "snapshot"
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CorruptSnapshot, match="move that node's data directory away") as refused:
        small.start(name)
    assert str(path) in str(refused.value)
    small.journals.pop(name).abandon()


def test_s7_an_empty_data_directory_joins_again(small: Cluster) -> None:
    """What the messages advise for a damaged journal or snapshot works."""
    name = compacted(small)
    small.erase(name)
    small.start(name)
    small.converge()


# -- S8, S10 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
def test_s8_one_voter_is_one_vote(cluster, guarded: bool) -> None:
    c = cluster(5, guards=Guards(l2=False, s8=guarded))
    c.drop = lambda *_: True
    raft = c.rafts["n1"]
    while not raft._engine._SyncObj__raftState:
        c.clock.now += 0.1
        raft.turn()
    for _ in range(5):
        c.deliver("n2", "n1", {"type": "response_vote", "term": raft.term, **GOOD_VOTE})
    assert raft._engine._isLeader() is not guarded
    c.deliver("n3", "n1", {"type": "response_vote", "term": raft.term, **GOOD_VOTE})
    assert raft._engine._isLeader()


def test_s10_a_keyed_retry_is_applied_once(cluster) -> None:
    c = cluster()
    leader = c.elect()
    follower = c.followers()[0]
    c.drop = lambda s, p, m: m["kind"] == "proposed"  # the answer is lost, the effect is not
    result = c.propose(follower, b"key:1", retry=True)
    c.run_until(lambda: bool(c.machines[follower].log))
    assert not result
    c.drop = lambda *_: False
    c.crash(leader)
    c.run_until(lambda: bool(result))
    assert isinstance(result[0], Committed)
    assert result[0].applied.outcome.result["again"]
    assert [d for _, d in c.machines[follower].log] == [b"key:1"]


# -- snapshot files ------------------------------------------------------------------------------


def test_a_snapshot_restores_a_cluster(small: Cluster, cluster, tmp_path: Path) -> None:
    leader = small.elect()
    small.write(leader, *(b"k%d:" % n for n in range(30)))
    make = small.rafts[leader].snapshot_file()
    assert make is not None
    data = make()
    assert data is not None
    file = tmp_path / "saved"
    write_file(file, data)
    assert read_snapshot(file).index == small.rafts[leader].applied_index
    for name in ("n1", "n2", "n3"):
        restore_into(tmp_path / "0new" / name, file, "c", name)
    restored = Cluster(tmp_path / "0new", 3)
    restored.write(restored.elect(), b"after:")
    restored.converge()
    wanted = [d for _, d in small.machines[leader].log]
    assert [d for _, d in restored.machines["n2"].log] == [*wanted, b"after:"]
    restored.close()
    with pytest.raises(Exception, match="is not empty"):
        restore_into(tmp_path / "0new" / "n1", file, "c", "n1")
    with pytest.raises(WrongDataDir, match="n9 is none of its members"):
        restore_into(tmp_path / "0new" / "n9", file, "c", "n9")


def test_a_newborn_has_no_snapshot(cluster) -> None:
    c = cluster()
    assert c.rafts["n1"].snapshot_file() is None


def test_a_new_journal_beside_an_old_snapshot_is_refused(cluster, tmp_path: Path) -> None:
    c = cluster()
    c.erase("n1")
    write_file(c.path / "n1" / "snapshot", snapshot(9))
    with pytest.raises(CorruptJournal, match="it is new, beside a snapshot"):
        c.start("n1")
    c.journals.pop("n1").abandon()
    assert Journal
