"""Plays every transcript beside this file; STATIONKEEP_REWRITE=1 writes the actual output."""

import os
import re
from pathlib import Path

import pytest

from tests.scenarios.transcript import ScenarioError, check, replay

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    expected, actual = check(path, rewrite=os.environ.get("STATIONKEEP_REWRITE") == "1")
    assert actual.splitlines() == expected.splitlines()


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 15


def test_a_transcript_that_lies_is_noticed() -> None:
    truth = replay("begin orbit 2\n")
    assert replay(truth) == truth
    assert replay(truth.replace("STANDBY", "PRIMARY")) == truth


@pytest.mark.parametrize("block", ["dance", "T+x time", "begin moon 3", "eve dance", "a\nb"])
def test_a_block_that_cannot_be_played_is_named(block: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(block.split(maxsplit=1)[0])):
        replay(block)
