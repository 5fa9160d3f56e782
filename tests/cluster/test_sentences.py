"""Every decision can be said: no code, no brace, no empty place in any sentence."""

import re

import pytest

from stationkeep.cluster.commands import Change, Observation
from stationkeep.cluster.sentences import (
    REASONS,
    proposal_sentence,
    say_ballot,
    say_reason,
    say_risk,
    say_role,
    sentence,
)
from stationkeep.cluster.state.decisions import Ballot, Decision, Outcome, Reason
from stationkeep.cluster.state.state import MISSED
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import settled

PROSE = re.compile(r"[^{}_]*\w[^{}_]*")
BALLOTS = (
    Ballot("sat-002", True, Reason.OBSERVATIONS_AGREE, "", (Observation("sat-001", 0, 0),), 5),
    Ballot("sat-003", False, Reason.HEARD_HEALTHY, "", (Observation("sat-001", 1, 100_000),), 6),
    Ballot("sat-004", False, Reason.POLICY, "burn", (Observation("sat-001", 5, 450_000),), 7),
)


def decision(matter: str, outcome: Outcome, **fields: object) -> Decision:
    usual: dict[str, object] = {
        "subjects": ("sat-001",),
        "changes": (Change("sat-001", Role.PRIMARY, Role.BACKUP),),
        "evidence": {"sat-001": (100_000, 450_000, MISSED)},
        "facts": {
            "run": 2, "threshold": 3, "good_for_ms": 90_000, "hold_ms": 90_000, "action": "act-1",
            "quorum": 3, "electors": 4,
        },
        "ballots": BALLOTS,
        "reason": Reason.STALE_EPOCH,
    }  # fmt: skip
    return Decision(1, 1, 0, 0, matter, outcome, **(usual | fields))  # type: ignore[arg-type]


RULES = sorted(set(Rule) - {Rule.SWITCHOVER, Rule.FAILOVER, Rule.MAINTENANCE})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_rule_with_every_outcome(rule: Rule, outcome: Outcome) -> None:
    said = sentence(decision(rule, outcome))
    assert PROSE.fullmatch(said), said
    assert "sat-001" in said


def test_a_motion_says_its_figures() -> None:
    said = sentence(decision(Rule.PRIMARY_FAILED, Outcome.PROPOSED))
    assert said == (
        "sat-001 PRIMARY → BACKUP: proposed, 3 of 4 must agree — sat-001 had 2 unhealthy samples "
        "in a row, the limit is 3 (risk 0.45 missed)"
    )
    said = sentence(decision(Rule.RECOVER, Outcome.DENIED))
    assert "1 of 4 votes for, 3 needed" in said
    assert "sat-003 denies: it heard the node healthy [sat-001 0.10 from 1 report]" in said
    assert "sat-004 denies: its policy forbids it (burn) [sat-001 0.45 from 5 reports]" in said


def test_a_held_rule_without_a_subject_speaks_of_the_seat() -> None:
    held = decision(Rule.SEAT_EMPTY, Outcome.HELD, subjects=(), reason=Reason.NO_CANDIDATE)
    assert sentence(held).startswith("the PRIMARY seat: ")
    assert "no node is fit to become PRIMARY" in sentence(held)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert PROSE.fullmatch(say_reason(reason))


def test_reasons_with_a_text_are_reasons() -> None:
    assert set(REASONS) <= set(Reason)


def test_who_ordered_it_and_why_is_said() -> None:
    driver = settled()
    from stationkeep.cluster.commands import Pause

    driver.done(Pause(90_000), actor="eve", reason="works")
    assert sentence(driver.decision) == "automatic changes pause for 90s (by eve: works)"
    driver.done(Pause(90_000), actor="eve")
    assert sentence(driver.decision) == "automatic changes pause for 90s (by eve)"


@pytest.mark.parametrize(
    ("matter", "facts", "words"),
    [
        ("pause", {"expired": True}, "has run out"),
        ("resume", {}, "automatic changes resume"),
        ("maintenance", {"expired": True}, "its maintenance has run out"),
        ("maintenance", {"on": False}, "maintenance ends"),
        ("maintenance", {"on": True, "duration_ms": 60_000}, "maintenance for 60s, sat-001"),
        ("alarm", {"name": "brake", "change": "raised", "detail": "2 of 3"}, "alarm brake@sat-001"),
        ("alarm", {"name": "brake", "change": "cleared", "detail": ""}, "brake@sat-001 is over"),
        (
            "alarm",
            {"name": "brake", "change": "cleared", "detail": "", "why": "1 of 3 are unhealthy"},
            "brake@sat-001 is over: 1 of 3 are unhealthy",
        ),
        ("settings", {"changed": {"swarm_mode": [True, False]}}, "swarm_mode True → False"),
        ("policy", {"name": "p", "priority": "safety"}, "policy p set (safety)"),
        ("policy", {"name": "p", "removed": True}, "policy p removed"),
        ("operation", {"command": "Pause", "detail": "too long"}, "Pause refused: too long"),
        ("operation", {"command": "Pause", "detail": ""}, "Pause refused: the seat has changed"),
        ("priority", {"from": 1, "to": 2}, "priority 1 → 2"),
        ("action", {"action": "act-1", "name": "beacon"}, "beacon ordered of sat-001"),
        ("founding", {}, "the cluster is founded with sat-001"),
        (
            "escalation",
            {"action": "act-1", "name": "beacon", "compliance": 500_000, "threshold": 900_000,
             "failures": {"sat-001": "exit 3"}},
            "reached 50 % at its deadline, 90 % needed: sat-001 escalated; sat-001 said: exit 3",
        ),
        ("switchover", {}, "switchover: sat-001 PRIMARY → BACKUP"),
    ],
)  # fmt: skip
def test_every_other_matter(matter: str, facts: dict[str, object], words: str) -> None:
    assert words in sentence(decision(matter, Outcome.NOTED, facts=facts))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"epoch": 2, "waited_ms": 0}, "at epoch 2 (waited: at once)"),
        ({"epoch": 2, "waited_ms": 1_500, "failover_ms": 62_000}, "62.0 s after the first"),
    ],
)
def test_a_handover(facts: dict[str, object], words: str) -> None:
    pair = ("sat-002", "sat-001")
    assert words in sentence(decision("handover", Outcome.NOTED, subjects=pair, facts=facts))


def test_a_ballot_and_a_risk() -> None:
    assert say_ballot(BALLOTS[0]) == (
        "sat-002 approves: its own observations agree [sat-001 not heard]"
    )
    assert say_ballot(Ballot("a", True, "x", "", (), 0)) == "a approves: x"
    assert (say_risk(350_000), say_risk(MISSED)) == ("0.35", "missed")


def test_a_proposal_open_and_closed() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.5)
    change = "sat-001 PRIMARY → BACKUP and sat-002 BACKUP → PRIMARY"
    assert proposal_sentence(driver.proposal()) == (
        f"proposal 3: {change} is being voted on (0 of 3 needed approvals, 4 vote)"
    )
    driver.wait(5_000)
    said = proposal_sentence(driver.state.closed_proposals[-1])
    assert said == f"proposal 3: {change} timed out (0 of 3 needed approvals, 4 vote)"


def test_how_a_node_came_to_its_role() -> None:
    driver = settled()
    assert say_role(driver.state, "sat-004") == "sat-004 is STANDBY, as it was when it joined"
    assert say_role(driver.state, "sat-001") == (
        "sat-001 is PRIMARY since 390s ago, before that STANDBY (seat empty, proposal 1) at epoch 1"
    )
    driver.state.role_changes.clear()  # as a thousand changes of others would
    assert say_role(driver.state, "sat-001") == "sat-001 is PRIMARY since 390s ago (seat empty)"


FLEET: tuple[tuple[str, dict[str, object], str], ...] = (
    ("rebalance", {"check": 7, "moves": {"prod>dev>unhealthy": 2, "stage>prod>surplus": 1_200}},
     "check 7 of the rings moved 1,202 devices: 1,200 stage → prod (surplus), 2 prod → dev "
     "(unhealthy)"),
    ("rebalance", {"check": 7, "moves": {f"prod>dev>{r}": 1 for r in "abcdefgh"}},
     "check 7 of the rings moved 8 devices: 1 prod → dev (a), 1 prod → dev (b), 1 prod → dev (c), "
     "1 prod → dev (d), 1 prod → dev (e), 1 prod → dev (f), 2 on other ways"),
    ("assign_ring", {"from": "dev", "to": "prod", "lifetime_ms": 7_200_000},
     "sat-001 pinned to prod for 7200s, before that in dev"),
    ("assign_ring", {"from": "dev", "to": "prod", "lifetime_ms": 0},
     "sat-001 pinned to prod, before that in dev"),
    ("release_ring", {"ring": "prod"},
     "sat-001 released from its pin in prod; a check may move it again"),
    ("release_ring", {"devices": 1, "expired": True},
     "sat-001: pinned no longer, the time of it ran out; a check may move them"),
    ("release_ring", {"devices": 22, "expired": True},
     "sat-001 and 21 more: pinned no longer, the time of it ran out; a check may move them"),
    ("remove_device", {"ring": "dev"}, "sat-001 removed; it was in dev"),
    ("shares", {"weights": [5, 10, 25, 60], "caps": [0, 4, 0, 0]},
     "shares of the rings: canary 5, dev 10, stage 25, prod 60; at most dev 4"),
    ("health_rule", {"rule": "cpu < 80"}, "a status is healthy with cpu < 80"),
    ("policies", {"policies": ["a", "b"]}, "ring policies, in this order: a, b"),
    ("policies", {"policies": []}, "no ring policies"),
    ("rebalance_request", {}, "a check of the rings is wanted at once"),
)  # fmt: skip


@pytest.mark.parametrize(("matter", "facts", "said"), FLEET)
def test_every_decision_about_the_fleet(matter: str, facts: dict[str, object], said: str) -> None:
    assert sentence(decision(matter, Outcome.DONE, facts=facts)) == said


def test_settings_are_said_as_people_write_them() -> None:
    changed = {"ring_band": [20_000, 50_000], "ring_dwell": [300_000, 2_500]}
    said = sentence(decision("settings", Outcome.DONE, facts={"changed": changed}))
    assert said == "settings: ring_band 0.02 → 0.05, ring_dwell 300s → 2.5s"
