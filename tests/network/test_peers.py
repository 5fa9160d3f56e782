"""The figures that scripts/bench makes of other systems."""

import pytest

from scripts.loss_peers import tally

A, B, NOBODY = {"a"}, {"b"}, set[str]()


def test_a_gap_lasts_from_the_first_look_in_vain_to_the_next_that_finds_somebody() -> None:
    found = tally([(0.0, A), (1.0, NOBODY), (1.2, NOBODY), (3.0, B), (9.0, B)])
    assert (found["primary_changes"], found["longest_gap"]) == (1, 2.0)
    assert found["without_primary"] == 2.0


def test_a_slow_look_that_finds_somebody_is_no_gap() -> None:
    assert tally([(0.0, A), (4.0, A)])["without_primary"] == 0


def test_two_at_once_are_seconds_and_no_change_of_their_own() -> None:
    found = tally([(0.0, A), (1.0, A | B), (1.5, A | B), (2.0, A), (3.0, A)])
    assert found["two_s"] == pytest.approx(1.0)
    assert found["primary_changes"] == 0
