"""Each rule of an evaluation, each reason to hold it back: roles.md, "What the leader does"."""

import msgspec
import pytest

from stationkeep.cluster.alarms import raised_by_name
from stationkeep.cluster.commands import (
    AdoptPlan,
    Change,
    ChangeSettings,
    Held,
    Motion,
    Pause,
    SetMaintenance,
    SetPriority,
)
from stationkeep.cluster.roles.evaluate import Plan
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import MISSED, ClusterState
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import ORBIT, Driver, Risk, settled

P, B, S, X = Role.PRIMARY, Role.BACKUP, Role.STANDBY, Role.SAFE_MODE


def moved(plan: Plan) -> list[tuple[str, str, str, str]]:
    """(rule, node, from, to) of every change that a plan moves."""
    return [(m.rule, c.node, c.origin, c.target) for m in plan.motions for c in m.changes]


def held(plan: Plan) -> list[tuple[str, str, str]]:
    return [(h.rule, h.node, h.reason) for h in plan.held]


# When there is nothing to plan


def test_nothing_is_planned_before_founding_with_swarm_mode_off_or_paused() -> None:
    from stationkeep.cluster.roles.evaluate import evaluate_roles

    assert evaluate_roles(ClusterState(), 0) == Plan()
    for command in (ChangeSettings({"swarm_mode": False}), Pause(600_000)):
        driver = settled()
        driver.done(command)
        for _ in range(4):
            assert driver.evaluate(0.45) == Plan()
        assert driver.member("sat-001").run == 4, "samples go on being taken"
        assert driver.roles == "PBSS"


def test_a_healthy_settled_cluster_plans_nothing() -> None:
    driver = settled()
    for _ in range(30):
        assert driver.evaluate() == Plan()


# Rule 1: the seat is empty


def test_rule_1_a_fresh_cluster_fills_its_seat_at_the_first_evaluation() -> None:
    driver = Driver(4)
    plan = driver.evaluate(0.15, 0.05, 0.10, 0.12)
    assert moved(plan) == [(Rule.SEAT_EMPTY, "sat-002", S, P)]
    driver.approve()
    assert driver.roles == "SPSS"


def test_rule_1_without_a_candidate_raises_the_alarms() -> None:
    driver = Driver(3)
    plan = driver.evaluate(0.4, 0.4, None)
    assert held(plan)[0] == (Rule.SEAT_EMPTY, "", Reason.NO_CANDIDATE)
    assert dict(plan.held[0].rejected) == {
        "sat-001": Reason.UNHEALTHY, "sat-002": Reason.UNHEALTHY, "sat-003": Reason.JOINING,
    }  # fmt: skip
    assert "no_candidate" in driver.state.alarms
    assert "no_primary" not in driver.state.alarms
    driver.evaluate(0.4, 0.4, None)
    assert "no_primary" not in driver.state.alarms, "not longer than one evaluation yet"
    driver.evaluate(0.4, 0.4, None)
    assert "no_primary" in driver.state.alarms
    assert len(driver.decided(Rule.SEAT_EMPTY, Outcome.HELD)) == 1, "one decision an episode"
    driver.settle()
    driver.settle()
    assert driver.state.alarms == {}
    assert driver.state.seat.holder == "sat-003", "its mean risk is the lowest"


def test_rule_1_the_seat_of_a_cluster_of_one() -> None:
    driver = Driver(1)
    driver.settle()
    assert driver.roles == "P"


# Rule 2: trigger 1


@pytest.mark.parametrize("bad", [(0.45, 0.45, 0.45), (None, None, None), (0.31, None, 0.9)])
def test_trigger_1_the_third_unhealthy_sample_replaces_the_primary(bad: tuple[Risk, ...]) -> None:
    driver = settled()
    assert moved(driver.evaluate(bad[0])) == []
    assert moved(driver.evaluate(bad[1])) == []
    plan = driver.evaluate(bad[2])
    assert moved(plan) == [
        (Rule.PRIMARY_FAILED, "sat-001", P, B),
        (Rule.PRIMARY_FAILED, "sat-002", B, P),
    ]
    assert len(plan.motions) == 1, "both in one proposal"
    figures = tuple(MISSED if risk is None else round(risk * 1e6) for risk in bad)
    assert plan.motions[0].evidence["sat-001"][-3:] == figures
    assert plan.motions[0].facts == {"run": 3, "threshold": 3}
    driver.approve()
    assert driver.roles == "BPSS"


def test_trigger_1_two_unhealthy_samples_change_nothing() -> None:
    driver = settled()
    for _ in range(20):
        assert driver.evaluate(0.9).motions == ()
        assert driver.evaluate(0.9).motions == ()
        assert driver.evaluate(0.1).motions == ()


def test_trigger_1_without_a_candidate_keeps_the_primary_and_raises_the_alarm() -> None:
    driver = settled(2)
    driver.done(SetPriority("sat-002", 0))
    for _ in range(3):
        plan = driver.evaluate(0.5)
    assert (Rule.PRIMARY_FAILED, "sat-001", Reason.NO_CANDIDATE) in held(plan)
    assert driver.roles == "PB"
    assert set(driver.state.alarms) == {"no_candidate"}
    driver.settle(0.5)
    assert set(driver.state.alarms) == {"no_candidate", "primary_degraded@sat-001"}
    driver.done(SetPriority("sat-002", 1))
    driver.settle(0.5)
    assert driver.roles == "BP"
    assert "no_candidate" not in driver.state.alarms
    driver.settle(0.5)
    assert raised_by_name(driver.state)["primary_degraded"] == 0


def test_trigger_1_is_not_fired_for_a_seat_that_is_being_voted_on() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.5)
    driver.clock += 1_000
    assert driver.plan() == Plan()


def test_the_threshold_is_a_setting() -> None:
    driver = settled()
    driver.done(ChangeSettings({"failures_to_fail_primary": 5}))
    for _ in range(4):
        assert driver.evaluate(0.5).motions == ()
    assert driver.evaluate(0.5).motions[0].facts == {"run": 5, "threshold": 5}


# Rule 3: trigger 2


def test_trigger_2_an_escalated_primary_goes_to_standby() -> None:
    driver = settled()
    driver.member("sat-001").escalated_by = "act-9"
    plan = driver.evaluate()
    assert moved(plan)[:2] == [
        (Rule.PRIMARY_NONCOMPLIANT, "sat-001", P, S),
        (Rule.PRIMARY_NONCOMPLIANT, "sat-002", B, P),
    ]
    assert plan.motions[0].facts == {"action": "act-9"}
    driver.approve()
    assert driver.role("sat-001") is S
    assert driver.member("sat-001").escalated_by == ""


def test_trigger_1_goes_before_trigger_2() -> None:
    driver = settled()
    driver.member("sat-001").escalated_by = "act-9"
    driver.member("sat-001").run = 2
    plan = driver.evaluate(0.5)
    assert plan.motions[0].rule is Rule.PRIMARY_FAILED


def test_trigger_2_without_a_candidate_is_held() -> None:
    driver = settled(1)
    driver.member("sat-001").escalated_by = "act-9"
    plan = driver.evaluate()
    assert held(plan) == [(Rule.PRIMARY_NONCOMPLIANT, "sat-001", Reason.NO_CANDIDATE)]


# Rule 4: trigger 3


@pytest.mark.parametrize(("node", "origin"), [("sat-002", B), ("sat-004", S)])
def test_trigger_3_the_second_unhealthy_sample_isolates_a_backup_or_standby(
    node: str, origin: Role
) -> None:
    driver = settled()
    assert moved(driver.evaluate(of={node: 0.5})) == []
    plan = driver.evaluate(of={node: None})
    assert (Rule.ISOLATE, node, origin, X) in moved(plan)
    driver.approve()
    assert driver.role(node) is X


def test_trigger_3_leaves_safe_mode_where_it_is() -> None:
    driver = settled()
    for _ in range(15):
        driver.settle(of={"sat-004": 0.9})
    assert driver.roles == "PBSX"
    assert len(driver.state.role_changes) == 3


def test_trigger_3_one_unhealthy_sample_of_the_only_backup_promotes_nobody() -> None:
    driver = settled()
    assert driver.evaluate(of={"sat-002": None}) == Plan()


# Rule 5: trigger 4


def test_trigger_4_back_from_safe_mode_after_the_hold_and_the_cool_down() -> None:
    driver = settled()
    for _ in range(2):
        driver.settle(of={"sat-004": 0.5})
    isolated = driver.clock
    while driver.role("sat-004") is X:
        plan = driver.settle()
        if driver.role("sat-004") is X:
            good = driver.clock - isolated - 30_000
            expected = [(Rule.RECOVER, "sat-004", Reason.COOLDOWN)] if good >= 90_000 else []
            assert held(plan) == expected
    assert driver.role("sat-004") is S
    assert driver.clock - isolated == 300_000
    assert len(driver.decided(Rule.RECOVER, Outcome.HELD)) == 1
    assert driver.state.counters.flapping_blocked["cooldown"] == 1


def test_trigger_4_needs_risk_below_the_mark_not_just_health() -> None:
    driver = settled()
    for _ in range(2):
        driver.settle(of={"sat-004": 0.5})
    for _ in range(20):
        driver.settle(of={"sat-004": 0.2})
    assert driver.role("sat-004") is X


def test_trigger_4_a_standby_becomes_backup_when_there_are_too_few() -> None:
    driver = Driver(4)
    driver.settle()
    assert driver.roles == "PSSS"
    assert driver.settle() == driver.settle() == Plan()
    plan = driver.settle()
    assert moved(plan) == [(Rule.RECOVER, "sat-002", S, B)]
    assert plan.motions[0].facts == {"good_for_ms": 90_000, "hold_ms": 90_000}


def test_trigger_4_as_many_backups_as_the_setting_says_best_first() -> None:
    driver = settled(5)
    driver.done(ChangeSettings({"backup_count": 3}))
    plan = driver.evaluate(of={"sat-005": 0.05})
    assert moved(plan) == [(Rule.RECOVER, "sat-005", S, B), (Rule.RECOVER, "sat-003", S, B)]
    driver.wait(1_000)
    assert driver.plan() == Plan(), "those on their way are counted"


def test_trigger_4_waits_until_the_primary_is_healthy() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2}))
    plan = driver.evaluate(0.5)
    assert (Rule.RECOVER, "sat-003", Reason.PRIMARY_UNHEALTHY) in held(plan)
    assert moved(driver.evaluate()) == [(Rule.RECOVER, "sat-003", S, B)]


def test_trigger_4_a_node_that_may_never_be_primary_is_no_backup_either() -> None:
    driver = settled()
    driver.done(SetPriority("sat-003", 0))
    driver.done(ChangeSettings({"backup_count": 2}))
    assert moved(driver.evaluate()) == [(Rule.RECOVER, "sat-004", S, B)]


def test_trigger_4_an_unhealthy_backup_is_replaced() -> None:
    driver = settled()
    driver.settle(of={"sat-002": 0.5})
    plan = driver.settle(of={"sat-002": 0.5})
    assert moved(plan) == [(Rule.ISOLATE, "sat-002", B, X), (Rule.RECOVER, "sat-003", S, B)]


def test_a_node_not_heard_lately_has_not_recovered() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2}))
    driver.clock += 90_001
    assert driver.plan() == Plan()


# Maintenance


def test_a_node_in_maintenance_is_neither_isolated_nor_brought_back() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2}))
    driver.done(SetMaintenance("sat-003", 3_600_000))
    plan = driver.evaluate()
    assert held(plan) == [(Rule.RECOVER, "sat-003", Reason.MAINTENANCE)]
    assert moved(plan) == [(Rule.RECOVER, "sat-004", S, B)]
    driver.approve()
    driver.acknowledge()
    driver.evaluate(of={"sat-003": 0.5})
    plan = driver.evaluate(of={"sat-003": 0.5})
    assert held(plan) == [(Rule.ISOLATE, "sat-003", Reason.MAINTENANCE)]


# Cool-down


def failed_over() -> Driver:
    """sat-001 has just failed and sat-002 has its seat: roles `BPSS`."""
    driver = settled()
    for _ in range(3):
        driver.settle(0.5)
    assert driver.roles == "BPSS"
    return driver


def test_cool_down_a_failed_primary_that_stays_sick_is_isolated_when_it_is_over() -> None:
    driver = failed_over()
    changed = driver.clock
    while driver.role("sat-001") is B:
        plan = driver.settle(0.5)
    assert driver.clock - changed == 300_000
    assert moved(plan) == [(Rule.ISOLATE, "sat-001", B, X)]
    assert len(driver.decided(Rule.ISOLATE, Outcome.HELD)) == 1
    assert driver.state.counters.flapping_blocked == {"cooldown": 1}
    assert driver.state.seat.epoch == 2, "exactly one change of the seat"


def test_cool_down_an_exemption_a_failed_primary_is_demoted_although_it_was_just_promoted() -> None:
    driver = failed_over()
    for _ in range(3):
        driver.settle(0.1, 0.5)
    assert driver.role("sat-002") is B
    assert driver.state.seat.holder == "sat-003"


def test_cool_down_an_exemption_the_seat_when_nobody_rested_could_fill_it() -> None:
    driver = settled(2)
    for _ in range(3):
        driver.settle(0.5)
    assert driver.roles == "BP"
    for _ in range(3):
        driver.settle(0.1, 0.5)
    assert driver.roles == "PB", "sat-001 went back although it cooled down: there was no other"


def test_cool_down_is_checked_again_when_the_votes_are_in() -> None:
    driver = settled(3)
    motion = Motion(Rule.ISOLATE, (Change("sat-003", S, X),), 1, {})
    driver.done(AdoptPlan(driver.state.revision, (motion,), ()))
    driver.member("sat-003").role_changed_at = driver.clock
    driver.approve()
    assert driver.role("sat-003") is S
    assert driver.decision.outcome is Outcome.OVERTAKEN
    assert driver.decision.reason == Reason.COOLDOWN


# Brake


def test_brake_more_than_half_turned_unhealthy_at_once_suspends_triggers_3_and_4() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2}))
    sick = {"sat-002": None, "sat-003": None, "sat-004": None}
    driver.settle(of=sick)
    assert driver.state.braked
    turned = "3 of 4 turned unhealthy at once (sat-002, sat-003, sat-004)"
    assert driver.state.alarms["brake"].detail == f"{turned}; isolation and recovery wait"
    plan = driver.settle(of=sick)
    assert {(rule, reason) for rule, _, reason in held(plan)} == {(Rule.ISOLATE, Reason.BRAKE)}
    driver.settle()
    assert not driver.state.braked
    assert "brake" not in driver.state.alarms
    told = [sentence(d) for d in driver.decided("alarm") if d.facts["name"] == "brake"]
    assert told == [
        f"alarm brake: {turned}; isolation and recovery wait",
        "alarm brake is over: 0 of 4 are unhealthy",
    ], "once on, once off, and nothing is told twice"
    assert driver.roles == "PBSS"


def test_brake_suspends_recovery_too() -> None:
    driver = settled(5)
    driver.done(ChangeSettings({"backup_count": 2}))
    driver.sample(of={"sat-002": 0.5, "sat-004": 0.5, "sat-005": 0.5})
    assert held(driver.plan()) == [(Rule.RECOVER, "sat-003", Reason.BRAKE)]


@pytest.mark.parametrize(("sick", "braked"), [(2, False), (3, True)])
def test_brake_takes_more_than_half(sick: int, braked: bool) -> None:
    driver = settled(4)
    driver.evaluate(*[0.9] * sick)
    assert driver.state.braked is braked


def test_brake_is_not_for_nodes_that_fall_sick_one_by_one() -> None:
    driver = settled(5)
    driver.evaluate(of={"sat-003": 0.9})
    driver.evaluate(of=dict.fromkeys(("sat-003", "sat-004"), 0.9))
    driver.evaluate(of=dict.fromkeys(("sat-003", "sat-004", "sat-005"), 0.9))
    assert not driver.state.braked


def test_brake_does_not_hold_the_failover_of_a_failed_primary() -> None:
    driver = settled(5)
    sick: dict[str, Risk] = dict.fromkeys(("sat-001", "sat-002", "sat-003"), 0.9)
    for _ in range(3):
        plan = driver.evaluate(of=sick)
    assert driver.state.braked
    assert moved(plan) == [
        (Rule.PRIMARY_FAILED, "sat-001", P, B),
        (Rule.PRIMARY_FAILED, "sat-004", S, P),
    ]


# One proposal at a time


def test_one_proposal_touches_a_node_at_a_time() -> None:
    driver = settled()
    for _ in range(2):
        driver.evaluate(of={"sat-004": 0.5})
    assert len(driver.state.proposals) == 1
    driver.wait(1)
    assert driver.plan() == Plan()
    again = Motion(Rule.ISOLATE, (Change("sat-004", S, X),), 1, {})
    assert driver.refused(AdoptPlan(driver.state.revision, (again,), ()))[0] == Reason.NODE_BUSY


def test_one_proposal_touches_the_seat_at_a_time() -> None:
    driver = settled()
    for _ in range(3):
        driver.evaluate(0.5)
    again = Motion(Rule.PRIMARY_FAILED, (Change("sat-001", P, B), Change("sat-003", S, P)), 1, {})
    assert driver.refused(AdoptPlan(driver.state.revision, (again,), ()))[0] == Reason.NODE_BUSY


def test_two_motions_of_one_plan_may_not_both_touch_the_seat() -> None:
    driver = Driver(3)
    driver.sample()
    motions = tuple(
        Motion(Rule.SEAT_EMPTY, (Change(node, S, P),), 0, {}) for node in ("sat-001", "sat-002")
    )
    assert driver.refused(AdoptPlan(driver.state.revision, motions, ()))[0] == Reason.SEAT_BUSY


def test_a_candidate_that_is_being_voted_on_is_passed_over() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2, "proposal_timeout": 200_000}))
    driver.done(SetPriority("sat-003", 500))
    assert moved(driver.evaluate()) == [(Rule.RECOVER, "sat-003", S, B)]
    for _ in range(3):
        plan = driver.evaluate(0.5)
    assert moved(plan)[1] == (Rule.PRIMARY_FAILED, "sat-002", B, P)
    assert ("sat-003", Reason.NODE_BUSY) in plan.motions[0].rejected


# Adopting a plan


def motion(rule: Rule, *changes: Change, epoch: int = 1) -> Motion:
    return Motion(rule, changes, epoch, {})


@pytest.mark.parametrize(
    ("planned", "reason"),
    [
        (motion(Rule.ISOLATE), Reason.INVALID),
        (motion(Rule.SWITCHOVER, Change("sat-001", P, B)), Reason.INVALID),
        (motion(Rule.ISOLATE, Change("nobody", S, X)), Reason.UNKNOWN_NODE),
        (motion(Rule.ISOLATE, Change("sat-003", B, X)), Reason.STALE_ROLE),
        (motion(Rule.ISOLATE, Change("sat-003", S, B)), Reason.ILLEGAL_TRANSITION),
        (motion(Rule.SEAT_EMPTY, Change("sat-003", S, P)), Reason.SEAT_BUSY),
        (motion(Rule.SEAT_EMPTY, Change("sat-003", S, P), epoch=0), Reason.STALE_EPOCH),
        (motion(Rule.PRIMARY_FAILED, Change("sat-001", P, B)), Reason.INVALID),
        (motion(Rule.PRIMARY_FAILED, Change("sat-002", B, P)), Reason.SEAT_BUSY),
        (
            motion(Rule.ISOLATE, Change("sat-003", S, X), Change("sat-003", S, X)),
            Reason.INVALID,
        ),
        (
            motion(
                Rule.PRIMARY_FAILED,
                Change("sat-001", P, B),
                Change("sat-002", B, P),
                Change("sat-003", S, P),
            ),
            Reason.INVALID,
        ),
    ],
)
def test_apply_checks_every_motion_again(planned: Motion, reason: Reason) -> None:
    driver = settled()
    assert driver.refused(AdoptPlan(driver.state.revision, (planned,), ()))[0] == reason


def test_apply_checks_operators_orders_again() -> None:
    isolate = motion(Rule.ISOLATE, Change("sat-003", S, X))
    replace = motion(Rule.PRIMARY_FAILED, Change("sat-001", P, B), Change("sat-002", B, P))
    for order, planned, reason in (
        (Pause(60_000), isolate, Reason.PAUSED),
        (ChangeSettings({"swarm_mode": False}), isolate, Reason.PAUSED),
        (SetMaintenance("sat-003", 60_000), isolate, Reason.MAINTENANCE),
        (SetPriority("sat-002", 0), replace, Reason.PRIORITY_ZERO),
    ):
        driver = settled()
        driver.done(order)
        assert driver.refused(AdoptPlan(driver.state.revision, (planned,), ()))[0] == reason


def test_a_late_plan_of_a_deposed_leader_is_refused_by_its_revision() -> None:
    driver = settled()
    old = driver.state.revision
    driver.done(SetPriority("sat-004", 1))
    reason, detail = driver.refused(AdoptPlan(old, (), ()))
    assert reason == Reason.STALE_REVISION
    assert str(old) in detail


def test_a_hold_names_a_member_or_nobody() -> None:
    driver = settled()
    held_back = (Held(Rule.ISOLATE, "nobody", Reason.COOLDOWN),)
    refused = driver.refused(AdoptPlan(driver.state.revision, (), held_back))
    assert refused[0] == Reason.UNKNOWN_NODE


def test_a_plan_is_adopted_whole_or_not_at_all() -> None:
    driver = settled()
    good = motion(Rule.ISOLATE, Change("sat-003", S, X))
    bad = motion(Rule.ISOLATE, Change("sat-004", B, X))
    driver.refused(AdoptPlan(driver.state.revision, (good, bad), ()))
    assert driver.state.proposals == {}


# Decisions once per episode


def test_an_episode_that_ends_and_begins_again_is_told_again() -> None:
    driver = settled()
    driver.done(ChangeSettings({"backup_count": 2}))
    for risk in (0.5, 0.5, 0.1, 0.5):
        driver.evaluate(risk)
    told = [d for d in driver.decided(Rule.RECOVER, Outcome.HELD) if d.subjects == ("sat-003",)]
    assert len(told) == 2


def test_a_plan_differs_when_it_moves_or_when_its_holds_are_others_than_those_known() -> None:
    state = settled().state
    assert not Plan().differs_from(state)
    hold = Held(Rule.RECOVER, "sat-003", Reason.COOLDOWN)
    assert Plan(held=(hold,)).differs_from(state)
    state.holds = {"recover|sat-003": "cooldown"}
    assert not Plan(held=(hold,)).differs_from(state)
    assert Plan().differs_from(state)
    assert Plan(motions=(motion(Rule.ISOLATE),)).differs_from(state)


def test_losing_the_raft_leader_forgets_no_count_and_costs_nobody_a_role() -> None:
    """The counts are in the state: whoever leads next goes on from there."""
    from stationkeep.cluster.state import codec

    driver = settled()
    driver.evaluate(0.5)
    driver.evaluate(0.5)
    driver.state = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    driver.wait(0)
    assert driver.roles == "PBSS"
    assert driver.evaluate(0.5).motions[0].rule is Rule.PRIMARY_FAILED


def test_demo_does_the_same_faster() -> None:
    from stationkeep.cluster.settings import PROFILES

    driver = settled(5, PROFILES["demo"])
    start = driver.clock
    for _ in range(3):
        driver.settle(None)
    assert driver.clock - start == 3_000
    assert driver.state.seat.holder == "sat-002"
    assert msgspec.structs.asdict(ORBIT) != msgspec.structs.asdict(driver.state.settings)


def test_the_largest_plan_fits_into_a_command() -> None:
    """99 members with the longest histories recover at once."""
    from stationkeep.cluster.commands import Draft
    from stationkeep.cluster.settings import PROFILES, merge
    from stationkeep.cluster.state import codec
    from stationkeep.cluster.state.state import Sample

    settings = merge(PROFILES["demo"], {"hysteresis_window": 1_000_000})
    driver = Driver(99, settings)
    driver.sample()
    driver.wait(1_000_000)
    driver.sample()
    for member in driver.state.members.values():
        member.role, member.good_since = X, 0
        member.history = [Sample(n, 100_000, 6) for n in range(settings.history_length)]
    plan = driver.plan()
    assert len(plan.motions) == 99
    command = AdoptPlan(driver.state.revision, plan.motions, plan.held)
    assert len(codec.encode_draft(Draft(command))) < codec.MAX_DRAFT_BYTES / 4


def test_a_return_in_its_cool_down_is_one_episode_though_the_primary_wavers() -> None:
    driver = settled(2)
    driver.done(SetMaintenance("sat-002", 3_600_000))
    driver.acknowledge()
    driver.done(SetMaintenance("sat-002", 0))
    for number in range(9):
        driver.settle(0.5 if number % 2 else 0.1)
    assert driver.roles == "PS"
    assert driver.state.counters.flapping_blocked["cooldown"] == 1
    assert [d.reason for d in driver.decided("recover", Outcome.HELD)] == ["cooldown"]
