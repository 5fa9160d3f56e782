"""A bounded slice of `scripts/simulate`: every profile alone, and mixtures of them."""

import gc
import weakref

import pytest
from msgspec.structs import replace

from stationkeep.node.simulation.actions import perform
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet, run, run_all
from stationkeep.node.simulation.faults import profiles as faults
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

MIXED = 100
KNOWN = 3
"""With clocks that drift wildly, a seed with two PRIMARYs."""
ALONE = 2


def describe(outcome) -> str:
    return (
        f"seed {outcome.seed}, {outcome.nodes} nodes, {','.join(outcome.faults)}: "
        f"{outcome.rule} at {outcome.at:.3f} s: {outcome.detail}; "
        f"scripts/simulate --seeds 1 --from {outcome.seed} --faults {','.join(outcome.faults)}"
    )


@pytest.mark.parametrize("name", sorted(faults.PROFILES))
def test_each_profile_alone_breaks_nothing(name: str) -> None:
    for seed in range(ALONE):
        outcome = run(Plan(faults=(name,)), seed)
        assert outcome.ok, describe(outcome)


@pytest.mark.parametrize("batch", range(0, MIXED, 10))
def test_mixtures_break_nothing(batch: int) -> None:
    for seed in range(batch, batch + 10):
        outcome = run(Plan(), seed)
        assert outcome.ok, describe(outcome)
        assert outcome.undecided == 0, "the histories of clients are decided"


def test_the_orbit_profile_in_an_hour_of_everything() -> None:
    plan = Plan(faults=("crash", "lossy", "partition"), profile="orbit", duration=3_600, gap=300)
    outcome = run(plan, 5)
    assert outcome.ok, describe(outcome)
    assert outcome.elections > 1, "it was not an idle hour"


def test_messages_that_reorder_and_double_do_no_harm_with_keys() -> None:
    for seed in range(4):
        outcome = run(Plan(faults=("datagram",)), seed)
        assert outcome.ok, describe(outcome)


def test_clocks_beyond_the_margin_of_leases_are_noticed() -> None:
    """5 % between two clocks is what leases allow; 45 % must show two PRIMARYs before long."""
    plan = Plan(faults=("wilddrift", "pause", "partition", "unhealthy"), nodes=3)
    seeds = range(KNOWN, KNOWN + 150)  # a search when the known seed has moved
    assert any(run(plan, seed).rule == "never two effective PRIMARYs" for seed in seeds)


def test_one_seed_is_one_run() -> None:
    scenario = Plan(faults=("crash", "lossy", "partition")).scenario(11)
    with quiet():
        worlds = [attempt(scenario)[0] for _ in range(2)]
    assert worlds[0].notes == worlds[1].notes
    assert worlds[0].agenda.events == worlds[1].agenda.events


def test_a_run_that_is_over_is_forgotten() -> None:
    """A campaign of thousands needs no more memory than a short one. What a process left
    unanswered as it died does not keep its world."""
    with quiet():
        world = World(Scenario(seed=1, nodes=3))
        world.run(1.0)
        perform(world, Action(1.0, "write", ("sat-001", "sat-001", "101")))
        perform(world, Action(1.0, "crash", ("sat-001", "process")))
    over = weakref.ref(world)
    del world
    gc.collect()
    assert over() is None


def test_every_seed_of_a_campaign_is_run_once_on_several_processes() -> None:
    seeds = range(30)
    outcomes = list(run_all(Plan(faults=("none",), duration=0.1, nodes=3), seeds, jobs=2))
    assert sorted(outcome.seed for outcome in outcomes) == list(seeds)


def test_a_power_cut_with_durability_os_loses_what_was_acknowledged() -> None:
    """What the warning at the start of such a node says; a process that dies loses nothing."""
    plan = Plan(faults=("unsynced",))
    assert any("committed" in run(plan, seed).detail for seed in range(4))
    script = Plan(faults=("crash",), duration=15.0).scenario(2)
    os_mode = tuple(Action(0.0, "durability", (name, "os")) for name in script.names)
    died = tuple(
        replace(action, words=(action.words[0], "process")) if action.verb == "crash" else action
        for action in script.script
    )
    with quiet():
        assert attempt(replace(script, script=os_mode + died))[1].ok
