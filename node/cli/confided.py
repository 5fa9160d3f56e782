"""Secrets that people give to the command line and get from it: never as an argument, which
everybody on a machine can see."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from getpass import getpass
from pathlib import Path

from stationkeep.node.cli.failures import CommandError, OutcomeUnknownError
from stationkeep.node.system.operator_files import regular

MOST_CHARACTERS = 4_096


def given(file: Path | None, prompt: str) -> str:
    """A secret from a file (`-`: standard input), or from a person who types it."""
    try:
        if file is not None and file != Path("-"):
            return _read(file).decode("utf-8-sig").strip()
        if file is None and sys.stdin.isatty():
            return getpass(prompt).strip()
        return sys.stdin.read(MOST_CHARACTERS).strip()
    except UnicodeDecodeError as error:
        raise CommandError(f"--token-file {file}: is not text") from error
    except OSError as error:
        raise CommandError(f"--token-file {file}: {error.strerror or error}") from error


def _read(file: Path) -> bytes:
    """A pipe, too: shells give one for `<(pass show fleet)`."""
    with file.open("rb") as opened:
        content = opened.read(MOST_CHARACTERS + 1)
    if len(content) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, f"has more than {MOST_CHARACTERS:,} bytes")
    return content


@contextlib.contextmanager
def kept(out: Path | None, secret: str) -> Iterator[None]:
    """Writes a secret to a new file that its owner alone can read, before the cluster is told of it
    in the block: a full disk must not cost a secret that nobody has. The file goes when the cluster
    will not have it, and stays when nobody knows."""
    if out is None:
        yield
        return
    _write(out, secret)
    try:
        yield
    except OutcomeUnknownError:
        raise
    except CommandError:
        out.unlink(missing_ok=True)
        raise


def _write(out: Path, secret: str) -> None:
    try:
        with open(out, "x", encoding="ascii", opener=regular) as file:
            try:
                os.fchmod(file.fileno(), 0o600)
                file.write(secret + "\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                out.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise CommandError(f"--out {out}: {error.strerror or error}") from error
