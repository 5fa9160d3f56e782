"""Every command about the fleet that the guide and the README name can be given as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from tests.node.cli.canned import CLOSED, DEVICES, READS, CannedNode, Run

ROOT = Path(__file__).parents[3]
PAGES = ("node/guide/fleet.md", "node/guide/deployments.md", "README.md")
FLEET = "\n".join((ROOT / page).read_text() for page in PAGES).replace("\\\n", "")
GROUPS = ("devices", "rings", "tasks", "config", "status")
ELSEWHERE = ("devices simulate", "config validate")


def documented() -> list[str]:
    """Command lines of the documents, without `stationkeep` and without comments."""
    lines = re.findall(r"^(?:\$ )?stationkeep (.+?)(?:  +#.*)?$", FLEET, re.MULTILINE)
    lines += re.findall(r"`stationkeep (.+?)`", FLEET)
    ours = (line for line in lines if line.split()[0] in GROUPS)
    return sorted({line for line in ours if not line.startswith(ELSEWHERE)})


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_is_understood(
    canned: CannedNode, stationkeep: Run, line: str
) -> None:
    for device in ("device-003", "ID"):
        canned.reads[f"/v1/devices/{device}"] = DEVICES[0]
        for what in ("history", "tasks", "explain"):
            answer = READS[f"/v1/devices/slave-001/{what}"]
            canned.reads[f"/v1/devices/{device}/{what}"] = answer
    for number in (1, 17):
        canned.reads[f"/v1/deployments/{number}"] = CLOSED
        canned.reads[f"/v1/deployments/{number}/tasks"] = READS["/v1/deployments/17/tasks"]
    result = stationkeep(*shlex.split(line))
    assert result.exit_code == 0, result.output


def test_commands_are_found() -> None:
    assert len(documented()) > 25
