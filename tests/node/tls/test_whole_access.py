"""Real nodes over TLS that ask everybody for a token: a device, a program, a token's end."""

import asyncio
import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scripts.traces import Collector, collecting
from stationkeep import (
    AgentEndedError,
    AsyncClient,
    Client,
    DeviceAgent,
    NotAuthorisedError,
    Task,
)
from stationkeep.node.api.resources.events import PATH as EVENTS
from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.security import invitations as words
from stationkeep.node.security import local_door
from stationkeep.node.security.authorisation import RIGHTS
from stationkeep.node.security.tokens import parse
from tests.node.monitoring.conftest import MONITORING
from tests.node.monitoring.prometheus import Prometheus
from tests.node.tls.test_whole_nodes import NODES, Cluster

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400), pytest.mark.xdist_group("tls")]
FIRST, SECOND, THIRD = NODES
WEBHOOK = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
SECRET = re.compile(rb"\b(sk[a-z]|whsec)_[A-Za-z0-9._:@+/-]{20,}")
"""Whatever looks like one, so that none is forgotten here."""


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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("access")) as cluster:
        yield cluster


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
    cluster.processes[SECOND].wait()
    assert "PRIMARY" in cluster.run("status"), "any node will do"
    cluster.start(SECOND)


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


def test_no_secret_is_anywhere_but_where_it_belongs(cluster: Guarded) -> None:
    admin = cluster.create("root", "--role", "admin")
    cluster.create("sensors", "--role", "device", "--ids", "sensor-*")
    word = words.parse(cluster.administer("nodes", "invite").strip())
    _lose(cluster, admin, cluster.create("lost", "--role", "viewer").read_text().strip())
    secrets = [word.secret, word.text.split("_")[2][-26:].encode(), WEBHOOK[6:].encode()]
    for token in cluster.made:
        secrets += _of_token(token)
    keys = [cluster.ca.with_suffix(".key")]
    for name in NODES:
        keys.append(cluster.certificate(name))
        secrets += _of_token((cluster.folder / name / local_door.NAME).read_text().strip())
    for key in keys:
        secrets += _of_key(key)
    assert len(set(secrets)) == len(secrets) > 20
    for place, content in _places(cluster, admin, without=keys):
        assert not [s for s in secrets if s in content], place
        assert SECRET.search(content) is None, place


def _lose(cluster: Guarded, admin: Path, lost: str) -> None:
    """A token is put wherever somebody may put one by mistake."""
    url = cluster.url(FIRST)
    with httpx.Client(verify=cluster._trusted, headers=_shown(admin), timeout=30) as http:
        reason = {"reason": f"somebody has seen {lost}"}
        answers = [
            http.post(f"{url}/v1/pause", json={"duration": "1m", **reason}),
            http.post(f"{url}/v1/resume", json={}, headers={"Idempotency-Key": lost}),
            http.post(f"{url}/v1/resume", json={}, headers={"X-Stationkeep-Actor": lost}),
            http.post(f"{url}/v1/nodes/{lost}/move", json={"raft": lost, "http": lost}),
            http.get(f"{url}/v1/devices/{lost}?token={lost}"),
            http.get(f"{url}/{lost}"),
        ]
    for answer in answers:
        assert parse(lost).secret not in answer.text, answer.request.url.path


def _shown(token: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.read_text().strip()}"}


def _of_token(text: str) -> list[bytes]:
    """Its secret as it is shown, and as the bytes that were drawn."""
    secret = parse(text).secret
    return [secret.encode(), base64.b32decode(secret.upper() + "====")]


def _of_key(file: Path) -> list[bytes]:
    """A private key as its file has it, and as a number."""
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----"
    text = file.read_bytes().partition(begin)[2].partition(end)[0]
    key = load_pem_private_key(begin + text + end, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return [text.split()[1], key.private_numbers().private_value.to_bytes(32, "big")]


def _places(cluster: Guarded, admin: Path, without: list[Path]) -> Iterator[tuple[object, bytes]]:
    """All that nodes write, keep, answer and send; but for files that are there for a secret."""
    for file in cluster.folder.rglob("*"):
        secretive = file in without or file.name == local_door.NAME or file.suffix == ".yaml"
        if file.is_file() and not secretive and not {"tokens", "config"} & set(file.parts):
            yield file, file.read_bytes()
    for name in NODES:
        process = Path("/proc") / str(cluster.processes[name].pid)
        yield process / "cmdline", (process / "cmdline").read_bytes()
        yield process / "environ", (process / "environ").read_bytes()
    with httpx.Client(verify=cluster._trusted, headers=_shown(admin), timeout=30) as http:
        for method, route in RIGHTS:
            if method == "GET" and "{" not in route and route != EVENTS:
                yield route, http.get(cluster.url(FIRST) + route).content
    traces = cluster.collector.traces()
    assert traces
    yield "traces", repr(traces).encode()
