"""The level: which commands the cluster may use while its members run different releases."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster import upgrades
from stationkeep.cluster.commands import RaiseLevel
from stationkeep.cluster.levels import LARGEST, LOWEST
from stationkeep.node.api.bodies import Input, Reason
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.version import VERSION
from stationkeep.node.views import level as views

router = APIRouter()


class RaiseInput(Input):
    """`to`: the level, by default the highest that every member has."""

    to: Annotated[int, Field(ge=LOWEST, le=LARGEST)] | None = None
    reason: Reason = ""


@router.get("/v1/level", responses=answers(views.LevelView))
async def get_level(read: Reading) -> Response:
    """The level of the cluster, what each member runs, and what keeps the level from rising."""
    return read.answer(views.level_view(read.service))


@router.post("/v1/level/raise", responses=outcomes())
async def raise_level(submit: Submit, read: Reading, body: RaiseInput | None = None) -> Response:
    """Raises the level now, for good: releases that lack it cannot follow any more."""
    to = body.to if body else None
    command = RaiseLevel(to or max(LOWEST, upgrades.reachable(read.state)), VERSION)
    return await submit(command, body.reason if body else NO_REASON)
