"""The journal: durable, atomic, checksummed, and honest about a full or damaged disk."""

import os
import random
import resource
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.numbers import BOOT
from stationkeep.node.raft.storage.journal import (
    DATABASE,
    CorruptJournal,
    DataDirInUse,
    Entry,
    Journal,
    JournalFailed,
    WrongDataDir,
)


def open_journal(path: Path, durability: str = "sync") -> Journal:
    return Journal(path, cluster="c", node="n1", durability=durability)


def filled(path: Path, count: int = 20) -> Journal:
    journal = open_journal(path)
    for index in range(1, count + 1):
        journal.add(b"\x00command %d" % index, index, 1)
    journal.setCurrentTerm(3, "n2")
    journal.setRaftCommitIndex(count - 2)
    journal.commit()
    return journal


def test_everything_committed_is_there_after_a_crash(tmp_path: Path) -> None:
    filled(tmp_path).abandon()
    journal = open_journal(tmp_path)
    assert [e[1] for e in journal[0:]] == list(range(1, 21))
    assert journal[-1] == (b"\x00command 20", 20, 1)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (3, "n2")
    assert journal.getRaftCommitIndex() == 18
    assert not journal.dirty
    journal.close()


def test_a_journal_remembers_to_which_cluster_it_belongs(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    assert journal.uid == ""
    journal.belongs_to("0123456789abcdef")
    assert journal.dirty
    journal.commit()
    journal.belongs_to("0123456789abcdef")
    assert not journal.dirty, "said at every turn, written once"
    journal.abandon()
    again = open_journal(tmp_path)
    assert again.uid == "0123456789abcdef"
    again.close()


def test_nothing_uncommitted_is_there_after_a_crash(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.deleteEntriesFrom(10)
    journal.add(b"\x00other", 11, 4)
    journal.setCurrentTerm(4, "n3")
    assert journal.dirty
    journal.abandon()
    journal = open_journal(tmp_path)
    assert (len(journal), journal.getCurrentTerm()) == (20, 3)
    journal.close()


def test_a_commit_index_alone_is_no_reason_to_write(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    before = journal.commits
    journal.setRaftCommitIndex(20)
    journal.commit()
    assert journal.commits == before
    journal.close()  # a graceful stop writes it
    journal = open_journal(tmp_path)
    assert journal.getRaftCommitIndex() == 20
    journal.close()


def test_boots_are_counted_from_the_clock_on_and_whatever_it_says_later(tmp_path: Path) -> None:
    boots = []
    for wall in (1_000, 5, 9_999):
        journal = open_journal(tmp_path)
        boots.append(journal.next_boot(wall))
        journal.abandon()
    assert boots[0] >> 20 == 1_000
    assert boots == [boots[0], boots[0] + 1, boots[0] + 2]


def test_a_clock_that_is_centuries_ahead_gives_a_boot_that_others_believe(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.next_boot(20_000_000_000) <= BOOT.base
    journal.abandon()


def test_two_journals_of_one_second_begin_at_different_boots(tmp_path: Path) -> None:
    boots = set()
    for birth in (1, 2):
        journal = Journal(tmp_path / str(birth), cluster="c", node="n1", birth=lambda n=birth: n)
        boots.add(journal.next_boot(1_000))
        journal.close()
    assert len(boots) == 2


operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("truncate"), st.integers(0, 30)),
        st.tuples(st.just("compact"), st.integers(0, 30)),
        st.tuples(st.just("snapshot"), st.integers(1, 50)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(operations, st.integers(0, 2**32))
def test_any_history_and_crash_gives_back_the_last_commit(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]], seed: int
) -> None:
    path = tmp_path_factory.mktemp("journal")
    journal, rng = open_journal(path, "os"), random.Random(seed)
    model: list[Entry] = []
    durable: list[Entry] = []
    term = 1
    for what, amount in history:
        if what == "add":
            for _ in range(amount):
                term += rng.random() < 0.2
                entry = (rng.randbytes(8), model[-1][1] + 1 if model else 1, term)
                model.append(entry)
                journal.add(*entry)
        elif what == "truncate" and model:
            journal.deleteEntriesFrom(amount)
            del model[amount:]
        elif what == "compact" and amount < len(model):
            journal.deleteEntriesTo(amount)
            del model[:amount]
        elif what == "snapshot":
            journal.clear()
            model = [(b"a", amount, term), (b"b", amount + 1, term)]
            for entry in model:
                journal.add(*entry)
        elif what == "commit":
            journal.commit()
            durable = list(model)
        elif what == "crash":
            journal.abandon()
            journal = open_journal(path, "os")
            model = list(durable)
            term = max(term, 1)
        assert journal[0:] == model
        assert journal.dirty == (model != durable) or model == durable
    journal.commit()
    journal.abandon()
    journal = open_journal(path, "os")
    assert journal[0:] == model
    journal.close()


def limit_pages(journal: Journal, extra: int) -> None:
    """A real SQLITE_FULL: the database may not grow by more than `extra` pages."""
    (pages,) = journal._storage.database.execute("PRAGMA page_count").fetchone()
    journal._storage.database.execute(f"PRAGMA max_page_count = {pages + extra}")


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    limit_pages(journal, 2)
    for index in range(21, 41):
        journal.add(bytes(4000), index, 3)
    for _ in range(3):
        with pytest.raises(JournalFailed, match="full"):
            journal.commit()
    assert journal.dirty
    assert len(journal) == 40
    journal._storage.database.execute("PRAGMA max_page_count = 1000000")
    journal.commit()
    journal.abandon()
    journal = open_journal(tmp_path)
    assert len(journal) == 40
    journal.close()


def test_a_file_that_may_not_grow_is_an_error_too(tmp_path: Path) -> None:
    """EFBIG from a real write, in the middle of a transaction, and a retry that succeeds."""
    journal = filled(tmp_path)
    for index in range(21, 121):
        journal.add(random.Random(index).randbytes(20_000), index, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / (DATABASE + "-wal")).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
    try:
        for _ in range(2):
            with pytest.raises(JournalFailed):
                journal.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.commit()
    journal.abandon()
    journal = open_journal(tmp_path)
    assert len(journal) == 120
    journal.close()


def test_a_failed_fsync_is_not_tried_again(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    assert isinstance(journal._storage._failure(error), CorruptJournal)
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"
    assert isinstance(journal._storage._failure(error), JournalFailed)
    journal.close()


def test_two_processes_cannot_open_one_directory(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    with pytest.raises(DataDirInUse, match="another process uses"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()


@pytest.mark.parametrize(("cluster", "node"), [("c", "n2"), ("other", "n1")])
def test_a_directory_of_someone_else_is_refused(tmp_path: Path, cluster: str, node: str) -> None:
    filled(tmp_path).close()
    with pytest.raises(WrongDataDir, match="belongs to node n1 of cluster c"):
        Journal(tmp_path, cluster=cluster, node=node)
    open_journal(tmp_path).close()  # and left alone


def edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path / DATABASE) as database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE entry SET command = x'00ff' WHERE idx = 7", "entry 7 fails its checksum"),
        ("UPDATE entry SET term = 2 WHERE idx = 7", "entry 7 fails its checksum"),
        ("DELETE FROM entry WHERE idx = 7", "entry 8 follows entry 6"),
        ("DELETE FROM entry WHERE idx > 10", "it ends at entry 10, 18 is committed"),
        ("UPDATE meta SET body = x'80'", "term and vote"),
        ("DELETE FROM meta", "term and vote"),
        ("DROP TABLE entry", "no such table"),
    ],
)
def test_damage_is_named_with_what_to_do(tmp_path: Path, statement: str, what: str) -> None:
    filled(tmp_path).close()
    edit(tmp_path, statement)
    with pytest.raises(CorruptJournal, match=what) as refused:
        open_journal(tmp_path)
    assert str(tmp_path / DATABASE) in str(refused.value)
    assert "move" in str(refused.value)
    assert "snapshot restore" in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"not a database, whatever it says" * 200])
def test_a_journal_that_vanished_is_not_begun_anew(tmp_path: Path, content: bytes | None) -> None:
    filled(tmp_path).close()
    (tmp_path / DATABASE).unlink()
    if content is not None:
        (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(CorruptJournal):
        open_journal(tmp_path)


def test_rot_in_the_database_file_is_found(tmp_path: Path) -> None:
    journal = filled(tmp_path, 2000)
    journal.close()
    data = bytearray((tmp_path / DATABASE).read_bytes())
    position = data.index(b"command 1234")
    data[position] ^= 0x40
    (tmp_path / DATABASE).write_bytes(data)
    with pytest.raises(CorruptJournal, match="entry 1234"):
        open_journal(tmp_path)


def journal_with_wal(path: Path) -> Path:
    """Ten synced transactions that are only in the write-ahead log, as after kill -9."""
    journal = filled(path)
    for index in range(21, 31):
        journal.add(b"\x00later %d" % index, index, 3)
        journal.commit()
    copy = path.with_name("killed")
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    journal.abandon()
    return copy


def test_a_torn_last_transaction_is_forgotten(tmp_path: Path) -> None:
    path = journal_with_wal(tmp_path / "n1")
    wal = path / (DATABASE + "-wal")
    data = wal.read_bytes()
    wal.write_bytes(data[: len(data) - 1000])
    journal = open_journal(path)
    assert journal[-1][1] == 29
    journal.close()


def test_rot_in_the_middle_of_the_write_ahead_log_is_found(tmp_path: Path) -> None:
    path = journal_with_wal(tmp_path / "n1")
    wal = path / (DATABASE + "-wal")
    data = bytearray(wal.read_bytes())
    data[len(data) // 2] ^= 0x01
    wal.write_bytes(data)
    with pytest.raises(CorruptJournal, match="later transactions depend on it"):
        open_journal(path)


def test_synchronous_is_what_durability_says(tmp_path: Path) -> None:
    for durability, level in (("sync", 2), ("os", 0)):
        journal = open_journal(tmp_path / durability, durability)
        assert journal._storage.database.execute("PRAGMA synchronous").fetchone() == (level,)
        assert journal._storage.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        journal.close()
    with pytest.raises(ValueError, match="durability: 'fast' refused: sync or os"):
        open_journal(tmp_path / "x", "fast")


def test_a_gap_is_a_bug(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    with pytest.raises(AssertionError, match="gap"):
        journal.add(b"\x00", 22, 3)
    journal.close()
    assert os.listdir(tmp_path)
