"""Rollouts as they are seen: which there are, how far each has come, and why."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from stationkeep.cluster.names import MAX_NAME, NAME_PATTERN
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.node.api.consistency import Read, Reading, render
from stationkeep.node.api.openapi import answers
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views import rollouts as views

router = APIRouter()
RolloutName = Annotated[
    str,
    Path(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN, description="Of a rollout."),
]


def existing(read: Read, name: str) -> Rollout:
    """A rollout that is known, or 404."""
    found = read.state.rollouts.known.get(name)
    if found is None:
        raise Problem(Kind.NOT_FOUND, f"no such rollout: {name}")
    return found


@router.get("/v1/rollouts", responses=answers(views.RolloutList))
async def list_rollouts(
    read: Reading,
    *,
    state: Annotated[
        frozenset[RolloutState], Query(description="Only those in one of these states.")
    ] = frozenset(),
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Rollouts, those that go on and those that are remembered, the newest first."""
    after = decode_cursor(cursor, int) if cursor is not None else U32 + 1
    newest = sorted(read.state.rollouts.known.values(), key=lambda each: -each.number)
    found = (each for each in newest if each.number < after and (not state or each.state in state))
    shown, more = page(found, limit, lambda each: each.number)
    now = read.service.cluster_time()
    items = await render(
        shown, lambda each: views.rollout_summary_view(read.state, each, now), SLICE
    )
    return read.answer(views.RolloutList(items, more))


SLICE = 5
"""Rollouts, of up to 18 stages each, that are rendered before the event loop has its turn."""


@router.get("/v1/rollouts/{rollout}", responses=answers(views.RolloutView, 404))
async def get_rollout(read: Reading, rollout: RolloutName) -> Response:
    """One rollout: how far, why, what next; its gates, its plan and what became of it so far."""
    found = existing(read, rollout)
    return read.answer(views.rollout_view(read.state, found, read.service.cluster_time()))


@router.get("/v1/rollouts/{rollout}/timeline", responses=answers(views.TimelineView, 404))
async def rollout_timeline(read: Reading, rollout: RolloutName) -> Response:
    """What became of a rollout and its stages, in sentences, the oldest first."""
    return read.answer(views.timeline_view(read.state, existing(read, rollout)))
