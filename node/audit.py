"""Every decision as one JSON line in the data directory; outlives what the state forgets.

Level-triggered: after a restart, or a snapshot that skipped log entries, it goes on behind the
last decision it holds, with whatever the state still has, and never writes one twice. What a
snapshot brings may be ten thousand decisions: they are written a slice a turn, and kept here
until then, since entries applied meanwhile make the state forget the oldest.
Source: roles.md, "Decision log".
"""

import os
from bisect import bisect_right
from pathlib import Path
from typing import Any

import msgspec
import structlog

from cluster.apply import Applied
from cluster.commands import Entry
from cluster.decisions import Decision
from cluster.events import Decided
from cluster.sentences import sentence
from cluster.state import MAX_DECISIONS
from node.replica import Replica

SLICE = 256
"""Decisions written at once while the node runs."""
TAIL = 1024 * 1024
"""Bytes read back at start to find the last complete line; one line is far shorter."""

log = structlog.get_logger("node.audit")


class _Line(msgspec.Struct):
    id: int


class AuditFile:
    """The audit file of one node. A disk that refuses is reported once and does not stop the
    node: the state keeps the newest decisions, and writing goes on when the disk allows."""

    def __init__(self, path: Path, replica: Replica) -> None:
        self._path, self._replica = path, replica
        self.broken = ""
        self.behind = False
        """Whether there is something for the next `turn` to write."""
        self._last = self._recover()
        self._owed: list[Decision] = []
        """What the file lacks, oldest first."""
        replica.listen(self._on_applied)
        replica.on_restored(self._on_restored)

    def _recover(self) -> int:
        """The id of the last complete line; a torn one, left by a crash, is cut off."""
        if not self._path.exists():
            return 0
        with self._path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - TAIL))
            tail = file.read()
            whole = tail.rfind(b"\n") + 1
            if whole < len(tail):
                file.truncate(start + whole)
        lines = tail[:whole].splitlines()
        return msgspec.json.decode(lines[-1], type=_Line).id if lines else 0

    def catch_up(self) -> None:
        """Appends what the state has and the file has not, all at once: at a node's start."""
        self._owe()
        self._write(len(self._owed))

    def turn(self) -> None:
        """Appends a slice of what is missing, when something is; more where the state fills
        faster than that."""
        if self.behind:
            self._write(max(SLICE, len(self._owed) - MAX_DECISIONS))

    def _on_restored(self) -> None:
        self._owe()
        self.behind = True

    def _on_applied(self, _index: int, _entry: Entry | None, applied: Applied) -> None:
        decided = sum(isinstance(event, Decided) for event in applied.events)
        if not decided:
            return
        self._owe()
        if self.broken or len(self._owed) > decided:
            self.behind = True
        else:
            self._write(decided)

    def _owe(self) -> None:
        """Takes in what the state has beyond. A disk that refuses for long leaves a hole: no more
        is kept for it than the state keeps."""
        newest = self._owed[-1].id if self._owed else self._last
        self._owed += _after(newest, self._replica.state.decisions)
        if self.broken:
            del self._owed[:-MAX_DECISIONS]

    def _write(self, count: int) -> None:
        self._append(self._owed[:count])
        self._owed = _after(self._last, self._owed)
        self.behind = bool(self._owed) and not self.broken

    def _append(self, decisions: list[Decision]) -> None:
        if not decisions:
            return
        lines = b"".join(msgspec.json.encode(_record(d)) + b"\n" for d in decisions)
        try:
            with self._path.open("ab") as file:
                file.write(lines)
        except OSError as error:
            if not self.broken:
                log.error("audit file cannot be written", path=str(self._path), error=str(error))
            self.broken = str(error)
            self._last = self._recover_quietly()
            return
        self.broken = ""
        self._last = decisions[-1].id

    def _recover_quietly(self) -> int:
        """After a failed write: whatever part of it reached the file counts as written."""
        try:
            return max(self._last, self._recover())
        except OSError:
            return self._last


def _after(id_: int, decisions: list[Decision]) -> list[Decision]:
    return decisions[bisect_right(decisions, id_, key=lambda d: d.id) :]


def _record(decision: Decision) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(decision)
    return {**fields, "sentence": sentence(decision)}
