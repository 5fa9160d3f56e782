"""Commands as real processes: results, timeouts that leave nothing behind, bounded output."""

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stationkeep.node.hooks import runner as hooks
from stationkeep.node.hooks.runner import MAX_OUTPUT, HookResult, ProcessRunner, lives, run


async def test_the_exit_status_decides() -> None:
    assert (await run("exit 0", {}, 5)).ok
    failed = await run("exit 3", {}, 5)
    assert (failed.ok, failed.detail) == (False, "exit status 3")
    killed = await run("kill -9 $$", {}, 5)
    assert killed.detail == "killed by SIGKILL"


async def test_the_environment_and_both_outputs() -> None:
    result = await run("echo $STATIONKEEP_ROLE; echo oops >&2", {"STATIONKEEP_ROLE": "BACKUP"}, 5)
    assert result.output == "BACKUP\noops\n"


async def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    result = await run(f"sleep 60 & echo $! $$ > {pids}; sleep 60", {}, 0.3)
    assert (result.ok, result.detail) == (False, "timed out after 0.3 s")
    deadline = time.monotonic() + 5
    while any(runs(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline, "still running"
        await asyncio.sleep(0.01)


async def test_a_process_that_ends_itself_takes_its_commands_along(tmp_path: Path) -> None:
    pids, results = tmp_path / "pids", list[HookResult]()
    runner = ProcessRunner()
    runner.start(f"sleep 60 & echo $! > {pids}; wait", {}, 60, results.append)
    deadline = time.monotonic() + 5
    while not (pids.exists() and pids.read_text()):
        assert time.monotonic() < deadline, "not started"
        await asyncio.sleep(0.01)
    runner.kill()
    while not results or runs(int(pids.read_text())):
        assert time.monotonic() < deadline, "still running"
        await asyncio.sleep(0.01)
    assert results[0].detail == "killed by SIGKILL"
    runner.kill()  # nothing runs: nothing is signalled


def runs(pid: int) -> bool:
    """Neither gone nor a zombie. A signalled process takes a moment to die."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_service_left_behind_does_not_hold_the_hook(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    result = await run(f"sleep 60 & echo $! > {pid_file}; exit 0", {}, 10)
    assert result.ok
    pid = int(pid_file.read_text())
    assert psutil.pid_exists(pid)
    os.kill(pid, 9)


async def test_what_cannot_be_started_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    unfit = await run("true", {"A": "a\0b"}, 5)
    assert unfit.detail == "cannot be started: NUL in its environment"
    monkeypatch.setattr(os, "pipe", refuse)
    assert (await run("true", {}, 5)).detail == "cannot be started: Too many open files"


async def test_output_is_bounded() -> None:
    result = await run("head -c 1000000 /dev/zero | tr '\\0' x", {}, 10)
    assert result.ok
    assert len(result.output) == MAX_OUTPUT


async def test_a_runner_calls_back_once_and_can_be_closed() -> None:
    results: list[HookResult] = []
    finished = asyncio.Event()
    runner = ProcessRunner(finished.set)
    runner.start("exit 0", {}, 5, results.append)
    await finished.wait()
    assert [r.ok for r in results] == [True]
    runner.start("sleep 60", {}, 60, results.append)
    await runner.close()
    assert len(results) == 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_cancelled_command_ends_with_its_group_and_says_nothing(tmp_path: Path) -> None:
    pids, woken = tmp_path / "pids", asyncio.Event()
    results: list[HookResult] = []
    runner = ProcessRunner(woken.set)
    hook = runner.start(
        f"trap '' TERM; sleep 60 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait",
        {}, 60, results.append,
    )  # fmt: skip
    await until(pids.exists)
    hook.cancel()
    assert not hook.is_gone
    await woken.wait()
    assert hook.is_gone
    assert not any(runs(int(pid)) for pid in pids.read_text().split())
    assert results == []


async def test_a_cancellation_at_the_very_end_is_not_lost() -> None:
    ended = asyncio.Event()

    async def cancel_as_it_ends(process: asyncio.subprocess.Process) -> None:
        await process.wait()
        running.cancel()
        ended.set()

    helpers = []
    running = asyncio.create_task(
        run("exit 0", {}, 5, lambda p: helpers.append(asyncio.create_task(cancel_as_it_ends(p))))
    )
    await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_command_cancelled_before_its_process_exists_does_nothing(tmp_path: Path) -> None:
    woken = asyncio.Event()
    results: list[HookResult] = []
    hook = ProcessRunner(woken.set).start(
        f"sleep 0.5; touch {tmp_path}/done", {}, 60, results.append
    )
    hook.cancel()
    await woken.wait()
    assert hook.is_gone
    assert results == []
    assert not (tmp_path / "done").exists()


async def test_cancelling_what_has_ended_spares_its_services(tmp_path: Path) -> None:
    pid_file, woken = tmp_path / "pid", asyncio.Event()
    command = f"sleep 60 & echo $! > {pid_file}; exit 0"
    results: list[HookResult] = []
    hook = ProcessRunner(woken.set).start(command, {}, 60, results.append)
    await woken.wait()
    assert hook.is_gone
    hook.cancel()
    pid = int(pid_file.read_text())
    assert runs(pid)
    os.kill(pid, 9)
    assert len(results) == 1


def test_a_zombie_that_nobody_reaps_counts_as_gone() -> None:
    """As in a container whose first process does not reap orphans."""
    child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    assert lives(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.killpg(child.pid, 0)  # the system still counts it
    assert not lives(child.pid)
    child.wait()


async def test_a_killed_group_that_takes_its_time_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([True, True, False])
    monkeypatch.setattr(hooks, "lives", lambda _: next(looks))
    assert (await run("sleep 60", {}, 0.05)).detail == "timed out after 0.05 s"
    woken = asyncio.Event()
    looks = iter([True, True, False])
    hook = ProcessRunner(woken.set).start("sleep 60; true", {}, 60, lambda _: None)
    await asyncio.sleep(0)
    hook.cancel()
    await woken.wait()
    assert hook.is_gone
    assert next(looks, None) is None
