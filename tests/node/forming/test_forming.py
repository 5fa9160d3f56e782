"""Three machines become a cluster by `init`, `invite` and `join` alone: real processes, TLS."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.forming.joining import KEY_FILE
from tests.node.processes import Processes

COMMAND = [sys.executable, "-m", "stationkeep"]
NODES = ("sat-001", "sat-002", "sat-003")
KILLED = """
import os, signal, sys
from stationkeep.node.security import certificates as made
left, write = int(sys.argv.pop(1)), made.write
def counted(path, content, mode):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(path, content, mode)
made.write = counted
from stationkeep.node.__main__ import main
main()
"""
"""The command, which kills itself when it is about to write one file more than it may."""

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300), pytest.mark.xdist_group("joining")]


class Machines(Processes):
    """Directories that stand for machines, and the processes of their nodes."""

    patience = 100.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.first = free_ports(2 * len(NODES))

    def config(self, name: str) -> Path:
        return self.folder / name / "etc" / "node.yaml"

    def options(self, name: str) -> list[str]:
        number = NODES.index(name)
        return [
            "--node", name, "--config", str(self.config(name)),
            "--data-dir", str(self.folder / name / "data"),
            "--raft-port", str(self.first + number), "--http-port", str(self.first + 3 + number),
        ]  # fmt: skip

    def door(self, number: int) -> str:
        return f"127.0.0.1:{self.first + 3 + number}"

    def run(
        self, *words: str, kill_after: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = COMMAND
        if kill_after is not None:
            command = [sys.executable, "-c", KILLED, str(kill_after)]
        environment["XDG_CONFIG_HOME"] = str(self.folder / "home")
        return subprocess.run(
            [*command, *words], check=False, capture_output=True, text=True, timeout=100,
            env=os.environ | environment,
        )  # fmt: skip

    def done(self, *words: str, **environment: str) -> str:
        result = self.run(*words, **environment)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def start(self, name: str) -> None:
        command = [*COMMAND, "node", "run", "--config", str(self.config(name))]
        self.spawn(name, command, self.folder / f"{name}.log")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    try:
        yield found
    finally:
        found.end()


def test_three_machines_form_a_cluster_though_one_is_killed_at_every_write(
    machines: Machines,
) -> None:
    """The third is taken in by the second, which was given the CA's key when it came."""
    demo = ["--cluster", "my-fleet", "--profile", "demo", "--advertise", "127.0.0.1"]
    machines.done("init", *demo, *machines.options("sat-001"))
    machines.start("sat-001")
    here = ["--config", str(machines.config("sat-001"))]
    machines.wait_until(lambda: machines.run("nodes", "invitations", *here).returncode == 0)
    words = [machines.done("nodes", "invite", *here) for _ in range(2)]
    admin = machines.done("tokens", "create", "--name", "ann", "--role", "admin", *here)
    for number, kills in ((1, 0), (2, 4)):
        name, word = NODES[number], words[number - 1]
        joining = ["join", machines.door(number - 1), *machines.options(name)]
        for writes in range(kills):
            killed = machines.run(*joining, kill_after=writes, STATIONKEEP_JOIN_TOKEN=word)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        machines.done(*joining, STATIONKEEP_JOIN_TOKEN=word)
        machines.start(name)
        known = {*NODES[: number + 1]}
        machines.wait_until(lambda n=number, known=known: voters(machines, n, admin) == known)
    machines.done("login", *here)
    assert "sat-003" in machines.done("nodes", "list")
    again = machines.run(*joining, STATIONKEEP_JOIN_TOKEN=words[1])
    assert (again.returncode, "was a member" in again.stdout) == (0, True)
    machines.processes["sat-001"].kill()
    machines.processes["sat-001"].wait()
    machines.wait_until(lambda: "PRIMARY" in roles(machines, 1, admin).values())
    leaves_no_secret(machines, [*words, admin])


def nodes(machines: Machines, number: int, token: str) -> list[Any]:
    """The nodes as one of them sees them; none while it does not answer."""
    url = f"https://{machines.door(number)}"
    ca = str(machines.config(NODES[number]).parent / "tls" / "ca.pem")
    asking = {"STATIONKEEP_TOKEN": token, "STATIONKEEP_CA": ca}
    result = machines.run("nodes", "list", "--url", url, "--format", "json", **asking)
    found: list[Any] = json.loads(result.stdout) if result.returncode == 0 else []
    return found


def voters(machines: Machines, number: int, token: str) -> set[str]:
    return {node["id"] for node in nodes(machines, number, token) if not node["joining"]}


def roles(machines: Machines, number: int, token: str) -> dict[str, str]:
    """Of those who are not dead."""
    found = nodes(machines, number, token)
    return {node["id"]: node["role"] for node in found if node["id"] != "sat-001"}


def leaves_no_secret(machines: Machines, secrets: list[str]) -> None:
    files = [path for path in machines.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert not any(secret.split("_")[2].encode() in content for secret in secrets), path
        assert path.name != KEY_FILE.name
