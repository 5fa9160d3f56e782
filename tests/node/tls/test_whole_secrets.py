"""A real node whose certificates are somebody else's doing: Kubernetes swaps them by a symlink."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from cryptography import x509

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.security import certificates as made
from stationkeep.node.security import trust
from tests.node.processes import Processes
from tests.node.security.issuing import authority, files

pytestmark = [pytest.mark.processes, pytest.mark.timeout(200), pytest.mark.xdist_group("tls")]


class Pod(Processes):
    """A node that is given all its files, in what systemd or Kubernetes provide."""

    patience = 40.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.secret = folder, folder / "secret"
        self.secret.mkdir()
        self.port = free_ports(2)
        self.url = f"https://127.0.0.1:{self.port + 1}"

    def swap(self, version: str, node: str = "sat-001") -> str:
        """Puts other files in the place of all at once; the serial number of the certificate."""
        found = files(self.folder / version, node)
        made.write(self.folder / version / "ca.key", made.private_pem(authority().key), 0o600)
        (self.secret / version).symlink_to(self.folder / version)
        (self.secret / "..data.new").symlink_to(version)
        (self.secret / "..data.new").rename(self.secret / "..data")
        for name in ("ca.pem", "ca.key", "node.pem"):
            if not (self.secret / name).is_symlink():
                (self.secret / name).symlink_to(f"..data/{name}")
        return made.facts_of(made.certificates_in(found.certificate.read_bytes())[0]).serial

    def start(self) -> None:
        addresses = {"raft": f"127.0.0.1:{self.port}", "http": f"127.0.0.1:{self.port + 1}"}
        content = {
            "node": "sat-001", "cluster": "c", "data_dir": str(self.folder / "data"),
            "members": {"sat-001": addresses}, "profile": "demo", "sensors": {"cpu": "off"},
            "tls": {"dir": "$CREDENTIALS_DIRECTORY",
                    "certificate": "$CREDENTIALS_DIRECTORY/node.pem"},
        }  # fmt: skip
        file = self.folder / "node.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "stationkeep", "node", "run", "--config", str(file)]
        self.spawn("sat-001", command, self.folder / "log")

    def alarms(self) -> set[str]:
        try:
            with httpx.Client(verify=trust.of_file(str(self.secret / "ca.pem"))) as http:
                found = http.get(f"{self.url}/v1/alarms", timeout=5).json()["items"]
        except httpx.HTTPError:
            return {"no answer"}
        return {alarm["name"] for alarm in found}

    def serial(self) -> str:
        """Of the certificate that the port shows."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.port + 1), timeout=5)
        return made.facts_of(x509.load_pem_x509_certificate(pem.encode())).serial

    def shown(self) -> str:
        """What `certs inspect` makes of the port."""
        command = [sys.executable, "-m", "stationkeep", "certs", "inspect", self.url[8:]]
        done = subprocess.run(
            [*command, "--ca", str(self.secret / "ca.pem")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    found = Pod(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(found.secret))
    try:
        yield found
    finally:
        found.end()


def test_files_that_are_swapped_by_a_symlink_are_used_and_others_are_not(pod: Pod) -> None:
    pod.swap("one")
    pod.start()
    pod.wait_until(lambda: pod.alarms() == set())
    second = pod.swap("two")
    pod.wait_until(lambda: pod.serial() == second)
    pod.swap("of another node", "sat-002")
    pod.wait_until(lambda: "certificate_rejected" in pod.alarms())
    assert second in pod.shown()
    assert pod.processes["sat-001"].poll() is None
    assert not (pod.folder / "data" / "tls").exists()  # it issues nothing: all is brought
