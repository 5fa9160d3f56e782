"""The table of steps: tasks.md, "Table of transitions"; it is the only source of them."""

from pathlib import Path

from stationkeep.cluster.deployments.lifecycle import (
    CAUSES,
    STATES,
    TRANSITIONS,
    UNFINISHED,
    TaskState,
    mermaid,
    table,
)
from stationkeep.cluster.deployments.step_table import NO_STEP, TARGETS
from stationkeep.node import guide

Q, A, O, P, S, F, R, T, C, U = STATES  # noqa: E741 - letters as in the table below
EXPECTED = {
    "offer": ({Q}, O),
    "unanswered": ({O}, Q),
    "progress": ({O, P}, P),
    "claim": ({O, P}, P),
    "success": ({O, P}, S),
    "failure": ({O, P}, F),
    "rejection": ({O, P}, R),
    "postponement": ({O, P}, Q),
    "cancellation": ({P}, C),
    "installed": ({Q, O, P, T, U}, S),
    "newer": ({Q, O}, C),
    "reversion": ({S}, F),
    "silence": ({P}, T),
    "deadline": ({Q}, U),
    "given_up": ({Q}, T),
    "retry": ({F, T}, Q),
    "ordered_retry": ({F, T, U}, Q),
    "withdrawal": ({Q, O}, C),
    "removal": ({Q, O, P}, C),
}


def test_exactly_these_steps_exist() -> None:
    for cause in CAUSES:
        origins, target = EXPECTED[cause]
        for state in STATES:
            code = TARGETS[cause.code, state.code]
            assert code == (target.code if state in origins else NO_STEP), (cause, state)


def test_the_guide_shows_the_table_and_the_diagram() -> None:
    """On a mismatch, take what `table()` and `mermaid()` return."""
    page = (Path(guide.__file__).parent / "reference" / "tasks.md").read_text(encoding="utf-8")
    assert f"\n{table()}\n" in page
    assert f"```mermaid\n{mermaid()}\n```\n" in page


def test_each_cause_says_who_brings_it_about_and_where_it_holds() -> None:
    assert set(TRANSITIONS) == set(CAUSES)
    assert all(t.who and t.guard for t in TRANSITIONS.values())


def test_every_state_can_be_left_or_is_an_end() -> None:
    left = {state for t in TRANSITIONS.values() for state in t.origins}
    assert set(UNFINISHED) <= left
    assert {A, R, C} == set(TaskState) - left
