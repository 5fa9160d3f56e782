"""A directory that is one device's alone: its book of tasks, and what it downloads for them."""

import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Self

from stationkeep.node.agent.tasks.book import Moment
from stationkeep.node.system.operator_files import private_directory
from stationkeep.node.system.small_file import SmallFile

MAX_BOOK_BYTES = 1 << 20
"""Of a book: 16 outcomes and a task take 200 KB at the most."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SpoolError(Exception):
    """The directory cannot be used; says why."""


class Spool:
    """An open spool; `ports.Memory` of its book. Raises `SpoolError` when it is somebody else's:
    owned by another user, open to others' writing, or in use by another agent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._file = SmallFile(self.directory / "tasks.json")
        try:
            private_directory(self.directory)
            self._check()
            self._lock = self._locked()
        except OSError as error:
            raise SpoolError(f"{directory}: {error.strerror}") from error

    def _check(self) -> None:
        found = self.directory.stat()
        if found.st_uid != os.geteuid():
            raise SpoolError(f"{self.directory} refused: it belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o022:
            raise SpoolError(f"{self.directory} refused: others may write there (chmod go-w)")

    def _locked(self) -> int:
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise SpoolError(f"{self.directory} refused: another agent uses it") from None
        return handle

    @property
    def artifact(self) -> Path:
        """Where what is downloaded goes, whatever a node calls it."""
        return self.directory / "artifact.part"

    def load(self) -> bytes | None:
        content = self._file.load()
        if content is not None and len(content) > MAX_BOOK_BYTES:
            raise OSError(0, f"tasks.json has more than {MAX_BOOK_BYTES} bytes")
        return content

    def save(self, content: bytes) -> None:
        self._file.save(content)

    def close(self) -> None:
        """Another agent may use it now."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unkept:
    """`ports.Memory` of who keeps nothing: what was under way is over when the process ends."""

    def load(self) -> bytes | None:
        return None

    def save(self, content: bytes) -> None:
        pass


def present_moment() -> Moment:
    """Of this machine, by what no clock's setting changes."""
    return Moment(BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
