"""Policy arbitration: roles.md, "Policy arbitration"."""

import pytest

from stationkeep.cluster.commands import Change, ChangeSettings, Policy
from stationkeep.cluster.roles.policies import GLOBAL_POLICY, arbitrate, beats, forbids, is_pattern
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import Proposal
from stationkeep.cluster.transitions import OPERATOR_RULES, Role, Rule
from tests.cluster.driver import ORBIT, settled

P, B, S, X = Role.PRIMARY, Role.BACKUP, Role.STANDBY, Role.SAFE_MODE
OPENED = 1_000


def proposal(rule: Rule) -> Proposal:
    """One that promotes sat-002, at cluster time `OPENED`."""
    changes = (Change("sat-002", B, P),)
    return Proposal(1, rule, changes, 1, {}, {}, (), (), 0, OPENED, OPENED + 5_000)


def policy(priority: str, score: float, set_at: int = 0, name: str = "p") -> Policy:
    return Policy(name, priority, round(score * PPM), ("*->PRIMARY",), None, set_at)


@pytest.mark.parametrize(
    ("local", "rule", "wins"),
    [
        # SAFETY beats any other priority, whatever the scores
        (policy("safety", 0.0), Rule.PRIMARY_FAILED, True),
        (policy("availability", 1.0), Rule.ISOLATE, False),
        (policy("performance", 1.0), Rule.ISOLATE, False),
        # between two of SAFETY, and between two others: score x weight
        (policy("safety", 0.99), Rule.ISOLATE, False),
        (policy("performance", 0.51), Rule.PRIMARY_FAILED, True),  # 0.102 against 0.1
        (policy("performance", 0.49), Rule.PRIMARY_FAILED, False),  # 0.098
        (policy("availability", 0.99), Rule.PRIMARY_FAILED, False),
        (policy("performance", 0.51), Rule.RECOVER, True),  # against 0.5 x 0.2
        (policy("availability", 0.99), Rule.RECOVER, False),  # 0.099 against 0.1
        # on a tie the newer wins
        (policy("availability", 1.0, OPENED - 1), Rule.PRIMARY_FAILED, False),
        (policy("availability", 1.0, OPENED + 1), Rule.PRIMARY_FAILED, True),
        (policy("safety", 1.0, OPENED + 1), Rule.ISOLATE, True),
        # then the local one
        (policy("availability", 1.0, OPENED), Rule.PRIMARY_FAILED, True),
        (policy("performance", 0.5, OPENED), Rule.PRIMARY_FAILED, True),
        (policy("safety", 1.0, OPENED), Rule.ISOLATE, True),
    ],
)
def test_the_arbitration_table(local: Policy, rule: Rule, wins: bool) -> None:
    assert beats(local, proposal(rule), ORBIT) is wins
    winner = arbitrate([local], proposal(rule), ORBIT, OPENED)
    assert winner == (local if wins else None)


def test_every_automatic_rule_stands_for_something() -> None:
    assert set(GLOBAL_POLICY) == set(Rule) - OPERATOR_RULES


def test_weights_are_settings() -> None:
    driver = settled()
    driver.done(ChangeSettings({"performance_weight": 50_000, "availability_weight": 250_000}))
    local = policy("performance", 1.0)
    assert beats(local, proposal(Rule.PRIMARY_FAILED), ORBIT)
    assert not beats(local, proposal(Rule.PRIMARY_FAILED), driver.state.settings)


@pytest.mark.parametrize(
    ("pattern", "change", "forbidden"),
    [
        ("*->PRIMARY", Change("sat-002", B, P), True),
        ("*->PRIMARY", Change("sat-002", P, B), False),
        ("*->*", Change("sat-002", S, X), True),
        ("BACKUP->*", Change("sat-002", B, X), True),
        ("BACKUP->*", Change("sat-002", S, X), False),
        ("sat-002:*->*", Change("sat-002", S, X), True),
        ("sat-002:*->*", Change("sat-003", S, X), False),
        ("*:*->PRIMARY", Change("sat-003", S, P), True),
        ("nonsense", Change("sat-003", S, P), False),
    ],
)
def test_patterns(pattern: str, change: Change, forbidden: bool) -> None:
    assert forbids(pattern, change) is forbidden


@pytest.mark.parametrize(
    "pattern",
    ["", "PRIMARY", "->", "*->primary", "*->PRIMARY ", "a b:*->*", "*->BOSS", ":*->*", "sat-*:*->*",
     "x" * 120 + ":*->PRIMARY"],
)  # fmt: skip
def test_what_is_no_pattern_is_not_accepted(pattern: str) -> None:
    """Neither is a part of a name with a star: it would match nothing and protect nobody."""
    assert not is_pattern(pattern)


def test_an_expired_policy_forbids_nothing() -> None:
    local = Policy("p", "safety", PPM, ("*->*",), OPENED + 10)
    assert arbitrate([local], proposal(Rule.PRIMARY_FAILED), ORBIT, OPENED + 9) == local
    assert arbitrate([local], proposal(Rule.PRIMARY_FAILED), ORBIT, OPENED + 10) is None


def test_a_policy_that_forbids_something_else_is_not_asked() -> None:
    local = Policy("p", "safety", PPM, ("sat-009:*->*", "STANDBY->*"))
    assert arbitrate([local], proposal(Rule.PRIMARY_FAILED), ORBIT, OPENED) is None


def test_the_strongest_winner_is_the_one_named() -> None:
    weak, strong = policy("availability", 1.0, OPENED, "a"), policy("performance", 0.6, 0, "b")
    safe = policy("safety", 0.1, 0, "c")
    asked = proposal(Rule.PRIMARY_FAILED)
    assert arbitrate([weak, strong, safe], asked, ORBIT, OPENED) == safe
    assert arbitrate([weak, strong], asked, ORBIT, OPENED) == strong
    assert arbitrate([], asked, ORBIT, OPENED) is None
