"""Tasks of a `DeviceAgent`, against a node's door and an artifact server that the test plays."""

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stationkeep import DeviceAgent, Postpone, Readings, Rejected, SpoolError, Task
from stationkeep.node.agent import addresses, patience
from stationkeep.node.agent.tasks import carrier, download
from stationkeep.node.agent.tasks.commands import Commands
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from stationkeep.node.wire.tasks import (
    Artifact,
    Phase,
    TaskAckPayload,
    TaskCancelPayload,
    TaskPayload,
    TaskReason,
    TaskState,
    TaskUpdatePayload,
)
from tests.node.agent.door import Door, error, welcoming
from tests.node.agent.tasks.server import Answer, Server, dropping, whole
from tests.node.agent.tasks.told import DEVICE, artifact, task

CONTENT = b"the new firmware"
GUIDE = (Path(__file__).parents[3] / "node" / "guide" / "agents.md").read_text()
NAMED = artifact(url=None, sha256=None, size=None)
"""A version, and nothing to download."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(addresses, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(patience, "SHORTEST_PATIENCE", 0.3)
    monkeypatch.setattr(carrier, "REPEAT", 0.1)
    monkeypatch.setattr(carrier, "PROGRESS_EVERY", 0.02)
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door() as made:
        yield made


def acknowledging(door: Door, said: wire.Said) -> wire.Told | None:
    """As a node whose log takes everything."""
    if isinstance(said, wire.TaskUpdate):
        payload = TaskAckPayload(said.payload.task_id, said.payload.state)
        return wire.TaskAck("sat-001", said.sender_id, payload)
    return welcoming(door, said)


@asynccontextmanager
async def living(*doors: Door, on_task: Any, **more: Any) -> AsyncIterator[DeviceAgent]:
    agent = DeviceAgent(
        DEVICE, [door.url for door in doors], app_version="1.0.0", on_task=on_task,
        read_status=Readings, **more,
    )  # fmt: skip
    async with agent:
        yield agent


async def tell(door: Door, payload: TaskPayload) -> None:
    await door.tell(wire.Task("sat-001", DEVICE, payload))


def updates(door: Door) -> list[TaskUpdatePayload]:
    return [said.payload for said in door.of(wire.TaskUpdate)]


async def ended(door: Door, task_id: str = "17/slave-001/1") -> TaskUpdatePayload:
    """The first end of a task that the door hears."""

    def found(_: object) -> list[TaskUpdatePayload]:
        mine = (update for update in updates(door) if update.task_id == task_id)
        return [update for update in mine if update.state is not TaskState.IN_PROGRESS]

    await door.heard(lambda said: bool(found(said)))
    return found(None)[0]


async def installs(_: Task) -> str:
    return "2.0.0"


# -- handlers ------------------------------------------------------------------------------------


async def test_a_handler_carries_a_task_out(door: Door) -> None:
    seen: list[Task] = []

    async def on_task(given: Task) -> str:
        seen.append(given)
        await given.progress(40, "installing")
        await door.heard(lambda _: any(update.progress == 40 for update in updates(door)))
        return "2.0.0"

    door.answer = acknowledging
    async with living(door, on_task=on_task) as agent:
        await tell(door, task(artifact=NAMED, parameters={"ring": "prod"}))
        end = await ended(door)
        assert (end.state, end.installed_version) == (TaskState.SUCCEEDED, "2.0.0")
        assert agent.identity.app_version == "2.0.0"
    [given] = seen
    assert (given.task_id, given.version, given.previous_version, given.attempt, given.resumed) == (
        "17/slave-001/1", "2.0.0", "1.0.0", 1, False,
    )  # fmt: skip
    assert given.parameters == {"ring": "prod"}
    assert given.artifact is None
    progress = next(update for update in updates(door) if update.progress == 40)
    assert (progress.phase, progress.detail) == (Phase.INSTALLING, "installing")


async def test_it_registers_again_on_the_same_connection_before_it_says_success(
    door: Door,
) -> None:
    async with living(door, on_task=installs):
        await tell(door, task(artifact=NAMED))
        await ended(door)
    first, second = door.of(wire.Registration)
    assert (first.payload.capabilities, first.payload.device_status.app_version) == (
        {"deployment": True}, "1.0.0",
    )  # fmt: skip
    assert second.payload.device_status.app_version == "2.0.0"
    assert second.payload.session == first.payload.session
    assert second.payload.sequence > first.payload.sequence
    said = [type(one).__name__ for one in door.said if one is second or _is_end(one)]
    assert said[0] == "Registration"
    statuses = door.of(wire.StatusUpdate)
    assert all(s.payload.device_status.app_version in ("1.0.0", "2.0.0") for s in statuses)


def _is_end(said: wire.Said) -> bool:
    return isinstance(said, wire.TaskUpdate) and said.payload.state is TaskState.SUCCEEDED


async def rejects(_: Task) -> str:
    raise Rejected("not while driving")


async def postpones(_: Task) -> str:
    raise Postpone(90, "not while driving")


async def raises(_: Task) -> str:
    raise RuntimeError("no such slot \x1b[2J \ud800")


async def lies(_: Task) -> str:
    return "1.5.0"


@pytest.mark.parametrize(
    ("on_task", "became"),
    [
        (rejects, (TaskState.REJECTED, TaskReason.REJECTED, None, "not while driving")),
        (postpones, (TaskState.POSTPONED, None, 90, "not while driving")),
        (lies, (TaskState.FAILED, TaskReason.VERSION_MISMATCH, None, "version 1.5.0 runs")),
    ],
)
async def test_what_a_handler_says_is_what_becomes_of_it(
    door: Door, on_task: Any, became: tuple[object, ...]
) -> None:
    async with living(door, on_task=on_task):
        await tell(door, task(artifact=NAMED))
        end = await ended(door)
    assert (end.state, end.reason, end.retry_after, end.detail.partition(",")[0]) == became


async def test_a_handler_that_raises_has_failed_and_its_program_hears_of_it(door: Door) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    async with living(door, on_task=raises):
        await tell(door, task(artifact=NAMED))
        end = await ended(door)
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.INSTALL)
        assert end.detail == r"RuntimeError: no such slot \u001b[2J \ud800"
    assert [type(context["exception"]) for context in heard] == [RuntimeError]


async def awaits_what_is_cancelled(_: Task) -> str:
    theirs = asyncio.create_task(asyncio.Event().wait())
    theirs.cancel()
    await theirs
    raise AssertionError


@pytest.mark.parametrize("returned", ["1.5.0 (stable)", "9" * 65, 5], ids=str)
async def test_a_handler_that_returns_no_version_has_failed_and_the_device_goes_on(
    door: Door, tmp_path: Path, returned: Any
) -> None:
    async def on_task(given: Task) -> Any:
        return given.version if given.attempt > 1 else returned

    for attempt, state in enumerate((TaskState.FAILED, TaskState.SUCCEEDED), start=1):
        async with living(door, on_task=on_task, spool=tmp_path) as agent:
            assert agent.identity.app_version == "1.0.0"
            await tell(door, task(attempt=attempt, artifact=NAMED))
            end = await ended(door, f"17/slave-001/{attempt}")
            assert end.state is state
    [failed] = {update.detail for update in updates(door) if update.state is TaskState.FAILED}
    assert failed.startswith(f"on_task returned {returned!r}"[:60])


async def test_a_handler_whose_own_work_is_cancelled_has_failed(door: Door) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    async with living(door, on_task=awaits_what_is_cancelled):
        for number in (17, 18):
            await tell(door, task(number, artifact=NAMED))
            end = await ended(door, f"{number}/slave-001/1")
            assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.INSTALL)
    assert [type(context["exception"]) for context in heard] == [RuntimeError] * 2


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan")])
def test_a_handler_cannot_put_off_for_ever(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"seconds: .* refused"):
        Postpone(seconds)


async def test_a_handler_ends_at_the_deadline(door: Door) -> None:
    over = asyncio.Event()

    async def never(_: Task) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            over.set()
        raise AssertionError

    async with living(door, on_task=never):
        await tell(door, task(artifact=NAMED, deadline="2026-11-29T14:00:01Z"))
        end = await ended(door)
        assert over.is_set()
    assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.INSTALL)


# -- the way to the cluster ----------------------------------------------------------------------


async def test_an_end_is_repeated_at_another_node_when_the_one_that_heard_it_dies() -> None:
    async with Door() as first, Door() as second:
        async with living(first, second, on_task=installs) as agent:
            mine, other = (first, second) if agent.node == first.url else (second, first)
            other.answer = acknowledging
            await tell(mine, task(artifact=NAMED))
            end = await ended(mine)  # heard, and in no log yet
            await mine.close()
            assert await ended(other) == end
            count = len(updates(other))
            await other.heard(lambda _: len(other.of(wire.Heartbeat)) >= 6)
            assert len(updates(other)) <= count + 1  # acknowledged: said no more
        registrations = other.of(wire.Registration)
        assert registrations[0].payload.device_status.app_version == "2.0.0"


async def test_a_task_that_is_told_twice_runs_once(door: Door) -> None:
    runs: list[str] = []

    async def on_task(given: Task) -> str:
        runs.append(given.task_id)
        return "2.0.0"

    door.answer = acknowledging
    async with living(door, on_task=on_task):
        for _ in range(2):
            await tell(door, task(artifact=NAMED))
        await ended(door)
        door.said.clear()
        await tell(door, task(artifact=NAMED))
        assert (await ended(door)).state is TaskState.SUCCEEDED
        assert runs == ["17/slave-001/1"]
        await tell(door, task(18, artifact=NAMED))  # another, of the version that runs by now
        assert (await ended(door, "18/slave-001/1")).installed_version == "2.0.0"
    assert runs == ["17/slave-001/1"]


async def test_a_task_that_breaks_a_rule_is_rejected_by_name(door: Door) -> None:
    async with living(door, on_task=installs):
        raw = msgspec.to_builtins(wire.Task("sat-001", DEVICE, task()))
        raw["payload"]["artifact"]["size"] = 0
        for connection in door.connections:
            await connection.send(msgspec.msgpack.encode(raw))
        end = await ended(door)
    assert (end.state, end.reason) == (TaskState.REJECTED, TaskReason.PRECONDITION)
    assert end.detail == "payload.artifact.size: 0 refused: expected int >= 1"


async def test_what_is_no_task_at_all_costs_nothing(door: Door) -> None:
    async with living(door, on_task=installs) as agent:
        for noise in ({"message_type": "task"}, {"message_type": "task", "payload": {"task_id": 5}},
                      {"message_type": "task_ack", "payload": {}}):  # fmt: skip
            for connection in door.connections:
                await connection.send(msgspec.msgpack.encode(noise))
        await door.tell(wire.TaskAck("sat", DEVICE, TaskAckPayload("9/slave-001/1", "succeeded")))
        await door.tell(error(DEVICE, Code.UNKNOWN_TASK, task_id="9/slave-001/1"))
        await tell(door, task(artifact=NAMED))
        await ended(door)
        assert agent.tally.errors["unreadable"] == 3


async def test_an_agent_without_a_handler_takes_no_tasks(door: Door) -> None:
    async with DeviceAgent(DEVICE, door.url, read_status=Readings):
        await tell(door, task())
        await door.tell(wire.TaskCancel("sat", DEVICE, TaskCancelPayload("17/slave-001/1", "x")))
        await door.heard(lambda _: len(door.of(wire.Heartbeat)) >= 2)
    assert updates(door) == []
    assert door.of(wire.Registration)[0].payload.capabilities == {}


# -- artifacts -----------------------------------------------------------------------------------


def served(server: Server, **more: Any) -> Artifact:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return artifact(**({"url": server.url, "sha256": sha256, "size": len(CONTENT)} | more))


async def carried_out(door: Door, spool: Path, reply: Answer, **more: Any) -> TaskUpdatePayload:
    """How a task ends whose artifact this server has; what the handler saw is in the spool."""

    async def on_task(given: Task) -> str:
        assert given.artifact is not None
        content = await asyncio.to_thread(given.artifact.read_bytes)
        (spool / "seen").write_bytes(content)
        return "2.0.0"

    async with Server(reply) as server, living(door, on_task=on_task, spool=spool):
        await tell(door, task(artifact=served(server, **more)))
        end = await ended(door)
    return end


def seen(spool: Path) -> bytes | None:
    """What a handler was given; no artifact is left afterwards."""
    assert not (spool / "artifact.part").exists()
    file = spool / "seen"
    return file.read_bytes() if file.exists() else None


async def test_a_handler_is_given_what_was_downloaded_and_verified(
    door: Door, tmp_path: Path
) -> None:
    for reply in (whole(CONTENT), dropping(CONTENT, len(CONTENT) // 2)):
        end = await carried_out(door, tmp_path, reply)
        assert end.state is TaskState.SUCCEEDED
        assert seen(tmp_path) == CONTENT
    said = dict.fromkeys(update.phase for update in updates(door) if update.phase is not None)
    assert list(said) == [*list(Phase)[:4]]


WRONG = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
"""By one bit."""


async def test_nothing_runs_that_differs_by_one_bit(door: Door, tmp_path: Path) -> None:
    end = await carried_out(door, tmp_path, whole(WRONG))
    assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.HASH)
    assert seen(tmp_path) is None


async def test_two_halves_that_do_not_fit_are_fetched_anew_in_one_piece(
    door: Door, tmp_path: Path
) -> None:
    def confused(server: Server, request: dict[str, str]) -> bytes:
        """Changes what it has, and says nothing of it."""
        content = WRONG if len(server.requests) == 1 else CONTENT
        return dropping(content, 9 if len(server.requests) == 1 else 99)(server, request)

    end = await carried_out(door, tmp_path, confused)
    assert end.state is TaskState.SUCCEEDED
    assert seen(tmp_path) == CONTENT


@pytest.mark.parametrize("missing", ["sha256", "size"])
async def test_what_cannot_be_verified_is_not_downloaded(
    door: Door, tmp_path: Path, missing: str
) -> None:
    end = await carried_out(door, tmp_path, whole(CONTENT), **{missing: None})
    assert (end.state, end.reason) == (TaskState.REJECTED, TaskReason.PRECONDITION)
    assert seen(tmp_path) is None


async def test_a_download_is_canceled(door: Door, tmp_path: Path) -> None:
    reached = asyncio.Event()

    def slow(_: Server, request: dict[str, str]) -> bytes:
        reached.set()
        return dropping(CONTENT, 0)(_, request)

    async with Server(slow) as server, living(door, on_task=installs, spool=tmp_path):
        await tell(door, task(artifact=served(server)))
        await reached.wait()
        payload = TaskCancelPayload("17/slave-001/1", "aborted")
        await door.tell(wire.TaskCancel("sat-001", DEVICE, payload))
        assert (await ended(door)).state is TaskState.CANCELED
    assert seen(tmp_path) is None


async def test_signatures_are_asked_for_before_anything_is_downloaded(
    door: Door, tmp_path: Path
) -> None:
    from tests.node.agent.tasks.test_signature import OURS, pem

    trust = tmp_path / "trust"
    await asyncio.to_thread(trust.mkdir)
    (trust / "release.pem").write_bytes(pem(OURS))
    async with (
        Server(whole(CONTENT)) as server,
        living(
            door, on_task=installs, spool=tmp_path / "spool", trust=trust, require_signature=True
        ),
    ):
        await tell(door, task(artifact=served(server)))
        end = await ended(door)
        assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.SIGNATURE)
        assert server.requests == []
        await tell(door, task(18, artifact=NAMED))
        assert (await ended(door, "18/slave-001/1")).reason is TaskReason.SIGNATURE


async def test_a_window_is_waited_for_behind_the_download(door: Door, tmp_path: Path) -> None:
    async with Server(whole(CONTENT)) as server, living(door, on_task=installs, spool=tmp_path):
        times = {"install_after": "2026-11-29T14:00:01Z"}
        await tell(door, task(artifact=served(server), **times))
        await door.heard(lambda _: any(u.phase is Phase.WAITING for u in updates(door)))
        assert len(server.requests) == 1
        assert (await ended(door)).state is TaskState.SUCCEEDED
        closed = {"install_before": "2026-11-29T14:00:00Z"}
        other = artifact("3.0.0", url=None)
        await tell(door, task(18, artifact=other, **closed))
        end = await ended(door, "18/slave-001/1")
        assert (end.state, end.retry_after) == (TaskState.POSTPONED, 1)


# -- restarts ------------------------------------------------------------------------------------


async def test_an_agent_that_is_stopped_in_the_midst_goes_on_at_its_next_start(
    door: Door, tmp_path: Path
) -> None:
    begun = asyncio.Event()

    async def never(_: Task) -> str:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with living(door, on_task=never, spool=tmp_path):
        await tell(door, task(artifact=NAMED))
        await begun.wait()
    resumed: list[bool] = []

    async def on_task(given: Task) -> str:
        resumed.append(given.resumed)
        return "2.0.0"

    async with living(door, on_task=on_task, spool=tmp_path) as agent:
        end = await ended(door)
        assert end.state is TaskState.SUCCEEDED
        assert agent.identity.app_version == "2.0.0"
    assert resumed == [True]
    async with living(door, on_task=never, spool=tmp_path) as agent:
        assert agent.identity.app_version == "2.0.0"  # whatever it was started with


@pytest.mark.parametrize("content", ["", "{", '{"device": "slave-002"}'])
async def test_a_spool_that_is_not_ours_stays_as_it_is(
    door: Door, tmp_path: Path, content: str
) -> None:
    book = tmp_path / "tasks.json"
    await asyncio.to_thread(book.write_text, content)
    for _ in range(2):  # the second start finds no lock of the first
        with pytest.raises(SpoolError, match=r"tasks\.json: .*refused"):
            await DeviceAgent(DEVICE, door.url, on_task=installs, spool=tmp_path).start()
    assert await asyncio.to_thread(book.read_text) == content


async def test_the_guides_handler_does_what_the_guide_says(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    [snippet] = [block for block in blocks if "on_task" in block]
    names: dict[str, Any] = {}
    with monkeypatch.context() as without:
        without.setattr(asyncio, "run", lambda work: work.close())
        exec(snippet, names)
    expected = {
        "deployment": TaskState.SUCCEEDED,
        "wipe": TaskState.REJECTED,
        "rollback": TaskState.POSTPONED,
    }
    async with living(door, on_task=names["on_task"]):
        for number, (kind, state) in enumerate(expected.items(), start=1):
            later = {"when": "later"} if state is TaskState.POSTPONED else {}
            version = artifact(f"{number}.5.0", url=None)
            await tell(door, task(number, task_type=kind, artifact=version, parameters=later))
            assert (await ended(door, f"{number}/slave-001/1")).state is state


# -- commands ------------------------------------------------------------------------------------


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


async def test_commands_carry_tasks_out_as_handlers_do(door: Door, tmp_path: Path) -> None:
    version = tmp_path / "version"
    await asyncio.to_thread(version.write_text, "1.0.0")
    install = f"""
import os, shutil
print("progress 50 copying", flush=True)
shutil.copy(os.environ["STATIONKEEP_ARTIFACT"], {str(tmp_path / "app")!r})
open({str(version)!r}, "w").write(os.environ["STATIONKEEP_VERSION"])
"""
    commands = Commands(
        task=python(install),
        rollback=python(f"open({str(version)!r}, 'w').write('1.0.0')"),
        version=["/bin/cat", str(version)],
    )
    door.answer = acknowledging
    spool = tmp_path / "spool"
    async with Server(whole(CONTENT)) as server, living(door, on_task=commands, spool=spool) as one:
        assert one.identity.capabilities == {"deployment": True, "rollback": True}
        await tell(door, task(artifact=served(server)))
        assert (await ended(door)).installed_version == "2.0.0"
        assert await asyncio.to_thread((tmp_path / "app").read_bytes) == CONTENT
        back = task(18, task_type="rollback", artifact=artifact("1.0.0", url=None))
        await tell(door, back)
        assert (await ended(door, "18/slave-001/1")).installed_version == "1.0.0"
        assert one.identity.app_version == "1.0.0"
    await asyncio.to_thread(version.write_text, "1.9.0")
    async with living(door, on_task=commands, spool=spool) as one:
        assert one.identity.app_version == "1.9.0"  # what runs, not what was installed


async def test_a_command_that_outlives_its_deadline_says_how_far_it_came(
    door: Door, tmp_path: Path
) -> None:
    slow = Commands(task=["/bin/sh", "-c", "echo step 1 of 2; sleep 60"])
    async with living(door, on_task=slow, spool=tmp_path):
        await tell(door, task(artifact=NAMED, deadline="2026-11-29T14:00:02Z"))
        end = await ended(door)
    assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.INSTALL)
    assert end.detail == "step 1 of 2\nnot done by the deadline"


def wanting(**given: Any) -> Callable[[], DeviceAgent]:
    return lambda: DeviceAgent(DEVICE, "http://127.0.0.1:1", read_status=Readings, **given)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (wanting(on_task=installs, require_signature=True), "require_signature: True refused"),
        (wanting(on_task=Commands(task=["/bin/true"])), "spool: None refused"),
        (wanting(on_task=installs, trust=Path("/no/such")), "/no/such refused"),
    ],
)
def test_what_cannot_be_together_is_refused(make: Callable[[], DeviceAgent], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def test_the_book_is_plain_json(tmp_path: Path) -> None:
    from stationkeep.node.agent.tasks.book import Book, written

    assert json.loads(written(Book(device=DEVICE)))["device"] == DEVICE
