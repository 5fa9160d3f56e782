"""What the phases of a task consist of on a real device.

Until installing they are the same for all: the artifact comes into the spool and is verified there,
and the window is waited for. Installing is what an `Installer` does: an operator's command
(`commands`), or a handler in a program that embeds the agent (`handler`).
"""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from stationkeep.node.agent.tasks.book import Job
from stationkeep.node.agent.tasks.carrier import Clock, FailedError, Progress
from stationkeep.node.agent.tasks.download import (
    Download,
    DownloadError,
    NoRoomError,
    NotTheArtifactError,
)
from stationkeep.node.agent.tasks.machine import Done, Ended, Incomplete, Result
from stationkeep.node.agent.tasks.signature import SignatureFault, Trust
from stationkeep.node.system.operator_files import regular
from stationkeep.node.wire.tasks import Artifact, Phase, TaskReason, TaskState

HASHED_AT_ONCE = 1 << 20
"""Bytes."""
LONGEST_NAP = 60.0
"""Seconds between two looks whether a window is open."""
REASONS: dict[type[Exception], TaskReason] = {
    DownloadError: TaskReason.DOWNLOAD,
    NotTheArtifactError: TaskReason.HASH,
    NoRoomError: TaskReason.DISK,
}


class Installer(Protocol):
    """`file`: the artifact, verified; None where there is none, or it is not downloaded here."""

    def needs_artifact(self, job: Job) -> bool:
        """Whether the task is carried out with its artifact at all."""
        ...

    async def install(self, job: Job, file: Path | None, progress: Progress) -> Result: ...

    async def reboot(self, job: Job) -> Result: ...

    async def confirm(self, job: Job) -> Result: ...


class Phases:
    """`carrier.Work`. `file`: where artifacts go; None where they are not downloaded."""

    def __init__(self, installer: Installer, clock: Clock, file: Path | None, trust: Trust) -> None:
        self._installer, self._clock = installer, clock
        self._file, self._trust = file, trust

    async def perform(self, job: Job, progress: Progress) -> Result:
        match job.phase:
            case Phase.DOWNLOADING:
                return await self._download(job, progress)
            case Phase.VERIFYING:
                return await self._verify(job)
            case Phase.WAITING:
                return await self._wait(job)
            case Phase.INSTALLING:
                file = None if self._artifact(job) is None else self._file
                return await self._installer.install(job, file, progress)
            case Phase.REBOOTING:
                return await self._installer.reboot(job)
            case Phase.CONFIRMING:
                return await self._installer.confirm(job)

    def clear(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # of a disk that takes no changes: then nothing is begun
                self._file.unlink(missing_ok=True)

    def _artifact(self, job: Job) -> Artifact | None:
        """What is to be downloaded, if anything is."""
        artifact = job.task.artifact
        if self._file is None or artifact is None or artifact.url is None:
            return None
        return artifact if self._installer.needs_artifact(job) else None

    async def _download(self, job: Job, progress: Progress) -> Result:
        """Nothing is downloaded that would be refused afterwards."""
        self._check_signature(job)
        artifact = self._artifact(job)
        if artifact is None:
            return Done()
        assert artifact.url is not None and self._file is not None  # noqa: PT018
        if artifact.sha256 is None or artifact.size is None:
            detail = "artifact: a url refused: without sha256 and size nothing can be verified"
            raise FailedError(TaskReason.PRECONDITION, detail, TaskState.REJECTED)
        size = artifact.size
        download = Download(
            artifact.url, self._file, size, lambda there: progress(100 * there // size)
        )
        try:
            await download.run()
        except tuple(REASONS) as error:
            raise FailedError(REASONS[type(error)], str(error)) from error
        return Done(in_parts=download.resumed)

    async def _verify(self, job: Job) -> Result:
        """A wrong hash of what came in several parts may be that of two halves, or of what a
        power failure left of a file: then it is downloaded once more, in one piece."""
        self._check_signature(job)
        artifact = self._artifact(job)
        if artifact is None:
            return Done()
        assert self._file is not None
        try:
            size, found = await _sha256(self._file)
        except FileNotFoundError:
            return Incomplete()
        except OSError as error:
            raise FailedError(TaskReason.DISK, f"{self._file.name}: {error.strerror}") from error
        if size < (artifact.size or 0):
            return Incomplete()
        if found != artifact.sha256:
            self.clear()
            if job.in_parts and not job.refetched:
                return Incomplete(refetched=True)
            raise FailedError(
                TaskReason.HASH, f"sha256 {found}, the artifact's is {artifact.sha256}"
            )
        return Done()

    def _check_signature(self, job: Job) -> None:
        if not self._installer.needs_artifact(job):
            return
        try:
            self._trust.check(job.task.artifact)
        except SignatureFault as error:
            raise FailedError(TaskReason.SIGNATURE, str(error)) from error

    async def _wait(self, job: Job) -> Result:
        """For the moment from which installing may begin. What this sleeps by may stand still
        while the machine is suspended, so it looks again."""
        while not (why := job.barred(self._clock())):
            seconds = job.opens_in(self._clock())
            if not seconds:
                return Done()
            await asyncio.sleep(min(seconds, LONGEST_NAP))
        return Ended(TaskState.POSTPONED, detail=why, retry_after=1)  # told again with other times


async def _sha256(path: Path) -> tuple[int, str]:
    """Size and hash of a file, piece by piece: hashing a large one takes minutes, and may be
    cancelled."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb", opener=regular) as file:  # noqa: ASYNC230
        while piece := await asyncio.to_thread(file.read, HASHED_AT_ONCE):
            await asyncio.to_thread(digest.update, piece)
            size += len(piece)
    return size, digest.hexdigest()
