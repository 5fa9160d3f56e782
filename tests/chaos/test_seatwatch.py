"""What a watch makes of the answers that it got."""

import pytest

from stationkeep.node.chaos.seatwatch import Answer, SeatWatch


def watch(*answers: tuple[str, int, float], until: float, leaders: dict[int, str]) -> SeatWatch:
    """One that began at 0 s; each answer took 10 ms."""
    made = SeatWatch({})
    made.answers = [Answer(node, epoch, at, at + 0.01) for node, epoch, at in answers]
    made.leaders = leaders
    made.ended = until
    return made


def test_a_reign_without_a_gap_is_all_zeros() -> None:
    steady = [("sat-001", 3, 0.1 * n) for n in range(50)]
    tally = watch(*steady, until=5.0, leaders={7: "sat-002"}).tally()
    assert (tally.seconds, tally.primary_changes, tally.leader_changes, tally.terms) == (5, 0, 0, 0)
    assert (tally.without_primary, tally.longest_gap, tally.two_primaries) == (0, 0, 0)


def test_gaps_count_from_the_beginning_to_the_end() -> None:
    late = watch(("sat-001", 1, 2.0), ("sat-001", 1, 5.0), until=6.0, leaders={})
    assert late.gaps() == [(0.0, 2.0), (2.01, 5.0), (5.01, 6.0)]
    assert late.tally().without_primary == pytest.approx(2.0 + 2.99 + 0.99)
    assert late.tally().longest_gap == pytest.approx(2.99)


def test_nobody_at_all_is_one_gap() -> None:
    tally = watch(until=9.0, leaders={}).tally()
    assert (tally.without_primary, tally.longest_gap, tally.primary_changes) == (9.0, 9.0, 0)


def test_a_new_epoch_is_a_change_even_of_the_same_node() -> None:
    reigns = watch(("a", 1, 0.0), ("b", 2, 0.1), ("b", 3, 0.2), until=0.3, leaders={})
    assert reigns.tally().primary_changes == 2


def test_terms_that_elected_nobody_count_as_terms_only() -> None:
    tally = watch(until=0.1, leaders={4: "a", 9: "b"}).tally()
    assert (tally.leader_changes, tally.terms) == (1, 5)


def test_two_holders_of_one_epoch_are_two_primaries() -> None:
    assert watch(("a", 1, 0.0), ("b", 1, 0.1), until=0.2, leaders={}).tally().two_primaries == 1
