"""Real nodes over TLS that ask everybody for a token: a device, a program, a token's end."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stationkeep import (
    AgentEndedError,
    AsyncClient,
    Client,
    DeviceAgent,
    NotAuthorisedError,
    Task,
)
from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.security.tokens import parse
from tests.node.monitoring.conftest import MONITORING
from tests.node.monitoring.prometheus import Prometheus
from tests.node.tls.test_whole_nodes import NODES, Cluster

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400), pytest.mark.xdist_group("tls")]
FIRST, SECOND, THIRD = NODES


class Guarded(Cluster):
    """Nodes with `auth: required`, and tokens made for them on the machine of the first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, auth="required")
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

    def create(self, name: str, *options: str) -> Path:
        """The file of a new token."""
        return self.keep(name, self.administer("tokens", "create", "--name", name, *options))

    def keep(self, name: str, token: str) -> Path:
        self.made.append(token.strip())
        file = self.tokens / name
        file.write_text(token)
        return file


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    found = Guarded(tmp_path_factory.mktemp("access"))
    for name in NODES:
        found.start(name)
    try:
        yield found
    finally:
        found.end()


def test_a_device_and_a_program_of_a_cluster_that_asks_everybody(cluster: Guarded) -> None:
    phone = cluster.create("phone", "--role", "device", "--ids", "phone-*")
    ann = cluster.create("ann", "--role", "operator")
    asyncio.run(_served(cluster, phone, ann))
    with Client(cluster.url(THIRD), ca=cluster.ca, token_file=ann, consistency="strong") as client:
        assert client.device("phone-7").app_version == "2.0.0"
    with (
        Client(cluster.url(FIRST), ca=cluster.ca, token="") as client,
        pytest.raises(NotAuthorisedError, match="TOKEN is missing"),
    ):
        client.get_cluster_status()
    login = ["login", cluster.url(SECOND), "--token-file", str(ann), "--name", "prod"]
    cluster.run("--ca", str(cluster.ca), *login)
    assert "PRIMARY" in cluster.run("status"), "a login is all that it takes from then on"
    links = cluster.run("nodes", "links", "--all", "--format", "json")
    assert all(name in links for name in NODES)
    cluster.processes[SECOND].kill()
    assert "PRIMARY" in cluster.run("status"), "any node will do"
    logs = "".join(log.read_text() for log in cluster.folder.glob("*.log"))
    assert not any(parse(token).secret in logs for token in cluster.made)


def test_prometheus_scrapes_with_a_token_that_opens_nothing_else(
    cluster: Guarded, tmp_path: Path
) -> None:
    token = cluster.create("prometheus", "--role", "metrics")
    prometheus = Prometheus(tmp_path, _configured(tmp_path, cluster, token), free_ports(1))
    try:
        cluster.wait_until(prometheus.ready)
        cluster.wait_until(lambda: prometheus.value("sum(up)") == len(NODES))
        cluster.wait_until(lambda: prometheus.value("sum(stationkeep_effective_primary)") == 1)
        _rotate(cluster, token)
        cluster.wait_until(lambda: prometheus.value("sum(up)") == 0)
        shutil.copy(token, tmp_path / "metrics.token")
        cluster.wait_until(lambda: prometheus.value("sum(up)") == len(NODES))
    finally:
        prometheus.close()
    with (
        Client(cluster.url(FIRST), ca=cluster.ca, token_file=token) as client,
        pytest.raises(NotAuthorisedError, match="is for the role viewer or operator or admin"),
    ):
        client.get_cluster_status()


def _configured(folder: Path, cluster: Guarded, token: Path) -> Path:
    """The example as it is shipped, for the nodes of this cluster, and quicker."""
    for rules in ("rules.yml", "alerts.yml"):
        shutil.copy(MONITORING / rules, folder)
    shutil.copy(cluster.ca, folder / "ca.pem")
    shutil.copy(token, folder / "metrics.token")
    config = yaml.safe_load((MONITORING / "prometheus-tls.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    targets = [member["http"] for member in cluster.members.values()]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


async def _served(cluster: Guarded, phone: Path, ann: Path) -> None:
    """A device registers at a node, learns of the others, carries a task out, goes on with another
    token, and ends when there is none that is good."""

    async def install(task: Task) -> str:
        return task.version

    agent = DeviceAgent(
        "phone-7", cluster.url(SECOND), token_file=phone, ca=cluster.ca, app_version="1.0.0",
        on_task=install,
    )  # fmt: skip
    async with agent:
        assert sorted(agent._addresses.known) == sorted(map(cluster.url, NODES))
        urls = [cluster.url(name) for name in NODES]
        async with AsyncClient(urls, token_file=ann, ca=cluster.ca) as client:
            given = {"version": "2.0.0", "target": "phone-7"}
            ended = await (await client.submit_task("deployment", given)).wait(60)
            assert ended.tallies["succeeded"] == 1
        await asyncio.to_thread(_rotate, cluster, phone)
        await asyncio.to_thread(cluster.wait_until, lambda: agent.tally.reconnects == 1)
        await asyncio.to_thread(_revoke, cluster, phone)
        async with asyncio.timeout(60):
            with pytest.raises(AgentEndedError, match=r"phone#[a-z0-9]{8} is revoked") as end:
                await agent.wait()
        assert end.value.unauthorised
    other = DeviceAgent("sensor-1", cluster.url(FIRST), token_file=ann, ca=cluster.ca)
    with pytest.raises(AgentEndedError, match="is for the role admin or device"):
        await other.start()


def _rotate(cluster: Guarded, file: Path) -> None:
    """Another token in the place of the one that is there, which ends at once."""
    id_ = parse(file.read_text().strip()).id
    cluster.keep(file.name, cluster.administer("tokens", "rotate", id_, "--overlap", "0"))


def _revoke(cluster: Guarded, file: Path) -> None:
    cluster.administer("tokens", "revoke", parse(file.read_text().strip()).id)
