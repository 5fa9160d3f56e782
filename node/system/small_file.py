"""A small file replaced atomically: after a crash it holds the old content or the new one."""

import os
from pathlib import Path


class SmallFile:
    """`node.ports.Memory` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        """What was saved last; None if nothing was. Raises OSError when it cannot be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, content: bytes) -> None:
        """Writes a new file, syncs it and renames it over the old one; on OSError the old content
        stays."""
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
