"""The tables of steps: whole, and what people are shown of them."""

from pathlib import Path

import pytest

from stationkeep.cluster.progression import sentences
from stationkeep.cluster.rollouts.lifecycle import (
    ENDED,
    EXITS,
    ROLLOUT_STEPS,
    STAGE_STEPS,
    Exit,
    RolloutCause,
    RolloutState,
    StageCause,
    StageState,
    mermaid,
    table,
)

GUIDE = Path(__file__).parents[3] / "node/guide/reference/rollouts.md"


def test_every_cause_has_its_line_and_every_state_a_way_in() -> None:
    assert list(ROLLOUT_STEPS) == list(RolloutCause)
    assert list(STAGE_STEPS) == list(StageCause)
    assert {step.target for step in ROLLOUT_STEPS.values()} | {RolloutState.DRAFT} == set(
        RolloutState
    )
    assert {step.target for step in STAGE_STEPS.values()} | {StageState.PENDING} == set(StageState)


def test_every_cause_has_its_words() -> None:
    assert set(sentences._ROLLOUT) == set(RolloutCause)
    assert set(sentences._STAGE) == set(StageCause)


def test_whatever_is_not_over_leads_on() -> None:
    left = {origin for step in ROLLOUT_STEPS.values() for origin in step.origins}
    assert left == set(RolloutState)
    only = {cause for cause, step in ROLLOUT_STEPS.items() if set(step.origins) & set(ENDED)}
    assert only == {RolloutCause.ROLLBACK, RolloutCause.STRAY}
    stages = {origin for step in STAGE_STEPS.values() for origin in step.origins}
    assert set(StageState) - stages == {StageState.PASSED, StageState.STOPPED}


@pytest.mark.parametrize(("state", "way_out"), EXITS.items())
def test_the_exit_of_a_deadline_is_a_step_of_the_table(state: RolloutState, way_out: Exit) -> None:
    assert state in ROLLOUT_STEPS[way_out.cause].origins


@pytest.mark.parametrize("steps", [ROLLOUT_STEPS, STAGE_STEPS])
def test_the_guide_shows_the_tables_as_they_are(steps: object) -> None:
    text = GUIDE.read_text()
    first = "draft" if steps is ROLLOUT_STEPS else "pending"
    assert table(steps) in text  # type: ignore[arg-type]
    assert mermaid(steps, first) in text  # type: ignore[arg-type]
