"""A disk that really is full: a small file system of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stationkeep.node.agent.tasks import carrier, download
from stationkeep.node.agent.tasks.commands import Commands
from stationkeep.node.agent.tasks.spool import Spool
from stationkeep.node.wire.tasks import TaskReason, TaskState
from tests.node.agent.door import Door
from tests.node.agent.tasks.server import Server, whole
from tests.node.agent.tasks.told import task
from tests.node.agent.test_on_tasks import CONTENT, NAMED, ended, living, served, tell

SIZE = 256 * 1024


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "REPEAT", 0.1)
    monkeypatch.setattr(download, "SPARE_BYTES", 0)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of `SIZE` bytes."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs"]
    if os.geteuid() != 0 or subprocess.run(["mount", *options, place], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    """Takes all the room that there is."""
    with (place / "ballast").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4_096)


FILLS = """
import os, sys
try:
    with open(os.environ["STATIONKEEP_SPOOL"] + "/ballast", "wb") as file:
        while True: file.write(b"x" * 4096)
except OSError:
    pass
exit(int(sys.argv[1]))
"""


def fills(status: int) -> Commands:
    return Commands(task=[sys.executable, "-c", FILLS, str(status)])


async def test_nothing_is_begun_when_it_is_full_already(small: Path) -> None:
    async with Door() as door, living(door, on_task=fills(0), spool=small):
        await asyncio.to_thread(fill, small)
        await tell(door, task(artifact=NAMED))
        end = await ended(door)
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.DISK)
        assert "No space left on device" in end.detail


async def test_a_download_without_room_is_not_begun(small: Path) -> None:
    async with Door() as door, Server(whole(CONTENT)) as server:
        async with living(door, on_task=fills(0), spool=small):
            await tell(door, task(artifact=served(server, size=2 * SIZE)))
            end = await ended(door)
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.DISK)
        assert server.requests == []


@pytest.mark.parametrize(
    ("status", "state"), [(0, TaskState.SUCCEEDED), (1, TaskState.FAILED), (20, TaskState.REJECTED)]
)
async def test_a_command_that_fills_it_is_reported_as_it_ended(
    small: Path, status: int, state: TaskState
) -> None:
    async with Door() as door:
        async with living(door, on_task=fills(status), spool=small):
            await tell(door, task(artifact=NAMED))
            assert (await ended(door)).state is state
            (small / "ballast").unlink()
            while b'"outcomes":[]' in (small / "tasks.json").read_bytes():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        door.said.clear()
        async with living(door, on_task=fills(9), spool=small):  # which is not run again
            assert (await ended(door)).state is state


async def test_an_agent_that_ends_before_there_is_room_has_told_no_lies(small: Path) -> None:
    async with Door() as door:
        async with living(door, on_task=fills(0), spool=small):
            await tell(door, task(artifact=NAMED))
            assert (await ended(door)).state is TaskState.SUCCEEDED
        door.said.clear()
        (small / "ballast").unlink()
        resumed = [
            sys.executable,
            "-c",
            "import os; exit(os.environ['STATIONKEEP_RESUMED'] != '1')",
        ]
        async with living(door, on_task=Commands(task=resumed), spool=small):
            assert (await ended(door)).state is TaskState.SUCCEEDED


def test_a_book_is_whole_whatever_the_disk_does(small: Path) -> None:
    with Spool(small) as spool:
        spool.save(b"1" * 1_000)
        fill(small)
        with pytest.raises(OSError, match="No space left"):
            spool.save(b"2" * 100_000)
        assert spool.load() == b"1" * 1_000
