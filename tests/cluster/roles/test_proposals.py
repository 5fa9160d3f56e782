"""Consensus on a change: electorate, quorum, outcomes, verdicts. roles.md, "Consensus"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.commands import (
    AdoptPlan,
    CastVote,
    Change,
    Failover,
    Motion,
    Observation,
    Policy,
    PutPolicy,
    SetMaintenance,
)
from stationkeep.cluster.roles.proposals import judge, quorum
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import (
    ProposalClosed,
    ProposalOpened,
    RoleChanged,
    VoteCounted,
)
from stationkeep.cluster.state.state import MAX_CLOSED_PROPOSALS, ProposalOutcome
from stationkeep.cluster.transitions import Role, Rule
from tests.cluster.driver import Driver, settled

P, B, S, X = Role.PRIMARY, Role.BACKUP, Role.STANDBY, Role.SAFE_MODE


@pytest.mark.parametrize("electors", range(100))
def test_the_quorum_is_two_thirds_rounded_up(electors: int) -> None:
    needed = quorum(electors)
    assert 3 * needed >= 2 * electors, "at least two thirds"
    assert 3 * (needed - 1) < 2 * electors, "and not one more than that"


def failing(nodes: int = 4) -> Driver:
    """sat-001 has failed and its replacement by sat-002 is open."""
    driver = settled(nodes)
    for _ in range(3):
        driver.evaluate(0.45)
    return driver


def test_the_electorate_is_whoever_is_alive_when_it_opens() -> None:
    driver = settled(5)
    for _ in range(4):
        driver.evaluate(0.45, of={"sat-001": 0.1, "sat-005": None})
    driver.evaluate(of={"sat-001": 0.45, "sat-005": None})
    for _ in range(2):
        driver.evaluate(of={"sat-001": 0.45, "sat-005": None})
    proposal = next(p for p in driver.state.proposals.values() if p.rule is Rule.PRIMARY_FAILED)
    assert proposal.electorate == ("sat-001", "sat-002", "sat-003", "sat-004")
    assert proposal.quorum == 3


def test_a_proposal_carries_what_it_was_made_on() -> None:
    driver = failing()
    proposal = driver.proposal()
    assert proposal.changes == (Change("sat-001", P, B), Change("sat-002", B, P))
    assert proposal.evidence["sat-001"][-3:] == (450_000,) * 3
    assert proposal.facts == {"run": 3, "threshold": 3}
    assert proposal.epoch == 1
    assert proposal.deadline == driver.clock + 5_000
    assert ProposalOpened(proposal.id) in driver.events
    assert driver.decision.outcome is Outcome.PROPOSED


def test_approved_with_the_deciding_vote_and_applied_in_the_same_command() -> None:
    driver = failing()
    driver.vote("sat-002", "sat-003")
    assert driver.roles == "PBSS"
    driver.vote("sat-004")
    assert driver.roles == "BPSS"
    assert VoteCounted(1 + 2, "sat-004", True) in driver.events
    assert ProposalClosed(3, "approved") in driver.events
    assert RoleChanged("sat-001", P, B, Rule.PRIMARY_FAILED, 2) in driver.events
    closed = driver.state.closed_proposals[-1]
    assert closed.outcome is ProposalOutcome.APPROVED
    assert set(closed.ballots) == {"sat-002", "sat-003", "sat-004"}
    (approved,) = driver.decided(Rule.PRIMARY_FAILED, Outcome.APPROVED)
    assert [b.voter for b in approved.ballots] == ["sat-002", "sat-003", "sat-004"]


def test_denied_as_soon_as_the_quorum_is_out_of_reach() -> None:
    driver = failing()
    driver.vote("sat-002", approve=False)
    assert driver.proposal().outcome is ProposalOutcome.OPEN
    driver.vote("sat-003", approve=False)
    assert driver.state.proposals == {}
    assert driver.state.closed_proposals[-1].outcome is ProposalOutcome.DENIED
    assert driver.roles == "PBSS"
    assert driver.state.counters.proposals["denied"] == 1
    assert driver.state.counters.votes["deny"] == 2


def test_a_denied_change_may_be_proposed_again_at_the_next_evaluation() -> None:
    driver = failing()
    driver.vote("sat-002", "sat-003", approve=False)
    assert driver.evaluate(0.45).motions[0].rule is Rule.PRIMARY_FAILED


def test_timed_out_at_the_deadline() -> None:
    driver = failing()
    driver.vote("sat-002", "sat-003")
    driver.wait(4_999)
    assert driver.state.proposals
    driver.wait(1)
    assert driver.state.closed_proposals[-1].outcome is ProposalOutcome.TIMED_OUT
    assert driver.state.counters.proposals["timed_out"] == 1
    assert driver.roles == "PBSS"


def test_overtaken_when_an_operator_was_quicker() -> None:
    driver = failing()
    driver.vote("sat-002", "sat-003")
    driver.done(Failover("sat-003"))
    driver.vote("sat-004")
    closed = driver.state.closed_proposals[-1]
    assert (closed.outcome, closed.refusal) == (ProposalOutcome.OVERTAKEN, Reason.STALE_EPOCH)
    assert driver.state.seat.holder == "sat-003"


def test_overtaken_when_a_node_has_changed_its_role() -> None:
    driver = settled()
    isolate = Motion(Rule.ISOLATE, (Change("sat-002", B, X),), 1, {})
    driver.done(AdoptPlan(driver.state.revision, (isolate,), ()))
    driver.done(SetMaintenance("sat-002", 5_000))
    driver.approve()
    assert driver.state.closed_proposals[-1].refusal == Reason.STALE_ROLE


def test_with_nobody_alive_it_can_only_time_out() -> None:
    driver = settled(3)
    driver.wait(100_000)
    isolate = Motion(Rule.ISOLATE, (Change("sat-003", S, X),), 1, {})
    driver.done(AdoptPlan(driver.state.revision, (isolate,), ()))
    assert driver.proposal().electorate == ()
    driver.wait(5_000)
    assert driver.state.closed_proposals[-1].outcome is ProposalOutcome.TIMED_OUT


@pytest.mark.parametrize(
    ("proposal", "voter", "reason"),
    [
        (99, "sat-002", Reason.CLOSED),
        (3, "nobody", Reason.NOT_AN_ELECTOR),
        (3, "sat-003", Reason.DUPLICATE),
    ],
)
def test_votes_that_do_not_count(proposal: int, voter: str, reason: Reason) -> None:
    driver = failing()
    driver.vote("sat-003")
    assert driver.refused(CastVote(proposal, voter, True, ""))[0] == reason


@given(st.integers(1, 9), st.lists(st.booleans(), min_size=9, max_size=9))
def test_every_open_proposal_can_still_go_either_way_and_none_goes_both(
    nodes: int, verdicts: list[bool]
) -> None:
    driver = settled(nodes)
    target = driver.ids[-1]
    member = driver.member(target)
    plan = Motion(Rule.ISOLATE, (Change(target, member.role, X),), 1, {})
    if member.role is P:  # a cluster of one
        return
    driver.done(AdoptPlan(driver.state.revision, (plan,), ()))
    proposal = driver.proposal()
    for voter, verdict in zip(proposal.electorate, verdicts, strict=False):
        if proposal.outcome is not ProposalOutcome.OPEN:
            break
        driver.vote(voter, approve=verdict)
        ayes = sum(b.approve for b in proposal.ballots.values())
        left = nodes - len(proposal.ballots)
        could_pass = 3 * (ayes + left) >= 2 * nodes
        passed = 3 * ayes >= 2 * nodes
        expected = "approved" if passed else "open" if could_pass else "denied"
        assert proposal.outcome.value == expected


def test_the_number_of_remembered_proposals_is_limited() -> None:
    driver = settled(3)
    for _ in range(MAX_CLOSED_PROPOSALS + 3):
        isolate = Motion(Rule.ISOLATE, (Change("sat-003", S, X),), 1, {})
        driver.done(AdoptPlan(driver.state.revision, (isolate,), ()))
        driver.vote("sat-001", "sat-002", approve=False)
    assert len(driver.state.closed_proposals) == MAX_CLOSED_PROPOSALS


# Verdicts


def verdict(driver: Driver, *policies: Policy, **seen: tuple[int, float]) -> tuple[bool, str, str]:
    """sat-003's verdict on the open proposal; `s1=(reports, risk)` is what it heard itself."""
    observations = {
        f"sat-00{name[1]}": Observation(f"sat-00{name[1]}", reports, round(risk * 1e6))
        for name, (reports, risk) in seen.items()
    }
    vote = judge(driver.state, driver.proposal(), "sat-003", observations, policies)
    assert {o.node for o in vote.evidence} == {c.node for c in driver.proposal().changes}
    assert (vote.proposal, vote.voter) == (driver.proposal().id, "sat-003")
    return vote.approve, vote.grounds, vote.policy


def test_approves_when_its_own_observations_agree() -> None:
    agree = (True, Reason.OBSERVATIONS_AGREE, "")
    assert verdict(failing(), s1=(6, 0.45), s2=(6, 0.1)) == agree
    assert verdict(failing(), s2=(1, 0.3)) == agree, "hearing nothing of the failed is agreeing"


@pytest.mark.parametrize("risk", [0.0, 0.3])
def test_denies_when_it_heard_the_failed_node_healthy(risk: float) -> None:
    denied = (False, Reason.HEARD_HEALTHY, "")
    assert verdict(failing(), s1=(1, risk), s2=(6, 0.1)) == denied


@pytest.mark.parametrize("successor", [(0, 0.0), (6, 0.31)])
def test_denies_when_it_heard_no_good_health_of_the_successor(
    successor: tuple[int, float],
) -> None:
    denied = (False, Reason.HEARD_NO_HEALTH, "")
    assert verdict(failing(), s1=(0, 0.0), s2=successor) == denied


def test_judges_an_isolation_by_the_isolated_node_alone() -> None:
    driver = settled()
    for _ in range(2):
        driver.evaluate(of={"sat-004": 0.9})
    assert verdict(driver, s4=(3, 0.9))[0]
    assert verdict(driver)[0]
    assert verdict(driver, s4=(3, 0.1)) == (False, Reason.HEARD_HEALTHY, "")


def test_judges_a_recovery_by_good_health() -> None:
    driver = settled()
    for _ in range(2):
        driver.settle(of={"sat-004": 0.9})
    while not driver.state.proposals:
        driver.evaluate()
    assert driver.proposal().rule is Rule.RECOVER
    assert verdict(driver, s4=(3, 0.1))[0]
    assert verdict(driver, s4=(3, 0.5)) == (False, Reason.HEARD_NO_HEALTH, "")
    assert verdict(driver) == (False, Reason.HEARD_NO_HEALTH, "")


def test_a_noncompliant_primary_may_well_be_heard_healthy() -> None:
    driver = settled()
    driver.member("sat-001").escalated_by = "act-1"
    driver.evaluate()
    driver.state.proposals = {p.id: p for p in list(driver.state.proposals.values())[:1]}
    assert driver.proposal().rule is Rule.PRIMARY_NONCOMPLIANT
    assert verdict(driver, s1=(6, 0.1), s2=(6, 0.1))[0]


def test_a_local_policy_denies_and_is_named() -> None:
    driver = failing()
    policy = Policy("no-moves", "safety", 1, ("*->PRIMARY",))
    denied = (False, Reason.POLICY, "no-moves")
    assert verdict(driver, policy, s1=(0, 0.0), s2=(6, 0.1)) == denied
    driver.done(PutPolicy("sat-003", "from-operator", "safety", 1, ("sat-002:*->*",)))
    denied = (False, Reason.POLICY, "from-operator")
    assert verdict(driver, s1=(0, 0.0), s2=(6, 0.1)) == denied


def test_what_it_heard_goes_before_its_policies() -> None:
    policy = Policy("no-moves", "safety", 1, ("*->PRIMARY",))
    denied = (False, Reason.HEARD_HEALTHY, "")
    assert verdict(failing(), policy, s1=(6, 0.1), s2=(6, 0.1)) == denied
