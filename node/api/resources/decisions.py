"""The decision log, and the proposals behind it."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from stationkeep.cluster.state.decisions import Decision, Outcome
from stationkeep.cluster.state.state import Proposal
from stationkeep.node.api.consistency import Reading, render
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.views import records

router = APIRouter()


def _matching(
    decisions: Iterable[Decision],
    subject: str | None,
    outcome: Outcome | None,
    about: records.About | None,
    before: int | None,
) -> Iterable[Decision]:
    return (
        decision
        for decision in decisions
        if (before is None or decision.id < before)
        and (subject is None or subject in decision.subjects)
        and (outcome is None or decision.outcome is outcome)
        and (about is None or records.is_about(decision, about))
    )


@router.get("/v1/decisions", responses=answers(records.DecisionList))
async def list_decisions(
    read: Reading,
    *,
    subject: Annotated[
        str | None, Query(max_length=128, description="A node's id, or a device's.")
    ] = None,
    outcome: Annotated[Outcome | None, Query(description="What became of it.")] = None,
    about: Annotated[records.About | None, Query(description="What it is about.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The decision log, newest first: what was done or held back, and on which evidence."""
    before = decode_cursor(cursor, int) if cursor is not None else None
    matching = _matching(reversed(read.state.decisions), subject, outcome, about, before)
    shown, more = page(matching, limit, lambda decision: decision.id)
    return read.answer(records.DecisionList(await render(shown, records.decision_view), more))


@router.get("/v1/proposals", responses=answers(records.ProposalList))
async def list_proposals(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Proposals and their votes: open ones first, then the newest closed."""

    def key(proposal: Proposal) -> tuple[int, int]:
        return (0 if proposal.closed_at is None else 1, -proposal.id)

    after = decode_cursor(cursor, tuple[int, int]) if cursor is not None else None
    known = sorted([*read.state.proposals.values(), *read.state.closed_proposals], key=key)
    shown, more = page((p for p in known if after is None or key(p) > after), limit, key)
    return read.answer(records.ProposalList(await render(shown, records.proposal_view), more))
