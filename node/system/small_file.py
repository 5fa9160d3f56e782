"""A small file that is always whole: the old content or the new one, whatever happens."""

import os
from pathlib import Path


class SmallFile:
    """`node.ports.Memory` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        """What was saved last; None where nothing was. Raises OSError when unreadable."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, content: bytes) -> None:
        """Writes beside, syncs, and renames over; raises OSError and keeps the old content."""
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
