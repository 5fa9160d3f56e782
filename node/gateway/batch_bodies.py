"""Request bodies with many payloads: decoded at once if all are valid, else one by one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Request
from msgspec import Meta

from stationkeep.cluster.names import speaks_for
from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.http.problems import Kind, Problem, invalid
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire import tasks
from stationkeep.node.wire.faults import Fault, shown
from stationkeep.node.wire.messages import Code, Codec

MAX_ERRORS = 100
"""Refused payloads of a batch that are described; further ones are only counted."""

P = TypeVar("P")


class PayloadFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with the payload at an index of the batch. `session`, if the payload is
    outdated: the newest known session of its device, which a restarted agent has to exceed."""

    index: int
    code: Code
    field: str
    value: str
    rule: str
    session: int | None = None


class StatusBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Statuses; those of one device in order, oldest first."""

    statuses: Annotated[list[wire.StatusPayload], Meta(min_length=1, max_length=wire.MAX_STATUSES)]


class RegistrationBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Registrations; if a device occurs twice, the newer one counts."""

    registrations: Annotated[
        list[wire.BatchedRegistration], Meta(min_length=1, max_length=wire.MAX_REGISTRATIONS)
    ]


class TaskUpdateBatch(msgspec.Struct, forbid_unknown_fields=True):
    """What devices say of their tasks; of a device that is in it twice the newer counts."""

    updates: Annotated[
        list[tasks.TaskUpdatePayload], Meta(min_length=1, max_length=wire.MAX_STATUSES)
    ]


class AssignedView(msgspec.Struct, frozen=True):
    """A device's ring. `status_interval`: seconds from one status to the next."""

    slave_id: str
    ring: str
    reason: str
    timestamp: str
    revision: int
    status_interval: float


class BatchView(msgspec.Struct, frozen=True):
    """The outcome of a batch. `errors`: the first 100 refused payloads. `assignments`: devices
    that were registered, or whose ring differs from what they reported (the first 256)."""

    accepted: int
    refused: int
    errors: Sequence[PayloadFault]
    assignments: Sequence[AssignedView]


class TaskBatchView(msgspec.Struct, frozen=True):
    """What became of a batch of task updates. `acknowledged`: those that are in the log."""

    accepted: int
    refused: int
    errors: Sequence[PayloadFault]
    acknowledged: Sequence[tasks.TaskAckPayload]


class Batch(Generic[P]):
    """The valid payloads of a body, and what is wrong with the others."""

    def __init__(self, payloads: list[P]) -> None:
        self.payloads = payloads
        self.indices: Sequence[int] = range(len(payloads))
        """The index of each in the body."""
        self.refused = 0
        self._errors: list[PayloadFault] = []

    def refuse(
        self,
        index: int,
        code: Code,
        fault: Callable[[], Fault],
        session: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Counts a payload as refused; `fault` and `session` are called only for those that are
        described."""
        self.refused += 1
        if len(self._errors) < MAX_ERRORS:
            found = fault()
            self._errors.append(
                PayloadFault(index, code, found.field, found.value, found.rule, session())
            )

    def keep(self, positions: Sequence[int]) -> None:
        """Drops all payloads but those at these positions."""
        self.payloads = [self.payloads[position] for position in positions]
        self.indices = [self.indices[position] for position in positions]

    def keep_own(self, ids: str, field: str, device_of: Callable[[P], str]) -> None:
        """Refuses what is about devices for which a token with these `ids` does not speak."""
        if ids == "*":
            return
        kept = []
        for position, payload in enumerate(self.payloads):
            device = device_of(payload)
            if speaks_for(ids, device):
                kept.append(position)
                continue
            fault = partial(Fault, field, shown(device), f"the token speaks for {ids}")
            self.refuse(self.indices[position], Code.INVALID, fault)
        self.keep(kept)

    @property
    def errors(self) -> list[PayloadFault]:
        """Descriptions of refused payloads, by index."""
        return sorted(self._errors, key=lambda error: error.index)


class Reader(Generic[P]):
    """Reads bodies `{field: [payload, …]}` in one encoding; `whole` is such a body's type."""

    def __init__(
        self, codec: Codec, whole: type[msgspec.Struct], payload: type[P], field: str, most: int
    ) -> None:
        self._codec, self._field = codec, field
        raw = Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=most)]
        parts = msgspec.defstruct("Parts", [(field, raw)], forbid_unknown_fields=True)
        self._whole, self._parts, self._one = map(codec.decoder, (whole, parts, payload))

    def read(self, body: bytes) -> Batch[P]:
        """The payloads of a body; raises `Problem` when it is not a batch."""
        try:
            return Batch(getattr(self._whole.decode(body), self._field))
        except UNREADABLE:
            return self._one_by_one(body)

    def _one_by_one(self, body: bytes) -> Batch[P]:
        try:
            parts: list[msgspec.Raw] = getattr(self._parts.decode(body), self._field)
        except UNREADABLE as error:
            fault = wire.explain(error, body, self._codec, "body")
            detail = str(fault) if fault.value else f"{fault.field}: {fault.rule}"
            raise Problem(Kind.INVALID, detail, faults=(fault,)) from None
        batch, good, indices = Batch[P]([]), list[P](), list[int]()
        for index, part in enumerate(parts):
            try:
                good.append(self._one.decode(part))
                indices.append(index)
            except UNREADABLE as error:
                self._refuse(batch, index, bytes(part), error)
        batch.payloads, batch.indices = good, indices
        return batch

    def _refuse(self, batch: Batch[P], index: int, part: bytes, error: Exception) -> None:
        invalid = isinstance(error, msgspec.ValidationError)
        batch.refuse(
            index,
            Code.INVALID if invalid else Code.MALFORMED,
            lambda: wire.explain(error, part, self._codec, "payload"),
        )


def readers(
    whole: type[msgspec.Struct], payload: type[P], field: str, most: int
) -> dict[str, Reader[P]]:
    """A reader for each encoding, by its name."""
    return {name: Reader(codec, whole, payload, field, most) for name, codec in wire.CODECS.items()}


_BY_TYPE = {
    "": wire.JSON,
    "application/json": wire.JSON,
    "application/msgpack": wire.MSGPACK,
    "application/x-msgpack": wire.MSGPACK,
    "application/vnd.msgpack": wire.MSGPACK,
}


def codec_of(request: Request) -> Codec:
    """The encoding of a request's body; raises `Problem` if it is not supported."""
    given = request.headers.get("content-type", "")
    codec = _BY_TYPE.get(given.partition(";")[0].strip().lower())
    if codec is None:
        raise invalid("Content-Type", given, "application/json or application/msgpack")
    return codec


def body_of(view: type[msgspec.Struct]) -> dict[str, Any]:
    """`openapi_extra=` of a route that reads a `view`."""
    schema = {"$ref": f"#/components/schemas/{view.__name__}"}
    content = {wire.JSON.media_type: {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
