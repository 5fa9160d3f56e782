"""Operators' commands that carry tasks out: what they are given, what is made of what they say,
and that nothing of them outlives its time."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from stationkeep.node.agent.tasks import commands as commands_module
from stationkeep.node.agent.tasks import processes
from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.agent.tasks.carrier import FailedError
from stationkeep.node.agent.tasks.command import MAX_LOG, Finished, Output, run
from stationkeep.node.agent.tasks.commands import CommandInstaller, Commands
from stationkeep.node.agent.tasks.machine import Confirmed, Done, Ended, RebootNeeded, Result
from stationkeep.node.system.process import birth
from stationkeep.node.wire.tasks import MAX_TASK_DETAIL, Phase, TaskReason, TaskState
from tests.node.agent.tasks.told import DEVICE, artifact, at, task

JOB = Job(task=task(), phase=Phase.INSTALLING, told=at(0), previous="1.0.0", runs=1)
HEARD: list[tuple[int | None, str]] = []


@pytest.fixture(autouse=True)
def alone(tmp_path: Path) -> Iterator[None]:
    """Nothing of a test's commands is left when it ends."""
    HEARD.clear()
    yield
    assert living(tmp_path) == []


def living(spool: Path) -> list[int]:
    """Processes that know of this spool."""
    needle = f"STATIONKEEP_SPOOL={spool}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if needle in environment.split(b"\0"):
                found.append(int(name))
    return found


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def hear(percent: int | None, detail: str = "") -> None:
    HEARD.append((percent, detail))


def installer(spool: Path, script: str, **more: Any) -> CommandInstaller:
    commands = Commands(task=python(script), **more)
    return CommandInstaller(DEVICE, commands, spool, lambda: "prod")


async def install(spool: Path, script: str, job: Job = JOB, file: Path | None = None) -> Result:
    return await installer(spool, script).install(job, file, hear)


async def test_it_is_given_the_task_and_its_main_points(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    tell = f"""
import json, os, sys
mine = {{n: v for n, v in os.environ.items() if n.startswith("STATIONKEEP_")}}
json.dump([json.load(sys.stdin), mine], open({str(out)!r}, "w"))
"""
    job = replace(JOB, task=task(rollout="fw", variant="A"), runs=2)
    assert await install(tmp_path, tell, job, tmp_path / "artifact.part") == Done()
    given, environment = json.loads(await asyncio.to_thread(out.read_text))
    assert given["task_id"] == "17/slave-001/1"
    assert given["artifact"]["version"] == "2.0.0"
    expected = {
        "TASK_ID": "17/slave-001/1", "TASK_TYPE": "deployment", "ROLLOUT": "fw", "VARIANT": "A",
        "VERSION": "2.0.0", "PREVIOUS_VERSION": "1.0.0", "ATTEMPT": "1", "RESUMED": "1",
        "ARTIFACT": str(tmp_path / "artifact.part"), "SHA256": "ab" * 32, "COMPONENT": "app",
        "DEVICE": DEVICE, "RING": "prod", "SPOOL": str(tmp_path),
    }  # fmt: skip
    assert (
        expected.items()
        <= {n.removeprefix("STATIONKEEP_"): v for n, v in environment.items()}.items()
    )


async def test_it_is_not_started_beside_an_earlier_run_that_cannot_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_vain(*_: object) -> bool:
        return False

    monkeypatch.setattr(commands_module, "end_all", in_vain)
    with pytest.raises(FailedError, match="an earlier run cannot be ended") as failed:
        await install(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert failed.value.end.reason is TaskReason.INSTALL
    assert not (tmp_path / "ran").exists()


async def test_nobody_need_read_what_is_given(tmp_path: Path) -> None:
    many = {str(n): "x" * 1_024 for n in range(32)}
    assert await install(tmp_path, "pass", replace(JOB, task=task(parameters=many))) == Done()


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("exit(0)", Done()),
        ("exit(20)", Ended(TaskState.REJECTED, TaskReason.REJECTED, "exit status 20")),
        ("exit(75)", Ended(TaskState.POSTPONED, retry_after=600)),
        ("print('postpone 90'); exit(75)", Ended(TaskState.POSTPONED, retry_after=90)),
        ("print('postpone 90')", Ended(TaskState.POSTPONED, retry_after=90)),
        ("print('postpone')", Ended(TaskState.POSTPONED, retry_after=600)),
        ("print('postpone 9999999')", Ended(TaskState.POSTPONED, retry_after=9_999_999)),
        ("print('postpone is what others do')", Done()),
        ("print('postpone 90'); exit(1)",
         Ended(TaskState.FAILED, TaskReason.INSTALL, "postpone 90\nexit status 1")),
        ("print('detail no such slot'); print('x'); exit(3)",
         Ended(TaskState.FAILED, TaskReason.INSTALL, "no such slot\nexit status 3")),
        ("import os; os.kill(os.getpid(), 9)",
         Ended(TaskState.FAILED, TaskReason.INSTALL, "killed by signal 9")),
        ("import sys; print('a', flush=True); print('b', file=sys.stderr); exit(1)",
         Ended(TaskState.FAILED, TaskReason.INSTALL, "a\nb\nexit status 1")),
    ],
)  # fmt: skip
async def test_its_exit_status_says_what_came_of_it(
    tmp_path: Path, script: str, result: Result
) -> None:
    assert await install(tmp_path, script) == result


async def test_ten_asks_for_another_boot(tmp_path: Path) -> None:
    result = await install(tmp_path, "exit(10)")
    assert isinstance(result, RebootNeeded)
    assert result.boot == commands_module.present_moment().boot


async def test_lines_about_progress_are_understood_and_others_are_not(tmp_path: Path) -> None:
    await install(
        tmp_path,
        r"print('progress 40 in\x1bstalling\nprogress 101\nprogress x\nPROGRESS 5\n progress 60')",
    )
    assert HEARD == [(40, r"in\u001bstalling"), (60, "")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    text = b"progress 10 a\nnoise\npostpone 5\ndetail why\nprogress 20 b"
    output = Output(hear)
    for first in range(0, len(text), size):
        output.take(text[first : first + size])
    output.close()
    assert HEARD == [(10, "a"), (None, "why"), (20, "b")]
    assert (output.postpone, output.detail) == (5, "why")
    assert output.log == text.decode()


async def test_of_gigabytes_only_the_end_is_kept(tmp_path: Path) -> None:
    lots = """
import sys
for _ in range(3000): sys.stdout.write("progress 5 x\\n" * 999)
print("the end")
exit(1)
"""
    result = await install(tmp_path, lots)
    assert isinstance(result, Ended)
    assert result.detail.endswith("the end\nexit status 1")
    assert len(result.detail) <= MAX_TASK_DETAIL
    endless = "import sys\nfor _ in range(500): sys.stdout.write('x' * 99_999)\nexit(1)"
    result = await install(tmp_path, endless)  # and not one line
    assert isinstance(result, Ended)
    assert len(result.detail) <= MAX_LOG + 20


async def test_what_it_prints_is_printable(tmp_path: Path) -> None:
    script = r"import os; os.write(1, b'\x1b[2J\xff\xfe\x00 \xe2\x80\xae\n'); exit(1)"
    result = await install(tmp_path, script)
    assert isinstance(result, Ended)
    assert all(line.isprintable() for line in result.detail.split("\n"))


async def test_a_program_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    gone = CommandInstaller(DEVICE, Commands(task=["/no/such"]), tmp_path, lambda: None)
    result = await gone.install(JOB, None, hear)
    assert isinstance(result, Ended)
    assert (result.reason, "cannot be started" in result.detail) == (TaskReason.INSTALL, True)


FORKS = """
import os, signal, time, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for kind in range(4):
    if os.fork() == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if kind == 1: os.setsid()
        if kind == 2 and os.fork(): os._exit(0)
        if kind == 3:
            os.setsid()
            if os.fork(): os._exit(0)
        while True: time.sleep(60)
if sys.argv[1:] == ["fails"]: exit(1)
print("ready", flush=True)
time.sleep(60)
"""
"""Leaves children of every kind: plain, in a session of their own, orphaned, and both."""


async def cut_short(spool: Path, script: str) -> asyncio.CancelledError:
    """Runs a command until it says something, and cancels it."""
    ready = asyncio.Event()

    def heard(percent: int | None, detail: str = "") -> None:
        hear(percent, detail)
        ready.set()

    work = asyncio.create_task(installer(spool, script).install(JOB, None, heard))
    await ready.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError) as cut:
        await work
    return cut.value


async def test_nothing_that_it_started_is_left_at_the_deadline(tmp_path: Path) -> None:
    script = FORKS.replace('print("ready"', 'print("progress 1"')
    error = await cut_short(tmp_path, script)
    assert living(tmp_path) == []
    assert error.__notes__ == ["progress 1"]  # for the report


async def test_nothing_that_it_started_is_left_when_it_fails(tmp_path: Path) -> None:
    result = await install(tmp_path, FORKS.replace('sys.argv[1:] == ["fails"]', "True"))
    assert isinstance(result, Ended)
    assert living(tmp_path) == []


async def test_what_throws_its_environment_away_ends_with_its_session(tmp_path: Path) -> None:
    script = """
import subprocess, time
bare = subprocess.Popen(["/usr/bin/env", "-i", "/bin/sleep", "60"])
while b"sleep" not in open(f"/proc/{bare.pid}/cmdline", "rb").read(): time.sleep(0.01)
print(f"progress 1 {bare.pid}", flush=True)
time.sleep(60)
"""
    await cut_short(tmp_path, script)
    [(_, bare)] = HEARD
    assert birth(int(bare)) is None


async def test_a_fork_bomb_ends(tmp_path: Path) -> None:
    bomb = """
import os, time
print("progress 1", flush=True)
for _ in range(5): os.fork()
while True: time.sleep(0.05)
"""
    await cut_short(tmp_path, bomb)
    assert living(tmp_path) == []


async def test_a_service_that_a_command_leaves_running_is_left_alone(tmp_path: Path) -> None:
    leaves = "import subprocess; subprocess.Popen(['/bin/sleep', '60'])"
    assert await install(tmp_path, leaves) == Done()
    assert len(living(tmp_path)) == 1
    other = replace(JOB, task=task(18))
    assert isinstance(await install(tmp_path, "exit(1)", other), Ended)
    assert len(living(tmp_path)) == 1  # another task's failure is none of its business
    assert await install(tmp_path, "pass") == Done()  # the same task begins anew
    assert living(tmp_path) == []


async def test_what_an_agent_that_was_killed_left_behind_ends_first(tmp_path: Path) -> None:
    marks = {"STATIONKEEP_SPOOL": str(tmp_path), "STATIONKEEP_TASK_ID": "17/slave-001/1"}
    orphan = await asyncio.create_subprocess_exec("/bin/sleep", "60", env={**os.environ, **marks})
    script = f"import os; exit(os.path.exists('/proc/{orphan.pid}/exe'))"
    assert await install(tmp_path, script) == Done()
    assert await orphan.wait() == -9


async def test_what_cannot_be_ended_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    monkeypatch.setattr(processes, "send", lambda *_: True)
    marks = {"STATIONKEEP_SPOOL": str(tmp_path), "STATIONKEEP_TASK_ID": "1"}
    script = (
        "import subprocess; print(subprocess.Popen(['/bin/sleep', '60']).pid, flush=True); exit(1)"
    )
    output = Output(hear)
    ended = await run(python(script), {}, b"", marks, output)
    assert isinstance(ended, Finished)
    pid, said = ended.log.split("\n")
    assert "cannot be ended" in said
    os.kill(int(pid), 9)
    while living(tmp_path):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


# -- rollback, versions, reboot ------------------------------------------------------------------

BACK = replace(JOB, task=task(task_type="rollback", artifact=artifact("1.0.0")))


async def test_a_rollback_has_a_command_of_its_own_that_needs_no_artifact(tmp_path: Path) -> None:
    back = installer(tmp_path, "exit(9)", rollback=python("exit(0)"))
    assert not back.needs_artifact(BACK)
    assert await back.install(BACK, None, hear) == Done()
    assert back.needs_artifact(JOB)


async def test_without_one_it_is_the_ordinary_command_with_the_older_artifact(
    tmp_path: Path,
) -> None:
    ordinary = installer(tmp_path, "import os; exit(os.environ['STATIONKEEP_VERSION'] != '1.0.0')")
    assert ordinary.needs_artifact(BACK)
    assert await ordinary.install(BACK, None, hear) == Done()


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_module, "CONFIRM_EVERY", 0.01)


async def test_the_version_that_was_asked_for_is_confirmed_as_soon_as_it_runs(
    tmp_path: Path,
) -> None:
    asking = installer(tmp_path, "", version=["/bin/echo", "2.0.0"])
    assert await asking.confirm(JOB) == Confirmed("2.0.0")


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 1.0.0", "1.0.0"),
        ("echo two words", ""),
        ("printf '%70d' 1 | tr ' ' x", ""),
        ("echo 2.0.0; exit 1", ""),
        ("sleep 60", ""),
    ],
)
async def test_another_version_or_none_is_what_is_known_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, version: str
) -> None:
    monkeypatch.setattr(commands_module, "CONFIRM_SECONDS", 0.5)
    asking = installer(tmp_path, "", version=["/bin/sh", "-c", script])
    assert await asking.confirm(JOB) == Confirmed(version)


async def test_a_service_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    count = tmp_path / "count"
    later = f"""
n = open({str(count)!r}, "a").write("x") and len(open({str(count)!r}).read())
print("2.0.0" if n > 2 else "1.0.0")
"""
    asking = installer(tmp_path, "", version=python(later))
    assert await asking.confirm(JOB) == Confirmed("2.0.0")


async def test_without_a_version_command_the_exit_status_is_believed(tmp_path: Path) -> None:
    assert await installer(tmp_path, "").confirm(JOB) == Confirmed("2.0.0")
    assert (
        await installer(tmp_path, "").confirm(replace(JOB, task=task(artifact=None))) == Confirmed()
    )


async def test_versions_are_asked_for_by_component(tmp_path: Path) -> None:
    script = "import os; print(dict(app='2.0.0').get(os.environ['STATIONKEEP_COMPONENT'], '?'))"
    asking = installer(tmp_path, "", version=python(script))
    assert await asking.versions(["app", "os"]) == {"app": "2.0.0"}
    assert await installer(tmp_path, "").versions(["app"]) == {}


async def test_a_reboot_that_is_refused_is_a_failure(tmp_path: Path) -> None:
    refused = installer(tmp_path, "", reboot=python("print('not root'); exit(1)"))
    result = await refused.reboot(JOB)
    assert result == Ended(TaskState.FAILED, TaskReason.REBOOT, "not root\nexit status 1")
