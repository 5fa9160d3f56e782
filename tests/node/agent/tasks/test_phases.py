"""What is done before a task is installed, where nothing but the clock and the disk matter."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from stationkeep.node.agent.tasks.book import Job, Moment
from stationkeep.node.agent.tasks.carrier import FailedError
from stationkeep.node.agent.tasks.handler import HandlerInstaller
from stationkeep.node.agent.tasks.machine import Done, Ended, Incomplete, Result
from stationkeep.node.agent.tasks.phases import Phases
from stationkeep.node.agent.tasks.signature import Trust
from stationkeep.node.wire.tasks import Phase, TaskReason, TaskState
from tests.node.agent.tasks.told import artifact, at, task

CONTENT = b"the new firmware"


async def never(_: object) -> str:
    raise AssertionError


async def perform(job: Job, now: Moment, file: Path | None = None) -> Result:
    phases = Phases(HandlerInstaller(never), lambda: now, file, Trust({}))
    return await phases.perform(job, lambda *_: None)


def waiting(**times: str) -> Job:
    return Job(task=task(**times), phase=Phase.WAITING, told=at(100))


AFTER, BEFORE = "2026-11-29T14:10:00Z", "2026-11-29T14:20:00Z"
PUT_OFF = (TaskState.POSTPONED, 1)


@pytest.mark.parametrize(
    ("job", "now", "begins"),
    [
        (waiting(), at(5_000, "second"), True),
        (waiting(install_after=AFTER), at(100 + 600), True),
        (waiting(install_after=AFTER, install_before=BEFORE), at(100 + 1_199), True),
        (waiting(install_before=BEFORE), at(100 + 1_200), False),
        (waiting(install_before=BEFORE), at(1, "second"), False),  # who knows what time it is?
        (waiting(install_after=AFTER), at(1, "second"), False),
        (replace(waiting(install_before=BEFORE), runs=1), at(9_999), True),  # it has begun
    ],
)
async def test_installing_begins_in_its_window_or_not_now(
    job: Job, now: Moment, begins: bool
) -> None:
    result = await perform(job, now)
    if begins:
        assert result == Done()
    else:
        assert isinstance(result, Ended)
        assert (result.state, result.retry_after) == PUT_OFF


@pytest.mark.parametrize(("awake_at", "begins"), [(701, True), (5_000, False)])
async def test_a_machine_that_slept_through_its_window_does_not_begin(
    awake_at: float, begins: bool
) -> None:
    """What it waits by stands still while it sleeps."""
    moments = [at(699.99), at(699.99), *[at(awake_at)] * 3]
    phases = Phases(HandlerInstaller(never), lambda: moments.pop(0), None, Trust({}))
    window = waiting(install_after=AFTER, install_before=BEFORE)
    result = await phases.perform(window, lambda *_: None)
    assert (result == Done()) is begins
    if not begins:
        assert isinstance(result, Ended)
        assert (result.state, result.retry_after) == PUT_OFF


def verifying(**more: Any) -> Job:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    which = artifact(sha256=sha256, size=len(CONTENT))
    return Job(task=task(artifact=which), phase=Phase.VERIFYING, told=at(100), **more)


async def test_what_is_not_all_there_is_fetched_and_not_blamed(tmp_path: Path) -> None:
    file = tmp_path / "artifact.part"
    assert await perform(verifying(), at(100), file) == Incomplete()
    put(file, CONTENT[:-1])
    assert await perform(verifying(), at(100), file) == Incomplete()
    put(file, CONTENT)
    assert await perform(verifying(), at(100), file) == Done()


async def test_a_wrong_hash_is_blamed_on_the_artifact_unless_it_may_be_ours(
    tmp_path: Path,
) -> None:
    file = tmp_path / "artifact.part"
    put(file, b"?" * len(CONTENT))
    in_parts = verifying(in_parts=True)
    assert await perform(in_parts, at(100), file) == Incomplete(refetched=True)
    for job in (verifying(), replace(in_parts, refetched=True)):
        put(file, b"?" * len(CONTENT))
        with pytest.raises(FailedError) as failed:
            await perform(job, at(100), file)
        assert failed.value.end.reason is TaskReason.HASH
        assert not file.exists()


async def test_a_file_that_cannot_be_read_is_the_disks_fault(tmp_path: Path) -> None:
    file = tmp_path / "artifact.part"
    os.mkfifo(file)
    with pytest.raises(FailedError) as failed:
        await perform(verifying(), at(100), file)
    assert failed.value.end.reason is TaskReason.DISK


def put(file: Path, content: bytes) -> None:
    file.write_bytes(content)
