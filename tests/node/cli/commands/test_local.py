"""`up`, `down`, `kill`, `start` with processes that stand in for nodes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.cli import readiness
from stationkeep.node.cli.commands import local as commands
from stationkeep.node.local import cluster as local
from stationkeep.node.local.cluster import LocalCluster
from tests.node.cli.canned import READS, Run

FAKE_NODE = Path(__file__).with_name("fake_node.py")
Prepare = Callable[..., list[str]]


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepare]:
    """Makes `up` start fake nodes; call it with what they should answer, get `up`'s options."""
    answers = tmp_path / "answers.json"
    data = tmp_path / "data"
    monkeypatch.setattr(local, "NODE_COMMAND", (sys.executable, str(FAKE_NODE), str(answers)))
    monkeypatch.delenv("STATIONKEEP_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def prepare(**changes: Any) -> list[str]:
        answers.write_text(json.dumps(READS | fleet_of(12) | {"primary": "sat-002"} | changes))
        first = free_ports(6)
        ports = ["--base-port", str(first), "--http-port", str(first + 3)]
        return ["--nodes", "3", "--data-dir", str(data), *ports]

    yield prepare
    if (data / "cluster.json").exists():
        LocalCluster(data).down(seconds=2)


def acting(effective: str | None) -> dict[str, Any]:
    """The nodes' list with sat-003 acting as this."""
    nodes = READS["/v1/nodes"]["items"]
    return {"items": [*nodes[:2], nodes[2] | {"effective_role": effective}], "next": None}


def fleet_of(devices: int, offline: int = 0) -> dict[str, Any]:
    """The cluster's answer with so many devices registered, of which some are not heard of."""
    cluster = READS["/v1/cluster"]
    counts = {"total_slaves": devices, "offline_devices": offline}
    return {"/v1/cluster": cluster | {"fleet": cluster["fleet"] | counts}}


def test_up_detached_waits_for_a_primary_and_says_what_to_try(
    fakes: Prepare, stationkeep: Run, tmp_path: Path
) -> None:
    options = fakes(**{"/v1/nodes": acting("STANDBY")})
    result = stationkeep("up", "--detach", *options)
    assert result.exit_code == 0, result.output
    assert "3 nodes and 12 simulated devices" in result.stderr
    assert "sat-002 is PRIMARY" in result.stderr
    assert "12 devices are in their rings" in result.stderr
    assert "Raft leader" in result.stdout
    assert "kill NODE" in result.stdout
    assert "agent --id device-001 --pretend cpu=95" in result.stdout
    assert len(LocalCluster(tmp_path / "data").running()) == 3

    data = ["--data-dir", str(tmp_path / "data")]
    assert stationkeep("up", "--detach", *data).exit_code == 1
    assert stationkeep("kill", "sat-003", "--signal", "STOP", *data).output == "sat-003: frozen\n"
    assert stationkeep("kill", "sat-003", *data).output == "sat-003: killed\n"
    assert stationkeep("kill", "sat-003", *data).exit_code == 1
    assert "sat-003: running (pid" in stationkeep("start", "sat-003", *data).output
    down = stationkeep("down", *data)
    assert (down.exit_code, down.output.count("stopped")) == (0, 4)
    assert "devices: stopped" in down.output


def test_up_shows_the_log_of_devices_that_will_not_start(
    fakes: Prepare, stationkeep: Run, tmp_path: Path
) -> None:
    of_an_earlier_run = fleet_of(12, offline=12)
    result = stationkeep("up", "--detach", *fakes(ends="devices", **of_an_earlier_run))
    assert result.exit_code == 1
    assert "the simulated devices ended at their start" in result.stderr
    assert "    no such profile" in result.stderr
    assert LocalCluster(tmp_path / "data").running() == []


def test_up_shows_the_log_of_a_node_that_will_not_start(
    fakes: Prepare, stationkeep: Run, tmp_path: Path
) -> None:
    result = stationkeep("up", "--detach", *fakes(ends="sat-003"))
    assert result.exit_code == 1
    assert "sat-003 ended at its start" in result.stderr
    assert "    the journal is corrupt: move it away" in result.stderr
    assert LocalCluster(tmp_path / "data").running() == []


def test_up_returns_although_devices_take_long(
    fakes: Prepare, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEVICE_SECONDS", 0.3)
    options = fakes(**{"/v1/nodes": acting("STANDBY")}, **fleet_of(11))
    result = stationkeep("up", "--detach", *options)
    assert result.exit_code == 0
    assert "in their rings" not in result.stderr


def test_up_gives_up_without_a_primary(
    fakes: Prepare, stationkeep: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stationkeep.node.cli.commands.local._patience", lambda _: 1.0)
    result = stationkeep("up", "--detach", *fakes(primary="nobody"))
    assert result.exit_code == 1
    assert "no PRIMARY after 1 s" in result.stderr
    assert LocalCluster(tmp_path / "data").running() == []


def test_up_returns_although_the_backups_take_long(
    fakes: Prepare, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "MOST_SETTLING_SECONDS", 0.3)
    result = stationkeep("up", "--detach", *fakes(**{"/v1/nodes": acting(None)}))
    assert result.exit_code == 0
    assert "?" in result.stdout


def test_start_shows_the_log_of_a_node_that_ends(
    fakes: Prepare, stationkeep: Run, tmp_path: Path
) -> None:
    options = fakes(**{"/v1/nodes": acting("STANDBY")})
    assert stationkeep("up", "--detach", *options).exit_code == 0
    data = ["--data-dir", str(tmp_path / "data")]
    stationkeep("kill", "sat-001", *data)
    fakes(ends="sat-001")
    result = stationkeep("start", "sat-001", *data)
    assert result.exit_code == 1
    assert "journal is corrupt" in result.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_up_stops_everything_it_started(
    fakes: Prepare, tmp_path: Path, signum: signal.Signals
) -> None:
    options = fakes(**{"/v1/nodes": acting("STANDBY")})
    driver = (
        "import sys; from stationkeep.node.local import cluster as local;"
        "from stationkeep.node.cli.main import main;"
        f"local.NODE_COMMAND = {local.NODE_COMMAND!r}; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", driver, "up", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "stops all nodes" in line:
                break
        assert len(LocalCluster(tmp_path / "data").running()) == 3
        fleet = LocalCluster(tmp_path / "data").manifest().devices
        assert fleet is not None
        assert fleet.running
        process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped" in errors
    assert LocalCluster(tmp_path / "data").running() == []
    assert not fleet.running


def test_hints_name_the_module_when_the_command_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["/somewhere/stationkeep/__main__.py"])
    assert commands._command() == f"{sys.executable} -m stationkeep"
