"""Real nodes, each with a directory of its own: another CA, from one machine, under writes."""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stationkeep.node.security import certificates as made
from stationkeep.node.security import trust
from stationkeep.node.security.handshake import ALPN
from stationkeep.node.security.inspection import curious
from stationkeep.node.system.addresses import split_address
from tests.node.security.issuing import authority, files
from tests.node.tls.test_whole_nodes import NODES, Cluster

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400), pytest.mark.xdist_group("tls")]


class Machines(Cluster):
    """As on three machines: no node reads the files of another."""

    def start(self, name: str) -> None:
        own = self.tls(name)
        if not own.exists():
            shutil.copytree(self.ca.parent, own)
        self.settings["tls"] = {"dir": str(own)}  # type: ignore[assignment]
        super().start(name)

    def tls(self, name: str) -> Path:
        return self.folder / f"tls-{name}"

    def trusted(self, name: str) -> Path:
        return self.tls(name) / "ca.pem"

    def device(self, name: str, by: str) -> Path:
        """Starts a device with a copy of the CA; the copy."""
        own = self.folder / f"{name}.pem"
        own.write_bytes(self.ca.read_bytes())
        command = [sys.executable, "-m", "stationkeep", "--ca", str(own), "agent", "--id", name]
        self.spawn(name, [*command, "--url", self.url(by)], self.folder / f"{name}.log")
        return own

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def rotate(self, *words: str, by: str) -> str:
        """`certs rotate-ca` on the machine of a node."""
        command = [sys.executable, "-m", "stationkeep", "--ca", str(self.trusted(by))]
        asked = ["certs", "rotate-ca", *words, "--url", self.url(by)]
        done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def leave_stolen(self, name: str, by: str) -> None:
        with httpx.Client(verify=trust.of_file(str(self.trusted(by)))) as http:
            asked = f"{self.url(by)}/v1/nodes/{name}"
            answer = http.delete(asked, params={"compromised": True}, timeout=30)
        assert answer.status_code == 200, answer.text

    def seen(self, name: str, path: str) -> dict:
        with httpx.Client(verify=trust.of_file(str(self.trusted(name)))) as http:
            return dict(http.get(self.url(name) + path, timeout=10).json())

    def refused(self, name: str) -> int:
        """Handshakes at the port of members with certificates of a CA that is not trusted."""
        with httpx.Client(verify=trust.of_file(str(self.trusted(name)))) as http:
            text = http.get(f"{self.url(name)}/metrics", timeout=10).text
        word = 'tls_handshakes_total{listener="raft",outcome="untrusted_ca"} '
        return int(float(text.partition(word)[2].partition("\n")[0]))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path, profile="lan")  # in which a busy machine elects nobody
    found.settings["settings"] = {"device_status_interval": "2s"}  # type: ignore[assignment]
    for name in NODES:
        found.start(name)
    try:
        found.wait_until(lambda: found.trusted(NODES[0]).exists())
        found.wait_until(lambda: up(found))
        yield found
    finally:
        found.end()


def up(machines: Machines) -> bool:
    with contextlib.suppress(httpx.HTTPError, ValueError):
        return all(machines.seen(name, "/v1/cluster")["leader"] for name in NODES)
    return False


class Writes(threading.Thread):
    """One after another, each over a connection of its own, by whom it trusts at that moment."""

    def __init__(self, machines: Machines, name: str) -> None:
        super().__init__()
        self._machines, self._name = machines, name
        self._over = threading.Event()
        self.done, self.failed = 0, list[str]()

    def run(self) -> None:
        url = f"{self._machines.url(self._name)}/v1/nodes/{self._name}/priority"
        while not self._over.wait(0.1):  # an address may begin 20 handshakes in a second
            try:
                with httpx.Client(
                    verify=trust.of_file(str(self._machines.trusted(self._name)))
                ) as c:
                    answer = c.post(url, json={"priority": 100}, timeout=10)
                    answer.raise_for_status()
                    self.done += 1
            except (httpx.HTTPError, trust.TrustError) as error:
                self.failed.append(repr(error))

    def end(self) -> None:
        self._over.set()
        self.join()


def test_a_whole_rotation_waits_for_who_is_down_and_loses_no_write_and_no_leader(
    machines: Machines, tmp_path: Path
) -> None:
    view = machines.seen(NODES[0], "/v1/cluster")
    leader, term = view["leader"], view["term"]
    one, sleepy = (name for name in NODES if name != leader)
    known = machines.device("phone-7", leader)
    machines.wait_until(lambda: machines.seen(one, "/v1/devices")["items"])
    writes = Writes(machines, leader)
    writes.start()
    try:
        assert "nodes: 3 of 3 trust both" in machines.rotate("start", "--wait", by=one)
        machines.wait_until(lambda: state(machines, one)["devices_behind"] == 0)
        machines.kill(sleepy)
        assert "waits: " in machines.rotate("finish", by=one)
        machines.wait_until(lambda: state(machines, one)["lagging"] == [sleepy])
        machines.start(sleepy)
        assert machines.rotate("status", "--wait", by=one).startswith("over: ")
    finally:
        writes.end()
    assert writes.failed == []
    assert writes.done > 20
    for name in NODES:
        machines.wait_until(
            lambda n=name: sorted(p.name for p in machines.tls(n).iterdir()) == ["ca.key", "ca.pem"]
        )
    machines.wait_until(lambda: known.read_bytes() == machines.trusted(one).read_bytes())
    (device,) = machines.seen(one, "/v1/devices")["items"]
    assert device["online"]
    pems = {machines.trusted(name).read_bytes() for name in NODES}
    (second,) = made.certificates_in(pems.pop())
    assert not pems
    assert second.public_key() != authority("solo").key.public_key()
    view = machines.seen(leader, "/v1/cluster")
    assert (view["leader"], view["term"]) == (leader, term)
    late(machines, leader, files(tmp_path / "late", one, authority("solo")).certificate)
    assert machines.refused(leader) == 1
    assert secrets(machines) == []
    gone = next(n for n in (sleepy, one) if n != (view["primary"] or {}).get("id"))
    machines.leave_stolen(gone, by=leader)
    machines.wait_until(lambda: gone not in linked(machines, leader))
    alarms = machines.seen(leader, "/v1/alarms")["items"]
    assert ("ca_exposed", True) in [(a["name"], gone in a["detail"]) for a in alarms]


def state(machines: Machines, by: str) -> dict:
    return machines.seen(by, "/v1/tls/rotation")


def linked(machines: Machines, name: str) -> list[str]:
    return [link["peer"] for link in machines.seen(name, "/v1/links")["links"]]


def late(machines: Machines, name: str, certificate: Path) -> None:
    """Dials as a member, by the first CA."""
    context = curious()
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate)
    plain = socket.create_connection(split_address(machines.members[name]["raft"]), 5)
    with contextlib.suppress(OSError), context.wrap_socket(plain) as stream:
        assert not stream.recv(1)


def secrets(machines: Machines) -> list[str]:
    """Files that have a private key, but for those that are to have one."""
    found = [file for file in machines.folder.rglob("*") if file.is_file()]
    mine = {"ca.key", "node.pem"}
    return [str(f) for f in found if f.name not in mine and b"PRIVATE KEY" in f.read_bytes()]
