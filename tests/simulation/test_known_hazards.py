"""The harness bites: with one guard off, the hazard that it keeps off is found again."""

import pytest

from stationkeep.node.raft.engine.guards import Guards
from stationkeep.node.simulation.campaigns.campaign import run
from stationkeep.node.simulation.campaigns.hazards import HAZARDS, Hazard, search

LIMIT = 12


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.guard)
def test_without_its_guard_it_strikes(hazard: Hazard) -> None:
    found = search(hazard, LIMIT, hazard.seed or 0)
    assert found is not None, f"{hazard.what}: not found in {LIMIT} runs"


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.guard)
def test_with_its_guard_it_does_not(hazard: Hazard) -> None:
    for seed in range(2):
        outcome = run(hazard.plan, seed)
        assert not hazard.struck(outcome), f"seed {seed}: {outcome.rule}: {outcome.detail}"


def test_every_guard_has_its_hazard() -> None:
    searched = {hazard.guard for hazard in HAZARDS} - {"s10"}
    assert searched == set(Guards.__struct_fields__)
