"""Real nodes over TLS that ask everybody for a token."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.traces import Collector, collecting
from tests.node.tls.test_whole_nodes import NODES, Cluster

FIRST, SECOND, THIRD = NODES
WEBHOOK = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"


class Guarded(Cluster):
    """Nodes with `auth: required`, and tokens made for them on the machine of the first."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        tracing = {"endpoint": collector.url, "sample_ratio": 1.0}
        hook = {"name": "pager", "url": f"{collector.url}/hook", "secret": WEBHOOK}
        super().__init__(folder, auth="required", tracing=tracing, webhooks=[hook])
        self.collector = collector
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.made: list[str] = []
        kept = {name: value for name, value in os.environ.items() if "STATIONKEEP" not in name}
        self._environment = kept | {"XDG_CONFIG_HOME": str(folder / "config")}

    def administer(self, *words: str) -> str:
        """A command of the administrator of the first node's machine."""
        return self.run(*words, "--config", str(self.folder / f"{FIRST}.yaml"))

    def run(self, *words: str) -> str:
        """A command, again until the cluster can carry it out."""
        done: list[subprocess.CompletedProcess[str]] = []

        def succeeded() -> bool:
            command = [sys.executable, "-m", "stationkeep", *words]
            done.append(subprocess.run(
                command, check=False, capture_output=True, text=True, env=self._environment
            ))  # fmt: skip
            return done[-1].returncode == 0

        self.wait_until(succeeded)
        return done[-1].stdout

    @property
    def environment(self) -> dict[str, str]:
        """Of a command: nobody is logged in who was not by one."""
        return self._environment

    def create(self, name: str, *options: str) -> Path:
        """The file of a new token."""
        return self.keep(name, self.administer("tokens", "create", "--name", name, *options))

    def keep(self, name: str, token: str) -> Path:
        self.made.append(token.strip())
        file = self.tokens / name
        file.write_text(token)
        return file


@contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    """Three of them, which have started."""
    with collecting() as collector:
        cluster = Guarded(folder, collector)
        for name in NODES:
            cluster.start(name)
        try:
            yield cluster
        finally:
            cluster.end()


def bearer(token: Path) -> dict[str, str]:
    """Headers that show the token in a file."""
    return {"Authorization": f"Bearer {token.read_text().split()[0]}"}
