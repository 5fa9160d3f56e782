"""What became of all parts of `scripts/test`: every failure again with its reason, and one closing
line.

Of a folder it reads the JUnit file of each part and `failed`, the names of parts that failed, one
a line; of its folder `warnings` the same, which is told and counts for nothing. Exits with 1 when
anything failed.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

REASON_LINES = 12
"""Of the end of a failure: who reads only the end of a long run must see why."""
SAID_LINES = 4
"""Of what an exception says, from its first line: the logs that may follow it are long."""

MOST_CHARACTERS = 500

_IN_A_GROUP = re.compile(r"[ |]+\| [A-Za-z_][\w.]*: ")
"""What an exception says in the traceback of a group of them, where pytest marks nothing."""


class Part(NamedTuple):
    """The tests of one part; `failures`: the id of each → the last lines of what it said."""

    name: str
    tests: int
    skipped: int
    seconds: float
    failures: dict[str, list[str]]


def read(file: Path) -> Part:
    """A part from its JUnit file, which is named after it."""
    tests, skipped, seconds = 0, 0, 0.0
    failures: dict[str, list[str]] = {}
    for suite in ElementTree.parse(file).getroot().iter("testsuite"):
        seconds += float(suite.get("time", 0))
        for case in suite.iter("testcase"):
            tests += 1
            skipped += case.find("skipped") is not None
            for what in (*case.iterfind("failure"), *case.iterfind("error")):
                failures[_id(case)] = _reason(what.text or "")
    return Part(file.stem, tests, skipped, seconds, failures)


def _id(case: ElementTree.Element) -> str:
    """As pytest takes it; a module that could not be imported has a name only."""
    file, name = case.get("file"), case.get("name", "")
    return f"{file}::{name}" if file else f"{case.get('classname') or name}"


def _reason(text: str) -> list[str]:
    """What was said at first, and the end of it all. pytest marks what is said by an E; of a group
    all its exceptions count."""
    lines = text.rstrip().splitlines()
    end = max(len(lines) - REASON_LINES, 0)
    first = next((n for n, line in enumerate(lines) if line.startswith("E ")), None)
    if first is None:
        said = [line for line in lines[:end] if _IN_A_GROUP.match(line)] or lines[:end]
    else:
        said = lines[first:end]
    said = said[:SAID_LINES]
    return [line[:MOST_CHARACTERS] for line in [*said, *lines[end:]]]


def failures(folder: Path, parts: list[Part]) -> list[str]:
    """A text for each test that failed, and for each part that failed without one."""
    lines = [
        "\n    ".join([f"{id_} ({part.name})", *why])
        for part in parts
        for id_, why in part.failures.items()
    ]
    explained = {part.name for part in parts if part.failures}
    noted = folder / "failed"
    failed = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    return lines + [name for name in failed if name not in explained]


def parts(folder: Path) -> list[Part]:
    return [read(file) for file in sorted(folder.glob("*.xml"))]


def verdict(folder: Path) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well."""
    warnings = folder / "warnings"
    warned = failures(warnings, parts(warnings)) if warnings.is_dir() else []
    done = parts(folder)
    failed = failures(folder, done)
    return [
        *(f"WARNING {line}" for line in warned),
        *(f"FAILED {line}" for line in failed),
        closing(done, len(failed), len(warned)),
    ], not failed


def closing(done: list[Part], failed: int, warned: int) -> str:
    """In the manner of pytest."""
    skipped = sum(part.skipped for part in done)
    passed = sum(part.tests - part.skipped - len(part.failures) for part in done)
    counts = {"failed": failed, "passed": passed, "skipped": skipped, "warnings": warned}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    seconds = sum(part.seconds for part in done)
    return f" {said or 'nothing ran'} in {seconds:.2f}s ".center(80, "=")


if __name__ == "__main__":
    lines, well = verdict(Path(sys.argv[1]))
    print("== all in all", *lines, sep="\n")
    sys.exit(not well)
