"""What became of all parts of `scripts/test`: every failure again with its reason, and one closing
line.

Of a folder it reads the JUnit file of each part and `failed`, the names of parts that failed, one
a line; of its folder `warnings` the same, which is told and counts for nothing; of its folder
`again` what became of failed tests that ran once more. Those that passed are unsteady: they are
told with their reason, and are no failure. Exits with 1 when anything failed.

With `--again FILE` it prints the tests of one part that may run again, an id a line; it exits with
1 if there are none: many that fail at once are no accident.
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

MOST_AGAIN = 3
"""Failed tests of a part that are run again."""

_IN_A_GROUP = re.compile(r"[ |]+\| [A-Za-z_][\w.]*: ")
"""What an exception says in the traceback of a group of them, where pytest marks nothing."""


class Part(NamedTuple):
    """The tests of one part; `failures`: the id of each → the last lines of what it said;
    `unsteady`: the same of those that failed, and passed when they ran again."""

    name: str
    tests: int
    skipped: int
    seconds: float
    failures: dict[str, list[str]]
    unsteady: dict[str, list[str]]


def read(file: Path) -> Part:
    """A part from its JUnit file, which is named after it."""
    root = ElementTree.parse(file).getroot()
    cases = list(root.iter("testcase"))
    return Part(
        file.stem,
        tests=len(cases),
        skipped=sum(case.find("skipped") is not None for case in cases),
        seconds=sum(float(suite.get("time", 0)) for suite in root.iter("testsuite")),
        failures={
            _id(case): _reason(what.text or "")
            for case in cases
            for what in (*case.iterfind("failure"), *case.iterfind("error"))
        },
        unsteady={},
    )


def _passed(file: Path) -> set[str]:
    """Ids of the tests of a JUnit file that passed."""
    cases = ElementTree.parse(file).getroot().iter("testcase")
    return {
        _id(case)
        for case in cases
        if not any(case.find(word) is not None for word in ("failure", "error", "skipped"))
    }


def _id(case: ElementTree.Element) -> str:
    """As pytest takes it; a module that could not be imported has a name only. xdist puts @ and the
    name of a test's group behind it."""
    file, name = case.get("file"), re.sub(r"@[\w.-]+$", "", case.get("name", ""))
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
    lines = [_told(id_, part, why) for part in parts for id_, why in part.failures.items()]
    explained = {part.name for part in parts if part.failures}
    noted = folder / "failed"
    failed = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    return lines + [name for name in failed if name not in explained]


def parts(folder: Path) -> list[Part]:
    return [
        _settled(read(file), folder / "again" / file.name) for file in sorted(folder.glob("*.xml"))
    ]


def _told(id_: str, part: Part, why: list[str]) -> str:
    return "\n    ".join([f"{id_} ({part.name})", *why])


def _settled(part: Part, again: Path) -> Part:
    """With what a second run, if there was one, made of its failures."""
    if not again.exists():
        return part
    passed = _passed(again)
    unsteady = {id_: why for id_, why in part.failures.items() if id_ in passed}
    failures = {id_: why for id_, why in part.failures.items() if id_ not in passed}
    return part._replace(failures=failures, unsteady=unsteady)


def verdict(folder: Path) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well."""
    warnings = folder / "warnings"
    warned = failures(warnings, parts(warnings)) if warnings.is_dir() else []
    done = parts(folder)
    failed = failures(folder, done)
    unsteady = [_told(id_, part, why) for part in done for id_, why in part.unsteady.items()]
    return [
        *(f"WARNING {line}" for line in warned),
        *(f"UNSTEADY {line}" for line in unsteady),
        *(f"FAILED {line}" for line in failed),
        closing(done, len(failed), len(warned)),
    ], not failed


def closing(done: list[Part], failed: int, warned: int) -> str:
    """In the manner of pytest."""
    skipped = sum(part.skipped for part in done)
    unsteady = sum(len(part.unsteady) for part in done)
    passed = sum(part.tests - part.skipped - len(part.failures) for part in done) - unsteady
    counts = {
        "failed": failed, "unsteady": unsteady, "passed": passed, "skipped": skipped,
        "warnings": warned,
    }  # fmt: skip
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    seconds = sum(part.seconds for part in done)
    return f" {said or 'nothing ran'} in {seconds:.2f}s ".center(80, "=")


def again(file: Path) -> list[str]:
    """Ids of the failed tests of this JUnit file, if they may run again."""
    failed = list(read(file).failures) if file.exists() else []
    return failed if len(failed) <= MOST_AGAIN else []


if __name__ == "__main__":
    if sys.argv[1] == "--again":
        ids = again(Path(sys.argv[2]))
        print(*ids, sep="\n")
        sys.exit(not ids)
    lines, well = verdict(Path(sys.argv[1]))
    print("== all in all", *lines, sep="\n")
    sys.exit(not well)
