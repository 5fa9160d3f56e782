"""The operator's hand: each command, each refusal with its field and rule."""

from typing import Any

import pytest

from stationkeep.cluster.commands import (
    ChangeSettings,
    Command,
    Failover,
    Pause,
    PutPolicy,
    RemovePolicy,
    Resume,
    RunAction,
    SetMaintenance,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.operators import MAX_MAINTENANCE, MAX_PAUSE
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import MemberChanged, PauseChanged, SettingsChanged
from stationkeep.cluster.state.state import (
    MAX_OPEN_ACTIONS,
    MAX_OPEN_ACTIONS_OF_ONE,
    MAX_POLICIES_PER_NODE,
)
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import Driver, settled

DAY = 24 * 3_600_000


def policy(**fields: Any) -> PutPolicy:
    usual: dict[str, Any] = {
        "node": "sat-001", "name": "p", "priority": "safety", "score": 1, "forbids": ("*->*",),
    }  # fmt: skip
    return PutPolicy(**usual | fields)


REFUSALS: list[tuple[Command, str, str]] = [
    # command, reason, words of the detail: the field and the rule
    (Switchover("nobody"), Reason.UNKNOWN_NODE, "no such node: 'nobody'"),
    (Switchover("sat-001"), Reason.IS_PRIMARY, "target: sat-001 is unfit"),
    (Failover("nobody"), Reason.UNKNOWN_NODE, "node: 'nobody'"),
    (Failover("sat-001"), Reason.IS_PRIMARY, "target: sat-001 is PRIMARY already"),
    (Failover("sat-001", True), Reason.IS_PRIMARY, "target: sat-001 is PRIMARY already"),
    (Pause(999), Reason.INVALID, "duration: 999 is not between 1000 and"),
    (Pause(MAX_PAUSE + 1), Reason.INVALID, "duration"),
    (Pause(-1), Reason.INVALID, "duration"),
    (SetMaintenance("nobody", 5_000), Reason.UNKNOWN_NODE, "node"),
    (SetMaintenance("sat-003", 999), Reason.INVALID, "duration: 999 is not between"),
    (SetMaintenance("sat-003", -1), Reason.INVALID, "duration"),
    (SetMaintenance("sat-003", MAX_MAINTENANCE + 1), Reason.INVALID, "duration"),
    (SetPriority("nobody", 5), Reason.UNKNOWN_NODE, "node"),
    (SetPriority("sat-003", -1), Reason.INVALID, "priority: -1 is not between 0 and 1000"),
    (SetPriority("sat-003", 1_001), Reason.INVALID, "priority"),
    (SetPriority("sat-001", 0), Reason.IS_PRIMARY, "switch over first"),
    (policy(node="nobody"), Reason.UNKNOWN_NODE, "node"),
    (policy(name=""), Reason.INVALID, "name: '' is not a name"),
    (policy(name="a b"), Reason.INVALID, "name"),
    (policy(name="x" * 65), Reason.INVALID, "name"),
    (policy(priority="comfort"), Reason.INVALID, "priority: 'comfort' is none of safety"),
    (policy(score=-1), Reason.INVALID, "score"),
    (policy(score=1_000_001), Reason.INVALID, "score"),
    (policy(lifetime=-1), Reason.INVALID, "lifetime"),
    (policy(forbids=()), Reason.INVALID, "forbids"),
    (policy(forbids=("*->*",) * 33), Reason.INVALID, "forbids"),
    (policy(forbids=("*->*", "up")), Reason.INVALID, "forbids: 'up' is not [NODE:]ORIGIN->TARGET"),
    (RemovePolicy("nobody", "p"), Reason.UNKNOWN_NODE, "node"),
    (RemovePolicy("sat-001", "p"), Reason.INVALID, "name: sat-001 holds no policy 'p'"),
    (ChangeSettings({}), Reason.INVALID, "changes: name at least one setting"),
    (ChangeSettings({"nope": 1}), Reason.SETTINGS, "nope: 1 refused: no such setting"),
    (ChangeSettings({"primary_lease": 90_000}), Reason.SETTINGS, "primary_lease x 1.05 <"),
    (ChangeSettings({"swarm_mode": 1}), Reason.SETTINGS, "swarm_mode: 1 refused: on or off"),
    (RunAction(""), Reason.INVALID, "name"),
    (RunAction("role_change"), Reason.INVALID, "name: role_change is the cluster's own"),
    (RunAction("a", ("nobody",)), Reason.UNKNOWN_NODE, "node"),
    (RunAction("a", ("sat-001", "sat-001")), Reason.INVALID, "targets: a node is named twice"),
    (RunAction("a", (), {}, 99), Reason.INVALID, "deadline: 99 is not between 100 and"),
    (RunAction("a", (), {}, DAY + 1), Reason.INVALID, "deadline"),
    (RunAction("a", (), {str(n): "" for n in range(33)}), Reason.INVALID, "parameters: 33"),
    (RunAction("a", (), {"a b": ""}), Reason.INVALID, "parameters: 'a b' is not a name"),
    (RunAction("a", (), {"a": "x" * 1_025}), Reason.INVALID, "length of parameters.a"),
]


@pytest.mark.parametrize(("command", "reason", "words"), REFUSALS, ids=repr)
def test_a_refusal_names_field_value_and_rule(command: Command, reason: str, words: str) -> None:
    said, detail = settled().refused(command)
    assert said == reason
    assert words in detail


# Switchover


@pytest.mark.parametrize(("target", "holder"), [(None, "sat-002"), ("sat-003", "sat-003")])
def test_switchover_moves_the_seat_to_the_target_or_the_best(
    target: str | None, holder: str
) -> None:
    driver = settled()
    result = driver.done(Switchover(target), key="k", actor="eve", reason="drill")
    assert result == {"primary": holder, "epoch": 2}
    assert driver.role("sat-001") is Role.BACKUP
    order = driver.decided(Rule.SWITCHOVER, Outcome.DONE)[0]
    assert (order.actor, order.comment, order.key) == ("eve", "drill", "k")
    assert driver.state.role_changes[-1].actor == "eve"


def test_switchover_needs_a_primary() -> None:
    driver = Driver(3)
    reason, detail = driver.refused(Switchover(None))
    assert reason == Reason.NO_PRIMARY
    assert "use failover" in detail


@pytest.mark.parametrize("risk", [0.5, None])
def test_switchover_needs_a_healthy_primary(risk: float | None) -> None:
    driver = settled()
    driver.evaluate(risk)
    reason, detail = driver.refused(Switchover("sat-002"))
    assert reason == Reason.PRIMARY_UNHEALTHY
    assert "use failover" in detail


def test_switchover_needs_a_primary_heard_lately() -> None:
    driver = settled()
    driver.wait(90_001)
    assert driver.refused(Switchover("sat-002"))[0] == Reason.PRIMARY_UNHEALTHY


def test_switchover_needs_a_fit_target_or_any() -> None:
    driver = settled(2)
    driver.evaluate(of={"sat-002": 0.5})
    assert driver.refused(Switchover("sat-002"))[0] == Reason.UNHEALTHY
    reason, detail = driver.refused(Switchover(None))
    assert reason == Reason.NO_CANDIDATE
    assert "sat-002 unhealthy" in detail


def test_switchover_respects_the_cool_down_of_both() -> None:
    driver = settled()
    driver.done(Switchover("sat-002"))
    driver.acknowledge()
    reason, detail = driver.refused(Switchover("sat-003"))
    assert reason == Reason.COOLDOWN
    assert "sat-002 changed role lately; 300000 ms" in detail
    driver = settled()
    driver.done(Failover("sat-002"))
    driver.wait(300_000)
    driver.evaluate()
    driver.done(SetMaintenance("sat-001", 5_000))
    driver.done(SetMaintenance("sat-001", 0))
    reason, detail = driver.refused(Switchover("sat-001"))
    assert reason == Reason.COOLDOWN
    assert "sat-001" in detail


# Failover


def test_failover_works_with_an_unhealthy_primary() -> None:
    driver = settled()
    driver.evaluate(0.9)
    assert driver.done(Failover("sat-003")) == {"primary": "sat-003", "epoch": 2}
    assert driver.roles == "BBPS"


def test_failover_works_without_a_primary_and_within_the_cool_down() -> None:
    driver = Driver(3)
    driver.sample()
    assert driver.done(Failover("sat-002"))["epoch"] == 1
    assert driver.done(Failover("sat-003"))["epoch"] == 2
    assert driver.roles == "SBP"


@pytest.mark.parametrize("switch", [Pause(60_000), ChangeSettings({"swarm_mode": False})])
def test_failover_works_while_automatic_changes_do_not(switch: Command) -> None:
    driver = settled()
    driver.done(switch)
    driver.done(Failover("sat-002"))
    assert driver.state.seat.holder == "sat-002"


def test_failover_to_an_unfit_target_needs_force() -> None:
    driver = settled()
    for _ in range(2):
        driver.settle(of={"sat-004": 0.9})
    assert driver.role("sat-004") is Role.SAFE_MODE
    reason, detail = driver.refused(Failover("sat-004"))
    assert reason == Reason.NOT_A_CANDIDATE_ROLE
    assert "force overrides this" in detail
    driver.done(Failover("sat-004", force=True))
    assert driver.roles == "BBSP"


def test_failover_to_a_node_never_heard_of_is_refused_even_with_force() -> None:
    driver = Driver(3)
    driver.sample(0.1, 0.1, None)
    assert driver.refused(Failover("sat-003", force=True))[0] == Reason.JOINING


# Pause and resume


def test_a_pause_expires_by_itself() -> None:
    driver = settled()
    assert driver.done(Pause(60_000), actor="eve", reason="works") == {
        "until_ms": driver.clock + 60_000
    }
    assert driver.events[0] == PauseChanged(driver.clock + 60_000)
    pause = driver.state.pause
    assert pause is not None
    assert (pause.actor, pause.reason) == ("eve", "works")
    driver.wait(59_999)
    assert driver.state.pause is not None
    driver.wait(1)
    assert driver.state.pause is None
    assert driver.decision.facts == {"expired": True}
    assert PauseChanged(None) in driver.events


def test_a_later_pause_replaces_an_earlier_one() -> None:
    driver = settled()
    driver.done(Pause(60_000))
    driver.done(Pause(1_000))
    driver.wait(1_000)
    assert driver.state.pause is None


def test_resume_ends_a_pause_and_does_nothing_without_one() -> None:
    driver = settled()
    driver.done(Pause(60_000))
    assert driver.done(Resume()) == {"was_paused": True}
    assert driver.state.pause is None
    decisions = driver.state.decisions_made
    assert driver.done(Resume()) == {"was_paused": False}
    assert driver.state.decisions_made == decisions


def test_votes_of_a_proposal_opened_before_a_pause_come_too_late() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.5)
    driver.done(Pause(60_000))
    driver.approve()
    assert driver.decision.reason == Reason.PAUSED
    assert driver.roles == "PBSS"


# Maintenance


def test_maintenance_drains_a_primary_to_standby_and_seats_the_best() -> None:
    driver = settled()
    assert driver.done(SetMaintenance("sat-001", 60_000)) == {
        "role": "STANDBY",
        "until_ms": driver.clock + 60_000,
    }
    assert driver.roles == "SPSS"
    assert MemberChanged("sat-001") in driver.events
    assert {c.rule for c in driver.state.role_changes[-2:]} == {Rule.MAINTENANCE}


def test_maintenance_of_a_primary_without_a_successor_is_refused() -> None:
    driver = settled(1)
    reason, detail = driver.refused(SetMaintenance("sat-001", 60_000))
    assert reason == Reason.NO_CANDIDATE
    assert "no fit candidate" in detail


@pytest.mark.parametrize(("node", "roles"), [("sat-002", "PSSS"), ("sat-003", "PBSS")])
def test_maintenance_drains_a_backup_and_leaves_a_standby(node: str, roles: str) -> None:
    driver = settled()
    driver.done(SetMaintenance(node, 60_000))
    assert driver.roles == roles


def test_maintenance_ends_by_order_or_by_itself() -> None:
    driver = settled()
    driver.done(SetMaintenance("sat-003", 60_000))
    assert driver.done(SetMaintenance("sat-003", 0)) == {"role": "STANDBY"}
    assert driver.member("sat-003").maintenance_until is None
    assert driver.decision.facts == {"on": False}
    decisions = driver.state.decisions_made
    driver.done(SetMaintenance("sat-003", 0))
    assert driver.state.decisions_made == decisions
    driver.done(SetMaintenance("sat-003", 60_000))
    driver.wait(60_000)
    assert driver.member("sat-003").maintenance_until is None
    assert driver.decision.facts == {"on": False, "expired": True}


# Priority


def test_priority_decides_who_is_next() -> None:
    driver = settled()
    assert driver.done(SetPriority("sat-004", 200)) == {"priority": 200}
    assert driver.decision.facts == {"from": 100, "to": 200}
    driver.done(Switchover(None))
    assert driver.state.seat.holder == "sat-004"


def test_priority_0_is_never_primary_whatever_happens() -> None:
    driver = settled(3)
    driver.done(SetPriority("sat-002", 0))
    for _ in range(3):
        driver.settle(0.5)
    assert driver.state.seat.holder == "sat-003"
    assert driver.refused(Failover("sat-002"))[0] == Reason.PRIORITY_ZERO


# Policies


def test_a_policy_is_put_replaced_by_name_and_removed() -> None:
    driver = settled()
    assert driver.done(policy()) == {"policies": ["p"]}
    assert driver.done(policy(name="q", lifetime=5_000)) == {"policies": ["p", "q"]}
    driver.clock += 1
    driver.done(policy(score=7))
    held = driver.member("sat-001").policies
    assert (held["p"].score, held["p"].set_at, held["p"].expires_at) == (7, driver.clock, None)
    assert held["q"].expires_at == driver.clock + 4_999
    assert driver.done(RemovePolicy("sat-001", "p")) == {"policies": ["q"]}
    assert driver.decision.facts == {"name": "p", "removed": True}


def test_a_policy_expires_by_itself() -> None:
    driver = settled()
    driver.done(policy(lifetime=5_000))
    driver.wait(4_999)
    assert driver.member("sat-001").policies
    driver.wait(1)
    assert driver.member("sat-001").policies == {}
    assert MemberChanged("sat-001") in driver.events


def test_the_number_of_policies_of_a_node_is_limited() -> None:
    driver = settled()
    for number in range(MAX_POLICIES_PER_NODE):
        driver.done(policy(name=f"p{number}"))
    assert driver.refused(policy(name="more"))[0] == Reason.LIMIT
    driver.done(policy(name="p0", score=9))


# Settings


def test_settings_change_together_or_not_at_all() -> None:
    driver = settled()
    changes: dict[str, int | bool] = {"backup_count": 2, "swarm_mode": False}
    assert driver.done(ChangeSettings(changes)) == {"changed": ["backup_count", "swarm_mode"]}
    assert driver.events[0] == SettingsChanged(("backup_count", "swarm_mode"))
    assert driver.decision.facts == {
        "changed": {"backup_count": [1, 2], "swarm_mode": [True, False]}
    }
    driver.refused(ChangeSettings({"backup_count": 3, "primary_lease": 90_000}))
    assert driver.state.settings.backup_count == 2


def test_a_longer_window_makes_no_earlier_change_wrong() -> None:
    driver = settled()
    for _ in range(3):
        driver.settle(0.5)
    for _ in range(10):
        driver.settle(0.5)
    assert driver.role("sat-001") is Role.SAFE_MODE
    driver.done(ChangeSettings({"hysteresis_window": 3_600_000}))


# Actions


def test_an_action_for_everybody_needs_somebody() -> None:
    driver = settled()
    driver.wait(100_000)
    assert driver.refused(RunAction("beacon"))[0] == Reason.NOT_ALIVE


def test_the_number_of_open_actions_is_limited() -> None:
    driver = settled(2)
    for number in range(MAX_OPEN_ACTIONS):
        driver.done(RunAction("beacon", ("sat-002",)), actor=f"operator-{number % 2}")
    assert driver.refused(RunAction("beacon"))[0] == Reason.LIMIT


def test_one_operator_leaves_actions_for_the_others() -> None:
    driver = settled(2)
    for _ in range(MAX_OPEN_ACTIONS_OF_ONE):
        driver.done(RunAction("beacon", ("sat-002",)), actor="mallory")
    assert driver.refused(RunAction("beacon"), actor="mallory")[0] == Reason.QUOTA
    driver.done(RunAction("beacon"), actor="eve")
