"""The disk of a simulated node: only what was made durable survives a crash.

It implements the seams below the journal, the snapshots and the enactor's memory, so all code that
decides or verifies is the real one. A crash can be armed at each of `POINTS`.

Torn writes: a transaction or a file of which only a part was written. SQLite rolls the transaction
back (its log has checksums), and the file has a temporary name that is never read; so after
`journal.torn` and `snapshot.torn` the disk is as it was before. A tear within a file that is read
is `rot`, which checksums find.

Unsynced (`--durability os`): a journal's transactions are in the system's cache and are flushed
every `FLUSH_SECONDS`. They survive the end of the process; a power cut loses the last of them,
beginning with any one, and the one that is being written. Snapshots and the memory are synced in
every mode.
"""

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

from stationkeep.cluster.state.codec import Piece
from stationkeep.node.raft.storage.seam import JournalFailed, Row, Saved, Transaction
from stationkeep.node.simulation.agenda import Time

POINTS = {
    "journal.begin": "before a transaction",
    "journal.torn": "within a transaction: half of it was written, recovery rolls it back",
    "journal.synced": "after a transaction, before anybody was told",
    "snapshot.begin": "before a snapshot is written",
    "snapshot.torn": "half of a snapshot written, under its temporary name",
    "snapshot.unnamed": "a snapshot written and synced, not renamed yet",
    "snapshot.named": "a snapshot in place, the log not compacted yet",
    "part.begin": "the first chunk of a snapshot has arrived",
    "part.append": "a chunk of a snapshot was written",
    "part.synced": "a snapshot has arrived whole, not in place yet",
    "part.published": "an arrived snapshot in place, the log not adapted yet",
    "memory.begin": "before the enactor's memory is saved",
    "memory.saved": "after it was saved, before anything follows from it",
    "outbox.between": "between two messages of one turn",
}
"""Where a node can be made to crash, and what that means."""


FLUSH_SECONDS = 1.0
"""Far sooner than a system does, so that short runs see both sides of it."""
_Image = tuple[list[Row], tuple[bytes, int] | None]


class Crash(BaseException):
    """The node's process ends here. Not an `Exception`, so that no handler catches it."""

    def __init__(self, point: str) -> None:
        super().__init__(point)
        self.point = point


class SimulatedDisk:
    """One node's data directory. `stall` is called with the seconds that a slow disk takes."""

    def __init__(self, node: str, stall: Callable[[float], None], time: Time) -> None:
        self.path = Path(node) / "journal.db"
        self._time = time
        self.synced = True
        """Whether a transaction is on the disk before `write` returns."""
        self._cached: list[tuple[float, _Image]] = []
        """Transactions that may not be on the disk: when each was written, and the state before."""
        self._stall = stall
        self.rows: list[Row] = []
        self.replaced: set[tuple[int, int]] = set()
        """Index and term of what was durable on the disks that this one replaces, until its journal
        is admitted."""
        self._record: tuple[bytes, int] | None = None
        self._claimed = False
        self.snapshot: bytes | None = None
        self.memory: bytes | None = None
        self.full = False
        self.delay = 0.0
        """Seconds that each synced write takes."""
        self.armed: str | None = None
        self.transactions = 0
        self.written: Callable[[Transaction, list[Row]], None] = lambda *_: None
        """Called with each transaction, and with the rows at the end of the log that it removed."""

    def reach(self, point: str) -> None:
        """The code is at a named point."""
        if self.armed == point:
            self.armed = None
            raise Crash(point)

    def term_at(self, index: int) -> int | None:
        """Term of the entry that is durable at `index`; None where there is none."""
        if not self.rows:
            return None
        offset = index - self.rows[0][0]
        return self.rows[offset][1] if 0 <= offset < len(self.rows) else None

    def holds(self, index: int, term: int) -> bool:
        """Whether an entry is on the disk, or was before a snapshot replaced it."""
        compacted = bool(self.rows) and index < self.rows[0][0]
        return compacted or self.term_at(index) == term

    def lose_power(self, draw: Random) -> None:
        """Keeps what was flushed, and some of the transactions since, in order."""
        flushed = self._time.now - FLUSH_SECONDS
        at_risk = [image for moment, image in self._cached if moment > flushed]
        self._cached.clear()
        if at_risk and (kept := draw.randint(0, len(at_risk))) < len(at_risk):
            self.rows, self._record = at_risk[kept]

    def erase(self) -> None:
        """Replaces it by a new, empty disk."""
        self._cached.clear()
        self.replaced |= {(index, term) for index, term, _, _ in self.rows}
        self.rows, self._record, self._claimed = [], None, False
        self.snapshot = self.memory = None

    def rot(self, what: str) -> None:
        """Flips a byte in the journal's last row, or in the snapshot."""
        if what == "journal" and self.rows:
            index, term, crc, command = self.rows[-1]
            self.rows[-1] = (index, term, crc, command[:-1] + bytes([command[-1] ^ 1]))
        elif what == "snapshot" and self.snapshot is not None:
            self.snapshot = self.snapshot[:-1] + bytes([self.snapshot[-1] ^ 1])

    # -- node.raft.storage.seam.Storage --------------------------------------------------------

    def open(self) -> Saved | None:
        if self._record is None:
            return None
        return Saved(*self._record, list(self.rows))

    def create(self, body: bytes, crc: int) -> None:
        self._may_write()
        self._record = (body, crc)

    def claim(self, owner: str) -> None:
        self._claimed = True

    def write(self, transaction: Transaction) -> None:
        self.reach("journal.begin")
        self._may_write()
        if self.delay:
            self._stall(self.delay)
        self.reach("journal.torn")
        if not self.synced:
            self._remember()
        removed = self._change_rows(transaction)
        self._record = (transaction.body, transaction.crc)
        self.transactions += 1
        self.written(transaction, removed)
        self.reach("journal.synced")

    def close(self) -> None:
        """What is durable stays."""

    def _remember(self) -> None:
        now = self._time.now
        if self._cached and self._cached[0][0] <= now - FLUSH_SECONDS:
            self._cached = [one for one in self._cached if one[0] > now - FLUSH_SECONDS]
        self._cached.append((now, (list(self.rows), self._record)))

    def _may_write(self) -> None:
        if self.full:
            raise JournalFailed(f"{self.path}: cannot write: the simulated disk is full")

    def _change_rows(self, transaction: Transaction) -> list[Row]:
        rows = self.rows
        removed: list[Row] = []
        if rows and transaction.keep_to is not None:
            end = max(0, transaction.keep_to + 1 - rows[0][0])
            removed = rows[end:]
            del rows[end:]
        if rows and transaction.keep_from is not None:
            del rows[: max(0, transaction.keep_from - rows[0][0])]
        rows.extend(transaction.rows)
        return removed


class SimulatedFiles:
    """`node.raft.storage.seam.Files`: the snapshot and the part of one that is arriving."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.path = disk.path.with_name("snapshot")
        self._disk = disk
        self._part = bytearray()

    def exists(self) -> bool:
        return self._disk.snapshot is not None

    def load(self) -> bytes:
        assert self._disk.snapshot is not None, "asked for before"
        return self._disk.snapshot

    def write(self, *content: Piece) -> None:
        self._disk.reach("snapshot.begin")
        self._may_write()
        self._disk.reach("snapshot.torn")
        self._disk.reach("snapshot.unnamed")
        self._disk.snapshot = b"".join(content)
        self._disk.reach("snapshot.named")

    def reader(self) -> "SimulatedReader":
        return SimulatedReader(self.load())

    def begin_part(self) -> None:
        self._may_write()
        self._part.clear()
        self._disk.reach("part.begin")

    def append_part(self, content: bytes) -> None:
        self._may_write()
        self._part += content
        self._disk.reach("part.append")

    def finish_part(self) -> bytes:
        self._disk.reach("part.synced")
        return bytes(self._part)

    def publish_part(self) -> None:
        self._disk.snapshot = bytes(self._part)
        self._disk.reach("part.published")

    def close_part(self) -> None:
        """An unfinished part is of no use to anybody."""

    def _may_write(self) -> None:
        if self._disk.full:
            raise OSError(errno.ENOSPC, "the simulated disk is full")


class SimulatedReader:
    """`node.raft.storage.seam.Reader`."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read(self, start: int, length: int) -> bytes:
        return self._content[start : start + length]

    def close(self) -> None:
        """Nothing is open."""


class SimulatedMemory:
    """`node.ports.Memory`."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk

    def load(self) -> bytes | None:
        return self._disk.memory

    def save(self, content: bytes) -> None:
        self._disk.reach("memory.begin")
        if self._disk.full:
            raise OSError(errno.ENOSPC, "the simulated disk is full")
        self._disk.memory = content
        self._disk.reach("memory.saved")
