"""The Raft log, term and vote on disk: SQLite, one synced transaction per turn.

PySyncObj reads and writes its log through this object as if it were a list; everything it does
is only noted in memory until `commit()`, which makes it durable in one transaction. Nothing that
depends on it may leave the node before (HAZARDS S5; Raft paper, figure 2, "persistent state …
updated on stable storage before responding to RPCs"). Since a transaction is all or nothing,
truncation and compaction cannot be caught half done (S6), and a full disk is an exception
instead of a SIGBUS (S11).

What must be written is derived, not recorded: rows up to `_clean` equal the entries in memory,
everything above is deleted and written again. So a failed commit loses nothing and is simply
tried again.
"""
# ruff: noqa: N802, N803, N818  (method names are PySyncObj's; exceptions say what is the case)

import fcntl
import os
import secrets
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import msgspec

from node.raft.wal import damage_in

Entry = tuple[bytes, int, int]
"""As PySyncObj keeps them: command, index, term."""

FORMAT = 1
DATABASE = "journal.db"
LOCK = "lock"

_POSITION = struct.Struct(">QQ")
_SCHEMA = """
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE entry (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, crc INTEGER NOT NULL, command BLOB NOT NULL
);
"""


class JournalError(Exception):
    """Base of everything that can be wrong with a data directory."""


class JournalFailed(JournalError):
    """The disk is full or fails; nothing is lost in memory, `commit()` may be tried again."""


class CorruptJournal(JournalError):
    """The journal is not what was written; the message says what to do."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(
            f"{file}: the Raft journal is damaged: {what}. This node must not vote on it. "
            f"Stop it, move {file.parent} away and let the node join again with an empty data "
            "directory (the others will send it the state); or, if no quorum is left, restore "
            "every node from a snapshot (stationkeep snapshot restore)."
        )


class WrongDataDir(JournalError):
    """The data directory belongs to another node or another cluster."""


class DataDirInUse(JournalError):
    """Another process holds the data directory."""


class _Meta(msgspec.Struct):
    format: int
    cluster: str
    node: str
    boot: int = 0
    term: int = 0
    vote: str | None = None
    commit: int = 1
    birth: int = 0
    settled: bool = False


def checksum(command: bytes, index: int, term: int) -> int:
    """CRC-32 over index, term and command: an entry in the wrong place is found as well."""
    return zlib.crc32(command, zlib.crc32(_POSITION.pack(index, term)))


class Journal:
    """The log of one node. Not thread-safe; one process at a time (held by a lock file)."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cluster: str,
        node: str,
        durability: str = "sync",
        birth: Callable[[], int] = lambda: secrets.randbits(52),
    ) -> None:
        """Opens or creates `data_dir`/journal.db and verifies all of it.

        `durability`: "sync" (fsync at every commit) or "os" (survives the process, not a power
        cut). `birth` draws the number that tells this journal from one that the node lost.
        Raises `CorruptJournal`, `WrongDataDir`, `DataDirInUse`, `JournalFailed`.
        """
        if durability not in {"sync", "os"}:
            raise ValueError(f"durability: {durability!r} refused: sync or os")
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path = data_dir / DATABASE
        self._durability = durability
        self._lock, known = _take_lock(data_dir)
        self._database: sqlite3.Connection
        self._meta = _Meta(FORMAT, cluster, node, birth=birth())
        self._entries: list[Entry] = []
        self._clean = self._rows_first = self._rows_last = 0
        self._meta_dirty = False
        self.sync_seconds = 0.0
        self.commits = 0
        try:
            self.created = self._open(must_exist=known)
            self._check_owner(cluster, node)
            if not known:
                os.write(self._lock, f"{cluster} {node}\n".encode())
                os.fsync(self._lock)
        except BaseException:
            os.close(self._lock)
            raise

    # -- what PySyncObj calls ------------------------------------------------------------------

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Appends; positions must be contiguous."""
        assert not self._entries or idx == self._entries[-1][1] + 1, "a gap in the log"
        self._entries.append((command, idx, term))

    def clear(self) -> None:
        """Forgets every entry."""
        self._entries.clear()
        self._clean = 0

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Truncates at list position `entryFrom`."""
        del self._entries[entryFrom:]
        self._clean = min(self._clean, self._entries[-1][1] if self._entries else 0)

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Compacts: drops what lies before list position `entryTo`."""
        del self._entries[:entryTo]

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Rides along with the next transaction; it may be stale after a crash."""
        self._meta.commit = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        """The commit index of the last transaction."""
        return self._meta.commit

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Term and vote; durable after the next `commit()`."""
        assert term >= self._meta.term, "a term never goes back"
        if (term, votedForNodeId) != (self._meta.term, self._meta.vote):
            self._meta.term, self._meta.vote = term, votedForNodeId
            self._meta_dirty = True

    def getCurrentTerm(self) -> int:
        return self._meta.term

    def getVotedForNodeId(self) -> str | None:
        return self._meta.vote

    def onOneSecondTimer(self) -> None:
        """Nothing: `commit()` writes."""

    def _destroy(self) -> None:
        """Nothing: whoever opened the journal closes it."""

    # -- what we call --------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether something waits that must be durable before anything is sent."""
        last = self._entries[-1][1] if self._entries else 0
        first = self._entries[0][1] if self._entries else 0
        return (
            self._meta_dirty
            or last != self._rows_last
            or self._clean != self._rows_last
            or first != self._rows_first
        )

    def commit(self) -> None:
        """Makes everything durable; raises `JournalFailed` and keeps the work when it cannot.

        A commit index that changed alone is not written: it is only a hint after a restart.
        """
        if self.dirty:
            started = time.perf_counter()
            self._transaction(self._write)
            self.sync_seconds = time.perf_counter() - started
            self.commits += 1

    def next_boot(self) -> int:
        """Counts this start of the node, durably: 1, 2, 3 …"""
        self._meta.boot += 1
        self._meta_dirty = True
        self.commit()
        return self._meta.boot

    @property
    def birth(self) -> int:
        """Drawn when this journal was created: who lost its disk answers with another one."""
        return self._meta.birth

    @property
    def settled(self) -> bool:
        """Whether this log has ever held everything that was committed (`settle`)."""
        return self._meta.settled

    def settle(self) -> None:
        """This log has caught up with the cluster; from now on its node may vote freely."""
        self._meta.settled = True
        self._meta_dirty = True

    def close(self) -> None:
        """Writes what waits, when it can, and lets go of the directory."""
        try:
            if self._entries:
                self._transaction(self._write)
        except JournalFailed:
            pass  # nothing that depends on it was ever sent
        finally:
            self._database.close()
            os.close(self._lock)

    def abandon(self) -> None:
        """Closes without writing: what a crash leaves behind (for tests and simulation)."""
        self._database.close()
        os.close(self._lock)

    # -- SQLite --------------------------------------------------------------------------------

    def _write(self) -> None:
        database, entries = self._database, self._entries
        first = entries[0][1] if entries else 0
        if self._clean < self._rows_last:
            database.execute("DELETE FROM entry WHERE idx > ?", (self._clean,))
        if self._rows_first < first:
            database.execute("DELETE FROM entry WHERE idx < ?", (first,))
        if entries:
            new = entries[max(0, self._clean + 1 - first) :]
            database.executemany(
                "INSERT INTO entry VALUES (?, ?, ?, ?)",
                [(i, term, checksum(command, i, term), command) for command, i, term in new],
            )
        self._write_meta()

    def _write_meta(self) -> None:
        body = msgspec.msgpack.encode(self._meta)
        self._database.execute(
            "INSERT OR REPLACE INTO meta VALUES (0, ?, ?)", (body, zlib.crc32(body))
        )

    def _transaction(self, work: Any) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            work()
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            raise self._failure(error) from error
        self._rows_first = self._entries[0][1] if self._entries else 0
        self._rows_last = self._clean = self._entries[-1][1] if self._entries else 0
        self._meta_dirty = False

    def _rollback(self) -> None:
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        except sqlite3.Error:
            self._database.close()
            self._database = self._connect()

    def _failure(self, error: sqlite3.Error) -> JournalError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return CorruptJournal(self.path, str(error))
        if "FSYNC" in name:
            # The kernel forgets dirty pages after a failed fsync; a second try would lie.
            return CorruptJournal(
                self.path, f"fsync failed ({error}): the disk is not to be trusted"
            )
        return JournalFailed(f"{self.path}: cannot write: {error}")

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        level = "FULL" if self._durability == "sync" else "OFF"
        database.execute(f"PRAGMA synchronous = {level}")
        database.execute("PRAGMA wal_autocheckpoint = 2000")
        # A new write-ahead log from here on, so that `wal.damage_in` never sees remains of
        # an older crash that look like transactions.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return database

    def _open(self, must_exist: bool) -> bool:
        """Opens the database and loads it; True when it was created just now."""
        if must_exist and (not self.path.exists() or self.path.stat().st_size == 0):
            raise CorruptJournal(self.path, "the file is missing or empty")
        what = damage_in(self.path.with_name(DATABASE + "-wal"))
        if what is not None and self._durability == "sync":
            raise CorruptJournal(self.path.with_name(DATABASE + "-wal"), what)
        try:
            self._database = self._connect()
            tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables:
                self._load()
                return False
            if must_exist:
                raise CorruptJournal(self.path, "it holds no tables")
            self._transaction(self._create)
        except sqlite3.OperationalError as error:
            if "no such" in str(error):
                raise CorruptJournal(self.path, str(error)) from error
            raise self._failure(error) from error
        except sqlite3.Error as error:
            raise CorruptJournal(self.path, str(error)) from error
        return True

    def _create(self) -> None:
        for statement in _SCHEMA.split(";"):
            self._database.execute(statement)
        self._write_meta()

    def _load(self) -> None:
        row = self._database.execute("SELECT body, crc FROM meta").fetchone()
        if row is None or zlib.crc32(row[0]) != row[1]:
            raise CorruptJournal(self.path, "the record of term and vote fails its checksum")
        self._meta = msgspec.msgpack.decode(row[0], type=_Meta)
        if self._meta.format != FORMAT:
            raise WrongDataDir(
                f"{self.path}: format {self._meta.format}; this release reads format {FORMAT}"
            )
        for index, term, crc, command in self._database.execute(
            "SELECT idx, term, crc, command FROM entry ORDER BY idx"
        ):
            self._load_entry(index, term, crc, command)
        if self._entries:
            self._rows_first, self._rows_last = self._entries[0][1], self._entries[-1][1]
            self._clean = self._rows_last
        if self._meta.commit > max(1, self._rows_last):
            raise CorruptJournal(
                self.path, f"it ends at entry {self._rows_last}, {self._meta.commit} is committed"
            )

    def _load_entry(self, index: int, term: int, crc: int, command: bytes) -> None:
        if checksum(command, index, term) != crc:
            raise CorruptJournal(self.path, f"entry {index} fails its checksum")
        if self._entries and index != self._entries[-1][1] + 1:
            raise CorruptJournal(
                self.path, f"entry {index} follows entry {self._entries[-1][1]}: some are missing"
            )
        if self._entries and term < self._entries[-1][2]:
            raise CorruptJournal(self.path, f"the term goes back at entry {index}")
        self._entries.append((command, index, term))

    def _check_owner(self, cluster: str, node: str) -> None:
        meta = self._meta
        if (meta.cluster, meta.node) != (cluster, node):
            self._database.close()
            raise WrongDataDir(
                f"{self.path.parent}: belongs to node {meta.node} of cluster {meta.cluster}, "
                f"not to {node} of {cluster}"
            )


def _take_lock(data_dir: Path) -> tuple[int, bool]:
    """The locked file, and whether a journal was created here before."""
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise DataDirInUse(f"{data_dir}: another process uses this data directory") from error
    return handle, os.fstat(handle).st_size > 0
