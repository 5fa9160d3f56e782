"""`agent` and `devices simulate` against a node's door that the test plays in a thread."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from stationkeep.node.wire.tasks import TaskState, TaskUpdatePayload
from tests.node.agent.door import Door, assignment, error
from tests.node.agent.tasks.test_command import living
from tests.node.agent.tasks.told import DEVICE, artifact, task
from tests.node.agent.threads import LoopThread
from tests.node.cli.canned import Run

TASKS = ["--on-task", "true"]


class Threaded(LoopThread):
    """A `Door` on an event loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door()
        self.do(self.door.open())

    def heard(self, enough: Callable[[list[wire.Said]], bool]) -> None:
        self.do(self.door.heard(enough))

    def end(self) -> None:
        self.do(self.door.close())
        super().end()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Threaded]:
    monkeypatch.delenv("STATIONKEEP_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Threaded()
    yield made
    made.end()


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stationkeep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_simulated_fleet_ends_with_a_table(node: Threaded, stationkeep: Run) -> None:
    result = stationkeep(
        "devices", "simulate", "--count", "5", "--duration", "2s", "--url", node.door.url
    )
    assert result.exit_code == 0, result.output
    assert "5, connected at the end 5" in result.stdout
    assert "prod 5" in result.stdout
    assert {said.sender_id for said in node.door.of(wire.Registration)} == {
        f"device-00{number}" for number in range(1, 6)
    }


def test_the_same_for_programs(node: Threaded, stationkeep: Run, tmp_path: Path) -> None:
    recording = tmp_path / "cpu.csv"
    recording.write_text("timestamp,value\n0,97\n300,98\n")
    node.do(node.door.tell(error("", Code.TOO_FAST)))
    result = stationkeep(
        "devices", "simulate", "--count", "2", "--duration", "300ms", "--format", "json",
        "--profile", "replay", "--data", str(recording), "--prefix", "server", "--url",
        node.door.url,
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert (answer["connected"], answer["registrations"], answer["rings"]) == (2, 2, {"prod": 2})
    statuses = [said.payload.device_status for said in node.door.of(wire.Registration)]
    assert sorted(s.slave_id for s in statuses) == ["server-001", "server-002"]
    assert all(s.cpu_usage >= 97 for s in statuses)


def test_ctrl_c_ends_a_fleet_with_its_table(node: Threaded) -> None:
    with started("devices", "simulate", "--count", "3", "--url", node.door.url) as process:
        assert process.stderr is not None
        assert "of 3 connected" in process.stderr.readline()
        node.heard(lambda _: len(node.door.of(wire.StatusUpdate)) > 3)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "3, connected at the end 3" in output


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--count", "0"], "--count 0 refused: from 1 to 60000"),
        (["--speed", "0"], "--speed 0 refused: more than 0"),
        (["--speed", "nan"], "--speed nan refused"),
        (["--duration", "soon"], "--duration: 'soon' refused: a duration"),
        (["--prefix", "a b"], "--prefix 'a b' refused: 1 to 48 of"),
        (["--url", "localhost"], "--url 'localhost' refused: an address such as"),
        (["--profile", "replay"], "--profile replay needs --data FILE.csv"),
        (["--data", "x.csv"], "--data is for --profile replay, not for mixed"),
        (["--profile", "replay", "--data", "x.csv"], "x.csv: No such file or directory"),
        (["--update-seconds", "-1"], "--update-seconds -1 refused: from 0 to 86400"),
        (["--update-seconds", "nan"], "--update-seconds nan refused"),
        (["--fail", "1.5"], "--fail 1.5 refused: a share from 0 to 1"),
        (["--brick", "-0.1"], "--brick -0.1 refused"),
        (["--ill", "nan"], "--ill nan refused"),
        (["--revert", "2"], "--revert 2 refused"),
        (["--ill-version", "2.1.0"], "--ill-version needs --ill"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(
    node: Threaded, stationkeep: Run, options: list[str], rule: str
) -> None:
    result = stationkeep("devices", "simulate", *options)
    assert result.exit_code == 2
    assert rule in result.stderr


def test_more_devices_than_open_files_are_refused(
    node: Threaded, stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1_024, 4_096))
    result = stationkeep("devices", "simulate", "--count", "4000")
    assert result.exit_code == 2
    assert "--count 4000 refused: at most 3996: this system allows 4096 open" in result.stderr


def test_an_agent_is_a_device_until_ctrl_c(node: Threaded, tmp_path: Path) -> None:
    tell = tmp_path / "tell.py"
    tell.write_text("import os; open('ring', 'a').write(os.environ['STATIONKEEP_RING'] + ' ')")
    with started(
        "agent", "--url", node.door.url, "--id", "server-1", "--name", "Rack 7", "--label",
        "region=eu", "--capability", "gpu=yes", "--pretend", "cpu=95", "--pretend", "battery=12",
        "--pretend", "noise=3", "--on-ring", f"{sys.executable} {tell}",
    ) as process:  # fmt: skip
        node.heard(lambda _: len(node.door.of(wire.StatusUpdate)) > 1)
        node.do(node.door.tell(assignment("server-1", "canary", "unhealthy")))
        assert process.stderr is not None
        said = [next(line for line in process.stderr if "ring canary" in line)]
        while (tmp_path / "ring").read_text() != "prod canary ":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ["server-1: ring canary (unhealthy, was prod)\n"]
    assert "server-1: ended" in errors
    payload = node.door.of(wire.Registration)[0].payload
    assert (payload.labels, payload.capabilities) == ({"region": "eu"}, {"gpu": "yes"})
    status = payload.device_status
    assert (status.device_name, status.cpu_usage, status.battery_level) == ("Rack 7", 95, 12)
    assert (status.battery_charging, status.metrics["noise"]) == (False, 3)
    assert 0 < status.memory_usage < 100
    assert status.os_version


def test_an_agent_pretends_for_a_while(node: Threaded) -> None:
    options = ["--pretend", "cpu=99.5", "--pretend-for", "200ms"]
    with started("agent", "--url", node.door.url, "--id", "server-1", *options) as process:
        node.heard(lambda said: any(_cpu(word) == 99.5 for word in said))
        node.heard(lambda said: _cpu(said[-1]) not in (None, 99.5))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def _cpu(said: wire.Said) -> float | None:
    status = None if isinstance(said, wire.Heartbeat) else said.payload.device_status
    return None if status is None else status.cpu_usage


INSTALL = """
import os, signal, time
print("progress 50 copying", flush=True)
if os.environ["STATIONKEEP_RESUMED"] == "0":
    time.sleep(600)
open("version", "w").write(os.environ["STATIONKEEP_VERSION"])
"""
"""Does not come to its end when it is run for the first time."""


def _of_tasks(node: Threaded) -> list[TaskUpdatePayload]:
    return [said.payload for said in node.door.of(wire.TaskUpdate)]


def test_an_agent_carries_tasks_out_also_after_it_was_ended_in_the_midst(
    node: Threaded, tmp_path: Path
) -> None:
    (tmp_path / "install.py").write_text(INSTALL)
    (tmp_path / "version").write_text("1.0.0")
    command = [
        "agent", "--url", node.door.url, "--id", DEVICE, "--spool", "spool", "--on-task",
        f"{sys.executable} install.py", "--version-command", "cat version",
    ]  # fmt: skip
    told = task(artifact=artifact(url=None), parameters={"note": "\x1b[2J"})
    with started(*command) as process:
        node.heard(lambda _: bool(node.door.of(wire.Registration)))
        node.do(node.door.tell(wire.Task("sat-001", DEVICE, told)))
        node.heard(lambda _: any(update.progress == 50 for update in _of_tasks(node)))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "slave-001: task 17/slave-001/1: installing\n" in errors
    assert living(tmp_path / "spool") == []
    with started(*command) as process:
        node.heard(lambda _: any(u.state is TaskState.SUCCEEDED for u in _of_tasks(node)))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert "slave-001: task 17/slave-001/1: installing, resumed\n" in errors
    assert "slave-001: task 17/slave-001/1: succeeded\n" in errors
    registered = node.door.of(wire.Registration)
    versions = [said.payload.device_status.app_version for said in registered]
    assert versions == ["1.0.0", "1.0.0", "2.0.0"]


def test_an_agent_that_a_newer_one_replaces_says_so(node: Threaded) -> None:
    with started("agent", "--url", node.door.url, "--id", "server-1") as process:
        node.heard(lambda _: len(node.door.of(wire.Heartbeat)) > 1)
        newer = node.door.of(wire.Registration)[0].payload.session + 1
        node.door.answer = lambda _, said: error(said.sender_id, Code.OUTDATED, session=newer)
        node.do(node.door.tell(error("server-1", Code.SUPERSEDED, closing=True)))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "stationkeep: server-1: another agent speaks for this device now" in errors


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--on-ring", "no-such-program"], "--on-ring 'no-such-program' refused: its first word"),
        (["--pretend", "cpu=hot"], "--pretend cpu=hot refused: a number"),
        (["--pretend", "cpu=150"], "--pretend cpu_usage: 150.0 refused: a percentage"),
        (["--pretend", "cpu=95", "--pretend-for", "x"], "--pretend-for: 'x' refused: a duration"),
        (["--pretend", "cpu"], "--pretend 'cpu': must have the form NAME=VALUE"),
        (["--label", "=x"], "--label '=x': must have the form NAME=VALUE"),
        (["--label", "a=1", "--label", "a=2"], "--label 'a=2': a is given twice"),
        (["--disk", "/no/such"], "--disk /no/such: No such file or directory"),
        (["--url", "ftp://a"], "--url 'ftp://a' refused: an address such as"),
        (["--on-task", "no-such-program"], "--on-task 'no-such-program' refused: its first word"),
        (["--on-task", "sh '"], '--on-task "sh \'" refused: a quotation without an end'),
        ([*TASKS, "--on-rollback", ""], "--on-rollback '' refused: its first word"),
        ([*TASKS, "--version-command", "no-such"], "--version-command 'no-such' refused"),
        ([*TASKS, "--reboot-command", "no-such"], "--reboot-command 'no-such' refused"),
        ([*TASKS, "--require-signature"], "--require-signature needs --trust"),
        ([*TASKS, "--trust", "/no/such"], "--trust /no/such refused: a directory with 1 to 64"),
        ([*TASKS, "--spool", "/dev/null"], "--spool /dev/null: "),
        (["--on-rollback", "true"], "--on-rollback needs --on-task"),
        (["--version-command", "true"], "--version-command needs --on-task"),
        (["--reboot-command", "true"], "--reboot-command needs --on-task"),
        (["--spool", "x"], "--spool needs --on-task"),
        (["--trust", "x"], "--trust needs --on-task"),
        (["--require-signature"], "--require-signature needs --on-task"),
        (["--no-download"], "--no-download needs --on-task"),
    ],
)
def test_an_agent_that_cannot_be_is_refused(
    node: Threaded, stationkeep: Run, options: list[str], rule: str
) -> None:
    result = stationkeep("agent", *options)
    assert result.exit_code == 2
    assert rule in result.stderr
