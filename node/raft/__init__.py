"""Consensus: PySyncObj behind our transport, journal and snapshots. See README.md beside this.

Nothing outside this package knows the library.
"""

from stationkeep.node.raft.engine import Timings
from stationkeep.node.raft.follower import LogDiverged
from stationkeep.node.raft.guards import Guards
from stationkeep.node.raft.journal import (
    CorruptJournal,
    DataDirInUse,
    Journal,
    JournalError,
    JournalFailed,
    WrongDataDir,
)
from stationkeep.node.raft.raft import Raft
from stationkeep.node.raft.rejoin import rejoin_empty
from stationkeep.node.raft.snapshot import (
    CorruptSnapshot,
    NotEmpty,
    Snapshot,
    decode,
    encode,
    read_snapshot,
    restore_into,
    write_file,
)
from stationkeep.node.raft.store import SnapshotStore

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
