"""Tasks of devices without a connection: they ask for theirs, and report in batches.

An update is answered when it is in the log, or after `PATIENCE` seconds as one to be repeated; each
payload stands for itself (see `device_batches`).
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from stationkeep.cluster.delivery.reports import Answer
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.actor import caller_of, check_speaks_for
from stationkeep.node.api.consistency import ServingDevices
from stationkeep.node.api.openapi import answers
from stationkeep.node.fleet.replies import Fault as Refused
from stationkeep.node.fleet.replies import IntakeRefusal
from stationkeep.node.fleet.task_words import COME_BACK, TaskAnswer
from stationkeep.node.gateway.batch_bodies import (
    TaskBatchView,
    TaskUpdateBatch,
    body_of,
    codec_of,
    readers,
)
from stationkeep.node.gateway.conversation import TASK_ERRORS
from stationkeep.node.gateway.sessions import intervals
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.service.port import Service
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire import tasks
from stationkeep.node.wire.faults import Fault
from stationkeep.node.wire.messages import Code, Codec

REPORT = "/v1/tasks:report"
PATIENCE = 5.0
SLICE = 256
"""Updates taken before others have their turn."""
router = APIRouter()

_UPDATES = readers(TaskUpdateBatch, tasks.TaskUpdatePayload, "updates", wire.MAX_STATUSES)
DeviceId = Annotated[str, Path(min_length=1, max_length=wire.MAX_ID)]

Outcome = TaskAnswer | IntakeRefusal | None
"""None: a newer update of the device took its place."""


@router.get(
    "/v1/devices/{device}/task",
    responses={**answers(tasks.TaskPayload, 404), 204: {"description": "No task now."}},
)
async def device_task(request: Request, service: ServingDevices, device: DeviceId) -> Response:
    """What a device is to do now; 204 with Retry-After when there is nothing."""
    check_speaks_for(request, device)
    found = service.errands.task(device)
    if isinstance(found, IntakeRefusal):
        raise Problem(Kind.NOT_FOUND, unknown("device", device))
    if found is None:
        later = max(1, round(intervals(service.settings)[0]))
        return Response(status_code=204, headers={**_FRESH, "Retry-After": str(later)})
    return _answer(wire.JSON, found)


@router.post(REPORT, responses=answers(TaskBatchView), openapi_extra=body_of(TaskUpdateBatch))
async def report_tasks(request: Request, service: ServingDevices) -> Response:
    """Takes updates of tasks, 4,096 at most."""
    codec = codec_of(request)
    batch = _UPDATES[codec.name].read(await request.body())
    batch.keep_own(caller_of(request).ids, "task_id", lambda one: tasks.identity_of(one.task_id)[1])
    acknowledged: list[tasks.TaskAckPayload] = []
    accepted = 0
    for position, outcome in enumerate(await _report(service, batch.payloads)):
        refused = _refusal(batch.payloads[position], outcome)
        if refused is not None:
            batch.refuse(batch.indices[position], refused[0], partial(_same, refused[1]))
            continue
        accepted += 1
        if isinstance(outcome, TaskAnswer):
            outdated = outcome.answer is Answer.OUTDATED
            ack = tasks.TaskAckPayload(outcome.task_id, str(outcome.said), outdated)
            acknowledged.append(ack)
    return _answer(codec, TaskBatchView(accepted, batch.refused, batch.errors, acknowledged))


async def _report(service: Service, updates: Sequence[tasks.TaskUpdatePayload]) -> list[Outcome]:
    """What became of each update."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in updates]
    for number, (update, future) in enumerate(zip(updates, waiting, strict=True), 1):
        if number % SLICE == 0:
            await asyncio.sleep(0)
        device = tasks.identity_of(update.task_id)[1]
        refusal = service.errands.words.say(device, update, partial(_settle, future))
        if refusal is not None:
            _settle(future, refusal)
    if waiting:
        await asyncio.wait(waiting, timeout=PATIENCE)
    return [future.result() if future.done() else _late(update) for update, future in
            zip(updates, waiting, strict=True)]  # fmt: skip


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


def _late(update: tasks.TaskUpdatePayload) -> IntakeRefusal:
    rule = "it is not known to be in the log yet; it may be repeated"
    return IntakeRefusal(Refused.BUSY, "task_id", update.task_id, rule, COME_BACK)


def _refusal(update: tasks.TaskUpdatePayload, outcome: Outcome) -> tuple[Code, Fault] | None:
    if isinstance(outcome, IntakeRefusal):
        fault = Fault(outcome.field, outcome.value, outcome.rule)
        return Code(outcome.fault.value), fault
    code = None if outcome is None else TASK_ERRORS.get(outcome.answer)
    if code is None or outcome is None:
        return None
    return code, Fault("task_id", f"{update.task_id} {update.state}", outcome.rule)


def _same(fault: Fault) -> Fault:
    return fault


_FRESH = {"Cache-Control": "no-store"}


def _answer(codec: Codec, view: TaskBatchView | tasks.TaskPayload) -> Response:
    return Response(codec.encode(view), headers=_FRESH, media_type=codec.media_type)
