"""The one lock file out of two resolutions: first what runs, then what only the extras need.

`scripts/up` installs its first part, everybody else all of it (`scripts/environment.sh`).
"""

import sys
from pathlib import Path

HEAD = """\
# What Stationkeep is tested with: exact versions, and the hashes of their files. Written by
# scripts/lock from the ranges in pyproject.toml.
"""
EXTRAS = "# -- extras: only to test, to trace and to draw\n"
"""The line that begins the second part; `environment.sh` knows it too."""


def packages(text: str) -> list[str]:
    """The blocks of a requirements file, one for each package: its pin, and lines of hashes."""
    blocks: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            blocks[-1] += line
        else:
            blocks.append(line)
    return blocks


def name(package: str) -> str:
    return package.partition("==")[0]


def joined(run: str, everything: str) -> str:
    """The lock file: all of `everything`, those packages first that `run` names as well."""
    needed = {name(package) for package in packages(run)}
    first: list[str] = []
    then: list[str] = []
    for package in packages(everything):
        (first if name(package) in needed else then).append(package)
    return "".join((HEAD, *first, EXTRAS, *then))


if __name__ == "__main__":
    run, everything = (Path(path).read_text(encoding="utf-8") for path in sys.argv[1:])
    sys.stdout.write(joined(run, everything))
