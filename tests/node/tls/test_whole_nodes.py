"""Real nodes with certificates: a cluster that issues its own, its clients, its devices."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from stationkeep.node.agent.client import DeviceAgent
from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.security import certificates as made
from stationkeep.node.security import trust
from tests.node.processes import Processes
from tests.node.security.issuing import authority

NODES = ("sat-001", "sat-002", "sat-003")


class Cluster(Processes):
    """Three processes that share a CA and its key. `settings`: more that is in their files."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__()
        self.folder, self.settings = folder, settings
        self.ca = folder / "tls" / "ca.pem"
        self.ca.parent.mkdir()
        self.ca.write_bytes(made.public_pem([authority("solo").certificate]))
        self.ca.with_suffix(".key").write_bytes(made.private_pem(authority("solo").key))
        self._trusted = trust.of_file(str(self.ca))
        first = free_ports(2 * len(NODES))
        self.members = {
            name: {"raft": f"127.0.0.1:{first + n}", "http": f"127.0.0.1:{first + 3 + n}"}
            for n, name in enumerate(NODES)
        }

    def start(self, name: str) -> None:
        file = self.folder / f"{name}.yaml"
        content = {
            "node": name, "cluster": "solo", "data_dir": str(self.folder / name),
            "members": self.members, "profile": "demo", "sensors": {"cpu": "off"},
            "tls": {"dir": str(self.ca.parent)}, "log": {"format": "json"}, **self.settings,
        }  # fmt: skip
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "stationkeep", "node", "run", "--config", str(file)]
        self.spawn(name, command, self.folder / f"{name}.log")

    def url(self, name: str) -> str:
        return f"https://{self.members[name]['http']}"

    def get(self, name: str, path: str) -> Any:
        with httpx.Client(verify=self._trusted) as http:
            try:
                return http.get(self.url(name) + path, timeout=5).json()
            except (httpx.HTTPError, ValueError):
                return {}

    def certificate(self, name: str) -> Path:
        return self.folder / name / "tls" / "node.pem"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made_up = Cluster(tmp_path_factory.mktemp("tls"))
    for name in NODES:
        made_up.start(name)
    try:
        made_up.wait_until(lambda: made_up.get(NODES[0], "/v1/cluster").get("primary"))
        yield made_up
    finally:
        made_up.end()


pytestmark = [pytest.mark.processes, pytest.mark.timeout(400), pytest.mark.xdist_group("tls")]


def alarms(cluster: Cluster) -> set[str]:
    found = cluster.get(NODES[0], "/v1/alarms")
    return {alarm["id"] for alarm in found.get("items", ())}


def test_a_cluster_issues_its_own_certificates_and_elects_over_tls(cluster: Cluster) -> None:
    for name in NODES:
        file = cluster.certificate(name)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        (leaf,) = made.certificates_in(file.read_bytes())
        assert made.subject_of(leaf) == f"node {name}"
    links = cluster.get(NODES[0], "/v1/links")["links"]
    assert all(link["connected"] for link in links)


def test_the_command_line_trusts_the_ca_and_nothing_else(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "stationkeep"]
    asked = ["nodes", "links", "--all", "--url", cluster.url(NODES[1]), "--format", "json"]
    for _ in range(10):  # a node that is busy may answer too late
        good = subprocess.run(
            [*command, "--ca", str(cluster.ca), *asked], capture_output=True, text=True, check=False
        )
        if good.returncode == 0:
            break
    assert good.returncode == 0, good.stderr
    assert len(json.loads(good.stdout)) > 0
    bad = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
    assert bad.returncode == 4
    assert "its certificate is not trusted; --ca or STATIONKEEP_CA" in bad.stderr


async def test_a_device_registers_over_tls_and_learns_of_the_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trust.VARIABLE, str(cluster.ca))
    agent = DeviceAgent("phone-7", cluster.url(NODES[2]))
    await agent.start()
    try:
        assert agent.ring is not None
        assert sorted(agent._addresses.known) == sorted(cluster.url(name) for name in NODES)
    finally:
        await agent.stop()


def test_clear_text_is_refused_and_the_node_goes_on(cluster: Cluster) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(cluster.url(NODES[0]).replace("https", "http"), timeout=5)
    assert cluster.get(NODES[0], "/livez")


def test_files_that_do_not_fit_raise_an_alarm_and_change_nothing(cluster: Cluster) -> None:
    file = cluster.ca
    good = file.read_bytes()
    file.write_bytes(good[:200])
    cluster.processes[NODES[1]].send_signal(signal.SIGHUP)
    cluster.wait_until(lambda: f"certificate_rejected@{NODES[1]}" in alarms(cluster))
    file.write_bytes(good)
    cluster.wait_until(lambda: not any("certificate_rejected" in one for one in alarms(cluster)))


def test_a_certificate_that_is_revoked_is_replaced_before_its_links_go(cluster: Cluster) -> None:
    name = NODES[1]
    (old,) = made.certificates_in(cluster.certificate(name).read_bytes())
    serial = made.facts_of(old).serial
    with httpx.Client(verify=cluster._trusted) as http:
        answer = http.post(
            f"{cluster.url(NODES[0])}/v1/tls/revocations", json={"serial": serial}, timeout=30
        )
    assert answer.status_code == 200, answer.text

    def shown() -> str:
        (leaf,) = made.certificates_in(cluster.certificate(name).read_bytes())
        return made.facts_of(leaf).serial

    cluster.wait_until(lambda: shown() != serial)
    listed = cluster.get(name, "/v1/tls/revocations")["items"]
    assert [one["serial"] for one in listed] == [serial]


def test_a_node_that_is_killed_comes_back_with_its_certificate(cluster: Cluster) -> None:
    name = NODES[2]
    before = cluster.certificate(name).read_bytes()
    cluster.processes[name].kill()
    cluster.processes[name].wait()
    cluster.start(name)
    cluster.wait_until(lambda: cluster.get(name, "/v1/cluster").get("primary"))
    assert cluster.certificate(name).read_bytes() == before
