"""The transition table is the only source: roles.md, the triggers and the operator's hand."""

import itertools

from stationkeep.cluster.transitions import (
    OPERATOR_RULES,
    TRANSITIONS,
    Role,
    Rule,
    is_legal,
    mermaid,
)

EXPECTED = {
    Rule.SEAT_EMPTY: {"B>P", "S>P"},
    Rule.PRIMARY_FAILED: {"P>B", "B>P", "S>P"},
    Rule.PRIMARY_NONCOMPLIANT: {"P>S", "B>P", "S>P"},
    Rule.ISOLATE: {"B>X", "S>X"},
    Rule.RECOVER: {"X>S", "S>B"},
    Rule.SWITCHOVER: {"P>B", "B>P", "S>P"},
    Rule.FAILOVER: {"P>B", "B>P", "S>P", "X>P"},
    Rule.MAINTENANCE: {"P>S", "B>P", "S>P", "B>S"},
}
LETTER = {"P": Role.PRIMARY, "B": Role.BACKUP, "S": Role.STANDBY, "X": Role.SAFE_MODE}


def test_exactly_these_changes_exist() -> None:
    for rule, (a, b) in itertools.product(Rule, itertools.product("PBSX", repeat=2)):
        assert is_legal(LETTER[a], LETTER[b], rule) is (f"{a}>{b}" in EXPECTED[rule])


def test_no_change_stands_twice_and_each_says_its_condition() -> None:
    keys = [(t.origin, t.target, t.rule) for t in TRANSITIONS]
    assert len(keys) == len(set(keys))
    assert all(t.condition and t.origin is not t.target for t in TRANSITIONS)


def test_nobody_but_an_operator_seats_a_node_from_safe_mode() -> None:
    rules = {t.rule for t in TRANSITIONS if (t.origin, t.target) == (LETTER["X"], LETTER["P"])}
    assert rules == {Rule.FAILOVER} <= OPERATOR_RULES


def test_the_diagram_shows_every_pair_of_roles_once_with_all_its_rules() -> None:
    lines = mermaid().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> STANDBY: joins"]
    pairs = {(t.origin, t.target) for t in TRANSITIONS}
    assert len(lines) == 2 + len(pairs)
    for t in TRANSITIONS:
        (line,) = [line for line in lines if line.startswith(f"    {t.origin} --> {t.target}:")]
        assert t.rule in line
