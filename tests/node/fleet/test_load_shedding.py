"""Which nodes let devices go, and that it comes to an end."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.node.fleet.load_shedding import to_send_away


@pytest.mark.parametrize(
    ("connected", "online", "alive", "go"),
    [
        (12, 12, 1, 0),  # nowhere else
        (0, 0, 0, 0),
        (7, 12, 5, 1),  # the others were not up yet
        (5, 12, 5, 0),
        (2_500, 10_000, 5, 0),  # one of five had died
        (3_334, 10_000, 5, 67),  # two had
        (3_334, 10_000, 3, 0),  # two are dead
        (10_000, 10_000, 3, 200),
        (3_002, 10_000, 5, 1),  # no more than are too many
        (500, 0, 3, 10),  # they have registered only now
    ],
)
def test_only_far_more_than_a_share_is_too_much(
    connected: int, online: int, alive: int, go: int
) -> None:
    assert to_send_away(connected, online, alive) == go


@given(st.integers(2, 9), st.integers(0, 400), st.integers(0, 2**32))
def test_it_ends_however_devices_choose(nodes: int, devices: int, seed: int) -> None:
    """All are with one node; whoever is let go chooses at random among all."""
    draw = random.Random(seed)
    served = [devices] + [0] * (nodes - 1)
    for _ in range(3_000):
        going = [to_send_away(count, devices, nodes) for count in served]
        if not any(going):
            break
        for node, count in enumerate(going):
            served[node] -= count
            for _ in range(count):
                served[draw.randrange(nodes)] += 1
    assert not any(to_send_away(count, devices, nodes) for count in served)
    assert sum(served) == devices
