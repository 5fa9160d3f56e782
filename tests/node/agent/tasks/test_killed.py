"""Agents as real processes, killed (`kill -9`) at each step of a task, and started again."""

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import Phase, TaskReason, TaskState, TaskUpdatePayload
from tests.node.agent.door import Door
from tests.node.agent.tasks.server import Server, dropping, offset, whole
from tests.node.agent.tasks.test_command import living
from tests.node.agent.tasks.told import DEVICE, artifact, task

pytestmark = pytest.mark.processes
CONTENT = b"the new firmware"

INSTALL = """
import os, sys, time
place = sys.argv[1]
with open(f"{place}/runs", "a") as runs:
    runs.write(os.environ["STATIONKEEP_RESUMED"])
while not os.path.exists(f"{place}/go"):
    time.sleep(0.01)
assert open(os.environ["STATIONKEEP_ARTIFACT"], "rb").read() == b"the new firmware"
if os.path.exists(f"{place}/reboots"):
    exit(10)
open(f"{place}/version", "w").write(os.environ["STATIONKEEP_VERSION"])
"""
"""Notes each run, waits for leave, and installs, unless it takes a reboot for that."""


class Device:
    """A machine: its agent, its disk, its boots. What a command waits for is a file `go`."""

    def __init__(self, place: Path, door: Door) -> None:
        self.place, self.door = place, door
        self.spool = place / "spool"
        self.process: Process | None = None
        self.boot("first")
        self.runs_version("1.0.0")

    def boot(self, name: str) -> None:
        (self.place / "boot").write_text(name)

    def runs_version(self, version: str) -> None:
        (self.place / "version").write_text(version)

    def allow(self, name: str = "go") -> None:
        (self.place / name).touch()

    @property
    def runs(self) -> str:
        """`STATIONKEEP_RESUMED` of each run of the command."""
        file = self.place / "runs"
        return file.read_text() if file.exists() else ""

    @property
    def version(self) -> str:
        return (self.place / "version").read_text()

    async def start(self) -> None:
        commands = {
            "task": [sys.executable, "-c", INSTALL, str(self.place)],
            "version": ["/bin/cat", str(self.place / "version")],
        }
        arguments = [self.door.url, self.spool, self.place / "boot", json.dumps(commands)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.node.agent.tasks.agent_process", *map(str, arguments)
        )

    async def kill(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def until(self, phase: Phase) -> None:
        """Waits until the agent says that it is in this phase."""
        await self.door.heard(lambda _: any(u.phase is phase for u in self.updates))

    @property
    def updates(self) -> list[TaskUpdatePayload]:
        return [said.payload for said in self.door.of(wire.TaskUpdate)]

    async def end(self) -> TaskUpdatePayload:
        def ends(_: object) -> list[TaskUpdatePayload]:
            return [u for u in self.updates if u.state is not TaskState.IN_PROGRESS]

        await self.door.heard(lambda _: bool(ends(None)))
        assert len({(u.task_id, u.state) for u in ends(None)}) == 1
        return ends(None)[0]


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    async with Door() as door:
        made = Device(tmp_path, door)
        try:
            await made.start()
            await door.heard(lambda _: bool(door.of(wire.Registration)))
            yield made
        finally:
            await made.kill()
            for pid in living(made.spool):
                os.kill(pid, 9)


@asynccontextmanager
async def told(device: Device, **more: Any) -> AsyncIterator[Server]:
    """A server that has the artifact of a task which the device is told."""
    async with Server(whole(CONTENT)) as server:
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        what = artifact(url=server.url, sha256=sha256, size=len(CONTENT))
        payload = task(**({"artifact": what} | more))
        await device.door.tell(wire.Task("sat-001", DEVICE, payload))
        yield server


async def again(device: Device) -> None:
    """The agent is killed and started again; what it says from now on is all that counts."""
    await device.kill()
    device.door.said.clear()
    await device.start()


async def succeeded(device: Device, runs: str) -> None:
    end = await device.end()
    assert (end.task_id, end.state) == ("17/slave-001/1", TaskState.SUCCEEDED)
    assert device.version == end.installed_version == "2.0.0"
    assert device.runs == runs
    last = device.door.of(wire.Registration)[-1].payload
    assert last.device_status.app_version == "2.0.0"
    assert living(device.spool) == []


async def test_while_it_downloads(device: Device) -> None:
    device.allow()

    def stuck(server: Server, request: dict[str, str]) -> bytes:
        return dropping(CONTENT, 9 if len(server.requests) == 1 else 0)(server, request)

    async with told(device) as server:
        server.answer = stuck
        await device.door.heard(lambda _: len(server.requests) > 1)
        await device.kill()
        server.answer = whole(CONTENT)
        await again(device)
        await succeeded(device, runs="0")
        assert offset(server.requests[-1]) == 9


async def test_while_it_waits_for_its_window(device: Device) -> None:
    device.allow()
    async with told(device, install_after="2026-11-29T14:00:02Z"):
        await device.until(Phase.WAITING)
        await again(device)
        await succeeded(device, runs="0")


async def test_while_the_command_runs(device: Device) -> None:
    async with told(device):
        await device.until(Phase.INSTALLING)
        await device.door.heard(lambda _: device.runs == "0")
        await device.kill()
        assert len(living(device.spool)) == 1  # an orphan, which waits for leave
        await again(device)
        await device.until(Phase.INSTALLING)
        await device.door.heard(lambda _: device.runs == "01")
        assert len(living(device.spool)) == 1  # another one: the orphan is gone
        device.allow()
        await succeeded(device, runs="01")


async def test_too_often_while_the_command_runs(device: Device) -> None:
    async with told(device):
        for runs in ("0", "01", "011", "0111"):
            await device.door.heard(lambda _, runs=runs: device.runs == runs)  # type: ignore[misc]
            await again(device)
        end = await device.end()
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.AGENT_LOST)
        assert device.runs == "0111"


async def test_while_it_reboots(device: Device) -> None:
    device.allow()
    device.allow("reboots")
    async with told(device):
        await device.until(Phase.REBOOTING)
        await device.kill()
        device.boot("second")
        device.runs_version("2.0.0")
        await again(device)
        await succeeded(device, runs="0")


async def test_while_it_reboots_into_the_old_version(device: Device) -> None:
    device.allow()
    device.allow("reboots")
    async with told(device):
        await device.until(Phase.REBOOTING)
        await device.kill()
        device.boot("second")
        await again(device)
        end = await device.end()
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.VERSION_MISMATCH)
        assert device.runs == "0"


async def test_between_the_end_and_its_acknowledgement(device: Device) -> None:
    device.allow()
    async with told(device):
        await device.end()
        await again(device)
        await succeeded(device, runs="0")
