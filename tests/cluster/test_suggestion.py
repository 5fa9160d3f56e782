"""What a name that nobody has was probably meant to be."""

import random
import time

import pytest

from stationkeep.cluster.suggestion import MOST_KNOWN, MOST_SHOWN, suggestion, unknown

NODES = [f"sat-{number:03d}" for number in range(1, 100)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sat-01", "sat-001"), ("sta-042", "sat-042"), ("sat042", "sat-042"),
     ("sat-0077", "sat-077")],
)  # fmt: skip
def test_what_was_probably_meant_is_named(name: str, meant: str) -> None:
    known = [node for node in NODES if node == meant or "7" not in node]
    assert unknown("node", name, known) == f"no such node: {name!r}; did you mean {meant}?"


def test_where_nothing_is_near_nothing_is_named() -> None:
    assert unknown("node", "earth", NODES) == "no such node: 'earth'"
    assert suggestion("", []) == suggestion("x", [""]) == ""


def test_the_order_of_what_is_known_says_nothing() -> None:
    shuffled = random.Random(1).sample(NODES, len(NODES))
    assert suggestion("sat-01", shuffled) == suggestion("sat-01", NODES)


def test_a_name_without_end_is_cut() -> None:
    assert len(unknown("node", "x" * 100_000, NODES)) < MOST_SHOWN + 100


def test_names_alike_to_the_letter_do_not_hold_up_a_replica() -> None:
    """Comparing all of them took 0.6 s, of an order that was refused."""
    draw = random.Random(1)
    known = ["".join(draw.choices("ab", k=64)) for _ in range(MOST_KNOWN)]
    began = time.process_time()
    unknown("rollout", "ab" * 32, known)
    assert time.process_time() - began < 0.1
