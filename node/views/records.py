"""State → what clients see of the past: decisions, proposals, actions, role changes, operations.

Times are milliseconds of cluster time (`at_ms`), with the leader's wall clock (`wall_ms`) for
display only; risks, scores and compliance are 0..1.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from stationkeep.cluster.commands import Change
from stationkeep.cluster.fleet.sentences import TEXTS as OF_THE_FLEET
from stationkeep.cluster.sentences import proposal_sentence, sentence
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.decisions import OF_ROLLOUTS, Ballot, Decision, Outcome
from stationkeep.cluster.state.operations import Operation, OperationStatus
from stationkeep.cluster.state.state import (
    MISSED,
    Action,
    ActionOutcome,
    Proposal,
    ProposalOutcome,
    RoleChange,
)
from stationkeep.cluster.transitions import Role, Rule
from stationkeep.node.views.base import View


class About(enum.StrEnum):
    """What a decision is about. It may be about several things: a switchover is an order and
    changes roles."""

    ALARMS = "alarms"
    ROLES = "roles"
    RINGS = "rings"
    ROLLOUTS = "rollouts"
    ORDERS = "orders"


class ChangeView(View, frozen=True):
    node: str
    origin: Role
    target: Role


class RejectedView(View, frozen=True):
    """A candidate that was not chosen. `reason`: a stable word, as the `rule` of a refusal is."""

    node: str
    reason: str


class ObservationView(View, frozen=True):
    node: str
    reports: int
    risk: float


class BallotView(View, frozen=True):
    voter: str
    approve: bool
    grounds: str
    policy: str
    evidence: list[ObservationView]
    at_ms: int


class DecisionView(View, frozen=True):
    """One line of the decision log; `sentence` says the same in English. `on_behalf_of`: for whom
    the actor says to have acted, which nobody has checked."""

    id: int
    index: int
    at_ms: int
    wall_ms: int
    matter: str
    about: list[About]
    outcome: Outcome
    subjects: list[str]
    changes: list[ChangeView]
    reason: str
    evidence: dict[str, list[float | None]]
    facts: dict[str, Any]
    rejected: list[RejectedView]
    ballots: list[BallotView]
    proposal: int | None
    actor: str
    on_behalf_of: str
    origin: str
    comment: str
    operation: str
    sentence: str


class DecisionList(View, frozen=True):
    items: list[DecisionView]
    next: str | None


class ExplanationView(View, frozen=True):
    """`GET /v1/nodes/ID/explain`."""

    node: str
    role: Role
    summary: list[str]
    why_not_primary: list[str]
    decisions: list[DecisionView]


class ProposalView(View, frozen=True):
    id: int
    rule: Rule
    changes: list[ChangeView]
    outcome: ProposalOutcome
    electorate: list[str]
    quorum: int
    opened_at_ms: int
    deadline_ms: int
    closed_at_ms: int | None
    ballots: list[BallotView]
    epoch: int
    evidence: dict[str, list[float | None]]
    facts: dict[str, Any]
    rejected: list[RejectedView]
    refusal: str
    sentence: str


class ProposalList(View, frozen=True):
    items: list[ProposalView]
    next: str | None


class AckView(View, frozen=True):
    success: bool
    detail: str
    at_ms: int


class ActionView(View, frozen=True):
    """An action; `compliance` is acknowledged successes / targets, 0..1."""

    id: str
    name: str
    targets: list[str]
    epoch: int
    outcome: ActionOutcome
    compliance: float
    acks: dict[str, AckView]
    opened_at_ms: int
    deadline_ms: int
    closed_at_ms: int | None
    changes: list[ChangeView]
    parameters: dict[str, str]
    reason: str
    actor: str


class ActionList(View, frozen=True):
    items: list[ActionView]
    next: str | None


class RoleChangeView(View, frozen=True):
    at_ms: int
    wall_ms: int
    index: int
    node: str
    origin: Role
    target: Role
    rule: Rule
    epoch: int
    proposal: int | None
    actor: str


class RoleChangeList(View, frozen=True):
    items: list[RoleChangeView]
    next: str | None


class OperationView(View, frozen=True):
    """`GET /v1/operations/ID`: the outcome of a write. `rule` and `detail` say why it was
    refused."""

    operation: str
    status: OperationStatus
    kind: str
    actor: str
    reason: str
    at_ms: int
    index: int
    rule: str
    detail: str
    result: dict[str, Any]


class DoneView(View, frozen=True):
    """200 of a write: it is committed at `index` and applied."""

    operation: str
    status: str
    index: int
    result: dict[str, Any]


class UnknownView(View, frozen=True):
    """202 of a write: it may or may not be applied; ask `GET /v1/operations/ID`."""

    operation: str
    status: str
    detail: str


def is_about(decision: Decision, about: About) -> bool:
    """Whether a decision is about this."""
    match about:
        case About.ALARMS:
            return decision.matter == "alarm"
        case About.ROLES:
            return bool(decision.changes) or decision.matter == "handover"
        case About.RINGS:
            return decision.matter in OF_THE_FLEET
        case About.ROLLOUTS:
            return decision.matter in OF_ROLLOUTS
        case About.ORDERS:
            return bool(decision.actor)


def decision_view(decision: Decision) -> DecisionView:
    """One decision with its sentence."""
    return DecisionView(
        id=decision.id,
        index=decision.index,
        at_ms=decision.at,
        wall_ms=decision.wall,
        matter=decision.matter,
        about=[about for about in About if is_about(decision, about)],
        outcome=decision.outcome,
        subjects=list(decision.subjects),
        changes=_changes(decision.changes),
        reason=decision.reason,
        evidence=_evidence(decision.evidence),
        facts=decision.facts,
        rejected=_rejected(decision.rejected),
        ballots=_ballots(decision.ballots),
        proposal=decision.proposal or None,
        actor=decision.actor,
        on_behalf_of=decision.claim,
        origin=decision.origin,
        comment=decision.comment,
        operation=decision.key,
        sentence=sentence(decision),
    )


def proposal_view(proposal: Proposal) -> ProposalView:
    """One proposal with the votes cast so far, in the order they arrived."""
    ballots = sorted(proposal.ballots.values(), key=lambda ballot: (ballot.at, ballot.voter))
    return ProposalView(
        id=proposal.id,
        rule=proposal.rule,
        changes=_changes(proposal.changes),
        outcome=proposal.outcome,
        electorate=list(proposal.electorate),
        quorum=proposal.quorum,
        opened_at_ms=proposal.opened_at,
        deadline_ms=proposal.deadline,
        closed_at_ms=proposal.closed_at,
        ballots=_ballots(ballots),
        epoch=proposal.epoch,
        evidence=_evidence(proposal.evidence),
        facts=proposal.facts,
        rejected=_rejected(proposal.rejected),
        refusal=proposal.refusal,
        sentence=proposal_sentence(proposal),
    )


def action_view(action: Action) -> ActionView:
    """One action with the acknowledgements received so far."""
    return ActionView(
        id=action.id,
        name=action.name,
        targets=list(action.targets),
        epoch=action.epoch,
        outcome=action.outcome,
        compliance=action.compliance / PPM,
        acks={
            node: AckView(ack.success, ack.detail, ack.at)
            for node, ack in sorted(action.acks.items())
        },
        opened_at_ms=action.opened_at,
        deadline_ms=action.deadline,
        closed_at_ms=action.closed_at,
        changes=_changes(action.changes),
        parameters=action.parameters,
        reason=action.reason,
        actor=action.actor,
    )


def role_change_view(change: RoleChange) -> RoleChangeView:
    """One line of the role history."""
    return RoleChangeView(
        at_ms=change.at,
        wall_ms=change.wall,
        index=change.index,
        node=change.node,
        origin=change.origin,
        target=change.target,
        rule=change.rule,
        epoch=change.epoch,
        proposal=change.proposal or None,
        actor=change.actor,
    )


def operation_view(operation: Operation) -> OperationView:
    """The remembered outcome of a write."""
    return OperationView(
        operation=operation.key,
        status=operation.status,
        kind=operation.kind,
        actor=operation.actor,
        reason=operation.reason,
        at_ms=operation.at,
        index=operation.index,
        rule=operation.problem,
        detail=operation.detail,
        result=operation.result,
    )


def _changes(changes: Iterable[Change]) -> list[ChangeView]:
    return [ChangeView(change.node, change.origin, change.target) for change in changes]


def _evidence(evidence: Mapping[str, Iterable[int]]) -> dict[str, list[float | None]]:
    """Risks between 0 and 1; a missed sample is null."""
    return {
        node: [None if risk == MISSED else risk / PPM for risk in risks]
        for node, risks in sorted(evidence.items())
    }


def _rejected(rejected: Iterable[tuple[str, str]]) -> list[RejectedView]:
    return [RejectedView(node, reason) for node, reason in rejected]


def _ballots(ballots: Iterable[Ballot]) -> list[BallotView]:
    return [
        BallotView(
            voter=ballot.voter,
            approve=ballot.approve,
            grounds=ballot.grounds,
            policy=ballot.policy,
            evidence=[ObservationView(o.node, o.reports, o.risk / PPM) for o in ballot.evidence],
            at_ms=ballot.at,
        )
        for ballot in ballots
    ]
