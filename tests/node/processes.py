"""Real processes of one test."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Processes:
    """By name; killed at the end. `patience`: seconds for what is waited for."""

    patience = 150.0

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(self, name: str, command: Sequence[str], log: Path) -> None:
        with open(log, "ab") as opened:
            self.processes[name] = subprocess.Popen(command, stderr=opened)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Polls; the only kind of wait that there is for them."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, "too slow"
            time.sleep(0.1)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
