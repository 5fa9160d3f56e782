"""`Storage` of a real node: SQLite in WAL mode, one synced transaction per commit.

Since a transaction is all or nothing, truncation and compaction cannot be caught half done
(hazard S6), and a full disk is an exception instead of a SIGBUS (S11).
"""

import contextlib
import fcntl
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from stationkeep.node.raft.storage.seam import (
    CorruptJournal,
    DataDirInUse,
    JournalError,
    JournalFailed,
    Row,
    Saved,
    Transaction,
)
from stationkeep.node.raft.storage.wal import damage_in
from stationkeep.node.system.operator_files import private_directory

DATABASE = "journal.db"
LOCK = "lock"
ROWS_AT_ONCE = 64
"""Rows in one statement: to run one for each takes half as long again."""

_SCHEMA = """
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE entry (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, crc INTEGER NOT NULL, command BLOB NOT NULL
);
"""
_INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?)"
_INSERT_MANY = _INSERT + ", (?, ?, ?, ?)" * (ROWS_AT_ONCE - 1)


class SqliteStorage:
    """`data_dir`/journal.db, held by a lock file from the constructor to `close`."""

    def __init__(self, data_dir: Path, durability: str) -> None:
        """`durability`: "sync" (fsync at every commit) or "os" (survives the process, not a
        power cut). Raises `DataDirInUse`."""
        private_directory(data_dir)
        self.path = data_dir / DATABASE
        self._durability = durability
        self._lock, self._known = _take_lock(data_dir)
        self.database: sqlite3.Connection | None = None

    def open(self) -> Saved | None:
        if self._known and (not self.path.exists() or self.path.stat().st_size == 0):
            raise CorruptJournal(self.path, "the file is missing or empty")
        wal = self.path.with_name(DATABASE + "-wal")
        what = damage_in(wal)
        if what is not None and self._durability == "sync":
            raise CorruptJournal(wal, what)
        try:
            return self._load()
        except sqlite3.OperationalError as error:
            if "no such" in str(error):
                raise CorruptJournal(self.path, str(error)) from error
            raise self._failure(error) from error
        except sqlite3.Error as error:
            raise CorruptJournal(self.path, str(error)) from error

    def _load(self) -> Saved | None:
        database = self.database = self._connect()
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            if self._known:
                raise CorruptJournal(self.path, "it holds no tables")
            return None
        row = database.execute("SELECT body, crc FROM meta").fetchone()
        body, crc = row if row is not None else (b"", -1)
        rows = database.execute("SELECT idx, term, crc, command FROM entry ORDER BY idx")
        return Saved(body, crc, rows.fetchall())

    def create(self, body: bytes, crc: int) -> None:
        def work(database: sqlite3.Connection) -> None:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            _write_meta(database, body, crc)

        self._transaction(work)

    def claim(self, owner: str) -> None:
        if not self._known:
            os.write(self._lock, f"{owner}\n".encode())
            os.fsync(self._lock)
            self._known = True

    def write(self, transaction: Transaction) -> None:
        def work(database: sqlite3.Connection) -> None:
            if transaction.keep_to is not None:
                database.execute("DELETE FROM entry WHERE idx > ?", (transaction.keep_to,))
            if transaction.keep_from is not None:
                database.execute("DELETE FROM entry WHERE idx < ?", (transaction.keep_from,))
            _insert(database, transaction.rows)
            _write_meta(database, transaction.body, transaction.crc)

        self._transaction(work)

    def close(self) -> None:
        if self.database is not None:
            self.database.close()
        os.close(self._lock)

    def _transaction(self, work: Callable[[sqlite3.Connection], None]) -> None:
        assert self.database is not None, "opened"
        try:
            self.database.execute("BEGIN IMMEDIATE")
            work(self.database)
            self.database.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback(self.database)
            raise self._failure(error) from error

    def _rollback(self, database: sqlite3.Connection) -> None:
        try:
            if database.in_transaction:
                database.execute("ROLLBACK")
        except sqlite3.Error:
            database.close()
            self.database = self._connect()

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
        # Debian's build overwrites with zeros what is deleted; compaction would write it all anew.
        database.execute("PRAGMA secure_delete = FAST")
        # A new write-ahead log from here on, so that `wal.damage_in` never sees remains of
        # an older crash that look like transactions.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return database


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """No node runs on this directory meanwhile; raises `DataDirInUse`. One that does not exist
    is nobody's."""
    if not data_dir.is_dir():
        yield
        return
    handle, _ = _take_lock(data_dir)
    try:
        yield
    finally:
        os.close(handle)


def _insert(database: sqlite3.Connection, rows: list[Row]) -> None:
    whole = len(rows) - len(rows) % ROWS_AT_ONCE
    for start in range(0, whole, ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        database.execute(_INSERT_MANY, tuple(itertools.chain.from_iterable(some)))
    database.executemany(_INSERT, rows[whole:])


def _write_meta(database: sqlite3.Connection, body: bytes, crc: int) -> None:
    database.execute("INSERT OR REPLACE INTO meta VALUES (0, ?, ?)", (body, crc))


def _take_lock(data_dir: Path) -> tuple[int, bool]:
    """The locked file, and whether a journal was created here before."""
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise DataDirInUse(f"{data_dir}: another process uses this data directory") from error
    return handle, os.fstat(handle).st_size > 0
