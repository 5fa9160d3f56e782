"""Files and directories that an operator names: what we open, and who may read what we create."""

import errno
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


def read_small(path: str | Path, most: int) -> bytes:
    """What is in a regular file of at most `most` bytes. Raises OSError, whose `strerror` says what
    is wrong."""
    with open(path, "rb", opener=regular) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes", str(path))
    return found


def private_directory(path: Path) -> None:
    """`directory` that its owner alone can read: what a node stores is nobody else's business."""
    directory(path, 0o700)


def directory(path: Path, mode: int) -> None:
    """Creates `path`, and what is missing above it, with this mode, whatever the mask would give
    away. One that exists keeps its mode: others may need it. Raises OSError."""
    if not path.parent.exists():
        directory(path.parent, mode)
    path.mkdir(mode=mode, exist_ok=True)
