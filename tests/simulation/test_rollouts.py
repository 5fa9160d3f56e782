"""Rollouts of whole clusters in virtual time: stage after stage, back again, over in the end.

The second half switches rules off on purpose, one at a time: each check is seen to notice.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from stationkeep.cluster import deadlines
from stationkeep.cluster.delivery import offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.progression import (
    advance,
    holds,
    invariants,
    looks,
    members,
    orders,
    rollback,
    steps,
)
from stationkeep.cluster.rollouts.gates import Gates, Verdict
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.rollouts.twins import UPDATED, Twins
from stationkeep.node.agent.tasks import machine
from stationkeep.node.agent.tasks.book import Book
from stationkeep.node.fleet import conductor, windows
from stationkeep.node.simulation.actors import plans
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.campaigns import campaign, picture, summary
from stationkeep.node.simulation.campaigns.campaign import Outcome, attempt, quiet, run
from stationkeep.node.simulation.checks import checks
from stationkeep.node.simulation.checks.rollouts import HARMFUL
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

Patch = pytest.MonkeyPatch
TROUBLES = (("crash", "jump"), ("partition", "mischief"))
LONGER = (20.0, "read", "sat-001 sat-001")
STILL = "nothing goes on while paused"
LOOSE = Checks(Gates(max_failures=1_000_000, min_coverage=0, max_bad=1_000_000), health=False)
QUICK = Limits(max_in_flight=500, deadline=15_000, retries=2, first=0)
HALVES = (StagePlan("some", share=500_000, soak=1_000), StagePlan("all", soak=1_000))
GOOD = Plan(Artifact("3.0.0"), stages=HALVES, checks=LOOSE, limits=QUICK, rest=False)
BAD = replace(GOOD, artifact=Artifact(HARMFUL[1]), checks=Checks())
BEGIN = ((0.0, "carriers", "8"), (0.5, "hurry", "sat-001"), (4.0, "roll", "sat-001 launch"))


@pytest.mark.parametrize("faults", TROUBLES, ids=",".join)
def test_rollouts_live_through_the_troubles_of_nodes(faults: tuple[str, ...]) -> None:
    plan = campaign.Plan(faults=("tasks", "rollouts", *faults), nodes=3, duration=20.0)
    outcome = run(plan, 1)
    assert outcome.ok, f"{outcome.rule} at {outcome.at:.3f}: {outcome.detail}"


@pytest.mark.parametrize("seed", [5, 10])
def test_seeds_hold_that_have_found_something(seed: int) -> None:
    """Devices kept a version that was taken back: they were in the midst of it."""
    outcome = run(campaign.Plan(rollouts=1.0), seed)
    assert outcome.ok, f"{outcome.rule} at {outcome.at:.3f}: {outcome.detail}"


def played(
    monkeypatch: Patch, plan: Plan, *script: tuple[float, str, str], seed: int = 1
) -> tuple[World, Outcome]:
    """A run of this script on three nodes, where every plan is this one."""
    monkeypatch.setattr(plans, "plan", lambda *_: plan)
    return played_as_drawn(*script, seed=seed)


def played_as_drawn(*script: tuple[float, str, str], seed: int = 1) -> tuple[World, Outcome]:
    """The same of a script in which every plan is drawn."""
    actions = tuple(Action(at, verb, tuple(words.split())) for at, verb, words in script)
    with quiet():
        scenario = Scenario(seed=seed, nodes=3, duration=actions[-1].at + 1.0, script=actions)
        made, outcome = attempt(scenario)
    assert made is not None
    return made, outcome


def ended(monkeypatch: Patch, plan: Plan, *script: tuple[float, str, str], seed: int = 1) -> World:
    made, outcome = played(monkeypatch, plan, *script, seed=seed)
    assert outcome.ok, f"{outcome.rule}: {outcome.detail}"
    return made


def the_rollout(made: World) -> Rollout:
    (rollout,) = made.members.newest_state().rollouts.known.values()
    return rollout


def test_a_rollout_succeeds_while_every_node_dies_in_turn(monkeypatch: Patch) -> None:
    script = [*BEGIN]
    for turn in range(4):
        script.append((5.0 + 5 * turn, "crash", "leader process"))
        script += [(8.0 + 5 * turn, "start", f"sat-00{n}") for n in (1, 2, 3)]
    made = ended(monkeypatch, GOOD, *script)
    assert len(made.leader_changes) > 3
    assert the_rollout(made).state is RolloutState.SUCCEEDED


@pytest.mark.parametrize("seed", range(2))
def test_what_makes_every_device_ill_comes_to_three_at_most(monkeypatch: Patch, seed: int) -> None:
    """And these go back."""
    one_by_one = replace(BAD, limits=replace(QUICK, first=8))
    script = ((0.0, "carriers", "12"), *BEGIN[1:], (30.0, "transfer", ""))
    made = ended(monkeypatch, one_by_one, *script, seed=seed)
    rollout = the_rollout(made)
    assert rollout.state in (RolloutState.ROLLED_BACK, RolloutState.ABORTED)
    told = sum(name == rollout.name for name, _ in made.rollout_checks.told)
    assert told <= 6, "of whom some fail to install it"


def test_what_does_no_harm_passes_among_devices_that_come_and_go(monkeypatch: Patch) -> None:
    """Whoever is updated falls ill as often as whoever is not."""
    calm = replace(GOOD, checks=replace(LOOSE, health=True))
    turns = [(6.0 + 3 * n, "ill", "0.15 2") for n in range(8)]
    for seed in range(2):
        made = ended(monkeypatch, calm, (0.0, "carriers", "12"), *BEGIN[1:], *turns, seed=seed)
        assert made.rollout_checks.judged > 0
        assert made.rollout_checks.stopped == 0


@pytest.mark.parametrize("hold", ["halt", "switch"])
def test_nothing_goes_on_while_automatic_changes_are_paused(monkeypatch: Patch, hold: str) -> None:
    """And everything does afterwards, also where nobody turns them on again."""
    made = ended(monkeypatch, GOOD, *BEGIN, (5.0, "roll", f"sat-001 {hold}"), LONGER)
    assert the_rollout(made).state is RolloutState.SUCCEEDED


def test_an_emergency_goes_first_and_keeps_to_no_window(monkeypatch: Patch) -> None:
    urgent = replace(
        GOOD, emergency=True, window="Sun 03:00-04:00", checks=replace(LOOSE, health=True)
    )
    both = (4.1, "roll", "sat-002 launch")
    drawn = iter([replace(GOOD, limits=replace(QUICK, max_in_flight=1)), urgent])
    monkeypatch.setattr(plans, "plan", lambda *_: next(drawn))
    made, outcome = played_as_drawn(*BEGIN, both)
    assert outcome.ok, f"{outcome.rule}: {outcome.detail}"
    known = made.members.newest_state().rollouts.known
    assert [known[name].state.value for name in ("roll-1", "roll-2")] == ["succeeded", "succeeded"]


def test_a_window_that_opens_later_is_waited_for(monkeypatch: Patch) -> None:
    """It opens 40 s after the world's beginning, and the leader dies before."""
    later = replace(GOOD, window="22:14-22:16", limits=replace(QUICK, deadline=60_000))
    crash = ((20.0, "crash", "leader process"), (24.0, "start", "sat-001"))
    made = ended(monkeypatch, later, *BEGIN, *crash)
    assert the_rollout(made).state is RolloutState.SUCCEEDED
    told = [told.at for told in made.rollout_checks.told.values()]
    assert min(told) > 40.0


def test_a_pause_that_nobody_ends_ends_itself(monkeypatch: Patch) -> None:
    """Scenario 27, with a shorter week, and another leader at its end."""
    monkeypatch.setattr(steps, "PAUSE_WAITED", 6_000)
    pause = ((6.0, "roll", "sat-001 pause"), (11.5, "crash", "leader process"))
    made = ended(monkeypatch, GOOD, *BEGIN, *pause, (16.0, "start", "sat-001"))
    rollout = the_rollout(made)
    assert (rollout.state, rollout.reason) == (RolloutState.ABORTED, "pause_expired")


def test_steps_of_rollouts_are_in_the_transcript(monkeypatch: Patch) -> None:
    made = ended(monkeypatch, GOOD, *BEGIN)
    seen = [note.partition(" ")[2] for note in made.notes]
    assert [note for note in seen if note.startswith("roll-1 ")] == [
        "roll-1 is draft",
        "roll-1 is running",
        "roll-1 some is deploying",
        "roll-1 some is soaking",
        "roll-1 some is passed",
        "roll-1 all is deploying",
        "roll-1 all is soaking",
        "roll-1 all is passed",
        "roll-1 is succeeded",
    ]


def test_each_rollout_has_its_line_in_the_picture(monkeypatch: Patch) -> None:
    made = ended(monkeypatch, GOOD, *BEGIN, (6.0, "roll", "sat-001 interrupt"))
    found = {"end": made.time.now, "title": "a run", "rollouts": summary.courses(made)}
    drawn = picture.draw(made.names, summary.spans(made), **found)
    titles = re.findall(r"<title>roll-1: (\w+), [0-9.]+ to [0-9.]+ s</title>", drawn)
    assert titles == ["draft", "running", "paused", "running"]


def test_mixed_campaigns_have_rollouts_now_and_then() -> None:
    faults = [campaign.Plan().scenario(seed).faults for seed in range(150)]
    assert 3 < sum("rollouts" in names for names in faults) < 20
    assert all("tasks" in names for names in faults if "rollouts" in names)


# -- what the checks are good for ------------------------------------------------------------------


def violated(monkeypatch: Patch, plan: Plan, *more: tuple[float, str, str]) -> str:
    """The rule that a run of this plan breaks; of a state its invariant."""
    outcome = played(monkeypatch, plan, *BEGIN, *more)[1]
    invariant = outcome.rule == "invariant"
    return outcome.detail.partition(":")[0] if invariant else outcome.rule


@pytest.fixture
def blind(monkeypatch: Patch) -> None:
    """Nobody looks at what one state must be in itself."""
    monkeypatch.setattr(checks, "violations", lambda _: [])


def _first_pending(rollout: Rollout) -> int | None:
    states = [stage.state.value for stage in rollout.stages]
    return states.index("pending") if "pending" in states else None


def test_a_stage_that_does_not_wait_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Rollout, "next_stage", property(_first_pending))
    assert violated(monkeypatch, GOOD) == "progression.stages_in_order"


@pytest.mark.usefixtures("blind")
def test_devices_that_are_told_too_early_are_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Rollout, "next_stage", property(_first_pending))
    assert violated(monkeypatch, GOOD) == "stages come one after the other"


def test_a_device_in_two_stages_is_found(monkeypatch: Patch) -> None:
    def none(state: Any, *_: Any) -> Any:
        return np.zeros(state.fleet.table.used, bool)

    monkeypatch.setattr(members, "touched", none)
    assert violated(monkeypatch, GOOD) == "progression.each_device_once"


def test_a_deadline_that_nobody_keeps_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(deadlines, "expire_rollouts", lambda _: None)
    pause = (5.0, "roll", "sat-001 interrupt")
    assert violated(monkeypatch, GOOD, pause) == "progression.every_state_ends"


def test_a_pause_that_holds_nothing_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(holds, "set_hold", lambda *_: None)
    pause = (5.0, "roll", "sat-001 pause")
    assert violated(monkeypatch, GOOD, pause) == "progression.holds_hold"


def test_rosters_that_are_forgotten_too_early_are_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(steps, "keep", lambda *_: None)
    assert violated(monkeypatch, GOOD) == "progression.deployments_belong"


def test_a_leader_that_lets_rollouts_wait_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(conductor, "advance_rollouts", lambda *_: [])
    assert violated(monkeypatch, GOOD) == "every wait has its exit"


def test_an_illness_that_counts_for_nothing_is_found(monkeypatch: Patch) -> None:
    def blue_eyed(*given: Any) -> Any:
        found = judge(*given)
        passed = (replace(j, verdict=Verdict.PASSED) for j in found)
        return tuple(passed)

    judge: Callable[..., Any] = looks.judgements
    monkeypatch.setattr(looks, "judgements", blue_eyed)
    assert violated(monkeypatch, BAD) == "what makes all ill does not pass"


def test_a_way_back_that_forgets_devices_is_found(monkeypatch: Patch) -> None:
    affected = rollback.affected_by

    def half(*given: Any) -> Any:
        rows, versions = affected(*given)
        return rollback.Affected(rows[::2], versions[::2])

    monkeypatch.setattr(rollback, "affected_by", half)
    back = (25.0, "roll", "sat-001 rollback")
    assert violated(monkeypatch, GOOD, back) == "whoever goes back is back"


def _forget_pauses(monkeypatch: Patch) -> None:
    """Nothing is held by a pause of all automatic changes, and no invariant misses that."""
    monkeypatch.setattr(holds, "is_held", lambda _: False)
    monkeypatch.setattr(invariants, "is_held", lambda _: False)


@pytest.mark.parametrize("hold", ["halt", "switch"])
def test_a_deadline_that_a_pause_does_not_stop_is_found(monkeypatch: Patch, hold: str) -> None:
    _forget_pauses(monkeypatch)
    slowly = replace(GOOD, limits=replace(QUICK, max_in_flight=1, deadline=3_000))
    pause = (5.0, "roll", f"sat-001 {hold}")
    assert violated(monkeypatch, slowly, pause, LONGER) == "a pause takes nobody's time away"


@pytest.mark.parametrize("hold", ["halt", "switch"])
def test_an_offer_while_automatic_changes_are_paused_is_found(
    monkeypatch: Patch, hold: str
) -> None:
    monkeypatch.setattr(offers, "hold_of", lambda _: None)
    _forget_pauses(monkeypatch)
    slowly = replace(GOOD, limits=replace(QUICK, max_in_flight=1))
    assert violated(monkeypatch, slowly, (5.0, "roll", f"sat-001 {hold}"), LONGER) == STILL


def test_a_stage_that_goes_on_while_automatic_changes_are_paused_is_found(
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(advance, "is_held", lambda _: False)
    watched = replace(GOOD, stages=(StagePlan("all", soak=8_000),))
    assert violated(monkeypatch, watched, (12.0, "roll", "sat-001 switch"), LONGER) == STILL


def test_a_leader_that_forgets_windows_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(windows, "plan_with_window", lambda *_: None)
    never = replace(GOOD, window="Sun 03:00-04:00")
    assert violated(monkeypatch, never) == "devices are told in their windows"


def test_a_task_that_overtakes_one_of_higher_priority_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(offers, "groupby", lambda waiting, key: [(0, waiting)] * bool(waiting))
    monkeypatch.setattr(offers, "_claimed", lambda _s, _d, rows, _b: np.zeros(len(rows), bool))
    slowly = replace(GOOD, limits=replace(QUICK, max_in_flight=1))
    drawn = iter([slowly, replace(slowly, priority=900)])
    monkeypatch.setattr(plans, "plan", lambda *_: next(drawn))
    outcome = played_as_drawn(*BEGIN, (4.1, "roll", "sat-002 launch"))[1]
    assert outcome.rule == "the higher priority goes first"


@pytest.mark.parametrize("compared", [True, False])
def test_health_that_is_compared_with_nobody_is_found(monkeypatch: Patch, compared: bool) -> None:
    """Versions that do no harm are stopped then."""
    count = Twins.count
    alone = lambda self, sets, bad, *more: count(self, sets, bad & UPDATED, *more)  # noqa: E731
    monkeypatch.setattr(Twins, "count", count if compared else alone)
    stages = tuple(replace(stage, soak=6_000) for stage in HALVES)
    calm = replace(GOOD, checks=replace(LOOSE, health=True), stages=stages)
    turns = [(6.0 + 2 * n, "ill", "0.4 2") for n in range(10)]
    made = ended(monkeypatch, calm, (0.0, "carriers", "24"), *BEGIN[1:], *turns)
    assert made.rollout_checks.judged > 0
    assert (made.rollout_checks.stopped > 0) is not compared


def test_two_rollouts_that_nothing_puts_in_order_are_found(monkeypatch: Patch) -> None:
    for module in (members, orders):
        monkeypatch.setattr(module, "rivals", lambda *_: [])
    both = (4.1, "roll", "sat-002 launch")
    assert violated(monkeypatch, GOOD, both) == "equal rollouts share no device"


def test_a_task_that_is_carried_out_twice_is_found(monkeypatch: Patch) -> None:
    """Devices forget what they have done, and say nothing of it, so that nodes tell them again."""
    monkeypatch.setattr(Book, "outcome", lambda *_: None)
    monkeypatch.setattr(machine, "_is_older", lambda *_: False)
    monkeypatch.setattr(Carrier, "_say", lambda _: None)
    assert violated(monkeypatch, GOOD) == "an attempt is installed once"
