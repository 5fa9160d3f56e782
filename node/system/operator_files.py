"""Files and directories that an operator names: what is opened, and who may read what we make."""

import os
import stat
from pathlib import Path


def regular(path: str, flags: int) -> int:
    """An opener for `open`: of regular files only, and without waiting. A pipe without a writer
    would hold up whoever opens it, for ever. Raises OSError."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(0, "not a regular file", path)


def private_directory(path: Path) -> None:
    """Makes it, where it is missing, closed to others: what a node keeps is nobody else's. One that
    is there stays as it is: somebody may have named a place that others need. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
