"""What other tools call it, typed blindly."""

import re

import pytest

from stationkeep.node.cli.habits import HABITS
from stationkeep.node.cli.main import app, tree
from tests.node.cli.canned import CannedNode, Run


def exists(words: str) -> bool:
    here: object = tree(app)
    for word in words.split():
        if not isinstance(here, dict) or word not in here:
            return not isinstance(here, dict)
        here = here[word]
    return not isinstance(here, dict)


def unwrapped(shown: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown).split())


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_is_answered_with_a_command_that_there_is(
    canned: CannedNode, stationkeep: Run, habit: str
) -> None:
    for meant in HABITS[habit].split(", "):
        assert meant == "--help" or exists(meant), meant
    told = stationkeep(*habit.split())
    assert (told.exit_code, canned.requests) == (2, [])
    assert f"stationkeep {HABITS[habit].split(', ')[0]}" in unwrapped(told.output)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("node list", "stationkeep nodes list does that"),
        ("device", "stationkeep devices does that"),
        ("rollouts list", "stationkeep rollout does that"),
        ("tasks ls", "stationkeep tasks list does that"),
        ("devices delete x", "stationkeep devices remove does that"),
        ("failovr", "no such command: 'failovr'; did you mean failover?"),
        ("nodes lst", "no such command: 'lst'; did you mean list?"),
        ("xyzzy", "no such command: 'xyzzy'"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(stationkeep: Run, typed: str, said: str) -> None:
    told = stationkeep(*typed.split())
    assert (told.exit_code, said in unwrapped(told.output)) == (2, True), told.output


def test_an_option_that_there_is_not_is_named(stationkeep: Run) -> None:
    assert "--nonsense" in stationkeep("nodes", "--nonsense").output
