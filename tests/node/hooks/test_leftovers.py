"""Hooks that outlive a killed node: found again, ended, and waited for before it is PRIMARY
or begins an action.

With a whole node: `runtime/test_node.py`.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stationkeep.cluster.commands import Draft, RunAction
from stationkeep.cluster.state.codec import encode_draft
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks import runner as hooks
from stationkeep.node.hooks.leftovers import Leftovers
from stationkeep.node.hooks.runner import HookResult, ProcessRunner, lives
from stationkeep.node.system.process import birth
from stationkeep.node.system.small_file import SmallFile
from tests.node.hooks.test_runner import runs, until
from tests.node.world import World


@pytest.fixture
def left() -> Iterator["subprocess.Popen[bytes]"]:
    """A process with a session of its own, as a hook has."""
    process = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def record(file: Path) -> Leftovers:
    return Leftovers(SmallFile(file))


def note(file: Path, pid: int, born: str | None) -> None:
    file.write_text(json.dumps({str(pid): {"born": born, "command": "sleep 60"}}))


async def test_a_command_is_written_down_while_it_runs(tmp_path: Path) -> None:
    file, results = tmp_path / "running.json", list[HookResult]()
    runner = ProcessRunner(leftovers=record(file))
    runner.start(f"cat {file} > {tmp_path}/copy; echo $$ > {tmp_path}/pid", {}, 20, results.append)
    await until(lambda: bool(results))
    pid = (tmp_path / "pid").read_text().strip()
    assert json.loads((tmp_path / "copy").read_text())[pid]["born"], "before it did anything"
    assert json.loads(file.read_text()) == {}
    assert runner.kill_leftovers() is None


def test_a_command_whose_node_dies_at_the_gate_does_nothing(tmp_path: Path) -> None:
    done = tmp_path / "done"
    node = f"""
import asyncio, os
from stationkeep.node.hooks.runner import run

def die(process):
    print(process.pid, flush=True)
    os._exit(9)

asyncio.run(run("touch {done}", {{}}, 20, die))
"""
    ended = subprocess.run([sys.executable, "-c", node], stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 9
    asyncio.run(until(lambda: not runs(int(ended.stdout))))
    assert not done.exists()


async def test_a_leftover_is_killed_at_once_and_gone_in_the_end(tmp_path: Path, left) -> None:
    file, woken = tmp_path / "running.json", asyncio.Event()
    note(file, left.pid, birth(left.pid))
    left_hook = ProcessRunner(woken.set, record(file)).kill_leftovers()
    assert left_hook is not None
    assert not left_hook.is_gone
    assert left.wait(20) == -signal.SIGKILL
    await asyncio.wait_for(woken.wait(), 20)
    assert left_hook.is_gone
    assert json.loads(file.read_text()) == {}


async def test_another_process_with_its_number_is_left_alone(tmp_path: Path, left) -> None:
    file = tmp_path / "running.json"
    note(file, left.pid, f"{birth(left.pid)}0")
    assert ProcessRunner(leftovers=record(file)).kill_leftovers() is None
    assert lives(left.pid)


@pytest.mark.parametrize("content", [b"", b"{", b'{"x": 1}', b'{"1": {"born": 7}}'])
async def test_a_corrupt_record_is_taken_for_empty(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "running.json"
    file.write_bytes(content)
    assert ProcessRunner(leftovers=record(file)).kill_leftovers() is None


async def test_a_leftover_that_cannot_be_killed_is_reported_and_stays_recorded(
    tmp_path: Path, left, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "running.json"
    note(file, left.pid, birth(left.pid))
    with monkeypatch.context() as another_users:
        another_users.setattr(os, "killpg", _refuse)
        another_users.setattr(hooks, "PATIENCE", 0.05)
        runner = ProcessRunner(leftovers=record(file))
        left_hook = runner.kill_leftovers()
        assert left_hook is not None
        with capture_logs() as logs:
            await until(lambda: any("cannot be killed" in line["event"] for line in logs))
        assert not left_hook.is_gone
        await runner.close()
    assert record(file).load() == {left.pid: "sleep 60"}


def _refuse(*_: object) -> None:
    raise PermissionError


class Lingering:
    """`Hook` of the previous run."""

    is_gone = False

    def cancel(self) -> None:
        raise AssertionError("it was killed already")


def test_no_primary_beside_a_leftover_but_every_other_role() -> None:
    world = World(1, hooks=HookConfig(roles={role.value: f"be {role}" for role in Role}))
    world.kill("sat-001")
    left_hook = Lingering()
    world.hooks["sat-001"].started.clear()
    world.hooks["sat-001"].leftover = left_hook
    world.start("sat-001")
    world.run(10)
    started = [command for command, _ in world.hooks["sat-001"].started]
    assert started == ["be STANDBY"]
    left_hook.is_gone = True
    world.run(2)
    assert [command for command, _ in world.hooks["sat-001"].started][-1] == "be PRIMARY"


def test_an_action_cut_short_with_its_node_begins_anew_when_nothing_of_it_runs() -> None:
    world = World(1, hooks=HookConfig(actions={"backup": "take"}))
    world.run(5)
    hooks = world.hooks["sat-001"]
    hooks.hold = True
    action = encode_draft(Draft(RunAction("backup", targets=("sat-001",))))
    world.loops["sat-001"].consensus.propose(action, lambda _: None, 5.0)
    world.run(0.2)
    world.kill("sat-001")
    left_hook = Lingering()
    world.hooks["sat-001"].leftover = left_hook
    world.start("sat-001")
    world.run(1)
    assert [command for command, _ in hooks.started] == ["take"]
    left_hook.is_gone = True
    world.run(1)
    assert [command for command, _ in hooks.started] == ["take", "take"]
