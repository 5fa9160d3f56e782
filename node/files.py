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
    """Makes it, where it is missing, and closes it to others: what a node keeps is nobody
    else's. Raises OSError; a directory of another user is taken as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
