"""What the dry run says that a gate can see is what simulated stages show."""

import numpy as np
import pytest

from stationkeep.cluster.odds.gates import Judged, Power, powers
from stationkeep.cluster.rollouts.gates import Gates

MEASURED = [
    (3, 9, 1.0, 0.74), (10, 40, 0.3, 0.48), (20, 80, 0.3, 0.84), (20, 80, 0.15, 0.42),
    (50, 200, 0.2, 0.95), (50, 200, 0.1, 0.55), (50, 200, 0.05, 0.21), (100, 400, 0.1, 0.84),
    (200, 800, 0.05, 0.64), (400, 1_600, 0.05, 0.92),
]  # fmt: skip
"""Members, others, share made ill, and how many of 1,000 rollouts `scripts/bench gates` saw
stopped: node/guide/measurements.md."""


DEFAULT = Gates()


def stage(members: int, twins: int, looks: int = 6, gates: Gates = DEFAULT) -> Judged:
    """Ten a look."""
    return Judged(members, twins, looks, 3, np.arange(min(members, 400)) // 10, gates)


def by_share(found: Judged) -> dict[float, Power]:
    return {power.ill: power for power in powers(found)}


@pytest.mark.parametrize(("members", "twins", "ill", "seen"), MEASURED)
def test_it_agrees_with_the_simulation_device_by_device(
    members: int, twins: int, ill: float, *, seen: float
) -> None:
    assert abs(by_share(stage(members, twins))[ill].stopped - seen) <= 0.12


def test_it_says_the_same_every_time() -> None:
    assert by_share(stage(50, 200)) == by_share(stage(50, 200))


def test_more_devices_and_more_harm_are_seen_more_often() -> None:
    few, many = by_share(stage(50, 200)), by_share(stage(200, 800))
    assert few[0.2].stopped > few[0.1].stopped > few[0.05].stopped
    assert all(many[ill].stopped >= few[ill].stopped for ill in few)


def test_without_twins_nothing_is_proven_and_only_the_limit_judges() -> None:
    alone = by_share(stage(60, 0))
    assert all(power.stopped == 0 for power in alone.values())
    assert alone[0.2].doubted > 0.4 > alone[0.05].doubted


def test_a_few_twins_are_better_than_none() -> None:
    assert by_share(stage(60, 20))[0.2].stopped > 0.1


def test_more_confidence_stops_less() -> None:
    sure = by_share(stage(50, 200, gates=Gates(confidence=999_000)))
    assert sure[0.1].stopped < by_share(stage(50, 200))[0.1].stopped


def test_a_stage_of_nobody_sees_nothing() -> None:
    assert not by_share(stage(0, 100))


def test_a_stage_that_lasts_a_month_is_simulated_too() -> None:
    assert by_share(stage(50, 200, looks=300_000))[0.2].stopped > 0.8
