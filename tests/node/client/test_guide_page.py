"""The examples of the guide's page, as they are printed there, against real nodes."""

import re
from collections.abc import Iterator

import pytest

from stationkeep import Client, DeviceAgent, Readings, Task
from stationkeep.node.chaos.constellation import Constellation
from tests.node.agent.threads import LoopThread
from tests.node.client.examples import EXAMPLES, SLEEPLESS, run

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

HTTP = 8_701
"""First port of `up`, which the page takes for granted."""
EIGHT = [f"slave-{number:03d}" for number in range(1, 9)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Constellation]:
    """Three nodes and eight devices, which their agents follow until the end."""
    constellation = Constellation(tmp_path_factory.mktemp("client") / "cluster")
    thread = LoopThread()
    agents: list[DeviceAgent] = []
    try:
        constellation.up(nodes=3)
        constellation.acting()
        # Devices that wait for a busy machine are not away.
        later = {"device_offline_after": "12s"}
        constellation.ask(constellation.leader(), "/v1/config", later, "PATCH")
        agents += [agent(slave_id, constellation) for slave_id in EIGHT]
        for one in agents:
            thread.do(one.start())
        yield constellation
    finally:
        for one in agents:
            thread.do(one.stop())
        thread.end()
        constellation.stop()


def agent(slave_id: str, constellation: Constellation) -> DeviceAgent:
    return DeviceAgent(
        slave_id,
        urls(constellation),
        device_name="Pixel 8 Pro",
        os_version="Android 14",
        app_version="1.0.0",
        capabilities={"deployment": True},
        labels={"region": "eu"},
        on_task=install,
        read_status=lambda: Readings(battery_level=85, cpu_usage=45.2, memory_usage=62.5),
    )


async def install(task: Task) -> str:
    return task.version


def urls(constellation: Constellation) -> list[str]:
    return [f"http://{address}" for address in constellation.addresses.values()]


def here(text: str, constellation: Constellation) -> str:
    """With the addresses of this cluster."""
    for number, url in enumerate(urls(constellation)):
        text = text.replace(f"http://127.0.0.1:{HTTP + number}", url)
    return text.replace("Client()", f'Client("{urls(constellation)[0]}")')


async def test_the_examples_run_as_they_are_printed(
    cluster: Constellation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: dict[str, object] = {"asyncio": SLEEPLESS}
    for text in EXAMPLES:
        await run(here(text, cluster), names)
    printed = capsys.readouterr().out
    assert (
        "2.0.0 succeeded - 8 devices updated\ncanary; passed; failures: 0 % failed, 5 %" in printed
    )
    assert re.search(r"^(\d) of \1 devices run 1\.9\.0$", printed, re.MULTILINE)
    for line in (
        "8 devices, sat-",
        " 1.0.0 85",
        "slave-008 {'region': 'eu'}",
        "unknown_device",
        "Total Slaves: 8\nHealthy Devices: 8\nRing Distribution: {'canary':",
        "Pixel 8 Pro:\n  Ring: prod\n  Battery: 85%\n  CPU: 45.2%\n  Healthy: True\n",
        "8 are well by these",
        "Deploying to canary...\ncanary deployment complete\nDeploying to dev...",
    ):
        assert line in printed
    with Client(urls(cluster)) as master:
        assert "slave-001" in master.ring_assignments["prod"]
        assert master.device("slave-001").pinned
        for deployment in list(master.deployments()):
            assert master.deployment(deployment.deployment).wait(30).state == "closed"
        assert {device.app_version for device in master.devices()} == {"2.1.0"}


def test_a_client_goes_on_when_its_node_is_killed(cluster: Constellation) -> None:
    """Of the one that leads: writes wait for the next, and each is made once."""
    leader = cluster.leader()
    others = [node for node in cluster.addresses if node != leader]
    addresses = [f"http://{cluster.addresses[node]}" for node in (leader, *others)]
    with Client(addresses, consistency="strong") as master:
        master.assign_slave_to_ring("slave-002", "canary")
        cluster.kill(leader)
        try:
            for ring in ("dev", "stage", "prod"):
                master.assign_slave_to_ring("slave-002", ring)
                assert master.device("slave-002").assigned_ring == ring
            assert master.get_cluster_status()["leader"] in others
        finally:
            cluster.local.start(leader)
        cluster.until("it is back", lambda: cluster.ask(leader, "/readyz")["ok"])
        history = cluster.anyone("/v1/devices/slave-002/history")["items"]
        assert [move["target"] for move in history[:4]] == ["prod", "stage", "dev", "canary"]
