"""Commands that run for this node, on disk: what a killed node leaves behind, its next life ends.

A hook is in a session of its own and outlives a `kill -9` of its node. So each is written down,
with when it was born, before it does anything (`hooks.run`), and crossed out once it is gone.
Who starts with the node's data directory ends what is still in the book and still the process
that was written down. A shell that had ended by then succeeded or failed like any other; what it
left running is a service, and for the hook of the next role to end.
"""

import msgspec
import structlog

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.ports import Memory
from stationkeep.node.system.process import birth

log = structlog.get_logger("node.hooks")


class _Running(msgspec.Struct, frozen=True):
    born: str
    command: str


class Leftovers:
    """The book, by process id; a command's process leads the group of all that it started."""

    def __init__(self, memory: Memory) -> None:
        """Nothing is read before `orphans`: the directory must be ours."""
        self._memory = memory
        self._running: dict[int, _Running] = {}

    def orphans(self) -> dict[int, str]:
        """Commands of an earlier life that still run, by group. Raises OSError when the book is
        unreadable; a spoilt one is taken for empty, and said to be."""
        saved = self._memory.load()
        try:
            book = msgspec.json.decode(saved or b"{}", type=dict[int, _Running])
        except UNREADABLE as error:
            fault = str(explain(error, "json"))
            log.error("unreadable, taken for empty", what="running hooks", error=fault)
            book = {}
        self._running = {pid: one for pid, one in book.items() if birth(pid) == one.born}
        return {pid: one.command for pid, one in self._running.items()}

    def add(self, pid: int, command: str) -> None:
        """A command is about to begin."""
        born = birth(pid)
        if born is not None:
            self._running[pid] = _Running(born, command)
            self._save()

    def remove(self, pid: int) -> None:
        """It is gone."""
        if self._running.pop(pid, None) is not None:
            self._save()

    def _save(self) -> None:
        """A disk that refuses costs no more than an orphan that nobody knows of."""
        try:
            self._memory.save(msgspec.json.encode(self._running))
        except OSError as error:
            log.error("cannot be remembered", what="running hooks", error=str(error))
