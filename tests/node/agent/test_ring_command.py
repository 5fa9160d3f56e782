"""A program run at each change of ring."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from stationkeep.node.agent.link import Ringed
from stationkeep.node.agent.ring_command import RingCommand

TELL = """
import json, os, sys
seen = {n: v for n, v in os.environ.items() if n.startswith("STATIONKEEP_")}
open(sys.argv[1], "w").write(json.dumps([sys.argv[2:], seen]))
"""


def news(ring: str = "stage", reason: str = "recovered") -> Ringed:
    return Ringed(ring, "dev", reason, "2026-01-01T00:00:00Z")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("STATIONKEEP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "tell.py"
    file.write_text(TELL)
    return file


async def test_the_program_is_told_everything(program: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    await RingCommand(f"{sys.executable} {program} {out} 'two words'", "phone-1")(news())
    arguments, seen = json.loads(out.read_text())
    assert arguments == ["two words"]
    assert seen == {
        "STATIONKEEP_DEVICE": "phone-1",
        "STATIONKEEP_RING": "stage",
        "STATIONKEEP_PREVIOUS_RING": "dev",
        "STATIONKEEP_RING_REASON": "recovered",
        "STATIONKEEP_RING_SINCE": "2026-01-01T00:00:00Z",
    }


async def test_no_shell_reads_what_a_cluster_says(program: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    line = f"{sys.executable} {program} {out} $HOME ;touch {tmp_path}/made"
    await RingCommand(line, "phone-1")(news(reason="$(touch made); `touch made`"))
    arguments, seen = json.loads(out.read_text())
    assert arguments == ["$HOME", ";touch", f"{tmp_path}/made"]
    assert seen["STATIONKEEP_RING_REASON"] == "$(touch made); `touch made`"
    assert not (tmp_path / "made").exists()


async def test_a_program_that_fails_or_hangs_ends_and_the_agent_goes_on() -> None:
    failed = await RingCommand("false", "phone-1")(news())
    assert (failed.ok, failed.detail) == (False, "exit status 1")
    async with asyncio.timeout(5):
        late = await RingCommand("sleep 60", "phone-1", timeout=0.1)(news())
    assert late.detail == "timed out after 0.1 s"


@pytest.mark.parametrize("line", ["", "no-such-program --x", "sh -c 'unclosed"])
def test_a_line_that_names_no_program_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="refused: "):
        RingCommand(line, "phone-1")
