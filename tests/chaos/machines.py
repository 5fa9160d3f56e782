"""Machines with a real agent each, whose tasks a test holds, fails or reboots."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stationkeep.node.agent.tasks import book
from tests.node.agent.tasks.test_command import living

INSTALL = """
printf %s "$STATIONKEEP_RESUMED" >> "$1/runs"
until [ -e "$1/go" ]; do sleep 0.05; done
. "$1/ending"
"""
"""Notes each run, waits for leave, and ends as the test says."""
SUCCEEDS = (
    'if [ -n "$STATIONKEEP_VERSION" ]; then printf %s "$STATIONKEEP_VERSION" > "$1/version"; fi'
)


class Machine:
    """Its agent, its disk, its boots; `ending`: shell text that ends each task; `more`: options."""

    def __init__(
        self,
        place: Path,
        urls: Iterable[str],
        ending: str = SUCCEEDS,
        more: Iterable[str] = (),
    ) -> None:
        place.mkdir()
        self.id, self.place = place.name, place
        self.urls, self._more = list(urls), list(more)
        self._process: subprocess.Popen[bytes] | None = None
        (place / "install").write_text(INSTALL)
        (place / "ending").write_text(ending)
        self.boots("first")
        self.runs_version("1.0.0")

    def boots(self, name: str) -> None:
        (self.place / "boot").write_text(name)

    def runs_version(self, version: str) -> None:
        (self.place / "version").write_text(version)

    def holds(self) -> None:
        """Commands wait for leave from now on."""
        (self.place / "go").unlink(missing_ok=True)

    def goes_on(self) -> None:
        """Commands need not wait any more."""
        (self.place / "go").touch()

    @property
    def runs(self) -> str:
        """`STATIONKEEP_RESUMED` of each run of a command."""
        file = self.place / "runs"
        return file.read_text() if file.exists() else ""

    @property
    def downloaded(self) -> int:
        """Bytes that are there of an artifact."""
        file = self.place / "spool" / "artifact.part"
        return file.stat().st_size if file.exists() else 0

    @property
    def unheard(self) -> list[str]:
        """Tasks whose end no node has acknowledged to this machine."""
        kept = book.read((self.place / "spool" / "tasks.json").read_bytes(), self.id)
        return [o.update.task_id for o in kept.outcomes if not o.acknowledged]

    def start(self) -> None:
        place = self.place
        argv = [
            sys.executable, "-m", "tests.chaos.machine_process", place / "boot",
            "agent", *(f"--url={url}" for url in self.urls), "--id", self.id,
            "--spool", place / "spool", *self._more,
            "--on-task", f"/bin/sh {place}/install {place}",
            "--version-command", f"/bin/cat {place}/version",
            *(f"--pretend={figure}" for figure in ("battery=90", "cpu=10", "memory=10", "disk=10")),
        ]  # fmt: skip
        with (place / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def signal(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def kill(self) -> None:
        """The agent, as `kill -9` does: what it has started lives on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def reboot(self, version: str) -> None:
        """Comes back in another boot, with this version."""
        self.kill()
        self.boots("second")
        self.runs_version(version)
        self.start()

    def end(self) -> None:
        self.kill()
        for pid in living(self.place / "spool"):
            with suppress(ProcessLookupError):  # some are about to end by themselves
                os.kill(pid, signal.SIGKILL)
