"""What is kept, done and said of tasks, in this order, whatever fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import pytest

from stationkeep.node.agent.tasks import carrier as carrier_module
from stationkeep.node.agent.tasks.book import MAX_OUTCOMES, Book, Job, Moment, read, written
from stationkeep.node.agent.tasks.carrier import Carrier, FailedError, Progress
from stationkeep.node.agent.tasks.machine import Confirmed, Done, Result
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import (
    Phase,
    TaskAckPayload,
    TaskCancelPayload,
    TaskPayload,
    TaskReason,
    TaskState,
    TaskUpdatePayload,
)
from tests.node.agent.tasks.told import DEVICE, artifact, at, task

GIVEN = {"app": "1.0.0", "os": ""}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_module, "REPEAT", 0.02)
    monkeypatch.setattr(carrier_module, "PROGRESS_EVERY", 0.01)


class Disk:
    """`ports.Memory`; `full` as often as it says."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.full = 0
        self.saves = 0

    def load(self) -> bytes | None:
        return self.content

    def save(self, content: bytes) -> None:
        if self.full:
            self.full -= 1
            raise OSError(28, "No space left on device")
        self.saves += 1
        self.content = content

    @property
    def book(self) -> Book:
        return read(self.content, DEVICE)


class Device:
    """Everything that a carrier needs, and a record of what it did with it. A phase ends with
    what stands in `results`, when `gate` is open."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.gate = asyncio.Event()
        self.gate.set()
        self.results: dict[Phase, Result | FailedError] = {Phase.CONFIRMING: Confirmed("2.0.0")}
        self.done: list[Phase] = []
        self.said: list[TaskUpdatePayload] = []
        self.ran: list[Mapping[str, str]] = []
        self.cleared = 0
        self.running = 0
        self.renewing = False
        self.early = 0
        self.now = at(100)
        self.carrier = Carrier(DEVICE, self.disk, self, self, self.clock)

    def clock(self) -> Moment:
        return self.now

    async def perform(self, job: Job, progress: Progress) -> Result:
        kept = self.disk.book.job
        assert kept is not None
        assert kept.phase is job.phase, "something was begun that was not kept"
        assert self.running == 0, "two things at once"
        self.running += 1
        try:
            self.done.append(job.phase)
            progress(40, "on its way")
            await self.gate.wait()
            result = self.results.get(job.phase, Done())
            if isinstance(result, FailedError):
                raise result
            return result
        finally:
            await asyncio.sleep(0.01)  # an end that takes its time
            self.running -= 1

    def clear(self) -> None:
        self.cleared += 1

    def say(self, update: TaskUpdatePayload) -> None:
        self.early += self.renewing
        self.said.append(update)

    def runs(self, versions: Mapping[str, str]) -> None:
        assert all(update.state is TaskState.IN_PROGRESS for update in self.said)
        self.ran.append(versions)
        self.renewing = True
        asyncio.get_running_loop().call_soon(self._renewed)

    def _renewed(self) -> None:
        self.renewing = False
        self.carrier.served()

    # -- the story -------------------------------------------------------------------------------

    def tell(self, payload: TaskPayload | None = None) -> None:
        self.carrier.told(wire.Task("sat", DEVICE, payload or task()))

    def acknowledge(self, update: TaskUpdatePayload) -> None:
        payload = TaskAckPayload(update.task_id, update.state)
        self.carrier.told(wire.TaskAck("sat", DEVICE, payload))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def end(self) -> TaskUpdatePayload:
        """Waits for an end to be said."""
        await self.until(lambda: self.said and self.said[-1].state is not TaskState.IN_PROGRESS)
        return self.said[-1]


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    made = Device()
    made.carrier.start(GIVEN)
    yield made
    await made.carrier.stop()
    assert made.early == 0, "said before nodes know what runs"


async def test_phases_are_done_one_after_the_other_and_said(device: Device) -> None:
    device.tell()
    assert (await device.end()).state is TaskState.SUCCEEDED
    assert device.done == [
        Phase.DOWNLOADING, Phase.VERIFYING, Phase.WAITING, Phase.INSTALLING, Phase.CONFIRMING,
    ]  # fmt: skip
    said = [update.phase for update in device.said if update.phase is not None]
    assert list(dict.fromkeys(said)) == device.done
    assert device.cleared >= 1


async def test_how_far_it_is_is_said_with_the_phase(device: Device) -> None:
    device.gate.clear()
    device.tell()
    await device.until(lambda: device.said[-1].progress == 40)
    assert device.said[-1].detail == "on its way"
    device.gate.set()
    await device.end()


async def test_nodes_hear_of_a_new_version_before_they_hear_of_success(device: Device) -> None:
    device.tell()
    assert (await device.end()).installed_version == "2.0.0"
    assert device.ran == [{"app": "2.0.0", "os": ""}]


async def test_an_end_is_said_again_until_it_is_acknowledged(device: Device) -> None:
    device.tell()
    end = await device.end()
    await device.until(lambda: device.said.count(end) >= 3)
    device.acknowledge(end)
    count = len(device.said)
    await asyncio.sleep(0.06)  # three times as long as it takes to say it again
    assert len(device.said) == count
    device.tell()  # a node that forgot
    assert device.said[-1] == end


async def test_it_is_said_to_every_node_that_begins_to_serve_the_device(device: Device) -> None:
    device.tell()
    end = await device.end()
    count = device.said.count(end)
    device.carrier.served()
    assert device.said.count(end) == count + 1


async def test_a_task_of_another_device_is_none(device: Device) -> None:
    device.tell(task(task_id="17/slave-002/1"))
    assert device.carrier.book.job is None
    assert device.said == []


async def test_a_cancel_ends_what_is_being_done_before_anything_else_begins(device: Device) -> None:
    device.gate.clear()
    device.tell()
    await device.until(lambda: device.running)
    cancel = TaskCancelPayload("17/slave-001/1", "aborted")
    device.carrier.told(wire.TaskCancel("sat", DEVICE, cancel))
    assert device.said[-1].state is TaskState.CANCELED
    for number in (18, 19, 20):  # each takes the place of the one before; `perform` checks
        device.tell(task(number))
    device.gate.set()
    await device.until(lambda: device.carrier.book.version("app") == "2.0.0")
    assert device.done.count(Phase.INSTALLING) == 1


async def test_what_was_verified_is_nothing_else_that_is_told_under_its_number(
    device: Device,
) -> None:
    device.gate.clear()
    device.tell(task(artifact=artifact(url=None)))
    await device.until(lambda: device.running)
    before = device.cleared
    device.tell(task(artifact=artifact(url=None), parameters={"wipe": "all"}))
    device.gate.set()
    await device.end()
    assert device.done[:3] == [Phase.VERIFYING, Phase.VERIFYING, Phase.WAITING]
    assert device.cleared == before + 2  # what was downloaded for the first, and at the end


async def test_what_will_not_be_cancelled_does_nothing_for_the_next_task(device: Device) -> None:
    perform, begun, leave = device.perform, asyncio.Event(), asyncio.Event()

    async def stubborn(job: Job, progress: Progress) -> Result:
        if job.task.deployment != 17:
            return await perform(job, progress)
        with suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.Event().wait()
        await leave.wait()
        return Done()

    device.perform = stubborn  # type: ignore[method-assign]
    device.tell()
    await begun.wait()
    device.gate.clear()
    device.tell(task(18))
    leave.set()
    await device.until(lambda: device.running)
    assert device.done == [Phase.DOWNLOADING]
    job = device.carrier.book.job
    assert job is not None
    assert (job.task.deployment, job.phase) == (18, Phase.DOWNLOADING)


async def test_a_task_ends_at_its_deadline_whatever_it_does(device: Device) -> None:
    device.gate.clear()
    device.now = at(100)
    device.tell(task(deadline="2026-11-29T14:00:01Z"))
    device.now = at(100.9)
    end = await device.end()
    assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.DOWNLOAD)
    assert device.running == 0


async def test_one_that_comes_too_late_is_not_begun(device: Device) -> None:
    device.tell(task(deadline="2026-11-29T13:59:00Z"))
    assert (await device.end()).state is TaskState.FAILED
    assert device.done == []


async def test_a_failure_is_said_with_its_reason(device: Device) -> None:
    device.results[Phase.DOWNLOADING] = FailedError(TaskReason.HASH, "another \x1b")
    device.tell()
    end = await device.end()
    assert (end.reason, end.detail) == (TaskReason.HASH, r"another \u001b")
    assert device.done == [Phase.DOWNLOADING]


async def test_what_nodes_know_nothing_of_is_believed_after_some_time(device: Device) -> None:
    device.tell()
    end = await device.end()
    for _ in range(carrier_module.MOST_REFUSALS - 1):
        device.carrier.refused(end.task_id)
    assert device.carrier.book.outcomes[-1].acknowledged is False  # the node may lag behind
    device.carrier.refused(end.task_id)
    assert device.carrier.book.outcomes[-1].acknowledged is True
    device.carrier.refused("99/slave-001/1")  # never said


async def test_a_node_that_tells_without_end_wears_no_disk_out(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier_module, "TOLD_EVERY", 0.02)
    saves = device.disk.saves
    for number in range(1, 1_000):
        device.tell(task(number))
    assert 0 < device.disk.saves - saves <= 2 * carrier_module.TOLD_AT_ONCE

    def is_heard_again() -> bool:
        device.tell(task(2_000))
        return device.said[-1].task_id.startswith("2000/")

    await device.until(is_heard_again)


async def test_nothing_is_counted_of_tasks_that_are_gone(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier_module, "TOLD_EVERY", 0.0)
    for number in range(1, 100):
        device.tell(task(number))
        device.carrier.refused(f"{number}/slave-001/1")
    assert len(vars(device.carrier)["_refusals"]) <= MAX_OUTCOMES + 1


async def test_each_step_is_logged_once_however_often_a_task_is_told(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stationkeep.agent")
    perform = device.perform

    async def waiting(job: Job, progress: Progress) -> Result:
        if job.phase is Phase.WAITING and device.done.count(Phase.WAITING) < 3:
            device.done.append(Phase.WAITING)
            device.now = at(device.now.uptime + 1)
            await asyncio.Event().wait()
        return await perform(job, progress)

    device.perform = waiting  # type: ignore[method-assign]
    device.tell()
    for times in (1, 2, 3):
        await device.until(lambda times=times: device.done.count(Phase.WAITING) == times)
        device.tell()
    await device.end()
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("task 17/slave-001/1: waiting") == 1


# -- disks ---------------------------------------------------------------------------------------


async def test_what_cannot_be_kept_is_not_begun(device: Device) -> None:
    device.disk.full = 1_000
    device.tell()
    end = await device.end()
    assert (end.state, end.reason) == (TaskState.FAILED, TaskReason.DISK)
    assert "No space left" in end.detail
    assert device.done == []
    device.disk.full = 0
    await device.until(lambda: device.disk.content and device.disk.book.outcomes)


async def test_a_disk_that_fills_up_before_the_command_begins_keeps_it_from_that(
    device: Device,
) -> None:
    device.gate.clear()
    device.tell()
    await device.until(lambda: device.running)
    device.disk.full = 1_000
    device.gate.set()
    assert (await device.end()).reason is TaskReason.DISK
    assert Phase.INSTALLING not in device.done


async def test_a_command_that_fills_the_disk_and_succeeds_has_succeeded(device: Device) -> None:
    device.results[Phase.CONFIRMING] = Confirmed("2.0.0")
    original = device.perform

    async def filling(job: Job, progress: Progress) -> Result:
        if job.phase is Phase.INSTALLING:
            result = await original(job, progress)
            device.disk.full = 1_000
            return result
        return Confirmed("2.0.0") if device.disk.full else await original(job, progress)

    device.perform = filling  # type: ignore[method-assign]
    device.tell()
    end = await device.end()
    assert end.state is TaskState.SUCCEEDED
    device.disk.full = 0
    await device.until(lambda: device.disk.book.outcomes)  # as soon as there is room


async def test_room_is_made_for_the_end_by_what_was_downloaded(device: Device) -> None:
    device.results[Phase.INSTALLING] = FailedError(TaskReason.INSTALL, "no")
    device.gate.clear()
    device.tell()
    await device.until(lambda: device.running)
    save = device.disk.save

    def save_if_cleared(content: bytes) -> None:
        if read(content, DEVICE).job is None and not device.cleared:
            raise OSError(28, "No space left on device")
        save(content)

    device.disk.save = save_if_cleared  # type: ignore[method-assign]
    device.gate.set()
    assert (await device.end()).reason is TaskReason.INSTALL
    assert device.disk.book.outcomes[-1].update.reason is TaskReason.INSTALL


# -- a crash at each step ------------------------------------------------------------------------


async def history() -> list[bytes]:
    """Every book that a whole task is kept in, in order."""
    device, kept = Device(), []  # type: ignore[var-annotated]
    save = device.disk.save

    def keep(content: bytes) -> None:
        kept.append(content)
        save(content)

    device.disk.save = keep  # type: ignore[method-assign]
    device.carrier.start(GIVEN)
    device.tell()
    device.acknowledge(await device.end())
    await device.carrier.stop()
    return kept


async def test_an_agent_killed_at_any_step_ends_the_task_once() -> None:
    steps = await history()
    phases = [None if (job := read(kept, DEVICE).job) is None else job.phase for kept in steps]
    assert phases == [
        None, Phase.DOWNLOADING, Phase.VERIFYING, Phase.WAITING, Phase.INSTALLING,
        Phase.CONFIRMING, None, None,
    ]  # fmt: skip
    for kept, phase in zip(steps, phases, strict=True):
        disk = Disk()
        disk.content = kept
        device = Device(disk)
        device.carrier.start(GIVEN)
        device.tell()  # as a node does that did not hear of the end
        end = await device.end()
        assert (end.task_id, end.state) == ("17/slave-001/1", TaskState.SUCCEEDED)
        installed = phase is Phase.CONFIRMING or bool(read(kept, DEVICE).outcomes)
        assert device.done.count(Phase.INSTALLING) == (not installed)
        assert len(disk.book.outcomes) == 1
        device.acknowledge(end)
        assert written(disk.book) == written(device.carrier.book)
        await device.carrier.stop()


async def test_a_stop_leaves_the_task_to_the_next_start(device: Device) -> None:
    device.gate.clear()
    device.tell()
    await device.until(lambda: device.running)
    await device.carrier.stop()
    assert device.running == 0
    assert device.disk.book.job is not None
    again = Device(device.disk)
    again.carrier.start(GIVEN)
    assert (await again.end()).state is TaskState.SUCCEEDED
    await again.carrier.stop()
