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
        stays. What lies in the new one's place, as a crash leaves it, is not written to: it may be
        readable by others, or lead elsewhere."""
        beside = self._path.with_name(self._path.name + ".new")
        beside.unlink(missing_ok=True)
        with open(beside, "xb", opener=regular) as file:
            os.fchmod(file.fileno(), self._mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
