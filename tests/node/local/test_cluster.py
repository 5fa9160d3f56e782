"""The local cluster with short-lived processes that stand in for nodes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from stationkeep.node.chaos.constellation import free_ports
from stationkeep.node.config import node_config as config
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import LocalError, Plan, read_manifest
from stationkeep.node.system.process import birth, port_holder, send

FAKE = """
import signal, sys
if {deaf}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("fake node", *sys.argv[1:], flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
signal.sigwait([signal.SIGUSR1])
"""


@pytest.fixture
def plan() -> Plan:
    first = free_ports(6)
    return Plan(nodes=3, base_port=first, http_port=first + 3)


def cluster_of(tmp_path: Path, *, deaf: bool = False) -> LocalCluster:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(deaf=deaf))
    return LocalCluster(tmp_path / "data", (sys.executable, str(script)))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    made = cluster_of(tmp_path)
    yield made
    if read_manifest(made.data_dir) is not None:
        made.down(seconds=5)


def said(cluster: LocalCluster, node: str) -> str:
    """What a node printed at its start; waits for the line, which proves that it got so far."""
    return said_in(Path(cluster.manifest().nodes[node].log))


def said_in(path: Path) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.01)
    raise AssertionError(f"nothing said in {path}")


def test_up_starts_every_node_with_its_own_file(cluster: LocalCluster, plan: Plan) -> None:
    manifest = cluster.up(plan)
    assert cluster.running() == ["sat-001", "sat-002", "sat-003"]
    assert len({record.pid for record in manifest.nodes.values()}) == 3
    assert f"node run --config {cluster.data_dir}/sat-002.yaml" in said(cluster, "sat-002")
    sessions = {os.getsid(record.pid) for record in manifest.nodes.values()}
    assert os.getsid(0) not in sessions


def test_its_files_are_valid_and_say_why_host_sensors_are_off(
    cluster: LocalCluster, plan: Plan
) -> None:
    manifest = cluster.up(plan)
    for node, record in manifest.nodes.items():
        loaded = config.load(record.config, {})
        assert (loaded.node, loaded.http, loaded.profile) == (node, record.http, "demo")
        assert loaded.sensors.cpu is None
        assert loaded.sensors.loop_lag is not None
        assert "run on one machine" in Path(record.config).read_text()


def test_host_sensors_can_be_kept(cluster: LocalCluster, plan: Plan) -> None:
    ports = {"base_port": plan.base_port, "http_port": plan.http_port}
    manifest = cluster.up(Plan(nodes=1, host_sensors=True, **ports))
    text = Path(manifest.nodes["sat-001"].config).read_text()
    assert "sensors" not in yaml.safe_load(text)


def test_a_replay_is_handed_to_its_node_only(
    cluster: LocalCluster, plan: Plan, tmp_path: Path
) -> None:
    file = tmp_path / "day.csv"
    file.touch()
    manifest = cluster.up(
        Plan(3, None, plan.base_port, plan.http_port, False, {"sat-002": file}, 60.0)
    )
    arguments = ["--health-replay", str(file), "--replay-speed", "60.0"]
    assert manifest.nodes["sat-002"].arguments == arguments
    assert manifest.nodes["sat-001"].arguments == []
    assert " ".join(arguments) in said(cluster, "sat-002")


def test_devices_run_beside_the_nodes_and_end_with_them(cluster: LocalCluster, plan: Plan) -> None:
    first = replace(plan, devices=7)
    fleet = cluster.up(first).devices
    assert fleet is not None
    assert fleet.running
    urls = [f"--url http://127.0.0.1:{plan.http_port + n}" for n in range(3)]  # type: ignore[operator]
    told = f"devices simulate --count 7 --speed 4.0 {' '.join(urls)}"
    assert told in said_in(Path(fleet.log))
    assert cluster.running() == ["sat-001", "sat-002", "sat-003"]
    assert cluster.down(seconds=5)["devices"] == "stopped"
    assert not fleet.running
    assert cluster.up(plan).devices is None


def test_devices_that_outlived_their_nodes_are_stopped_before_the_next(
    cluster: LocalCluster, plan: Plan
) -> None:
    before = cluster.up(replace(plan, devices=7)).devices
    for node in ("sat-001", "sat-002", "sat-003"):
        cluster.kill(node, signal.SIGKILL)
    after = cluster.up(Plan(devices=8), fresh=False).devices
    assert before is not None
    assert after is not None
    assert (before.running, after.running, after.count) == (False, True, 8)


def test_up_refuses_a_replay_for_a_stranger(cluster: LocalCluster, plan: Plan) -> None:
    with pytest.raises(LocalError, match="no such node: 'sat-009'"):
        cluster.up(Plan(nodes=1, replays={"sat-009": Path("x.csv")}))


def test_down_stops_all_and_keeps_the_data(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    assert set(cluster.down(seconds=5).values()) == {"stopped"}
    assert cluster.running() == []
    assert Path(cluster.manifest().nodes["sat-001"].config).exists()
    assert set(cluster.down().values()) == {"was not running"}


def test_down_kills_a_node_that_ignores_it(tmp_path: Path, plan: Plan) -> None:
    cluster = cluster_of(tmp_path, deaf=True)
    cluster.up(Plan(nodes=1, base_port=plan.base_port, http_port=plan.http_port))
    said(cluster, "sat-001")
    assert cluster.down(seconds=0.2) == {"sat-001": "killed"}


def test_down_stops_a_frozen_node(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    cluster.kill("sat-003", signal.SIGSTOP)
    assert cluster.down(seconds=5)["sat-003"] == "stopped"


def test_whoever_was_stopped_leaves_no_zombie(
    cluster: LocalCluster, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor when all end just after it was looked who has ended."""
    records = cluster.up(plan).nodes.values()
    for record in records:
        said_in(Path(record.log))
    look = cluster.reap

    def too_early() -> None:
        look()
        for record in records:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, record.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(cluster, "reap", too_early)
    assert set(cluster.down(seconds=5).values()) == {"stopped"}
    for record in records:
        with pytest.raises(ChildProcessError):
            os.waitpid(record.pid, os.WNOHANG)


def test_kill_ends_one_node_and_start_brings_it_back(cluster: LocalCluster, plan: Plan) -> None:
    before = cluster.up(plan).nodes["sat-002"].pid
    assert cluster.kill("sat-002", signal.SIGKILL)
    assert cluster.running() == ["sat-001", "sat-003"]
    with pytest.raises(LocalError, match="stationkeep start sat-002"):
        cluster.kill("sat-002", signal.SIGKILL)
    assert cluster.start("sat-002").pid != before
    assert cluster.running() == ["sat-001", "sat-002", "sat-003"]
    with pytest.raises(LocalError, match="runs already"):
        cluster.start("sat-002")


def test_unknown_nodes_are_named(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    for act in (cluster.start, lambda node: cluster.kill(node, signal.SIGKILL)):
        with pytest.raises(LocalError, match=r"no such node: 'sat-009' .*sat-001"):
            act("sat-009")


def test_up_twice_is_refused(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    with pytest.raises(LocalError, match="already up: sat-001"):
        cluster.up(plan)


def test_a_dead_cluster_is_taken_up_again_with_edited_files(
    cluster: LocalCluster, plan: Plan
) -> None:
    record = cluster.up(plan).nodes["sat-001"]
    path = Path(record.config)
    path.write_text(path.read_text() + "# mine\n")
    for node in ("sat-001", "sat-002", "sat-003"):
        cluster.kill(node, signal.SIGKILL)
    assert len(cluster.up(Plan()).nodes) == 3
    assert path.read_text().endswith("# mine\n")


def test_data_of_another_shape_is_refused_unless_fresh(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    cluster.down(seconds=5)
    other = Plan(nodes=1, base_port=plan.base_port, http_port=plan.http_port)
    with pytest.raises(LocalError, match=r"--nodes 1: .* cluster with --nodes 3"):
        cluster.up(other)
    bystander = cluster.data_dir / "notes.txt"
    bystander.touch()
    assert list(cluster.up(other, fresh=True).nodes) == ["sat-001"]
    assert not (cluster.data_dir / "sat-002.yaml").exists()
    assert bystander.exists()


@pytest.mark.parametrize("plan_", [Plan(nodes=0), Plan(base_port=8_699), Plan(base_port=65_534)])
def test_impossible_plans_are_refused(cluster: LocalCluster, plan_: Plan) -> None:
    with pytest.raises(LocalError, match="--"):
        cluster.up(plan_)
    assert read_manifest(cluster.data_dir) is None


def test_a_taken_port_is_named_with_its_holder(cluster: LocalCluster, plan: Plan) -> None:
    assert plan.http_port is not None
    with socket.socket() as other:
        other.bind(("127.0.0.1", plan.http_port + 1))
        other.listen()
        assert f"pid {os.getpid()}" in (port_holder(plan.http_port + 1) or "")
        with pytest.raises(LocalError, match=r"\(HTTP port of sat-002\): pid"):
            cluster.up(plan)
    assert cluster.running() == []


def test_a_port_whose_datagrams_somebody_takes_is_named_too(
    cluster: LocalCluster, plan: Plan
) -> None:
    assert plan.base_port is not None
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", plan.base_port))
        with pytest.raises(LocalError, match=r"\(Raft datagram port of sat-001\): pid"):
            cluster.up(plan)
    assert cluster.running() == []


def test_a_recycled_pid_is_never_signalled(cluster: LocalCluster, plan: Plan) -> None:
    """The manifest names a live process, but one that was started at another moment."""
    cluster.up(plan)
    cluster.down(seconds=5)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        manifest = cluster.manifest()
        manifest.nodes["sat-001"].pid = bystander.pid
        manifest.nodes["sat-001"].birth = "another-boot:1"
        cluster._write(manifest)
        assert cluster.running() == []
        with pytest.raises(LocalError, match="does not run"):
            cluster.kill("sat-001", signal.SIGKILL)
        assert cluster.down()["sat-001"] == "was not running"
        assert bystander.poll() is None
        bystander.communicate(b"\n", timeout=10)


def test_birth_knows_the_living_the_dead_and_zombies() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        born = birth(child.pid)
        assert born is not None
        assert birth(child.pid) == born
        assert birth(os.getpid()) != born
        assert send(child.pid, born, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert birth(child.pid) is None
    assert birth(child.pid) is None
    assert not send(child.pid, born, signal.SIGKILL)


def test_a_damaged_manifest_is_said_to_be_so(cluster: LocalCluster) -> None:
    cluster.data_dir.mkdir()
    path = cluster.data_dir / "cluster.json"
    empty = '{"cluster":"a","profile":"demo","base_port":1,"http_port":2,"nodes":{}}'
    node = '{"raft":"a:1","http":"a:2","config":"c","data_dir":"d","log":"l"}'
    strange = empty.replace("demo", "moon").replace("{}", f'{{"a":{node}}}')
    for text in ("{", empty, strange):
        path.write_text(text)
        with pytest.raises(LocalError, match=r"cluster\.json is damaged"):
            cluster.up(Plan())
    path.unlink()


def test_a_file_is_no_data_directory(cluster: LocalCluster) -> None:
    cluster.data_dir.write_text("")
    with pytest.raises(LocalError, match="is not a directory"):
        cluster.up(Plan())
    cluster.data_dir.unlink()


def test_without_a_cluster_down_says_so(cluster: LocalCluster) -> None:
    with pytest.raises(LocalError, match="no local cluster"):
        cluster.down()
    assert not cluster.data_dir.exists()


def test_the_end_of_a_log_can_be_shown(cluster: LocalCluster, plan: Plan) -> None:
    cluster.up(plan)
    said(cluster, "sat-001")
    assert "fake node node run" in cluster.log_tail("sat-001")


def test_nodes_do_not_inherit_what_would_make_them_one(
    cluster: LocalCluster, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATIONKEEP_HTTP", "127.0.0.1:1")
    monkeypatch.setenv("STATIONKEEP_LOG_LEVEL", "debug")
    pid = cluster.up(plan).nodes["sat-001"].pid
    said(cluster, "sat-001")
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"STATIONKEEP_HTTP" not in environment
    assert b"STATIONKEEP_LOG_LEVEL=debug" in environment


def test_a_file_that_cannot_be_written_is_said_to_be_so(cluster: LocalCluster, plan: Plan) -> None:
    (cluster.data_dir / "sat-001.log").mkdir(parents=True)
    with pytest.raises(LocalError, match=r"Is a directory: .*sat-001\.log"):
        cluster.up(plan)
    assert cluster.running() == []
