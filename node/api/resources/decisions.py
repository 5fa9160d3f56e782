"""The decision log, and the proposals behind it."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import Decision, Outcome
from stationkeep.cluster.state.state import Proposal
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.views import records

router = APIRouter()


MAX_TEXT = 128
"""Characters of what decisions are searched for."""
LOOKS = 200
"""Decisions looked at in one turn of the event loop."""
Moment = Annotated[
    int | None,
    Query(ge=0, le=1 << 62, description="Milliseconds since 1970, by the leader's clock."),
]


@router.get("/v1/decisions", responses=answers(records.DecisionList))
async def list_decisions(
    read: Reading,
    *,
    subject: Annotated[
        str | None, Query(max_length=128, description="A node's id, or a device's.")
    ] = None,
    outcome: Annotated[Outcome | None, Query(description="What became of it.")] = None,
    about: Annotated[records.About | None, Query(description="What it is about.")] = None,
    text: Annotated[
        str,
        Query(
            max_length=MAX_TEXT,
            description="A part of the sentence, of who ordered it or of the reason, in any case.",
        ),
    ] = "",
    since_ms: Moment = None,
    until_ms: Moment = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The decision log, newest first: what was done or held back, and on which evidence."""
    before = decode_cursor(cursor, int) if cursor is not None else None
    folded = text.casefold()

    def wanted(decision: Decision) -> bool:
        return (
            (before is None or decision.id < before)
            and (subject is None or subject in decision.subjects)
            and (outcome is None or decision.outcome is outcome)
            and (about is None or records.is_about(decision, about))
            and (since_ms is None or decision.wall >= since_ms)
            and (until_ms is None or decision.wall < until_ms)
            and (not folded or folded in _words_of(decision))
        )

    found = await _newest(read, wanted, limit + 1)
    shown, more = page(found, limit, lambda decision: decision.id)
    return read.answer(records.DecisionList(await read.render(shown, records.decision_view), more))


async def _newest(read: Read, wanted: Callable[[Decision], bool], most: int) -> list[Decision]:
    """The newest that are wanted. The log may grow meanwhile: what is new then is not looked at."""
    found: list[Decision] = []
    for number, decision in enumerate(list(reversed(read.state.decisions)), 1):
        if wanted(decision):
            found.append(decision)
        if len(found) == most:
            break
        if number % LOOKS == 0:
            await read.breathe()
    return found


def _words_of(decision: Decision) -> str:
    """What a decision is searched by."""
    return f"{sentence(decision)}\n{decision.actor}\n{decision.comment}".casefold()


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
    return read.answer(records.ProposalList(await read.render(shown, records.proposal_view), more))
