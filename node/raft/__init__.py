"""Consensus: PySyncObj behind our transport, journal and snapshots. See README.md beside this.

Nothing outside this package knows the library.
"""

from node.raft.engine import Timings
from node.raft.follower import LogDiverged
from node.raft.guards import Guards
from node.raft.journal import (
    CorruptJournal,
    DataDirInUse,
    Journal,
    JournalError,
    JournalFailed,
    WrongDataDir,
)
from node.raft.raft import Raft
from node.raft.rejoin import rejoin_empty
from node.raft.snapshot import (
    CorruptSnapshot,
    NotEmpty,
    Snapshot,
    decode,
    encode,
    read_snapshot,
    restore_into,
    write_file,
)
from node.raft.store import SnapshotStore

__all__ = [
    "CorruptJournal",
    "CorruptSnapshot",
    "DataDirInUse",
    "Guards",
    "Journal",
    "JournalError",
    "JournalFailed",
    "LogDiverged",
    "NotEmpty",
    "Raft",
    "Snapshot",
    "SnapshotStore",
    "Timings",
    "WrongDataDir",
    "decode",
    "encode",
    "read_snapshot",
    "rejoin_empty",
    "restore_into",
    "write_file",
]
