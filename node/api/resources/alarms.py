"""Alarms: what an operator should look at now."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from stationkeep.cluster.commands import AcknowledgeAlarm
from stationkeep.node.api.bodies import Input, Reason
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import NO_REASON, Submit
from stationkeep.node.views import nodes as views

router = APIRouter()


class AcknowledgeInput(Input):
    reason: Reason = ""


@router.get("/v1/alarms", responses=answers(views.AlarmList))
async def list_alarms(read: Reading) -> Response:
    """What an operator should look at now; what is over is in the decisions (matter `alarm`)."""
    return read.answer(views.AlarmList(views.alarm_views(read.state)))


@router.post("/v1/alarms/{alarm}/ack", responses=outcomes())
async def acknowledge_alarm(
    submit: Submit,
    alarm: Annotated[
        str,
        Path(min_length=1, max_length=128, description="An alarm's id, or a name for all of it."),
    ],
    body: AcknowledgeInput | None = None,
) -> Response:
    """Says that an alarm was seen; it stays until what it is about is over."""
    return await submit(AcknowledgeAlarm(alarm), body.reason if body else NO_REASON)
