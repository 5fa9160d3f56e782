"""Real processes on real, small file systems: full, read-only, or erased under a running cluster.

Mounting needs root; where it is not permitted these tests are skipped and say so.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.chaos.constellation import Constellation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

SMALL = 24
"""Megabytes of a node's disk."""


class Disks:
    """File systems mounted for one test, taken away at its end."""

    def __init__(self, images: Path) -> None:
        self._images = images
        self._mounted: list[Path] = []

    def tmpfs(self, where: Path) -> None:
        where.mkdir(parents=True)
        self._run("mount", "-t", "tmpfs", "-o", f"size={SMALL}m", "stationkeep-test", str(where))
        self._mounted.append(where)

    def ext4(self, where: Path) -> None:
        """A loop-mounted file; unlike tmpfs it can become read-only under open files."""
        image = self._image(where)
        with image.open("wb") as file:
            file.truncate(SMALL * 1024 * 1024)
        self._run("mkfs.ext4", "-q", "-F", str(image))
        where.mkdir(parents=True)
        self.mount(where)

    def mount(self, where: Path, options: str = "rw") -> None:
        self._run("mount", "-o", f"loop,{options}", str(self._image(where)), str(where))
        self._mounted.append(where)

    def unmount(self, where: Path) -> None:
        self._run("umount", str(where))
        self._mounted.remove(where)

    def repair(self, where: Path) -> None:
        """What an operator does after the kernel has given a file system up."""
        command = ["e2fsck", "-f", "-y", str(self._image(where))]
        done = subprocess.run(command, check=False, capture_output=True)
        assert done.returncode in (0, 1), done.stdout  # 1: there was something to repair

    def remount_read_only(self, where: Path) -> None:
        """As the kernel does on an error: at once, whoever writes."""
        self._run("mount", "-o", "remount,abort", str(where))

    def close(self) -> None:
        for where in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", str(where)], check=True)

    def _image(self, where: Path) -> Path:
        return self._images / f"{where.name}.ext4"

    @staticmethod
    def _run(*command: str) -> None:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"not permitted here: {' '.join(command)}: {error.stderr.strip()}")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    found = Disks(tmp_path)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def cluster(disks: Disks, tmp_path: Path) -> Iterator[Constellation]:
    """A cluster of three to bring up; stopped before its disks are taken away."""
    three = Constellation(tmp_path / "cluster")
    yield three
    three.stop()


def names(count: int = 3) -> list[str]:
    return [f"sat-{number:03d}" for number in range(1, count + 1)]


def data_dir(cluster: Constellation, node: str) -> Path:
    return cluster.data_dir / node


def log_of(cluster: Constellation, node: str) -> str:
    return Path(cluster.local.manifest().nodes[node].log).read_text(errors="replace")


def metric(cluster: Constellation, node: str, name: str) -> float:
    import httpx

    text = httpx.get(f"http://{cluster.addresses[node]}/metrics", timeout=5.0).text
    lines = [line for line in text.splitlines() if line.startswith(name) and "#" not in line]
    return float(lines[0].rsplit(" ", 1)[1])


class Writer:
    """Writes through whoever takes it, and remembers what was acknowledged."""

    def __init__(self, cluster: Constellation) -> None:
        self._cluster = cluster
        self.acknowledged: list[str] = []
        self._number = 0

    def write(self, among: list[str]) -> bool:
        """One write to each of `among` until one says that it is done."""
        self._number += 1
        target = names()[self._number % 3]
        body = {"priority": 100 + self._number % 900, "reason": "x" * 400}
        for node in among:
            try:
                answer = self._cluster.ask(node, f"/v1/nodes/{target}/priority", body)
            except OSError:
                continue
            if answer.get("status") == "done":
                self.acknowledged.append(answer["operation"])
                return True
        return False

    def all_known_at(self, node: str) -> bool:
        """Whether a node, by itself, knows every write that was acknowledged by anyone."""
        return all(
            self._cluster.ask(node, f"/v1/operations/{key}").get("status") == "done"
            for key in self.acknowledged
        )


def equal_again(cluster: Constellation) -> None:
    def equal() -> bool:
        digests = cluster.digests()
        return len(digests) == len(cluster.addresses) and len(set(digests.values())) == 1

    cluster.until("all replicas are equal", equal)


def replaced_leader(cluster: Constellation, writer: Writer, old: str) -> str:
    """Writes until a survivor leads and takes writes; returns it."""
    others = [node for node in cluster.addresses if node != old]

    def another() -> Any:
        writer.write([*others, old])
        leader = cluster.ask(others[0], "/v1/cluster")["leader"]
        return leader if leader in others else None

    found = str(cluster.until("another leads", another))
    for _ in range(20):
        cluster.until("a survivor takes the write", lambda: writer.write(others))
    return found


def fill(folder: Path) -> Path:
    """Takes every byte that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


def erase_under(cluster: Constellation, node: str) -> None:
    """Takes the files away from a running node, and then the node."""
    folder = data_dir(cluster, node)
    shutil.rmtree(folder, ignore_errors=True)  # it may write a new one meanwhile
    cluster.kill(node)
    shutil.rmtree(folder, ignore_errors=True)
    assert not folder.exists()


def test_a_full_disk_costs_leader_and_primary_its_offices_and_nothing_else(
    disks: Disks, cluster: Constellation
) -> None:
    for node in names():
        disks.tmpfs(data_dir(cluster, node))
    cluster.up(nodes=3)
    cluster.settled()
    writer = Writer(cluster)
    old = cluster.seat_primary(beside_leader=True)
    pid = cluster.local.manifest().nodes[old].pid
    with cluster.watch() as watch:
        reign = watch.wait(lambda a: a.node == old, 5.0)
        filler = fill(data_dir(cluster, old))
        replaced_leader(cluster, writer, old)
        watch.wait(lambda a: a.node != old and a.epoch > reign.epoch, 20.0)
    assert watch.violations() == []
    # It says so: in its log, in its metrics, and to the cluster as the cause of its ill health.
    assert "journal_failed" in log_of(cluster, old)
    assert metric(cluster, old, "stationkeep_journal_failing") == 1
    cluster.until(
        "the cluster knows why",
        lambda: cluster.nodes()[old]["cause"] == "the disk refuses the journal",
    )
    assert old in cluster.local.running()
    filler.unlink()
    cluster.until("it has recovered", lambda: "journal_recovered" in log_of(cluster, old))
    equal_again(cluster)
    assert writer.all_known_at(old)
    assert metric(cluster, old, "stationkeep_journal_failing") == 0
    assert cluster.local.manifest().nodes[old].pid == pid  # no crash, no loop of crashes
    assert log_of(cluster, old).count(" started ") == 1
    assert "Traceback" not in log_of(cluster, old)
    cluster.until("all is well", lambda: all(n["alive"] for n in cluster.nodes().values()))


def test_a_disk_that_becomes_read_only_under_the_leader(
    disks: Disks, cluster: Constellation
) -> None:
    """Read-only under open files, then at a start, then repaired."""
    for node in names():
        disks.ext4(data_dir(cluster, node))
    cluster.up(nodes=3)
    cluster.settled()
    writer = Writer(cluster)
    old = cluster.leader()
    disks.remount_read_only(data_dir(cluster, old))
    replaced_leader(cluster, writer, old)
    said = log_of(cluster, old)
    assert "journal_failed" in said or "not to be trusted" in said
    assert "Traceback" not in said
    if old in cluster.local.running():
        assert cluster.local.kill(old, signal.SIGTERM)
    disks.unmount(data_dir(cluster, old))
    disks.repair(data_dir(cluster, old))
    disks.mount(data_dir(cluster, old), "ro")
    before = len(log_of(cluster, old))
    cluster.local.start(old)
    cluster.until("it has refused to run", lambda: old not in cluster.local.running())
    assert "read-only" in log_of(cluster, old)[before:].lower()
    assert "Traceback" not in log_of(cluster, old)[before:]
    disks.unmount(data_dir(cluster, old))
    disks.mount(data_dir(cluster, old))
    cluster.local.start(old)
    equal_again(cluster)
    cluster.until("it knows every write", lambda: writer.all_known_at(old))


@pytest.mark.parametrize(
    ("victim", "rejoin"),
    [("leader", False), ("leader", True), ("follower", True)],
    ids=["leader", "leader_told_to_rejoin", "follower_told_to_rejoin"],
)
def test_an_erased_data_directory_is_filled_again_by_the_others(
    cluster: Constellation, victim: str, rejoin: bool
) -> None:
    cluster.up(nodes=3)
    cluster.settled()
    writer = Writer(cluster)
    leader = cluster.leader()
    node = leader if victim == "leader" else next(n for n in names() if n != leader)
    others = [n for n in names() if n != node]
    for _ in range(20):
        cluster.until("a write", lambda: writer.write(names()))
    erase_under(cluster, node)
    for _ in range(20):
        cluster.until("a survivor takes the write", lambda: writer.write(others))
    if rejoin:
        config = cluster.local.manifest().nodes[node].config
        command = [sys.executable, "-m", "stationkeep", "node", "rejoin", "--config", config]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "may be started" in told.stdout
    cluster.local.start(node)
    for _ in range(20):
        cluster.until("writes go on", lambda: writer.write(others))
    equal_again(cluster)
    cluster.until("it knows every write", lambda: writer.all_known_at(node))
    assert cluster.ask(node, "/v1/cluster?consistency=strong")["leader"]
    cluster.until("it is heard", lambda: cluster.nodes()[node]["alive"])
    # It is a full member again: with one of the others dead, the two have a quorum.
    cluster.kill(others[0])
    cluster.until("two are a quorum", lambda: writer.write([node, others[1]]))
