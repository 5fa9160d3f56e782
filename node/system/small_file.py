"""A small file replaced atomically: after a crash it holds the old content or the new one."""

import os
from pathlib import Path

from stationkeep.node.system.operator_files import regular


class SmallFile:
    """`node.ports.Memory` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        """What was saved last; None if nothing was. Raises OSError when it cannot be read."""
        try:
            with open(self._path, "rb", opener=regular) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def save(self, content: bytes) -> None:
        """Writes a new file that is its owner's alone, syncs it and renames it over the old one; on
        OSError the old content stays."""
        beside = self._path.with_name(self._path.name + ".new")
        with open(beside, "wb", opener=regular) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
