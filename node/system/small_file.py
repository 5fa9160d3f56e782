"""A small file replaced atomically: after a crash it holds the old content or the new one."""

import os
from pathlib import Path

from stationkeep.node.system.operator_files import regular


class SmallFile:
    """`node.ports.Memory` on disk. `mode`: who may read it."""

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self._path, self._mode = path, mode

    def load(self) -> bytes | None:
        """What was saved last; None if nothing was. Raises OSError when it cannot be read."""
        try:
            with open(self._path, "rb", opener=regular) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def save(self, content: bytes) -> None:
        """Writes a new file, syncs it and renames it over the old one; on OSError the old content
        stays."""
        self._written(".new", content).replace(self._path)
        self._sync_name()

    def create(self, content: bytes) -> bool:
        """Saves it unless there is something by then; whether it did. Where the system lets nobody
        link, as Android does, two processes that create it at once may both have."""
        beside = self._written(f".new.{os.getpid()}", content)
        try:
            os.link(beside, self._path)
        except FileExistsError:
            return False
        except OSError:
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)
        self._sync_name()
        return True

    def _written(self, suffix: str, content: bytes) -> Path:
        """A file beside it. What lies in its place, as a crash leaves it, is not written to: it may
        be readable by others, or lead elsewhere."""
        beside = self._path.with_name(self._path.name + suffix)
        beside.unlink(missing_ok=True)
        with open(beside, "xb", opener=regular) as file:
            os.fchmod(file.fileno(), self._mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return beside

    def _sync_name(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
