"""What a rollout would do: whom it reaches, what is in its way, and what its gates can see."""

import asyncio
from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.node.api.consistency import Read, Reading
from stationkeep.node.api.openapi import answers
from stationkeep.node.api.resources.rings import Planning
from stationkeep.node.api.resources.rollout_orders import PlanInput
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.views import previews as views

router = APIRouter()


@router.post("/v1/rollouts:validate", responses=answers(views.PreviewView))
async def validate_rollout(read: Reading, planning: Planning, body: PlanInput) -> Response:
    """What a rollout of this plan would do if it began now; nothing is laid down."""
    plan = await asyncio.to_thread(body.read)
    if planning.locked():
        raise Problem(Kind.BUSY, "a plan is being made already", headers={"Retry-After": "1"})
    async with planning:
        return read.answer(await _preview(read, body.rollout, plan))


async def _preview(read: Read, name: str, plan: Plan) -> views.PreviewView:
    state = read.state
    rollout = views.imagined(state, name, plan)
    counted = await read.render(views.count_stages(state, rollout), lambda each: each, every=1)
    stages = [views.judged(stage, state.settings) for stage in counted]
    powers = [await asyncio.to_thread(views.power_views, stage) for stage in stages]
    overlap = partial(views.overlap_view, state, rollout)
    overlaps = await read.render(state.rollouts.open_ones(), overlap, every=1)
    found, now = [each for each in overlaps if each], read.service.cluster_time()
    return views.preview_view(state, rollout, zip(counted, powers, strict=True), found, now)
