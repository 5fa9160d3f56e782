"""GET /v1/snapshot: the whole state at one position of the log, for `stationkeep snapshot save`."""

from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stationkeep.node.api.consistency import Reading, Threaded
from stationkeep.node.api.openapi import BINARY, answers
from stationkeep.node.http.problems import Kind, Problem

CHUNK = 64 * 1024
"""Bytes sent at a time."""
MAX_AT_ONCE = 2
"""Snapshots being made and sent; each is held in memory until its client has it."""
router = APIRouter()


class Slots:
    """How many snapshots may still be sent at once."""

    def __init__(self, free: int = MAX_AT_ONCE) -> None:
        self.free = free


class _Sending(StreamingResponse):
    """A snapshot on its way; gives its slot back however the transfer ends."""

    def __init__(self, snapshot: bytes, slots: Slots, headers: dict[str, str]) -> None:
        super().__init__(_chunks(snapshot), headers=headers, media_type=BINARY)
        self._slots = slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.free += 1


async def _chunks(snapshot: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(snapshot), CHUNK):
        yield snapshot[start : start + CHUNK]


@router.get("/v1/snapshot", responses=answers(bytes))
async def get_snapshot(request: Request, read: Reading, worker: Threaded) -> Response:
    """The whole state, in the format of the node's snapshot file."""
    slots: Slots = request.app.state.snapshots
    if slots.free <= 0:
        detail = f"{MAX_AT_ONCE} snapshots are already being sent"
        raise Problem(Kind.BUSY, detail, headers={"Retry-After": "5"})

    def take() -> Callable[[], tuple[bytes, dict[str, str]]]:
        make, headers = read.service.snapshot(), read.headers()
        if make is None:
            raise Problem(Kind.NO_QUORUM, "nothing has been agreed on yet")
        return lambda: (make(), headers)

    slots.free -= 1
    try:
        snapshot, headers = await worker.run(take)
    except BaseException:  # also when the client leaves meanwhile
        slots.free += 1
        raise
    headers |= {
        "Content-Length": str(len(snapshot)),
        "Content-Disposition": 'attachment; filename="stationkeep.snapshot"',
    }
    return _Sending(snapshot, slots, headers)
