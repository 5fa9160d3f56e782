"""Real nodes over TLS that ask everybody for a token: a device, a program, a token's end."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from stationkeep import (
    AgentEndedError,
    AsyncClient,
    Client,
    DeviceAgent,
    NotAuthorisedError,
    Task,
)
from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.security import device_secrets as own
from stationkeep.node.security import invitations as words
from stationkeep.node.security import local_door
from stationkeep.node.security.handshake import context, judge
from stationkeep.node.security.identity import Door
from stationkeep.node.security.tokens import parse
from tests.node.monitoring.conftest import MONITORING
from tests.node.monitoring.prometheus import Prometheus
from tests.node.tls.guarded import FIRST, NODES, SECOND, THIRD, WEBHOOK, Guarded, bearer, guarded
from tests.node.tls.sought import SECRET, of_key, of_token, places

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400), pytest.mark.xdist_group("tls")]


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


def test_a_token_that_is_revoked_opens_nothing_on_any_node_and_what_it_opened_ends(
    cluster: Guarded,
) -> None:
    admin, viewer = (cluster.create(role, "--role", role) for role in ("admin", "viewer"))
    path = f"{cluster.url(FIRST)}/v1/tokens/{parse(viewer.read_text().strip()).id}"
    asyncio.run(_ended(cluster, path, bearer(admin), bearer(viewer)))


async def _ended(
    cluster: Guarded, path: str, admin: dict[str, str], viewer: dict[str, str]
) -> None:
    """Streams of events at all nodes, whose token at this path is revoked."""
    async with (
        httpx.AsyncClient(verify=cluster._trusted, headers=viewer, timeout=10) as http,
        AsyncExitStack() as opened,
    ):
        streams = []
        for url in map(cluster.url, NODES):
            stream = await opened.enter_async_context(http.stream("GET", f"{url}/v1/events"))
            assert stream.status_code == 200
            streams.append(stream.aiter_bytes())
        assert (await http.delete(path, headers=admin)).status_code == 200
        async with asyncio.timeout(1):
            for url in map(cluster.url, NODES):
                while (await http.get(f"{url}/v1/cluster")).status_code != 401:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(4):
            for events in streams:
                async for _ in events:
                    pass


def test_devices_enrol_by_one_token_and_lose_what_is_their_own_at_once(cluster: Guarded) -> None:
    options = ("--role", "enrol", "--ids", "sensor-*", "--limit", "3", "--expires", "24h")
    asyncio.run(_enrolled(cluster, cluster.create("berlin", *options)))
    sensor = _process(cluster, "sensor-1", cluster.tokens / "sensor-1")
    try:
        assert sensor.stderr is not None
        said = next(line for line in sensor.stderr if "registered" in line or "refused" in line)
        assert "sensor-1: registered at https://" in said, "the enrolment token is gone"
        arguments = Path(f"/proc/{sensor.pid}/cmdline").read_bytes()
        assert SECRET.search(arguments) is None
    finally:
        sensor.terminate()
        sensor.communicate()


async def _enrolled(cluster: Guarded, token: Path) -> None:
    """Three devices enrol, each at another node; a fourth does not, nor another `sensor-1`. Then
    one is revoked at another node than its own."""
    agents = [_sensor(cluster, n, token, node) for n, node in enumerate(NODES, 1)]
    await asyncio.gather(*(agent.start() for agent in agents))
    for agent in agents:
        shown = bearer(cluster.tokens / agent.identity.device_id)["Authorization"]
        cluster.made.append(shown.removeprefix("Bearer "))
    refused = [await _registered(cluster, token, device) for device in ("sensor-4", "sensor-1")]
    assert ["its limit" in refused[0], "is known already" in refused[1]] == [True, True]
    os.unlink(token)
    assert await _reported(cluster, cluster.tokens / "sensor-1") == [9, [9]]
    device, before = agents[1], agents[1].node
    await _order(cluster, "DELETE", "/v1/devices/sensor-2/credential")
    async with asyncio.timeout(5):
        while device.node is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (before, list(device.tally.lost)) == (
        cluster.url(SECOND),
        ["the node closed it: 4003 what opened this has been revoked"],
    )
    for agent in agents:
        await agent.stop()


def _sensor(cluster: Guarded, number: int, token: Path, node: str) -> DeviceAgent:
    name = f"sensor-{number}"
    return DeviceAgent(
        name, cluster.url(node), token_file=token, ca=cluster.ca,
        credential_file=cluster.tokens / name,
    )  # fmt: skip


async def _registered(cluster: Guarded, token: Path, device: str) -> str:
    """Why a device is not taken in that enrols over HTTP."""
    secret = own.draw(device)
    said = {"device_status": _status(device), "credential_sha256": secret.hash.hex()}
    async with httpx.AsyncClient(verify=cluster._trusted, headers=bearer(token)) as http:
        url = f"{cluster.url(THIRD)}/v1/devices:register"
        answer = (await http.post(url, json={"registrations": [said]})).json()
    return str(answer["errors"][0]["rule"])


async def _order(cluster: Guarded, method: str, path: str) -> None:
    """Of an operator, at the first node."""
    token = await asyncio.to_thread(cluster.create, "ops", "--role", "operator")
    async with httpx.AsyncClient(verify=cluster._trusted, headers=bearer(token)) as http:
        answer = await http.request(method, cluster.url(FIRST) + path, timeout=30)
    assert answer.status_code == 200, answer.text


async def _reported(cluster: Guarded, credential: Path) -> list[Any]:
    """How many statuses are taken of ten, of which the last is another device's; which are not."""
    shown = bearer(credential)
    devices = [credential.name] * 9 + ["sensor-2"]
    said = [{"device_status": _status(device)} for device in devices]
    async with httpx.AsyncClient(verify=cluster._trusted, headers=shown) as http:
        url = f"{cluster.url(FIRST)}/v1/devices:report"
        answer = (await http.post(url, json={"statuses": said})).json()
    return [answer["accepted"], [error["index"] for error in answer["errors"]]]


def _status(device: str) -> dict[str, Any]:
    return {
        "slave_id": device, "battery_level": 80, "battery_charging": False, "cpu_usage": 12,
        "memory_usage": 30, "disk_usage": 20,
    }  # fmt: skip


def _process(cluster: Guarded, device: str, credential: Path) -> subprocess.Popen[str]:
    """An agent as a service runs it, whose enrolment token is gone."""
    words = ["--ca", str(cluster.ca), "agent", "--url", cluster.url(THIRD), "--id", device]
    words += ["--credential-file", str(credential), "--token-file", str(cluster.tokens / "berlin")]
    command = [sys.executable, "-m", "stationkeep", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=cluster.environment)


def test_a_device_comes_with_a_certificate_until_that_is_revoked(cluster: Guarded) -> None:
    folder = str(cluster.ca.parent)
    for kind, name in (("device", "robot-1"), ("node", "stranger")):
        cluster.run("certs", "issue", kind, name, "--dir", folder)
    asyncio.run(_certified(cluster, _showing(cluster, "robot-1"), cluster.create("pa", *ADMIN)))
    for name in ("robot-1", "stranger"):
        with (
            httpx.Client(verify=_showing(cluster, name)) as http,
            pytest.raises(httpx.HTTPError),
        ):
            http.get(f"{cluster.url(THIRD)}/v1/me").raise_for_status()


ADMIN = ("--role", "admin")


def _showing(cluster: Guarded, name: str) -> ssl.SSLContext:
    """Trusts the cluster's nodes, and shows a certificate."""
    made = context(False, cluster.ca.read_text(), judge(None, Door.NODE, None), None)
    made.load_cert_chain(cluster.ca.parent / f"{name}.pem")
    return made


async def _certified(cluster: Guarded, shown: ssl.SSLContext, admin: Path) -> None:
    """It speaks for itself, over HTTP and on a WebSocket, which ends with the certificate."""
    async with httpx.AsyncClient(verify=shown, timeout=30) as http:
        me = (await http.get(f"{cluster.url(FIRST)}/v1/me")).json()
        serial = me["actor"].removeprefix("device robot-1, certificate ")
        assert me["role"] == "device"
        said = [{"device_status": _status(device)} for device in ("robot-1", "robot-2")]
        body = {"registrations": said}
        answer = (await http.post(f"{cluster.url(FIRST)}/v1/devices:register", json=body)).json()
        assert (answer["accepted"], [e["index"] for e in answer["errors"]]) == (1, [1])
        own = cluster.ca.parent / "robot-1.pem"
        device = DeviceAgent("robot-1", cluster.url(THIRD), ca=cluster.ca, certificate=own)
        async with device:
            assert device.ring is not None
        where = cluster.url(SECOND).replace("https", "wss") + "/v1/agents"
        async with connect(where, ssl=shown, server_hostname="", compression=None) as socket:
            await _revoke_certificate(cluster, admin, serial)
            async with asyncio.timeout(5):
                await socket.wait_closed()
            assert socket.close_code == 4003
        answer = (await http.get(f"{cluster.url(FIRST)}/v1/devices/robot-1/task")).json()
        assert answer["rule"] == "revoked", "the connection stood, and its certificate is looked at"


async def _revoke_certificate(cluster: Guarded, admin: Path, serial: str) -> None:
    async with httpx.AsyncClient(verify=cluster._trusted, headers=bearer(admin)) as http:
        url = f"{cluster.url(FIRST)}/v1/tls/revocations"
        answer = await http.post(url, json={"serial": serial}, timeout=30)
    assert answer.status_code == 200, answer.text


def test_no_secret_is_anywhere_but_where_it_belongs(cluster: Guarded) -> None:
    admin = cluster.create("root", "--role", "admin")
    cluster.create("sensors", "--role", "device", "--ids", "sensor-*")
    word = words.parse(cluster.administer("nodes", "invite").strip())
    _lose(cluster, admin, cluster.create("lost", "--role", "viewer").read_text().strip())
    secrets = [word.secret, word.text.split("_")[2][-26:].encode(), WEBHOOK[6:].encode()]
    for token in cluster.made:
        secrets += of_token(token)
    keys = [cluster.ca.with_suffix(".key")]
    for name in NODES:
        keys.append(cluster.certificate(name))
        secrets += of_token((cluster.folder / name / local_door.NAME).read_text().strip())
    for key in keys:
        secrets += of_key(key)
    assert len(set(secrets)) == len(secrets) > 20
    for place, content in places(cluster, admin, without=keys):
        assert not [s for s in secrets if s in content], place
        assert SECRET.search(content) is None, place


def _lose(cluster: Guarded, admin: Path, lost: str) -> None:
    """A token is put wherever somebody may put one by mistake."""
    url = cluster.url(FIRST)
    with httpx.Client(verify=cluster._trusted, headers=bearer(admin), timeout=30) as http:
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
