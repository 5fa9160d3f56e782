"""Collects tests twice, in processes that hash and draw anew, and tells which names differ.

    scripts/collect_twice.py [pytest arguments]

Workers that do not find the same tests in the same order run none of a whole part of `scripts/test`
(pytest-xdist). So nothing that is drawn while a module is imported, and no order of a set, may get
into the ids of tests. Exits with 1 when it does, or when tests cannot be collected.
"""

import os
import subprocess
import sys
from difflib import unified_diff

SEEDS = ("1", "2")
"""PYTHONHASHSEED of each: with 0, or the same, sets of strings have one order."""
MOST_LINES = 20
"""Of what is told: one bad parameter may be in the names of many tests."""


def main(arguments: list[str]) -> str | None:
    """What is wrong, to be printed."""
    collections = [_collect(seed, arguments) for seed in SEEDS]
    outputs = [collection.communicate()[0].splitlines() for collection in collections]
    for collection, lines in zip(collections, outputs, strict=True):
        if collection.returncode:
            return "\n".join(lines[-MOST_LINES:])
    once, again = ([line for line in lines if "::" in line] for lines in outputs)
    if once == again:
        return None
    differ = list(unified_diff(once, again, "once", "again", n=0, lineterm=""))
    return "\n".join(["Two processes find other tests, or in another order:", *differ[:MOST_LINES]])


def _collect(seed: str, arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [*command, *arguments],
        env=os.environ | {"PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
