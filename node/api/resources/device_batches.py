"""Devices without a connection: they register and report in batches, and ask for their ring.

A batch is a JSON or msgpack body of payloads as `node.wire.messages` has them, up to 1 MiB.
**Each payload stands for itself**: the good ones are stored, the others are listed by index with
field, value and rule; only a body that is no batch at all is refused as a whole. A status that
was accepted is in the log within a second, as far as there is a leader; a registration is
answered when it is in the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import msgspec
import numpy as np
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.devices.rings import RINGS, UNSET
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.api.actor import caller_of, check_speaks_for
from stationkeep.node.api.consistency import Serving, ServingDevices
from stationkeep.node.api.openapi import answers
from stationkeep.node.fleet.intake import OUTDATED, REFUSED, TAKEN, UNKNOWN
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.gateway.batch_bodies import (
    AssignedView,
    Batch,
    BatchView,
    RegistrationBatch,
    StatusBatch,
    body_of,
    codec_of,
    readers,
)
from stationkeep.node.gateway.fixed_point import columns_of, registration_of
from stationkeep.node.gateway.sessions import intervals
from stationkeep.node.gateway.vouching import vouched
from stationkeep.node.http.access import Caller
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.service.port import Service
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.faults import Fault
from stationkeep.node.wire.messages import Code, Codec
from stationkeep.node.wire.tasks import TaskPayload

REPORT, REGISTER = "/v1/devices:report", "/v1/devices:register"
MAX_ASSIGNMENTS = 256
"""Devices of one batch that are told another ring; the others are told by their next one."""
router = APIRouter()

_STATUSES = readers(StatusBatch, wire.StatusPayload, "statuses", wire.MAX_STATUSES)
_REGISTRATIONS = readers(
    RegistrationBatch, wire.BatchedRegistration, "registrations", wire.MAX_REGISTRATIONS
)
_RING_CODES: dict[str | None, int] = {**{ring.value: ring.code for ring in RINGS}, None: UNSET}
DeviceId = Annotated[str, Path(min_length=1, max_length=wire.MAX_ID)]


# -- reports ------------------------------------------------------------------------------------


@router.post(REPORT, responses=answers(BatchView), openapi_extra=body_of(StatusBatch))
async def report_devices(request: Request, service: ServingDevices) -> Response:
    """Takes statuses of devices, 4,096 at most. A node that cannot bring them into the log answers
    503, so that they are sent to another one."""
    codec = codec_of(request)
    batch = _STATUSES[codec.name].read(await request.body())
    batch.keep_own(caller_of(request).ids, "device_status.slave_id", _device)
    taken: list[wire.StatusPayload] = []
    _refuse_other_versions(batch, service)
    if batch.payloads:
        results = service.intake.report_many(columns_of(batch.payloads))
        for position in np.flatnonzero(results != TAKEN).tolist():
            _refuse(batch, position, int(results[position]), service)
        taken = [batch.payloads[position] for position in np.flatnonzero(results == TAKEN).tolist()]
    view = BatchView(len(taken), batch.refused, batch.errors, _news(service, taken))
    return _answer(codec, view)


def _device(payload: wire.StatusPayload | wire.BatchedRegistration) -> str:
    return payload.device_status.slave_id


def _refuse_other_versions(batch: Batch[wire.StatusPayload], service: Service) -> None:
    kept: list[int] = []
    for position, payload in enumerate(batch.payloads):
        status = payload.device_status
        said = status.slave_id, status.os_version, status.app_version
        refusal = service.intake.other_version(*said)
        if refusal is None:
            kept.append(position)
        else:
            fault = partial(Fault, refusal.field, refusal.value, refusal.rule)
            batch.refuse(batch.indices[position], Code.UNKNOWN, fault)
    if len(kept) < len(batch.payloads):
        batch.keep(kept)


def _refuse(batch: Batch[wire.StatusPayload], position: int, result: int, service: Service) -> None:
    payload = batch.payloads[position]
    device = payload.device_status.slave_id
    code, field, rule = _RESULTS[result]
    value = payload.sequence if field == "sequence" else device
    fault = partial(Fault, field, str(value), rule)
    batch.refuse(batch.indices[position], code, fault, _session(service, code, device))


def _session(service: Service, code: Code, device: str) -> Callable[[], int | None]:
    """What says the newest session of a device to one whose word is outdated."""
    return partial(service.intake.session, device) if code is Code.OUTDATED else lambda: None


_RESULTS = {
    OUTDATED: (Code.OUTDATED, "sequence", "a newer word of this device is known"),
    UNKNOWN: (Code.UNKNOWN, "device_status.slave_id", "a device registers, each session, first"),
    REFUSED: (Code.INVALID, "device_status.slave_id", "readings and numbers within their ranges"),
}


def _news(service: Service, taken: Sequence[wire.StatusPayload]) -> list[AssignedView]:
    """Rings of those devices that name another one, or none."""
    table = service.state.fleet.table
    ids = [payload.device_status.slave_id for payload in taken]
    said = [_RING_CODES[payload.device_status.assigned_ring] for payload in taken]
    rows = np.array([table.rows[id_] for id_ in ids], np.intp)
    other = np.flatnonzero(table.ring[rows] != np.array(said, np.uint8))[:MAX_ASSIGNMENTS]
    found = (service.intake.assignment(ids[position]) for position in other.tolist())
    return [_view(service, one) for one in found if isinstance(one, Assignment)]


# -- registrations ------------------------------------------------------------------------------


class Refused(msgspec.Struct, frozen=True):
    """A registration that was not taken."""

    code: Code
    fault: Fault


class _Waiting:
    """Waits for the outcome of one registration; implements `node.fleet.replies.Listener`."""

    def __init__(self, device: str) -> None:
        self.device = device
        loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Assignment | Refused] = loop.create_future()

    def registered(self, assignment: Assignment) -> None:
        self._settle(assignment)

    def refused(self, refusal: IntakeRefusal) -> None:
        fault = Fault(refusal.field, refusal.value, refusal.rule)
        self._settle(Refused(Code(refusal.fault.value), fault))

    def assigned(self, assignment: Assignment) -> None:
        """Comes too late: it was answered with the ring that it had then."""

    def task_sent(self, task: TaskPayload) -> None:
        """It asks for its task itself."""

    def task_canceled(self, task_id: str, reason: str) -> None:
        """As its task."""

    def superseded(self) -> None:
        fault = Fault("session", "", "a newer registration of this device speaks for it")
        self._settle(Refused(Code.SUPERSEDED, fault))

    def removed(self) -> None:
        fault = Fault("device_status.slave_id", self.device, "an operator removed this device")
        self._settle(Refused(Code.REMOVED, fault))

    def _settle(self, outcome: Assignment | Refused) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@router.post(REGISTER, responses=answers(BatchView), openapi_extra=body_of(RegistrationBatch))
async def register_devices(request: Request, service: ServingDevices) -> Response:
    """Registers devices, 256 at most; a connection that one has elsewhere ends with it. 503 as for
    statuses."""
    codec = codec_of(request)
    batch = _REGISTRATIONS[codec.name].read(await request.body())
    batch.keep_own(caller_of(request).ids, "device_status.slave_id", _device)
    assigned: list[AssignedView] = []
    registrations = _vouched(batch, caller_of(request))
    for position, outcome in enumerate(await _register(service, registrations)):
        if isinstance(outcome, Refused):
            device = batch.payloads[position].device_status.slave_id
            session = _session(service, outcome.code, device)
            fault = partial(getattr, outcome, "fault")
            batch.refuse(batch.indices[position], outcome.code, fault, session)
        else:
            assigned.append(_view(service, outcome))
    return _answer(codec, BatchView(len(assigned), batch.refused, batch.errors, assigned))


def _vouched(batch: Batch[wire.BatchedRegistration], caller: Caller) -> list[Registration]:
    """The registrations with that by which they come; the others are refused."""
    found: list[Registration] = []
    kept: list[int] = []
    for position, payload in enumerate(batch.payloads):
        said = registration_of(payload.device_status.slave_id, payload)
        registration = vouched(said, payload.credential_sha256, caller)
        if isinstance(registration, Fault):
            batch.refuse(batch.indices[position], Code.INVALID, partial(_same, registration))
        else:
            kept.append(position)
            found.append(registration)
    batch.keep(kept)
    return found


def _same(fault: Fault) -> Fault:
    return fault


async def _register(
    service: Service, registrations: Sequence[Registration]
) -> list[Assignment | Refused]:
    """The outcomes; the intake has them all within its own patience."""
    waiting = [_Waiting(registration.id) for registration in registrations]
    try:
        for registration, listener in zip(registrations, waiting, strict=True):
            service.intake.register(registration, listener)
        return [await listener.outcome for listener in waiting]
    finally:
        for listener in waiting:
            service.intake.leave(listener.device, listener)


# -- polling ------------------------------------------------------------------------------------


@router.get("/v1/devices/{device}/assignment", responses=answers(AssignedView, 404))
async def device_assignment(request: Request, service: Serving, device: DeviceId) -> Response:
    """The ring of a device, as this node knows it."""
    check_speaks_for(request, device)
    found = service.intake.assignment(device)
    if isinstance(found, IntakeRefusal):
        raise Problem(Kind.NOT_FOUND, unknown("device", device))
    return _answer(wire.JSON, _view(service, found))


def _view(service: Service, assignment: Assignment) -> AssignedView:
    return AssignedView(
        assignment.device,
        assignment.ring,
        assignment.reason,
        wire.timestamp(assignment.at),
        assignment.revision,
        intervals(service.settings)[0],
    )


def _answer(codec: Codec, view: msgspec.Struct) -> Response:
    """200, in the encoding of the question."""
    headers = {"Cache-Control": "no-store"}
    return Response(codec.encode(view), headers=headers, media_type=codec.media_type)
