"""Transcripts: golden ones replay word for word, foreign ones are refused with the reason.

To accept a wanted change of behaviour: STATIONKEEP_REWRITE=1, and read the difference.
"""

import os
from pathlib import Path

import pytest

from stationkeep.node.simulation.campaigns import transcript
from stationkeep.node.simulation.campaigns.campaign import Plan
from stationkeep.node.simulation.campaigns.transcript import BadTranscript

GOLDEN = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_golden_transcript_replays(file: Path) -> None:
    before = transcript.read(file)
    after = transcript.record(before.scenario)
    if os.environ.get("STATIONKEEP_REWRITE"):
        file.write_text(after.text(), encoding="utf-8")
    assert transcript.difference(before, after) == ""


def test_there_are_golden_transcripts() -> None:
    ends = {transcript.read(file).end for file in GOLDEN}
    assert transcript.NOTHING in ends
    assert any("committed" in end for end in ends), "and one of a violation, its guard off"


def test_text_and_transcript_are_the_same() -> None:
    before = transcript.record(Plan(faults=("crash", "slowdisk"), duration=8.0).scenario(3))
    assert transcript.parse(before.text()) == before


GOOD = transcript.record(Plan(faults=("none",), duration=1.0, load=0).scenario(1)).text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with"),
        ("hello\n", "does not begin with"),
        (GOOD.replace("transcript 1", "transcript 7", 1), "version 7; this release replays"),
        (GOOD.replace("nodes", "knots"), "line 3: .*nothing known"),
        (GOOD.replace("seed 1\n", ""), "seed not given"),
        (GOOD.replace("seed 1\n", "seed x\n"), "a number was expected"),
        (GOOD.replace("# what was done", "T+1 explode"), "no such verb"),
        (GOOD.replace("# what was done", "T+1 crash sat-009 power"), "not a node"),
        (GOOD.replace("# what was done", "T+1 crash sat-001 gently"), "not one of"),
        (GOOD.replace("# what was done", "T+1 pause sat-001 long"), "not a number"),
        (GOOD.replace("# what was done", "T+soon transfer"), "not a time"),
        (GOOD.replace("# what was done", "T+1"), "nothing to do"),
        (GOOD.replace("duration 1", "duration -1"), "more than 0"),
        (GOOD.replace("\nnodes ", "\nnodes 9"), "between 3 and"),
        (GOOD.replace("guards-off -", "guards-off s99"), "guard: 's99' refused"),
    ],
)
def test_what_is_no_transcript_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadTranscript, match=reason):
        transcript.parse(text)


def test_a_difference_names_the_line() -> None:
    one = transcript.parse(GOOD)
    other = transcript.parse(GOOD.replace("| T+0.000 sat-001 starts", "| T+0.000 sat-001 sleeps"))
    assert "line 1 of what was seen" in transcript.difference(one, other)
