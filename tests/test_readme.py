"""The README says what the code does: its diagram is the table, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.roles.transitions import mermaid

README = (Path(__file__).parent.parent / "README.md").read_text()


def section(name: str) -> str:
    """What stands between `<!-- name… -->` and `<!-- /name -->`."""
    found = re.search(rf"<!-- {name}[^>]*-->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found is not None, f"README.md has no section {name}"
    return found[1]


def test_the_diagram_is_the_transition_table() -> None:
    """On a mismatch: `python -c "from cluster.roles.transitions import *; print(mermaid())"`."""
    assert section("transitions") == f"```mermaid\n{mermaid()}\n```\n"


COMMANDS = sorted(set(re.findall(r"^stationkeep ([a-z]+)|`stationkeep ([a-z]+)", README, re.M)))


@pytest.mark.parametrize("command", [a or b for a, b in COMMANDS])
def test_every_command_named_exists(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "node", command, "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout
