"""Tasks that operators' commands carry out (`phases.Installer`); see `command` for the contract."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.agent.tasks.carrier import FailedError, Progress
from stationkeep.node.agent.tasks.command import POSTPONE_SECONDS, Exit, Finished, Output, run
from stationkeep.node.agent.tasks.machine import Confirmed, Done, Ended, RebootNeeded, Result
from stationkeep.node.agent.tasks.processes import end_all
from stationkeep.node.agent.tasks.spool import present_moment
from stationkeep.node.wire.tasks import (
    MAX_TASK_DETAIL,
    ROLLBACK,
    TaskPayload,
    TaskReason,
    TaskState,
    is_version,
)

CONFIRM_SECONDS = 60.0
"""For the version command to answer the version that was asked for."""
CONFIRM_EVERY = 1.0
ANSWER_SECONDS = 10.0
"""For one answer of the version command."""


class Commands(msgspec.Struct, frozen=True, kw_only=True):
    """Programs with their arguments. `rollback`: for tasks of that type, which then need no
    artifact. `version`: prints what runs now; without it the exit status of `task` is believed.
    `reboot`: without it somebody else restarts the machine."""

    task: Sequence[str]
    rollback: Sequence[str] | None = None
    version: Sequence[str] | None = None
    reboot: Sequence[str] | None = None


class CommandInstaller:
    """`spool`: the directory that its processes are known by; `ring`: the device's, now."""

    def __init__(
        self, device: str, commands: Commands, spool: Path, ring: Callable[[], str | None]
    ) -> None:
        self._device, self._commands = device, commands
        self._spool, self._ring = spool, ring

    def needs_artifact(self, job: Job) -> bool:
        return not self._goes_back(job)

    async def install(self, job: Job, file: Path | None, progress: Progress) -> Result:
        """What an earlier run left behind, whose agent was killed, ends before the next begins."""
        if not await end_all(self._marks(job.task)):
            raise FailedError(TaskReason.INSTALL, "processes of an earlier run cannot be ended")
        goes_back = self._goes_back(job)
        argv = self._commands.rollback if goes_back else self._commands.task
        assert argv is not None
        output = Output(progress)
        try:
            ended = await self._run(argv, job, output, file)
        except asyncio.CancelledError as error:
            error.add_note(output.log)
            raise
        return _result(ended)

    async def reboot(self, job: Job) -> Result:
        """Ends with this process, or at the deadline."""
        if self._commands.reboot is not None:
            ended = await self._run(self._commands.reboot, job, Output(_unheard))
            if ended.status != Exit.DONE:
                return Ended(TaskState.FAILED, TaskReason.REBOOT, _account(ended))
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def confirm(self, job: Job) -> Result:
        artifact = job.task.artifact
        if artifact is None:
            return Confirmed()
        if self._commands.version is None:
            return Confirmed(artifact.version)
        found = ""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                while found != artifact.version:
                    found = await self._answer(self._environment(job, None)) or found
                    if found != artifact.version:
                        await asyncio.sleep(CONFIRM_EVERY)
        except TimeoutError:
            pass  # the machine judges what was found
        return Confirmed(found)

    async def versions(self, components: Iterable[str]) -> dict[str, str]:
        """What the version command says runs now, of the components that it knows."""
        found: dict[str, str] = {}
        for component in components if self._commands.version is not None else ():
            asked = {"STATIONKEEP_DEVICE": self._device, "STATIONKEEP_COMPONENT": component}
            answer = await self._answer(asked)
            if answer is not None:
                found[component] = answer
        return found

    async def _answer(self, environment: Mapping[str, str]) -> str | None:
        assert self._commands.version is not None
        marks = {"STATIONKEEP_SPOOL": str(self._spool), "STATIONKEEP_ASKED": "version"}
        output = Output(_unheard)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ended = await run(self._commands.version, environment, b"", marks, output)
        except TimeoutError:
            return None
        said = ended.log.strip()
        return said if ended.status == Exit.DONE and is_version(said) else None

    async def _run(
        self, argv: Sequence[str], job: Job, output: Output, file: Path | None = None
    ) -> Finished:
        given = msgspec.json.encode(job.task)
        return await run(argv, self._environment(job, file), given, self._marks(job.task), output)

    def _goes_back(self, job: Job) -> bool:
        return job.task.task_type == ROLLBACK and self._commands.rollback is not None

    def _marks(self, task: TaskPayload) -> dict[str, str]:
        return {"STATIONKEEP_SPOOL": str(self._spool), "STATIONKEEP_TASK_ID": task.task_id}

    def _environment(self, job: Job, file: Path | None) -> dict[str, str]:
        task, artifact = job.task, job.task.artifact
        return {
            "STATIONKEEP_TASK_TYPE": task.task_type,
            "STATIONKEEP_ROLLOUT": task.rollout or "",
            "STATIONKEEP_VARIANT": task.variant or "",
            "STATIONKEEP_ATTEMPT": str(task.attempt),
            "STATIONKEEP_VERSION": job.version,
            "STATIONKEEP_PREVIOUS_VERSION": job.previous,
            "STATIONKEEP_COMPONENT": "" if artifact is None else artifact.component,
            "STATIONKEEP_ARTIFACT": "" if file is None else str(file),
            "STATIONKEEP_SHA256": "" if artifact is None else artifact.sha256 or "",
            "STATIONKEEP_DEVICE": self._device,
            "STATIONKEEP_RING": self._ring() or "",
            "STATIONKEEP_RESUMED": "1" if job.resumed else "0",
        }


def _result(ended: Finished) -> Result:
    """What the exit status of a task's command means."""
    if ended.status in {Exit.DONE, Exit.POSTPONED} and ended.postpone is not None:
        return Ended(TaskState.POSTPONED, detail=ended.detail, retry_after=ended.postpone)
    match ended.status:
        case Exit.DONE:
            return Done()
        case Exit.REBOOT:
            return RebootNeeded(present_moment().boot)
        case Exit.POSTPONED:
            return Ended(TaskState.POSTPONED, detail=ended.detail, retry_after=POSTPONE_SECONDS)
        case Exit.REJECTED:
            return Ended(TaskState.REJECTED, TaskReason.REJECTED, _account(ended))
        case _:
            return Ended(TaskState.FAILED, TaskReason.INSTALL, _account(ended))


def _account(ended: Finished) -> str:
    """What a command that failed has to say for itself; its exit status last, which is kept."""
    status = "" if ended.status is None else f"exit status {ended.status}"
    if ended.status is not None and ended.status < 0:
        status = f"killed by signal {-ended.status}"
    text = "\n".join(part for part in (ended.detail or ended.log, status) if part)
    return text[-MAX_TASK_DETAIL:]


def _unheard(_percent: int | None, _detail: str = "") -> None:
    pass
