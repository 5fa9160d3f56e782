"""Snapshot files: what the log before an index came to, checksummed, whole or not at all.

Layout: magic (8 bytes), format (u16), length of the body (u64), blake2b-128 of the body, body.
The body is msgpack: see `Snapshot`. It holds the entry before the last one too, because
PySyncObj keeps both in its log. It may be a hundred megabytes, and is written and read without a
copy of the whole: that would be one step in which nobody else in the process gets a turn.
A file is written beside its place, synced, renamed, and the directory synced; so a snapshot that
exists is complete, and one that fails its checksum was damaged later. Raft paper, section 7.
"""

# ruff: noqa: N818  (exceptions say what is the case)

import contextlib
import hashlib
import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from stationkeep.cluster.devices.snapshot_columns import binary_header, map_header
from stationkeep.cluster.names import NAME_RULE, name_fault
from stationkeep.cluster.numbers import CEILING, RESTORED
from stationkeep.cluster.state.codec import Piece
from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.raft.storage.journal import Entry, Journal
from stationkeep.node.raft.storage.seam import Reader, WrongDataDir
from stationkeep.node.system.operator_files import private_directory

FORMAT = 1
FILE = "snapshot"
MAX_BYTES = 1 << 30

_MAGIC = b"STNKEEP\n"
_HEAD = struct.Struct(">8sHQ16s")
_DIGEST_BYTES = 16


class CorruptSnapshot(Exception):
    """A snapshot that is not what was written; the message says what to do."""

    def __init__(self, source: object, what: str) -> None:
        super().__init__(
            f"{source}: not a usable snapshot: {what}. A node must not start from it. If it is "
            "the snapshot of a node, move that node's data directory away and let it join again "
            "with an empty one: `stationkeep node rejoin --config FILE` does that (the others will "
            "send it the state); or, if no quorum is left, restore every node from a good file "
            "(stationkeep snapshot verify, snapshot restore). See: stationkeep guide backup"
        )


class NotEmpty(Exception):
    """`restore_into` found a data directory that is in use."""


class Snapshot(msgspec.Struct, frozen=True):
    """State after `last`, the entry (command, index, term) that it covers as the last one.

    Read from a file, `state` is a view of the file's bytes.
    `members` are the voters of the configuration in force at that entry (dissertation, 5.1).
    """

    cluster: str
    members: tuple[str, ...]
    previous: Entry
    last: Entry
    state: memoryview
    learners: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    configured: int = 0
    """Index of the entry that made them members; 0: they are those of the founding."""
    births: dict[str, int] = {}
    """Of the members' journals (`membership.Configuration`)."""

    @property
    def index(self) -> int:
        return self.last[1]

    @property
    def term(self) -> int:
        return self.last[2]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot file."""
    return joined(pieces(snapshot, [snapshot.state]))


def pieces(snapshot: Snapshot, state: Sequence[Piece]) -> Iterator[Piece]:
    """The bytes of a snapshot file, piece by piece, of a state that is in pieces itself and takes
    the place of the snapshot's own."""
    body = list(_body(snapshot, state))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for piece in body:
        digest.update(piece)
    yield _HEAD.pack(_MAGIC, FORMAT, sum(map(len, body)), digest.digest())
    yield from body


def _body(snapshot: Snapshot, state: Sequence[Piece]) -> Iterator[Piece]:
    yield map_header(len(snapshot.__struct_fields__))
    for field in snapshot.__struct_fields__:
        yield _encoder.encode(field)
        if field == "state":
            yield binary_header(sum(map(len, state)))
            yield from state
        else:
            yield _encoder.encode(getattr(snapshot, field))


def joined(content: Iterable[Piece]) -> bytes:
    """The pieces as one, with time for others between any two: a join would be one long step."""
    whole = io.BytesIO()
    for piece in content:
        whole.write(piece)
    return whole.getvalue()


def decode(data: bytes, source: object = "snapshot") -> Snapshot:
    """The snapshot in `data`, verified; raises `CorruptSnapshot` that names `source`."""
    if len(data) < _HEAD.size:
        raise CorruptSnapshot(source, f"{len(data)} bytes are too few")
    magic, version, length, digest = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptSnapshot(source, "it does not begin like a Stationkeep snapshot")
    if version != FORMAT:
        raise CorruptSnapshot(source, f"format {version}; this release reads format {FORMAT}")
    body = memoryview(data)[_HEAD.size :]
    if len(body) != length:
        raise CorruptSnapshot(source, f"{length} bytes announced, {len(body)} found")
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise CorruptSnapshot(source, "the checksum does not match")
    try:
        snapshot = _decoder.decode(body)
    except UNREADABLE as error:
        raise CorruptSnapshot(source, str(explain(error, "msgpack"))) from error
    fault = _fault(snapshot)
    if fault is not None:
        raise CorruptSnapshot(source, fault)
    return snapshot


def _fault(snapshot: Snapshot) -> str | None:
    """What is in no snapshot that anybody wrote, whatever its checksum. A node that began with
    such numbers could not go on from them (`cluster.numbers`)."""
    (_, previous, before), (_, index, term) = snapshot.previous, snapshot.last
    if previous + 1 != index or before > term:
        return "its two entries do not follow one another"
    if not (previous >= 1 and index <= RESTORED):
        return f"log index {index} is not between 2 and {RESTORED}"
    if not (before >= 0 and term <= RESTORED):
        return f"term {term} is not between 0 and {RESTORED}"
    if not 0 <= snapshot.configured <= index:
        return f"its configuration stands at {snapshot.configured}, which is not up to {index}"
    for name in (*snapshot.members, *snapshot.learners, *snapshot.removed, *snapshot.births):
        if name_fault(name) is not None:
            return f"member {name[:80]!r} is not {NAME_RULE}"
    if any(not 0 <= birth <= CEILING for birth in snapshot.births.values()):
        return "the birth of a journal is out of range"
    return None


def read_bytes(path: Path) -> bytes:
    """A file's bytes; raises `CorruptSnapshot` when it is too long, `OSError` when unreadable."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CorruptSnapshot(path, f"{size} bytes; at most {MAX_BYTES} are read")
    return path.read_bytes()


def read_snapshot(path: Path) -> Snapshot:
    """Reads and verifies a file; raises `CorruptSnapshot`, or `OSError` when unreadable."""
    return decode(read_bytes(path), path)


def write_file(path: Path, *content: Piece) -> None:
    """Puts `content` at `path` durably: the old file or the new one, never something between."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.writelines(content)
        file.flush()
        os.fsync(file.fileno())
    publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Renames a synced file into place and syncs the directory."""
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames within a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _OpenFile:
    """`Reader` of a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, start)

    def close(self) -> None:
        self._file.close()


class DiskFiles:
    """`Files` of a real node: the snapshot at `path`, an arriving one beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part_path = path.with_name(path.name + ".part")
        self._part: BinaryIO | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def load(self) -> bytes:
        return read_bytes(self.path)

    def write(self, *content: Piece) -> None:
        write_file(self.path, *content)

    def reader(self) -> Reader:
        return _OpenFile(self.path)

    def begin_part(self) -> None:
        self._let_go()
        self._part = self._part_path.open("wb")

    def append_part(self, content: bytes) -> None:
        assert self._part is not None, "begun"
        self._part.write(content)

    def finish_part(self) -> bytes:
        assert self._part is not None, "begun"
        self._part.flush()
        os.fsync(self._part.fileno())
        self._let_go()
        return read_bytes(self._part_path)

    def publish_part(self) -> None:
        publish(self._part_path, self.path)

    def close_part(self) -> None:
        self._let_go()
        with contextlib.suppress(OSError):  # a disk that may only be read
            self._part_path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            # A full disk refuses once more what it refused when it was written or finished.
            with contextlib.suppress(OSError):
                part.close()


def restore_into(data_dir: Path, file: Path, cluster: str, node: str) -> Snapshot:
    """Prepares an empty data directory so that `node` starts from `file`.

    Every member must be restored from the same file before any is started: a cluster of which
    only some members were restored is not the cluster that acknowledged the rest.
    Its members are those of the snapshot: who has a vote stands in it, not in their files.
    Raises `NotEmpty`, `CorruptSnapshot`, `OSError`, `JournalError`.
    """
    snapshot = read_snapshot(file)
    members = (*snapshot.members, *snapshot.learners)
    if node not in members:
        raise WrongDataDir(f"{file}: {node} is none of its members ({', '.join(members)})")
    if data_dir.exists() and any(data_dir.iterdir()):
        raise NotEmpty(f"{data_dir}: is not empty; a snapshot is restored into an empty directory")
    private_directory(data_dir)
    write_file(data_dir / FILE, encode(snapshot))
    journal = Journal(data_dir, cluster=cluster, node=node)
    journal.add(*snapshot.previous)
    journal.add(*snapshot.last)
    journal.setCurrentTerm(snapshot.term, None)
    journal.setRaftCommitIndex(snapshot.index)
    journal.settle()
    journal.commit()
    journal.close()
    return snapshot
