"""The Raft log, term and vote on disk: SQLite, one synced transaction per turn.

PySyncObj reads and writes its log through this object as if it were a list; everything it does
is only noted in memory until `commit()`, which makes it durable in one transaction. Nothing that
depends on it may leave the node before (hazard S5; Raft paper, figure 2, "persistent state …
updated on stable storage before responding to RPCs"). Since a transaction is all or nothing,
truncation and compaction cannot be caught half done (S6), and a full disk is an exception
instead of a SIGBUS (S11).

What must be written is derived, not recorded: rows up to `_clean` equal the entries in memory,
everything above is deleted and written again. So a failed commit loses nothing and is simply
tried again.
"""
# ruff: noqa: N802, N803  (method names are PySyncObj's)

import secrets
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import overload

import msgspec

from stationkeep.cluster.numbers import BOOT
from stationkeep.node.raft.storage.seam import (
    CorruptJournal,
    DataDirInUse,
    JournalError,
    JournalFailed,
    Row,
    Storage,
    Transaction,
    WrongDataDir,
)
from stationkeep.node.raft.storage.sqlite import DATABASE, LOCK, SqliteStorage

__all__ = [
    "DATABASE",
    "FORMAT",
    "LOCK",
    "CorruptJournal",
    "DataDirInUse",
    "Entry",
    "Journal",
    "JournalError",
    "JournalFailed",
    "WrongDataDir",
    "checksum",
]

Entry = tuple[bytes, int, int]
"""As PySyncObj keeps them: command, index, term."""

FORMAT = 1
_BIRTH_BITS = 20

_POSITION = struct.Struct(">QQ")


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
    founding: bool = True
    lost: bool = False
    uid: str = ""


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
        storage: Storage | None = None,
    ) -> None:
        """Opens or creates `data_dir`/journal.db and verifies all of it.

        `durability`: "sync" (fsync at every commit) or "os" (survives the process, not a power
        cut). `birth` draws the number that tells this journal from one that the node lost.
        `storage`: a simulated one. Raises `CorruptJournal`, `WrongDataDir`, `DataDirInUse`,
        `JournalFailed`.
        """
        if durability not in {"sync", "os"}:
            raise ValueError(f"durability: {durability!r} refused: sync or os")
        self._storage = storage if storage is not None else SqliteStorage(data_dir, durability)
        self.path = self._storage.path
        self._meta = _Meta(FORMAT, cluster, node, birth=birth())
        self._entries: list[Entry] = []
        self._clean = self._rows_first = self._rows_last = 0
        self._meta_dirty = False
        self.sync_seconds = 0.0
        self.commits = 0
        try:
            self.created = self._open()
            self._check_owner(cluster, node)
            self._storage.claim(f"{cluster} {node}")
        except BaseException:  # or the next try finds the file taken
            self._storage.close()
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
        """Is written with the next transaction; it may be out of date after a crash."""
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
            self._write()
            self.sync_seconds = time.perf_counter() - started
            self.commits += 1

    def next_boot(self, wall_seconds: int) -> int:
        """Counts this start of the node, durably.

        A new journal begins at the wall clock, and at its own birth below that: a node that lost
        its disk must not begin again with numbers that its peers know, nor, if its clock repeats a
        second, take the echo of an old report in the log for its own, and its lease for valid.
        """
        new = self.created or self.lost
        seconds = min(wall_seconds, (BOOT.base >> _BIRTH_BITS) - 1)  # beyond it nobody believes it
        floor = (seconds << _BIRTH_BITS) | (self.birth & ((1 << _BIRTH_BITS) - 1))
        self._meta.boot = max(self._meta.boot + 1, floor if new else 0)
        self._meta_dirty = True
        self.commit()
        return self._meta.boot

    @property
    def birth(self) -> int:
        """Drawn when this journal was created: a node that lost its disk has another one."""
        return self._meta.birth

    @property
    def settled(self) -> bool:
        """Whether the cluster has admitted this journal (`FollowerGuards.settle`)."""
        return self._meta.settled

    def settle(self) -> None:
        """The cluster has admitted this journal: the votes of its node count from now on."""
        self._meta.settled, self._meta.lost = True, False
        self._meta_dirty = True

    @property
    def trusted(self) -> bool:
        """Whether our vote counts towards a majority: that of a settled log does, and that of an
        empty one in a cluster in which no node is known to have a log."""
        return self._meta.settled or (self._meta.founding and not self._meta.lost)

    def cluster_stands(self) -> None:
        """Another node has a log: a journal without one, or with only a part of it, is not
        trusted."""
        if self._meta.founding:
            self._meta.founding = False
            self._meta_dirty = True

    @property
    def lost(self) -> bool:
        """Whether this journal replaces one that was lost, and is not admitted yet: its node
        does not stand for election, and is trusted with no majority."""
        return self._meta.lost

    def replaces_a_lost_one(self) -> None:
        """See `lost`; durable after the next `commit()`."""
        self._meta.lost = True
        self._meta_dirty = True

    @property
    def uid(self) -> str:
        """The uid of the cluster that this log belongs to; "" before its founding was applied."""
        return self._meta.uid

    def belongs_to(self, uid: str) -> None:
        """The log belongs to the cluster of this uid; durable after the next `commit()`."""
        if uid != self._meta.uid:
            self._meta.uid = uid
            self._meta_dirty = True

    def close(self) -> None:
        """Writes pending changes, if it can, and releases the directory."""
        try:
            if self._entries:
                self._write()
        except JournalFailed:
            pass  # nothing that depends on it was ever sent
        finally:
            self._storage.close()

    def abandon(self) -> None:
        """Closes without writing: what a crash leaves behind (for tests and simulation)."""
        self._storage.close()

    # -- storage -------------------------------------------------------------------------------

    def _write(self) -> None:
        entries = self._entries
        first = entries[0][1] if entries else 0
        last = entries[-1][1] if entries else 0
        new = entries[max(0, self._clean + 1 - first) :]
        body = msgspec.msgpack.encode(self._meta)
        self._storage.write(
            Transaction(
                self._clean if self._clean < self._rows_last else None,
                first if self._rows_first < first else None,
                [(i, term, checksum(command, i, term), command) for command, i, term in new],
                body,
                zlib.crc32(body),
            )
        )
        self._rows_first, self._rows_last, self._clean = first, last, last
        self._meta_dirty = False

    def _open(self) -> bool:
        """Loads what is stored; True when it was created just now."""
        saved = self._storage.open()
        if saved is None:
            body = msgspec.msgpack.encode(self._meta)
            self._storage.create(body, zlib.crc32(body))
            return True
        if zlib.crc32(saved.body) != saved.crc:
            raise CorruptJournal(self.path, "the record of term and vote fails its checksum")
        self._meta = msgspec.msgpack.decode(saved.body, type=_Meta)
        if self._meta.format != FORMAT:
            raise WrongDataDir(
                f"{self.path}: format {self._meta.format}; this release reads format {FORMAT}"
            )
        self._load(saved.rows)
        return False

    def _load(self, rows: list[Row]) -> None:
        for index, term, crc, command in rows:
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
            raise WrongDataDir(
                f"{self.path.parent}: belongs to node {meta.node} of cluster {meta.cluster}, "
                f"not to {node} of {cluster}"
            )
