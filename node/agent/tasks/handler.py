"""Tasks that a program carries out which embeds the agent (`phases.Installer`)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from stationkeep.node.agent.foreign import result_of
from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.agent.tasks.carrier import FailedError, Progress
from stationkeep.node.agent.tasks.machine import Confirmed, Ended, Result
from stationkeep.node.wire.tasks import (
    MAX_POSTPONED,
    VERSION_RULE,
    TaskPayload,
    TaskReason,
    TaskState,
    is_version,
)


class Rejected(Exception):  # noqa: N818 - it is what a handler says
    """Raised by a handler: the device does not want this task; says why. It is not told again."""


class Postpone(Exception):  # noqa: N818
    """Raised by a handler: not now, but again after so many seconds."""

    def __init__(self, seconds: float, detail: str = "") -> None:
        if not 0 < seconds <= MAX_POSTPONED:
            rule = f"more than 0 s, at most {MAX_POSTPONED}"
            raise ValueError(f"seconds: {seconds!r} refused: {rule}")
        super().__init__(detail)
        self.seconds = max(1, round(seconds))


class Task:
    """What a handler is given. `version` is empty for a task about none; `artifact`: the file,
    verified, where the agent has a spool and the task an artifact. `resumed`: an earlier run did
    not come to its end."""

    def __init__(self, job: Job, file: Path | None, progress: Progress) -> None:
        self._progress = progress
        self.payload: TaskPayload = job.task
        self.task_id, self.task_type = job.task.task_id, job.task.task_type
        self.parameters = dict(job.task.parameters)
        self.version, self.previous_version = job.version, job.previous
        self.attempt, self.resumed = job.task.attempt, job.resumed
        self.artifact = file

    async def progress(self, percent: int, detail: str = "") -> None:
        """Tells the cluster how far it is; as often as is liked, of which it hears once a second.
        Also a moment for others: a handler that computes should call it now and then."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent: {percent!r} refused: from 0 to 100")
        self._progress(percent, detail)
        await asyncio.sleep(0)


OnTask = Callable[[Task], Awaitable[str | None]]
"""Carries a task out and returns the version that runs now; None for a task about none. It is
cancelled at the deadline and when the agent stops; after the latter it is called again, `resumed`,
when there is a spool."""


class HandlerInstaller:
    def __init__(self, on_task: OnTask) -> None:
        self._on_task = on_task

    def needs_artifact(self, _job: Job) -> bool:
        return True

    async def install(self, job: Job, file: Path | None, progress: Progress) -> Result:
        try:
            version = await result_of(self._on_task(Task(job, file, progress)))
        except Rejected as error:
            raise FailedError(TaskReason.REJECTED, str(error), TaskState.REJECTED) from error
        except Postpone as error:
            detail = str(error)
            return Ended(TaskState.POSTPONED, detail=detail, retry_after=error.seconds)
        except Exception as error:  # not ours: told to whoever embeds us, and to the cluster
            context = {"message": "on_task raised", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            raise FailedError(TaskReason.INSTALL, f"{type(error).__name__}: {error}") from error
        if version is not None and not is_version(version):
            detail = f"on_task returned {version!r:.200} refused: 1 to 64 {VERSION_RULE}"
            raise FailedError(TaskReason.VERSION_MISMATCH, detail)
        return Confirmed(version or "")

    async def reboot(self, job: Job) -> Result:
        raise AssertionError(f"{job.task.task_id}: a handler asks for no reboot")

    async def confirm(self, job: Job) -> Result:
        raise AssertionError(f"{job.task.task_id}: a handler says itself what runs")
