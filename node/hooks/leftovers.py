"""Running commands recorded on disk, so that a restarted node can end those of the previous run.

A hook has its own session and survives a `kill -9` of its node. So each process is recorded, with
its birth, before it does anything (`runner.run`), and removed from the record once it is gone. A
node that starts kills every process that is in the record and still has the recorded birth. A shell
that had exited by then is not touched; what it left running is a service, and ending that is up to
the hook of the next role.
"""

import msgspec
import structlog

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.ports import Memory
from stationkeep.node.system.process import birth

log = structlog.get_logger("node.hooks")


class _Running(msgspec.Struct, frozen=True):
    born: str
    """`birth` of the process."""
    command: str


class Leftovers:
    """The record, by process id. Each process leads the process group of all that it starts."""

    def __init__(self, memory: Memory) -> None:
        """Reads nothing yet: that must wait until the data directory is locked."""
        self._memory = memory
        self._running: dict[int, _Running] = {}

    def load(self) -> dict[int, str]:
        """Commands of the previous run that are still running, by process group. Raises OSError
        when the record cannot be read; one that is corrupt is logged and taken for empty."""
        saved = self._memory.load()
        try:
            record = msgspec.json.decode(saved or b"{}", type=dict[int, _Running])
        except UNREADABLE as error:
            fault = str(explain(error, "json"))
            log.error("unreadable, taken for empty", what="running hooks", error=fault)
            record = {}
        self._running = {pid: one for pid, one in record.items() if birth(pid) == one.born}
        return {pid: one.command for pid, one in self._running.items()}

    def add(self, pid: int, command: str) -> None:
        """Records a process that is about to run a command."""
        born = birth(pid)
        if born is not None:
            self._running[pid] = _Running(born, command)
            self._save()

    def remove(self, pid: int) -> None:
        """Removes a process that is gone."""
        if self._running.pop(pid, None) is not None:
            self._save()

    def _save(self) -> None:
        """A failing disk is no reason not to run hooks: at worst a leftover is not found."""
        try:
            self._memory.save(msgspec.json.encode(self._running))
        except OSError as error:
            log.error("cannot be saved", what="running hooks", error=str(error))
