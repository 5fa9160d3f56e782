"""Consensus: PySyncObj behind our transport, journal and snapshots. See README.md beside this.

Nothing outside this package knows the library.
"""

from stationkeep.node.raft.engine.engine import Timings
from stationkeep.node.raft.engine.follower import LogDiverged
from stationkeep.node.raft.engine.guards import Guards
from stationkeep.node.raft.raft import Raft
from stationkeep.node.raft.storage.journal import (
    CorruptJournal,
    DataDirInUse,
    Journal,
    JournalError,
    JournalFailed,
    WrongDataDir,
)
from stationkeep.node.raft.storage.rejoin import rejoin_empty
from stationkeep.node.raft.storage.snapshot_file import (
    CorruptSnapshot,
    NotEmpty,
    Snapshot,
    decode,
    encode,
    read_snapshot,
    restore_into,
    write_file,
)
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore

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
