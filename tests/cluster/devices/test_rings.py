"""Quotas by largest remainder, and where a device goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.devices.rings import RINGS, fill, furthest_below, mask_of, quotas

weights = st.tuples(*[st.integers(0, 60)] * 4).filter(any)
rooms = st.tuples(*[st.none() | st.integers(0, 300)] * 4)
four = st.tuples(*[st.integers(0, 40)] * 4)


def test_the_rings_are_four_in_the_order_of_a_rollout() -> None:
    assert [ring.value for ring in RINGS] == ["canary", "dev", "stage", "prod"]
    assert [ring.code for ring in RINGS] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("total", "shares", "quota"),
    [
        (0, (1, 1, 1, 1), (0, 0, 0, 0)),
        (8, (1, 1, 1, 1), (2, 2, 2, 2)),
        (9, (1, 1, 1, 1), (3, 2, 2, 2)),
        (100, (5, 10, 25, 60), (5, 10, 25, 60)),
        (10, (5, 10, 25, 60), (1, 1, 2, 6)),
        (7, (0, 0, 0, 3), (0, 0, 0, 7)),
    ],
)
def test_quotas_by_largest_remainder(
    total: int, shares: tuple[int, ...], quota: tuple[int, ...]
) -> None:
    assert quotas(total, shares) == quota


def test_what_a_capped_ring_cannot_take_is_spread_over_the_others() -> None:
    assert quotas(100, (1, 1, 1, 1), (5, None, None, None)) == (5, 32, 32, 31)


def test_caps_yield_where_every_ring_is_full() -> None:
    assert quotas(100, (1, 1, 1, 1), (5, 5, 5, 5)) == (25, 25, 25, 25)


@given(st.integers(0, 2_000), weights, rooms)
def test_quotas_place_everybody_and_keep_caps_while_there_is_room(
    total: int, shares: tuple[int, ...], room: tuple[int | None, ...]
) -> None:
    quota = quotas(total, shares, room)
    assert sum(quota) == total
    assert all(count == 0 for count, weight in zip(quota, shares, strict=True) if not weight)
    open_rooms = [room[ring] for ring in range(4) if shares[ring]]
    if None in open_rooms or sum(filter(None, open_rooms)) >= total:
        assert all(most is None or count <= most for count, most in zip(quota, room, strict=True))


@given(st.integers(0, 500), weights)
def test_without_caps_no_quota_is_a_whole_device_off_its_share(
    total: int, shares: tuple[int, ...]
) -> None:
    for count, weight in zip(quotas(total, shares), shares, strict=True):
        assert abs(count - total * weight / sum(shares)) < 1


def test_a_device_goes_to_the_ring_furthest_below_its_quota() -> None:
    assert furthest_below((0, 2, -1, 1), 0b1111, lot=0) == 1
    assert furthest_below((0, 2, -1, 1), 0b1101, lot=0) == 3


def test_equals_are_told_apart_by_the_lot() -> None:
    choices = [furthest_below((2, 2, 2, 2), 0b1111, lot) for lot in range(8)]
    assert choices == [0, 1, 2, 3, 0, 1, 2, 3]


@given(st.integers(0, 60), four, four, st.integers(1, 15))
def test_filling_at_once_is_filling_one_by_one(
    count: int, counts: tuple[int, ...], quota: tuple[int, ...], mask: int
) -> None:
    at_once, one_by_one = fill(count, counts, quota, mask), list(counts)
    for _ in range(count):
        lacking = [most - has for most, has in zip(quota, one_by_one, strict=True)]
        one_by_one[furthest_below(lacking, mask, lot=0)] += 1
    assert sum(at_once) == count
    levels = [counts[n] + at_once[n] - quota[n] for n in range(4) if mask >> n & 1]
    assert sorted(levels) == sorted(one_by_one[n] - quota[n] for n in range(4) if mask >> n & 1)
    assert all(at_once[n] == 0 for n in range(4) if not mask >> n & 1)


def test_a_mask_is_its_rings() -> None:
    assert mask_of((RINGS[0], RINGS[3], RINGS[0])) == 0b1001
