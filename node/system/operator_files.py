"""Files and directories that an operator names: what we open, and who may read what we create."""

import os
import stat
from pathlib import Path


def regular(path: str, flags: int) -> int:
    """An opener for `open` that accepts regular files only and never blocks: opening a pipe that
    nobody writes to would hang for ever. Raises OSError."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(0, "not a regular file", path)


def private_directory(path: Path) -> None:
    """Creates `path`, readable by its owner only, if it is missing, and what is missing above it in
    the same way: what a node stores is nobody else's business. One that exists keeps its mode:
    others may need it. Raises OSError."""
    if not path.parent.exists():
        private_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
