"""The judge of histories, judged."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.checking.linearizability import Operation, Undecided, is_linearizable


def write(value: int, start: float, end: float = math.inf) -> Operation:
    return Operation(0, "r", True, value, start, end)


def read(value: int | None, start: float, end: float) -> Operation:
    return Operation(0, "r", False, value, start, end)


def test_a_read_sees_the_write_before_it() -> None:
    assert is_linearizable([write(1, 0, 1), read(1, 2, 3)], 0)
    assert not is_linearizable([write(1, 0, 1), read(0, 2, 3)], 0)


def test_concurrent_calls_may_go_either_way_but_not_both() -> None:
    assert is_linearizable([write(1, 0, 5), read(0, 1, 2), read(1, 3, 4)], 0)
    assert not is_linearizable([write(1, 0, 5), read(1, 1, 2), read(0, 3, 4)], 0)


def test_an_unknown_outcome_may_come_late_or_never() -> None:
    lost = write(1, 0)
    assert is_linearizable([lost, read(0, 5, 6)], 0)
    assert is_linearizable([lost, read(0, 5, 6), read(1, 7, 8)], 0)
    assert not is_linearizable([lost, read(1, 5, 6), read(0, 7, 8)], 0)


def test_nothing_is_read_that_was_never_written() -> None:
    assert not is_linearizable([read(7, 0, 1)], 0)


def test_it_gives_up_instead_of_searching_for_ever() -> None:
    crowd = [write(n, 0, 1_000) for n in range(40)] + [read(99, 0, 1_000)]
    with pytest.raises(Undecided):
        is_linearizable(crowd, 0)


def dumb(history: list[Operation], initial: int) -> bool:
    """Tries every order."""
    for order in itertools.permutations(history):
        value, fits = initial, True
        for i, op in enumerate(order):
            if any(later.returned < op.invoked for later in order[i + 1 :]):
                fits = False
                break
            if op.write:
                value = op.value
            elif op.value != value:
                fits = False
                break
        if fits:
            return True
    return False


spans = st.tuples(st.integers(0, 6), st.integers(1, 5)).map(lambda s: (s[0], s[0] + s[1] + 0.5))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 2), spans), max_size=5).map(
        lambda calls: [Operation(0, "r", w, v, *span) for w, v, span in calls]
    )
)
def test_it_agrees_with_trying_every_order(history: list[Operation]) -> None:
    assert is_linearizable(history, 0) == dumb(history, 0)
