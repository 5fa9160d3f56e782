"""Writes every decision as one JSON line into the data directory, where it outlives the state's
bounded list.

What one turn of the node brings is written at the end of that turn, before any client hears of it:
opening the file costs more than a line does. Level-triggered: after a restart, or a snapshot that
skipped log entries, it continues after the last decision in the file with whatever the state still
has, and never writes one twice. A snapshot may bring ten thousand decisions: they are written in
slices, one a turn, and kept here until then, since entries applied meanwhile make the state forget
the oldest.

The lines form a hash chain (`chain.py`) that continues through the rotated files. A file that is
found damaged is rotated as it is, and a new chain begins. The only thing ever repaired is an
incomplete last line, which is what a crash leaves behind.

Refused orders are recorded between the decisions (`refusals.py`) as they are applied. Those that a
snapshot skipped, or that came while the disk failed, are only in the files of other nodes.
Source: roles.md, "Decision log".
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.commands import Entry
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import Decision
from stationkeep.cluster.state.events import Decided
from stationkeep.cluster.state.state import MAX_DECISIONS
from stationkeep.node.audit import chain
from stationkeep.node.audit.refusals import Refusals
from stationkeep.node.replica import Replica
from stationkeep.node.system.operator_files import regular

SLICE = 256
"""Decisions written at once while the node runs."""
TAIL = chain.MAX_LINE
"""Bytes read back at start to find the last complete line; one line is far shorter."""
MAX_FILE_BYTES = 32 * 1024 * 1024
"""Size from which a file is full and gets rotated."""
MAX_FILES = 16
"""Full files that are kept."""

log = structlog.get_logger("node.audit")


class _Line(msgspec.Struct):
    """What is needed of any last line to continue after it."""

    hash: str = ""
    id: int = 0
    """Of a decision: its number."""
    after: int = 0
    """Of a header or a refusal: the newest decision before it."""
    audit: int = 0
    """Of a header: the version of the format."""
    refused: str = ""
    """Of a refusal: the kind of command."""
    index: int = 0
    """Of a decision or a refusal: its log index."""


class AuditFile:
    """The audit file of one node. A failing disk is logged once and does not stop the node: the
    state keeps the newest decisions, and writing resumes when the disk works again."""

    def __init__(self, path: Path, replica: Replica, node: str) -> None:
        self._path, self._replica, self._node = path, replica, node
        self.broken = ""
        """Why the file cannot be written; "" if it can."""
        self.behind = False
        """Whether there is something for the next `turn` to write."""
        self._last = self._index = 0
        self._refusals = Refusals()
        self._head = chain.START
        """Hash of the last line, in whichever file it is."""
        self._missing: list[Decision] = []
        """What is not in the file yet, oldest first."""
        try:
            self._recover()
        except OSError as error:
            self._report(error)
        replica.listen(self._on_applied)
        replica.on_restored(self._on_restored)

    def _recover(self) -> None:
        """Finds the last complete line; cuts off an incomplete one that a crash left."""
        line = _last_line(self._path, cut=True) if self._path.exists() else b""
        full = chain.rotated(self._path.parent)
        if not line and full:
            line = _last_line(full[-1], cut=False)
        if not line:
            return
        found = _read(line)
        if found is not None:
            self._last, self._head = max(self._last, found.id, found.after), found.hash
            self._index = max(self._index, found.index)
            return
        self._head = chain.START
        if self._path.exists():
            log.error("audit file is damaged: rotated, a new chain begins", path=str(self._path))
            self._rotate()

    def catch_up(self) -> None:
        """Appends everything that the file lacks at once; called when a node starts."""
        self._collect_missing()
        self._write(len(self._missing))

    def turn(self) -> None:
        """Appends a slice of what is missing, or more if decisions come faster than that."""
        if self.behind:
            self._write(max(SLICE, len(self._missing) - MAX_DECISIONS))

    def _on_restored(self) -> None:
        self._collect_missing()
        self.behind = True

    def _on_applied(self, index: int, entry: Entry | None, applied: Applied) -> None:
        self._take_decisions(applied)
        if entry is not None and entry.draft.key and isinstance(applied.outcome, Rejected):
            self._take_refusal(index, entry, applied.outcome)

    def _take_decisions(self, applied: Applied) -> None:
        if any(isinstance(event, Decided) for event in applied.events):
            self._collect_missing()
            self.behind = True

    def _take_refusal(self, index: int, entry: Entry, why: Rejected) -> None:
        if self._missing and not self.broken:
            self.turn()  # a decision has its place before it
        if index <= self._index or self._missing:  # replayed, or the file lacks a decision
            return
        record = self._refusals.record(index, entry, why, self._last)
        if record is not None:
            self._try(lambda: self._extend([record]))
            self._index = index

    def _collect_missing(self) -> None:
        """Adds the newest decisions of the state. While the disk fails, no more are kept than the
        state keeps: if that lasts, the file will have a gap."""
        newest = self._missing[-1].id if self._missing else self._last
        self._missing += _after(newest, self._replica.state.decisions)
        if self.broken:
            del self._missing[:-MAX_DECISIONS]

    def _write(self, count: int) -> None:
        self._append(self._missing[:count])
        self._missing = _after(self._last, self._missing)
        self.behind = bool(self._missing) and not self.broken

    def _append(self, decisions: list[Decision]) -> None:
        if decisions:
            self._try(lambda: self._extend_decisions(_after(self._last, decisions)))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            if self.broken:  # a part of the last write may have reached the file
                self._recover()
            write()
        except OSError as error:
            self._report(error)
            return
        self.broken = ""

    def _report(self, error: OSError) -> None:
        if not self.broken:
            log.error("audit file cannot be written", path=str(self._path), error=str(error))
        self.broken = str(error)

    def _extend_decisions(self, decisions: list[Decision]) -> None:
        self._extend([_record(decision) for decision in decisions])
        if decisions:
            self._last, self._index = decisions[-1].id, max(self._index, decisions[-1].index)

    def _extend(self, records: Sequence[Mapping[str, Any] | msgspec.Struct]) -> None:
        """Appends lines, to a new file if the current one is full."""
        size = self._path.stat().st_size if self._path.exists() else 0
        if size >= MAX_FILE_BYTES:
            self._rotate()
            size = 0
        head, lines = self._head, []
        if not size:
            line, head = chain.seal(head, self._header())
            lines.append(line)
        for record in records:
            line, head = chain.seal(head, record)
            lines.append(line)
        with open(self._path, "ab", opener=regular) as file:
            file.write(b"".join(lines))
        self._head = head

    def _header(self) -> chain.Header:
        full = chain.rotated(self._path.parent)
        number = 1 + (chain.number_of(full[-1]) if full else 0)
        wall = self._replica.state.wall
        return chain.Header(self._node, number, self._last, self._head, wall)

    def _rotate(self) -> None:
        """Makes the current file the newest of the full ones, and deletes the oldest of them."""
        full = chain.rotated(self._path.parent)
        number = 1 + (chain.number_of(full[-1]) if full else 0)
        self._path.rename(self._path.with_name(f"audit-{number:06}.jsonl"))
        for oldest in full[: max(0, len(full) + 1 - MAX_FILES)]:
            oldest.unlink()


def _last_line(path: Path, *, cut: bool) -> bytes:
    """The last complete line, without its line break. `cut`: truncates the file after it. If there
    is no complete line in the last `TAIL` bytes, returns those bytes."""
    with open(path, "r+b" if cut else "rb", opener=regular) as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - TAIL))
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if start and not whole:
            return tail
        if cut and whole < len(tail):
            file.truncate(start + whole)
    return tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]


def _read(line: bytes) -> _Line | None:
    """A last line; None when it is damaged."""
    if chain.claimed(line) is None:
        return None
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return found if found.id or found.after or found.audit or found.refused else None


def _after(id_: int, decisions: list[Decision]) -> list[Decision]:
    return decisions[bisect_right(decisions, id_, key=lambda d: d.id) :]


def _record(decision: Decision) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(decision)
    return {**fields, "sentence": sentence(decision)}
