"""`demo rollout`: a good version reaches all, a bad one is stopped and taken back."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.cli.commands import demo
from tests.node.cli.canned import READS, CannedNode, Run, rollout


def arrived(canned: CannedNode, devices: int) -> None:
    one = READS["/v1/devices"]["items"][0]
    canned.reads["/v1/devices"] = {"items": [one] * devices, "next": None}


@pytest.fixture
def patient(canned: CannedNode, monkeypatch: pytest.MonkeyPatch) -> CannedNode:
    """A node at which the devices of the demo arrive at once."""
    stand_in = "import signal; signal.pause()"
    monkeypatch.setattr(demo, "NODE_COMMAND", (sys.executable, "-c", stand_in))
    monkeypatch.setattr(demo, "PATIENCE", 30.0)
    arrived(canned, 40)
    return canned


def test_it_tells_what_became_of_both_and_takes_its_devices_away(
    patient: CannedNode, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {demo.GOOD: "succeeded", demo.BAD: "rolled_back"}

    def roll_out(node: object, version: str, ids: list[str]) -> object:
        return rollout(f"demo-{version}", state=states[version])

    monkeypatch.setattr(demo, "_roll_out", roll_out)
    result = stationkeep("demo", "rollout")
    assert result.exit_code == 0, result.output
    assert "demo-2.0.0: succeeded" in result.output
    assert "demo-2.1.0-bad: rolled back" in result.output
    removed = [r.url.path for r in patient.requests if r.method == "DELETE"]
    assert (len(removed), removed[-1]) == (40, "/v1/devices/demo-040")


def test_a_name_that_is_taken_gets_a_number(canned: CannedNode) -> None:
    canned.reads["/v1/rollouts/demo-2.0.0"] = rollout("demo-2.0.0")
    node = demo.client(None)
    assert demo._free_name(node, "demo-2.0.0") == "demo-2.0.0.2"
    assert demo._free_name(node, "demo-3") == "demo-3"


def test_it_says_so_when_its_devices_do_not_come(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("demo", "rollout")
    assert result.exit_code == 1
    assert "did not come" in result.output


def test_without_a_cluster_nothing_is_started(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer = httpx.ConnectError("refused")
    assert stationkeep("demo", "rollout").exit_code == 4


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_on_a_real_cluster_the_bad_version_is_taken_back(tmp_path: Path) -> None:
    cluster = Constellation(tmp_path / "cluster")
    try:
        cluster.up(3)
        url = f"http://{cluster.addresses[cluster.settled()]}"
        # Devices that wait for a busy machine are not away.
        later = {"device_offline_after": "12s"}
        assert cluster.ask(cluster.leader(), "/v1/config", later, "PATCH")["status"] == "done"
        command = [sys.executable, "-m", "stationkeep", "demo", "rollout", "--url", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        assert "demo-2.0.0: succeeded" in done.stdout
        assert "demo-2.1.0-bad: rolled back" in done.stdout
        assert cluster.anyone("/v1/cluster")["fleet"]["total_slaves"] == 0
    finally:
        cluster.stop()
