"""One whole node in a process: start, answer, refuse, stop."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.config.node_config import load
from stationkeep.node.raft import Journal, Timings
from stationkeep.node.runtime.node import Node
from stationkeep.node.runtime.server import StartError, bind
from stationkeep.node.system.small_file import SmallFile
from stationkeep.node.system.streams import SEGMENT
from tests.node.hooks.test_runner import runs


class Solo:
    """A cluster of one node, with its file and its process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.raft = free_ports(2)
        self.http = self.raft + 1
        self.file = directory / "node.yaml"
        self.process: subprocess.Popen[str] | None = None
        addresses = {"raft": f"127.0.0.1:{self.raft}", "http": f"127.0.0.1:{self.http}"}
        self.content = {
            "node": "sat-001", "cluster": "solo", "data_dir": str(directory / "data"),
            "members": {"sat-001": addresses}, "profile": "demo", "sensors": {"cpu": "off"},
            "hooks": {"primary": f"echo $STATIONKEEP_EPOCH >> {directory}/hooked"},
            "log": {"format": "json"},
        }  # fmt: skip

    def start(self, *options: str) -> subprocess.Popen[str]:
        self.file.write_text(yaml.safe_dump(self.content))
        command = [sys.executable, "-m", "stationkeep", "node", "run", "--config", str(self.file)]
        self.process = subprocess.Popen(
            [*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self.process

    def get(self, path: str) -> tuple[int, dict]:
        try:
            with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, {}
        except (URLError, ConnectionError, TimeoutError):
            return 0, {}

    def post(self, path: str, body: object, **headers: str) -> dict:
        request = Request(
            f"http://127.0.0.1:{self.http}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **headers},
        )
        with urlopen(request, timeout=15) as answer:
            return json.load(answer)

    def wait_until(self, condition: Callable[[], bool], limit: float = 20) -> None:
        """Polls a real process; the only kind of wait that there is for one."""
        deadline = time.monotonic() + limit
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, "too slow"
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        assert self.process is not None
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def solo(tmp_path: Path) -> Iterator[Solo]:
    node = Solo(tmp_path)
    yield node
    if node.process is not None and node.process.poll() is None:
        node.process.kill()
        node.process.communicate()


def test_raft_follows_the_settings() -> None:
    demo = Timings.of(PROFILES["demo"])
    assert (demo.heartbeat, demo.election_min, demo.election_max) == (0.1, 0.5, 1.0)
    assert demo.step_down == 1.0


def test_a_port_in_use_names_its_holder() -> None:
    with bind("http", f"127.0.0.1:{free_ports(1)}") as first:
        port = first.getsockname()[1]
        with pytest.raises(StartError) as caught:
            bind("http", f"127.0.0.1:{port}")
    assert str(caught.value).startswith(f"http: 127.0.0.1:{port} is in use by pid {os.getpid()}: ")


def test_beyond_loopback_no_answer_is_in_packets_too_long_for_a_path() -> None:
    with bind("http", f"0.0.0.0:{free_ports(1)}") as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == SEGMENT


def test_a_small_file_is_whole(tmp_path: Path) -> None:
    file = SmallFile(tmp_path / "small")
    assert file.load() is None
    file.save(b"one")
    file.save(b"two")
    assert file.load() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


@pytest.mark.processes
def test_a_node_lives_stops_and_comes_back(solo: Solo) -> None:
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    solo.process.send_signal(signal.SIGTERM)
    code, errors = solo.end()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert code == 0, errors
    assert lines[-1]["event"] == "stopped"
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    solo.process.send_signal(signal.SIGHUP)  # has nothing to read anew, and says so
    status, cluster = solo.get("/v1/cluster")
    assert (status, cluster["primary"]["epoch"]) == (200, 1)
    # The node acts as PRIMARY from its lease on; the hook takes as long as its process does.
    solo.wait_until(lambda: (solo.directory / "hooked").read_text().splitlines() == ["1", "1"])
    solo.process.send_signal(signal.SIGINT)
    code, errors = solo.end()
    assert (code, "no `tls` here" in errors) == (0, True), errors
    audit = (solo.directory / "data" / "audit.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in audit[1:]]  # behind the header
    assert ids == sorted(set(ids))


def status(device: str, cpu: float) -> dict[str, object]:
    return {
        "slave_id": device, "battery_level": 80, "battery_charging": False, "cpu_usage": cpu,
        "memory_usage": 40.0, "disk_usage": 50.0, "assigned_ring": None, "device_name": "",
        "os_version": "", "app_version": "", "last_updated": "2026-01-01T00:00:00",
    }  # fmt: skip


@pytest.mark.processes
def test_no_header_of_a_proxy_changes_who_an_order_is_put_down_to(solo: Solo) -> None:
    solo.start()
    solo.wait_until(lambda: solo.get("/readyz")[0] == 200)
    forged = "203.0.113.9"
    headers = {"X-Real-IP": forged, "X-Client-IP": forged, "True-Client-IP": forged}
    for proxied in ({"Forwarded": f"for={forged}"}, {"X-Forwarded-For": forged}, {"Via": "1.1 x"}):
        with pytest.raises(HTTPError, match="403"):
            solo.post("/v1/pause", {"duration": "10m"}, **headers, **proxied)
    solo.post("/v1/pause", {"duration": "10m"}, **headers)
    solo.post("/v1/pause", {"duration": "11m"}, **headers, **{"X-Stationkeep-Actor": "eve"})
    with pytest.raises(HTTPError, match="404"):
        solo.post("/v1/failover", {"target": "nobody"}, **headers)
    audit = (solo.directory / "data" / "audit.jsonl").read_text()
    assert forged not in audit
    lines = [json.loads(line) for line in audit.splitlines()]
    orders = [line for line in lines if line.get("matter") == "pause" or "refused" in line]
    assert [(line["actor"], line["origin"]) for line in orders] == [
        ("anonymous@127.0.0.1", "127.0.0.1 via sat-001"),
        ("eve", "127.0.0.1 via sat-001"),
        ("anonymous@127.0.0.1", "127.0.0.1 via sat-001"),
    ]


@pytest.mark.processes
def test_a_node_that_comes_back_under_another_address_tells_the_cluster(solo: Solo) -> None:
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    solo.process.send_signal(signal.SIGTERM)
    solo.end()
    moved = f"127.0.0.1:{free_ports(1, solo.http + 1)}"
    solo.content["advertise"] = {"raft": moved}
    solo.content["raft"] = moved
    solo.start()

    def addresses() -> dict[str, str]:
        return solo.get("/v1/nodes/sat-001")[1].get("address", {"raft": ""})

    solo.wait_until(lambda: addresses()["raft"] == moved)
    (decision,) = (
        one for one in solo.get("/v1/decisions")[1]["items"] if "moved to" in one["sentence"]
    )
    assert decision["sentence"] == f"sat-001 moved to raft {moved}, http {addresses()['http']}"


def test_what_devices_said_before_a_stop_is_there_after_it(solo: Solo) -> None:
    """The second status comes within the second after the first one's flush: it still waits when
    the node is told to stop."""
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    first = {"device_status": status("pixel", 10.0), "session": 1, "sequence": 1}
    solo.post("/v1/devices:register", {"registrations": [first]})
    for sequence in (2, 3, 4):
        said = {"device_status": status("pixel", 10.0 + sequence), "session": 1}
        answer = solo.post("/v1/devices:report", {"statuses": [{**said, "sequence": sequence}]})
        assert answer["accepted"] == 1, answer
    solo.process.send_signal(signal.SIGTERM)
    assert solo.end()[0] == 0
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    assert solo.get("/v1/devices/pixel")[1]["status"]["cpu_usage"] == 14.0


@pytest.mark.processes
def test_a_primary_hook_that_outlived_its_node_is_ended_by_the_next_life(solo: Solo) -> None:
    """kill -9 while it runs; the hook of the next life finds nothing of it beside itself."""
    pids, seen = solo.directory / "pids", solo.directory / "seen"
    solo.content["hooks"] = {
        "primary": f"cat {pids} 2>/dev/null | xargs -r ps -o stat= -p >> {seen}; "
        f"sleep 600 & echo $! $$ >> {pids}; wait",
        "timeout": "20s",
    }
    solo.start()
    solo.wait_until(pids.exists)
    first = [int(pid) for pid in pids.read_text().split()]
    assert solo.process is not None
    solo.process.kill()
    solo.end()
    assert all(map(runs, first)), "otherwise there is nothing to end"
    solo.start()
    solo.wait_until(lambda: len(pids.read_text().split()) == 4)
    assert not any(map(runs, first))
    assert all(line.startswith("Z") for line in seen.read_text().split()), "none ran beside it"
    solo.process.send_signal(signal.SIGTERM)
    _, errors = solo.end()
    assert "hook of the previous run killed" in errors
    assert json.loads((solo.directory / "data" / "running.json").read_text()) == {}


@pytest.mark.processes
def test_a_replayed_health_is_the_nodes_own(solo: Solo) -> None:
    recording = solo.directory / "ill.csv"
    recording.write_text("timestamp,risk\n0,0.45\n")
    solo.start("--health-replay", str(recording), "--replay-speed", "10")
    solo.wait_until(lambda: (solo.get("/v1/nodes/sat-001")[1].get("risk") or 0) == 0.45)
    assert solo.get("/v1/nodes/sat-001")[1]["cause"] == "recorded risk 0.45"


@pytest.mark.processes
@pytest.mark.parametrize("field", ["raft", "http"])
def test_a_port_in_use_ends_the_start(solo: Solo, field: str) -> None:
    port = getattr(solo, field)
    with bind(field, f"127.0.0.1:{port}"):
        solo.start()
        code, errors = solo.end()
    assert code == 1
    assert f"127.0.0.1:{port} is in use by" in errors
    assert str(os.getpid()) in errors


@pytest.mark.processes
def test_a_bad_file_and_a_bad_recording_exit_5(solo: Solo) -> None:
    recording = solo.directory / "bad.csv"
    recording.write_text("timestamp,risk\n0,7\n")
    solo.start("--health-replay", str(recording))
    code, errors = solo.end()
    assert code == 5
    assert f"{recording}:2: risk '7' refused" in errors
    solo.content["settings"] = {"report_interval": "1s"}
    solo.start()
    code, errors = solo.end()
    assert code == 5
    assert "settings.report_interval" in errors
    assert "report_interval x 3 <= evaluation_interval" in errors


@pytest.mark.processes
def test_a_corrupt_journal_stops_the_node_with_advice(solo: Solo) -> None:
    solo.start()
    solo.wait_until(lambda: solo.get("/primary")[0] == 200)
    solo.process.kill()
    solo.end()
    journal = solo.directory / "data" / "journal.db"
    journal.with_name("journal.db-wal").unlink()  # it would heal the file beside it
    journal.write_bytes(b"garbage" * 1_000)
    solo.start()
    code, errors = solo.end()
    assert code == 1
    assert "journal" in errors


async def test_the_directory_is_not_let_go_while_a_snapshot_is_written(
    solo: Solo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process would start with it, and find its snapshot replaced."""
    solo.file.write_text(yaml.safe_dump(solo.content))
    node = Node(load(solo.file))
    await node.start(None, 1.0)
    order: list[str] = []
    let_go, close = threading.Event(), Journal.close

    def closed(journal: Journal) -> None:
        order.append("let go")
        let_go.set()
        close(journal)

    def write() -> None:
        let_go.wait(0.5)
        order.append("written")

    monkeypatch.setattr(Journal, "close", closed)
    node._raft._snapshots._submit(write)
    await node.close()
    assert order == ["written", "let go"]


async def test_a_fault_in_a_turn_ends_the_driver() -> None:
    from stationkeep.node.runtime.driver import Driver
    from tests.node.world import World

    loop = World(1).loops["sat-001"]

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(Driver().run(loop, fail), 5)
