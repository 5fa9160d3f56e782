"""Prints the lowest version of each package that pyproject.toml allows, as constraints for pip.

`scripts/test --oldest` installs these: a lower bound that nobody ever installed is a guess.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

_BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:>=|==)(?P<version>[0-9.]+)")


def requirements() -> list[str]:
    """All that is declared: to run, and for every extra; not the extras that extras repeat."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    declared = [*project["dependencies"], *extras]
    return [line for line in declared if not line.startswith(f"{project['name']}[")]


def constraints() -> Iterator[str]:
    """`name==lowest` of each; raises ValueError for a requirement without a lower bound."""
    for requirement in requirements():
        match = _BOUND.match(requirement)
        if match is None:
            raise ValueError(f"{requirement!r} names no lowest version (>=)")
        yield f"{match['name']}=={match['version']}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in constraints())
