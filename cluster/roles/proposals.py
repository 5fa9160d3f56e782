"""Consensus on a change of roles: electorate, votes, quorum, outcome.

Invariant, checked at each count: with n electors and quorum q = ceil(2n/3), a proposal is
approved when approvals >= q and denied when even all outstanding votes could not reach q, so
never both, and every open proposal can still go either way.
Source: roles.md, "Consensus on a change".
"""

from collections.abc import Iterable, Mapping

from stationkeep.cluster.commands import CastVote, Change, Motion, Observation, Policy
from stationkeep.cluster.registry import cooldown_remaining, electors, in_maintenance
from stationkeep.cluster.roles.candidates import best_candidate
from stationkeep.cluster.roles.evaluate import touches_seat
from stationkeep.cluster.roles.policies import arbitrate
from stationkeep.cluster.roles.seat import change_roles
from stationkeep.cluster.state.decisions import Ballot, Outcome, Reason
from stationkeep.cluster.state.events import ProposalClosed, ProposalOpened, VoteCounted
from stationkeep.cluster.state.state import (
    MAX_CLOSED_PROPOSALS,
    ClusterState,
    Proposal,
    ProposalOutcome,
)
from stationkeep.cluster.state.step import Step, count
from stationkeep.cluster.transitions import Role, Rule, is_legal

_RANK = {Role.SAFE_MODE: 0, Role.STANDBY: 1, Role.BACKUP: 2, Role.PRIMARY: 3}
_SAYS_FAILED = frozenset({Rule.PRIMARY_FAILED, Rule.ISOLATE})
_FAILED_PRIMARY = frozenset({Rule.PRIMARY_FAILED, Rule.PRIMARY_NONCOMPLIANT})


def quorum(electors: int) -> int:
    """Approvals needed: two thirds, rounded up."""
    return -(-2 * electors // 3)


def open_proposal(step: Step, motion: Motion) -> None:
    """Puts a motion to the vote among the nodes that are alive and able now."""
    state = step.state
    state.proposals_opened += 1
    electorate = electors(state, step.now)
    proposal = Proposal(
        id=state.proposals_opened,
        rule=motion.rule,
        changes=motion.changes,
        epoch=motion.epoch,
        evidence=motion.evidence,
        facts=motion.facts,
        rejected=motion.rejected,
        electorate=electorate,
        quorum=quorum(len(electorate)),
        opened_at=step.now,
        deadline=step.now + state.settings.proposal_timeout,
    )
    state.proposals[proposal.id] = proposal
    _decide(step, proposal, Outcome.PROPOSED)
    step.emit(ProposalOpened(proposal.id))


def judge(
    state: ClusterState,
    proposal: Proposal,
    voter: str,
    observations: Mapping[str, Observation],
    policies: Iterable[Policy] = (),
) -> CastVote:
    """A node's verdict on its own observations and policies.

    `observations`: the node's own sample (median of the reports it heard itself within the last
    evaluation interval) of each node it heard. `policies`: those of its configuration; the ones
    its operator set are in the state.
    """
    seen = {c.node: observations.get(c.node, Observation(c.node, 0, 0)) for c in proposal.changes}
    evidence = tuple(seen.values())

    def vote(approve: bool, grounds: str, policy: str = "") -> CastVote:
        return CastVote(proposal.id, voter, approve, grounds, policy, evidence)

    for change in proposal.changes:
        observed = seen[change.node]
        healthy = observed.reports > 0 and observed.risk <= state.settings.unhealthy_above
        if _RANK[change.target] > _RANK[change.origin]:
            if not healthy:
                return vote(False, Reason.HEARD_NO_HEALTH)
        elif healthy and proposal.rule in _SAYS_FAILED:
            return vote(False, Reason.HEARD_HEALTHY)
    own = [*policies, *state.members[voter].policies.values()]
    winner = arbitrate(own, proposal, state.settings, state.time)
    if winner is not None:
        return vote(False, Reason.POLICY, winner.name)
    return vote(True, Reason.OBSERVATIONS_AGREE)


def cast(step: Step, proposal: Proposal, vote: CastVote) -> None:
    """Counts a vote that has been checked, and closes the proposal once it is settled."""
    ballot = Ballot(vote.voter, vote.approve, vote.grounds, vote.policy, vote.evidence, step.now)
    proposal.ballots[vote.voter] = ballot
    count(step.state.counters.votes, "approve" if vote.approve else "deny")
    step.emit(VoteCounted(proposal.id, vote.voter, vote.approve))
    approvals = sum(b.approve for b in proposal.ballots.values())
    denials = len(proposal.ballots) - approvals
    if approvals >= proposal.quorum:
        _conclude(step, proposal)
    elif len(proposal.electorate) - denials < proposal.quorum:
        close(step, proposal, ProposalOutcome.DENIED)


def _conclude(step: Step, proposal: Proposal) -> None:
    """Approved: applied in this same command, or refused when the world has moved on."""
    refusal = obstacle(step.state, proposal.rule, proposal.changes, proposal.epoch, step.now)
    if refusal is not None:
        close(step, proposal, ProposalOutcome.OVERTAKEN, refusal)
        return
    close(step, proposal, ProposalOutcome.APPROVED)
    change_roles(step, proposal.rule, proposal.changes, proposal.id)


def obstacle(
    state: ClusterState, rule: Rule, changes: tuple[Change, ...], epoch: int, now: int
) -> Reason | None:
    """What keeps these automatic changes from being applied now; None when nothing does."""
    if state.pause is not None or not state.settings.swarm_mode:
        return Reason.PAUSED
    if touches_seat(changes) and epoch != state.seat.epoch:
        return Reason.STALE_EPOCH
    for change in changes:
        member = state.members.get(change.node)
        if member is None:
            return Reason.UNKNOWN_NODE
        if member.role is not change.origin:
            return Reason.STALE_ROLE
        if not is_legal(change.origin, change.target, rule):
            return Reason.ILLEGAL_TRANSITION
        if in_maintenance(member, now) and change.origin is not Role.PRIMARY:
            return Reason.MAINTENANCE
        if cooldown_remaining(state, member, now) > 0 and not _exempt(state, rule, change, now):
            return Reason.COOLDOWN
    return _seat_obstacle(state, rule, changes)


def _seat_obstacle(state: ClusterState, rule: Rule, changes: tuple[Change, ...]) -> Reason | None:
    """One PRIMARY: whoever is promoted needs a seat that is empty or emptied in the same change."""
    promoted = [c.node for c in changes if c.target is Role.PRIMARY]
    demoted = [c.node for c in changes if c.origin is Role.PRIMARY]
    if len(promoted) > 1 or len({c.node for c in changes}) < len(changes):
        return Reason.INVALID
    if promoted and (state.seat.holder is not None) is not bool(demoted):
        return Reason.SEAT_BUSY
    if rule in _FAILED_PRIMARY and not (promoted and demoted):
        return Reason.INVALID
    if promoted and state.members[promoted[0]].priority == 0:
        return Reason.PRIORITY_ZERO
    return None


def _exempt(state: ClusterState, rule: Rule, change: Change, now: int) -> bool:
    """The two exemptions from the cool-down (roles.md): the demotion of a failed PRIMARY, and a
    promotion into a PRIMARY seat that nobody outside its cool-down could fill."""
    if change.origin is Role.PRIMARY:
        return rule in _FAILED_PRIMARY
    if change.target is not Role.PRIMARY or rule is Rule.PRIMARY_NONCOMPLIANT:
        return False
    other = best_candidate(state, now).node
    return other is None or cooldown_remaining(state, state.members[other], now) > 0


def close(step: Step, proposal: Proposal, outcome: ProposalOutcome, refusal: str = "") -> None:
    """Ends a proposal; its record stays among the closed ones."""
    state = step.state
    proposal.outcome = outcome
    proposal.closed_at = step.now
    proposal.refusal = str(refusal)
    del state.proposals[proposal.id]
    state.closed_proposals.append(proposal)
    del state.closed_proposals[:-MAX_CLOSED_PROPOSALS]
    count(state.counters.proposals, outcome)
    _decide(step, proposal, Outcome(outcome.value))
    step.changed()
    step.emit(ProposalClosed(proposal.id, outcome))


def _decide(step: Step, proposal: Proposal, outcome: Outcome) -> None:
    needed = {"quorum": proposal.quorum, "electors": len(proposal.electorate)}
    step.decide(
        proposal.rule,
        outcome,
        tuple(change.node for change in proposal.changes),
        changes=proposal.changes,
        reason=proposal.refusal,
        evidence=proposal.evidence,
        facts={**proposal.facts, **needed},
        rejected=proposal.rejected,
        ballots=tuple(proposal.ballots[v] for v in sorted(proposal.ballots)),
        proposal=proposal.id,
    )
