"""Where journal and snapshots live: the seam under both, and what can go wrong there.

A node has files (`sqlite.py`, `snapshot_file.py`); the simulator has a disk of its own, which
forgets, fills up, is slow, and crashes at named points (`simulation/machine/disk.py`). Everything
that decides, verifies or repairs is above this seam and the same for both.
"""

# ruff: noqa: N818  (exceptions say what is the case)

from pathlib import Path
from typing import Protocol

import msgspec

from stationkeep.cluster.state.codec import Piece

Row = tuple[int, int, int, bytes]
"""Index, term, checksum, command of one entry."""


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
            "directory: `stationkeep node rejoin --config FILE` does that (the others will send it "
            "the state); or, if no quorum is left, restore every node from a snapshot "
            "(stationkeep snapshot restore). See: stationkeep guide backup"
        )


class WrongDataDir(JournalError):
    """The data directory belongs to another node or another cluster."""


class DataDirInUse(JournalError):
    """Another process holds the data directory."""


class Saved(msgspec.Struct, frozen=True):
    """What a journal's storage holds: the record of term and vote with its checksum, the rows
    in order of their index."""

    body: bytes
    crc: int
    rows: list[Row]


class Transaction(msgspec.Struct, frozen=True):
    """One change of a journal, all of it or nothing: rows above `keep_to` and below `keep_from`
    go (None: none do), then `rows` are added and the record is replaced."""

    keep_to: int | None
    keep_from: int | None
    rows: list[Row]
    body: bytes
    crc: int


class Storage(Protocol):
    """Where a journal keeps its rows; open in one process at a time."""

    path: Path
    """Named in errors."""

    def open(self) -> Saved | None:
        """What was stored; None where no journal ever was. Raises `JournalError`."""
        ...

    def create(self, body: bytes, crc: int) -> None:
        """A new journal with this record and no rows."""
        ...

    def claim(self, owner: str) -> None:
        """Records that a journal exists: from now on a missing one is a lost one, not a new one."""
        ...

    def write(self, transaction: Transaction) -> None:
        """Durable when this returns; raises `JournalFailed` when nothing was changed,
        `CorruptJournal` when that is not known."""
        ...

    def close(self) -> None:
        """Releases it; writes nothing."""
        ...


class Reader(Protocol):
    """An open snapshot; stays readable when a newer one takes its place."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`."""
        ...

    def close(self) -> None:
        """Closes it."""
        ...


class Files(Protocol):
    """Where a node keeps its one snapshot, and the part of one that is arriving. `OSError` is
    what a full or failing disk raises."""

    path: Path
    """Path of the snapshot; named in errors."""

    def exists(self) -> bool:
        """Whether there is a snapshot."""
        ...

    def load(self) -> bytes:
        """The snapshot's bytes."""
        ...

    def write(self, *content: Piece) -> None:
        """Replaces the snapshot by these pieces, durably and at once."""
        ...

    def reader(self) -> Reader:
        """The snapshot, for sending it."""
        ...

    def begin_part(self) -> None:
        """Begins an empty part; discards an older one."""
        ...

    def append_part(self, content: bytes) -> None:
        """Appends bytes to the part."""
        ...

    def finish_part(self) -> bytes:
        """Makes the part durable and returns it."""
        ...

    def publish_part(self) -> None:
        """The finished part becomes the snapshot."""
        ...

    def close_part(self) -> None:
        """Discards an unfinished or unpublished part, whose space the journal may need."""
        ...
