"""A process that ends in the middle of what it writes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stationkeep.node.security import certificates as made


class Killed(BaseException):
    """Stands for the end of the process."""


@contextlib.contextmanager
def killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process ends when it is about to write once more."""
    left, write = [writes], made.write

    def counted(path: Path, content: bytes, mode: int) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        write(path, content, mode)

    with monkeypatch.context() as patched:
        patched.setattr(made, "write", counted)
        with pytest.raises(Killed):
            yield
