"""Where the engine keeps, sends and receives snapshots, in place of PySyncObj's Serializer.

Writing one and reading one that arrived take too long for the event loop: both are done by
`submit`, on a thread, one after the other. The loop takes a result in a later turn.

Sending: the file itself, in numbered chunks that name the snapshot (index, term, total), at most
`WINDOW` chunks ahead of what the follower confirmed. Receiving: chunk after chunk of one
snapshot; anything else changes nothing, and the confirmation says which chunk is wanted next
(hazards S2, L4; Raft paper, section 7, InstallSnapshot "offset" and "done").
"""
# ruff: noqa: N802, N803  (the method names are PySyncObj's)

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pysyncobj.syncobj
import structlog
from pysyncobj.config import SERIALIZER_STATE

from stationkeep.cluster.state.codec import CodecError, Piece, TooNew
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.raft.storage.journal import Entry
from stationkeep.node.raft.storage.seam import Files, Reader
from stationkeep.node.raft.storage.snapshot_file import (
    FILE,
    CorruptSnapshot,
    DiskFiles,
    Snapshot,
    decode,
    pieces,
)

CHUNK_BYTES = 256 * 1024
WINDOW = 4
RETRY_SECONDS = 5.0

Chunk = tuple[int, int, int, int, bytes]
"""Index and term of the snapshot, number of the chunk, how many there are, bytes."""

Prepared = tuple[Snapshot, Callable[[], None]]
"""A snapshot that arrived, and the function that installs its state."""

State = bytes | Callable[[], list[Piece]]
"""A replicated state: its bytes, or a function that makes them, in pieces, on any thread."""

Submit = Callable[[Callable[[], None]], Any]
T = TypeVar("T")
log = structlog.get_logger("node.raft")


class _Outgoing(msgspec.Struct):
    file: Reader
    index: int
    term: int
    total: int
    next: int = 0
    confirmed: int = 0


class _Incoming(msgspec.Struct):
    key: tuple[int, int, int]
    expected: int = 0


class _Writing(msgspec.Struct):
    id: int
    why_not: Future[str | None]
    """Why it could not be written; None when it was."""


class _Arrival(msgspec.Struct):
    key: tuple[int, int, int]
    outcome: Future[Prepared | OSError | CodecError | None]
    """What was read; why it could not be, by the disk or because nobody can read such a state; None
    when it was damaged on the way."""


class SnapshotStore:
    """The snapshot of one node; the engine's serializer."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cluster: str,
        encode_state: Callable[[], State],
        make_room: Callable[[], None] | None = None,
        submit: Submit | None = None,
        files: Files | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """`encode_state` takes the state as it is, see `State`; `make_room` readies memory for
        that, on the thread. `submit` runs a function on a thread (default: at once, on the
        caller's). `files`: simulated ones."""
        self._files = files if files is not None else DiskFiles(data_dir / FILE)
        self.path = self._files.path
        self._chunk_bytes = min(chunk_bytes, CHUNK_BYTES)
        self.cluster = cluster
        self._encode_state, self._make_room = encode_state, make_room
        self._submit: Submit = submit or (lambda work: work())
        self._outgoing: dict[Any, _Outgoing] = {}
        self._incoming: _Incoming | None = None
        self._arrival: _Arrival | None = None
        self._writing: _Writing | None = None
        self._room: Future[None] | None = None
        self._retry_at = self._receive_at = -math.inf
        """Monotonic time before which no snapshot is written or received, because the disk refused
        one."""
        self.seconds = 0.0
        self.error: str | None = None
        self.continuity = True
        """Whether chunks must follow one another (hazard S2; off only in simulation)."""
        self._latest: tuple[int, int] | None = None
        self.configured_by: Callable[[int], tuple[Configuration, int]]
        """Set by the engine: the configuration in force at an index, and where it stands."""
        self.prepare: Callable[[Piece], Callable[[], None]]
        """Set by the engine: reads a state, on the thread; see `node.ports.StateMachine`."""

    def load(self) -> Snapshot | None:
        """The snapshot on disk, verified; raises `CorruptSnapshot`. What an earlier life was
        receiving goes."""
        self._files.close_part()
        if not self._files.exists():
            return None
        snapshot = decode(self._files.load(), self.path)
        self._latest = (snapshot.index, snapshot.term)
        return snapshot

    @property
    def writing(self) -> bool:
        """Whether a snapshot is being written on a thread."""
        return self._writing is not None

    @property
    def busy(self) -> bool:
        """Whether a thread is working on something whose result a turn must take."""
        return self.writing or self._arrival is not None or self._room is not None

    # -- PySyncObj: writing --------------------------------------------------------------------

    def serialize(self, data: tuple[Any, Entry, Entry, Any], id: int) -> None:
        """Takes the state now; a thread writes it. `data`: unused, last, previous, members."""
        if self.writing or self._arrival or pysyncobj.syncobj.monotonicTime() < self._retry_at:
            return
        if self._make_room is not None and not self._has_room(self._make_room):
            return  # the library asks again with the next tick
        started = time.perf_counter()
        _, last, previous, _ = data
        make = self.frozen(previous, last)
        self._writing = _Writing(id, self._elsewhere(lambda: self._write(make, last, started)))

    def _has_room(self, make: Callable[[], None]) -> bool:
        """Whether memory for the state is ready; if not, has a thread prepare it, anew for each
        snapshot."""
        if self._room is None:
            self._room = self._elsewhere(make)
        if not self._room.done():
            return False
        room, self._room = self._room, None
        room.result()
        return True

    def _write(
        self, make: Callable[[], Iterator[Piece]], last: Entry, started: float
    ) -> str | None:
        """On the thread."""
        try:
            self._files.write(*make())
        except OSError as error:
            return f"{self.path}: cannot write the snapshot: {error}"
        self.seconds = time.perf_counter() - started
        self._latest = last[1:]  # before anyone is told, who may begin to send it
        return None

    def _elsewhere(self, work: Callable[[], T]) -> Future[T]:
        """Runs work on the thread. An unexpected error is raised where the result is taken: in a
        turn, which stops the node. On the thread it would be lost."""
        outcome = Future[T]()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # whoever waits is told, and the thread as well
                outcome.set_exception(error)
                raise

        self._submit(run)
        return outcome

    def frozen(self, previous: Entry, last: Entry) -> Callable[[], Iterator[Piece]]:
        """Takes the state as it is after `last`, and the configuration in force there; the
        function returned makes a snapshot file of them, piece by piece, on any thread."""
        state = self._encode_state()
        members, configured = self.configured_by(last[1])
        about = Snapshot(
            self.cluster,
            members.voters,
            previous,
            last,
            memoryview(b""),
            members.learners,
            members.removed,
            configured,
            members.births,
        )
        return lambda: pieces(about, [state] if isinstance(state, bytes) else state())

    def checkSerializing(self) -> tuple[int, int | None]:
        """Called by PySyncObj in each tick; reports success or failure once."""
        if self._writing is None:
            return SERIALIZER_STATE.NOT_SERIALIZING, None
        if not self._writing.why_not.done():
            return SERIALIZER_STATE.SERIALIZING, self._writing.id
        done, self._writing = self._writing, None
        self.error = done.why_not.result()
        if self.error is None:
            return SERIALIZER_STATE.SUCCESS, done.id
        self._retry_at = pysyncobj.syncobj.monotonicTime() + RETRY_SECONDS
        log.error("snapshot_failed", error=self.error)
        return SERIALIZER_STATE.FAILED, done.id

    def deserialize(self) -> Snapshot:
        raise AssertionError("snapshots are taken by `Engine.install`")

    # -- PySyncObj: sending --------------------------------------------------------------------

    def getTransmissionData(self, transmissionID: Any) -> Chunk | None:
        """The next chunk for a follower; None while it must confirm earlier ones first."""
        out = self._outgoing.get(transmissionID) or self._begin(transmissionID)
        if out is None or out.next >= min(out.total, out.confirmed + WINDOW):
            return None
        data = out.file.read(out.next * self._chunk_bytes, self._chunk_bytes)
        chunk = (out.index, out.term, out.next, out.total, data)
        out.next += 1
        return chunk

    def cancelTransmisstion(self, id: Any) -> None:
        """Forgets what is being sent to a follower."""
        out = self._outgoing.pop(id, None)
        if out is not None:
            out.file.close()

    def confirmed(self, peer: Any, index: int, term: int, wanted: int) -> None:
        """The follower has every chunk before `wanted` of this snapshot."""
        out = self._outgoing.get(peer)
        if out is None or (out.index, out.term) != (index, term) or wanted > out.total:
            return
        if wanted < out.confirmed:  # it lost what it had: begin again from there
            out.next = wanted
        out.confirmed = wanted
        out.next = max(out.next, wanted)

    def sends_less_than(self, peer: Any, index: int) -> bool:
        """Whether what is being sent to a follower covers nothing that it does not have."""
        out = self._outgoing.get(peer)
        return out is not None and out.index <= index

    def rewind(self, peer: Any) -> None:
        """Nothing was confirmed for a while: sends again from the last confirmed chunk."""
        out = self._outgoing.get(peer)
        if out is not None:
            out.next = out.confirmed

    def _begin(self, peer: Any) -> _Outgoing | None:
        if self._latest is None or (self._writing and not self._writing.why_not.done()):
            return None  # a file that is being replaced may be the new one under the old's name
        file = self._files.reader()
        index, term = self._latest
        out = _Outgoing(file, index, term, -(-file.size // self._chunk_bytes))
        self._outgoing[peer] = out
        return out

    # -- PySyncObj: receiving ------------------------------------------------------------------

    def setTransmissionData(self, data: Chunk | None) -> bool:
        """Takes a chunk, the last one to a thread; see `arrived`. Always False: the library has
        nothing to load."""
        if data is None or self._arrival is not None:
            return False  # one that is being read is installed or dropped before another begins
        if pysyncobj.syncobj.monotonicTime() < self._receive_at:
            return False
        index, term, number, total, content = data
        if number != self.expected(index, term, total) and not self._anything_goes(number):
            return False
        if number == total - 1 and self.writing:
            return False  # our own, older one would replace it; the chunk will be sent again
        try:
            self._take((index, term, total), number, content)
        except OSError as error:
            self._receive_failed(error)
        return False

    def _anything_goes(self, number: int) -> bool:
        """S2 off: stock begins with any first chunk and adds any later one to it."""
        return not self.continuity and (number == 0 or self._incoming is not None)

    def expected(self, index: int, term: int, total: int) -> int:
        """Number of the next chunk of this snapshot. While an arrived snapshot is read it is still
        the last one: a leader that has no answer about the end sends that chunk again."""
        if self._arrival is not None and self._arrival.key == (index, term, total):
            return total - 1
        if self._incoming is None or self._incoming.key != (index, term, total):
            return 0
        return self._incoming.expected

    def arrived(self) -> Prepared | None:
        """A snapshot that arrived whole and was read; once. `publish` or `forget` it."""
        if self._arrival is None or not self._arrival.outcome.done():
            return None
        (index, *_), outcome = self._arrival.key, self._arrival.outcome.result()
        self._arrival = None
        if outcome is None:
            log.warning("snapshot_refused", index=index, why="damaged on the way")
            self.forget()
        elif isinstance(outcome, OSError | CodecError):
            self._receive_failed(outcome)
            return None
        return outcome

    def publish(self, snapshot: Snapshot) -> bool:
        """The one that arrived becomes the node's; False when the disk refuses."""
        try:
            self._files.publish_part()
        except OSError as error:
            self._receive_failed(error)
            return False
        self._latest, self.error = (snapshot.index, snapshot.term), None
        return True

    def close(self) -> None:
        """Closes what is open; what a thread is reading stays."""
        if self._arrival is None:
            self.forget()
        for peer in list(self._outgoing):
            self.cancelTransmisstion(peer)

    def _take(self, key: tuple[int, int, int], number: int, content: bytes) -> None:
        incoming = self._incoming
        if number == 0:
            self._files.begin_part()
            incoming = self._incoming = _Incoming(key)
        assert incoming is not None, "a later chunk continues one that is there"
        self._files.append_part(content)
        incoming.expected += 1
        if incoming.expected >= key[2]:
            self._incoming = None
            self._arrival = _Arrival(key, self._elsewhere(lambda: self._read(key)))

    def _read(self, key: tuple[int, int, int]) -> Prepared | OSError | CodecError | None:
        """On the thread."""
        try:
            snapshot = decode(self._files.finish_part())
            if (snapshot.index, snapshot.term) != key[:2]:
                return None
            return snapshot, self.prepare(snapshot.state)
        except TooNew:
            raise  # where the result is taken: nobody can go on without it
        except (OSError, CodecError) as error:
            return error
        except CorruptSnapshot:
            return None

    def _receive_failed(self, error: OSError | CodecError) -> None:
        self.error = f"{self.path}: cannot receive a snapshot: {error}"
        self._receive_at = pysyncobj.syncobj.monotonicTime() + RETRY_SECONDS
        log.error("snapshot_receive_failed", error=self.error)
        self.forget()

    def forget(self) -> None:
        """What arrived, whole or in part, is not wanted."""
        self._incoming = None
        self._files.close_part()
