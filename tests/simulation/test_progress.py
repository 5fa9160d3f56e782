"""What must go on while a fault lasts: one member hears nobody, and all the others are well."""

import pytest

from stationkeep.node.health.ability import Yardstick
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet
from stationkeep.node.simulation.checks.progress import bound

INBOUND = Plan(faults=("inbound",), duration=60.0, load=0.0)
SEEDS = range(4)


def played(seed: int):
    """The world of one seed, and what came of it."""
    with quiet():
        world, outcome = attempt(INBOUND.scenario(seed))
    assert world is not None
    return world, outcome


def test_a_primary_that_hears_nobody_is_replaced_while_the_cut_stands() -> None:
    longest = 0.0
    for seed in SEEDS:
        world, outcome = played(seed)
        assert outcome.ok, (seed, outcome.rule, outcome.detail)
        longest = max(longest, world.progress.demanded)
        assert world.progress.demanded < bound(world.scenario.settings)
    assert longest > 2.0, "there was something to wait for"


def test_without_the_rule_the_seat_stays_idle_and_that_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Yardstick, "behind", lambda *_: 0)
    monkeypatch.setattr(Yardstick, "is_idle", lambda *_: False)
    assert any(played(seed)[1].rule == "progress while one is deaf" for seed in SEEDS)
