"""Secrets that people give to the command line and get from it: never as an argument, which
everybody on a machine can see."""

import sys
from getpass import getpass
from pathlib import Path

from stationkeep.node.cli.failures import CommandError

MOST_CHARACTERS = 4_096


def given(file: Path | None, prompt: str) -> str:
    """A secret from a file (`-`: standard input), or from a person who types it."""
    try:
        if file is not None and file != Path("-"):
            with file.open() as opened:
                return opened.read(MOST_CHARACTERS).strip()
        if file is None and sys.stdin.isatty():
            return getpass(prompt).strip()
        return sys.stdin.read(MOST_CHARACTERS).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--token-file {file}: {getattr(error, 'strerror', error)}") from error


def keep(out: Path, secret: str) -> None:
    """Writes a secret to a new file that its owner alone can read. Done before the cluster knows
    it: a full disk must not cost a secret that nobody has."""
    try:
        out.touch(mode=0o600, exist_ok=False)
        out.write_text(secret + "\n")
    except OSError as error:
        raise CommandError(f"--out {out}: {error.strerror or error}") from error
