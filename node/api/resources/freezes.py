"""Freezes: for a while nothing new is installed on some devices."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from stationkeep.cluster.commands import LiftFreeze, SetFreeze
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.selector import MAX_SELECTOR
from stationkeep.cluster.names import MAX_NAME, NAME_PATTERN, TEXT_PATTERN
from stationkeep.cluster.progression.freezes import MAX_FREEZE
from stationkeep.cluster.settings import parse_duration
from stationkeep.node.api.bodies import DurationText, Input, Reason, in_words
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.http.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, page
from stationkeep.node.views import rollouts as views
from stationkeep.node.wire.messages import Ring as RingName

router = APIRouter()
FreezeName = Annotated[
    str,
    Path(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN, description="Of a freeze."),
]
FreezeLength = Annotated[
    DurationText | Annotated[float, Field(ge=0, le=MAX_FREEZE / 1_000, allow_inf_nan=False)],
    in_words(MAX_FREEZE),
]


class FreezeInput(Input):
    """Devices of these `rings` (none: of all) that the `selector` matches; a freeze always ends,
    after `duration`."""

    duration: FreezeLength
    rings: Annotated[list[RingName], Field(max_length=len(RINGS))] = []  # noqa: RUF012
    selector: Annotated[str, Field(max_length=MAX_SELECTOR, pattern=TEXT_PATTERN)] = ""
    reason: Reason = ""


class LiftInput(Input):
    reason: Reason = ""


@router.get("/v1/freezes", responses=answers(views.FreezeList))
async def list_freezes(
    read: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The freezes that are set, by name."""
    after = decode_cursor(cursor, str) if cursor is not None else ""
    freezes, now = read.state.rollouts.freezes, read.service.cluster_time()
    found = (freezes[name] for name in sorted(freezes) if name > after)
    shown, more = page(found, limit, lambda each: each.name)
    return read.answer(views.FreezeList([views.freeze_view(each, now) for each in shown], more))


@router.put("/v1/freezes/{freeze}", responses=outcomes())
async def set_freeze(submit: Submit, freeze: FreezeName, body: FreezeInput) -> Response:
    """Sets a freeze, or the one of that name anew. Rollbacks and what overrides it go on."""
    duration = parse_duration("duration", body.duration, MAX_FREEZE)
    rings = tuple(map(Ring, body.rings))
    return await submit(SetFreeze(freeze, duration, rings, body.selector), body.reason)


@router.delete("/v1/freezes/{freeze}", responses=outcomes())
async def lift_freeze(
    submit: Submit, freeze: FreezeName, body: LiftInput | None = None
) -> Response:
    """Ends a freeze at once."""
    return await submit(LiftFreeze(freeze), body.reason if body else NO_REASON)
