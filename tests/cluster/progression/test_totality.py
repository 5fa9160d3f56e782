"""Whatever the bytes say about rollouts: a value, equal digests, every invariant."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import Command, CreateRollout, StartRollout
from stationkeep.cluster.rollouts.plan import Plan, StagePlan
from tests.cluster.delivery.deliveries import CAPABLE
from tests.cluster.fleet.test_totality import judge, scripts
from tests.cluster.progression.rollouts import NAME, V2, RolloutDriver
from tests.strategies import plans, rollout_commands


@settings(max_examples=150)
@given(scripts(rollout_commands()), st.integers(0, 14), st.integers(0, 12))
def test_any_commands_about_rollouts_in_any_order(
    script: list[tuple[int, Command]], restore_at: int, seconds: int
) -> None:
    driver = RolloutDriver()
    driver.register(*[f"device-{n}" for n in range(5)], capabilities=CAPABLE, app_version="1.0.0")
    driver.rest(20_000)
    driver.begin(Plan(V2, stages=(StagePlan("all"),)))
    driver.lead(seconds)
    judge(driver, script, restore_at)


@settings(max_examples=60)
@given(plans, st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)))
def test_any_plan_that_is_taken_ends_or_waits_for_people(
    plan: Plan, failing: set[int], sickening: set[int]
) -> None:
    driver = RolloutDriver()
    driver.register(*[f"device-{n}" for n in range(5)], capabilities=CAPABLE, app_version="1.0.0")
    driver.rest(20_000)
    driver.failing, driver.sickening = failing, sickening
    for command in (CreateRollout(NAME, plan), StartRollout(NAME)):
        outcome: Any = driver.do(command).outcome
        if not hasattr(outcome, "result"):
            return
    for _ in range(60):
        if driver.rollout().state not in ("running", "rolling_back", "aborting"):
            return
        driver.lead(2)
        driver.clock += 60_000
    raise AssertionError(driver.stages())
