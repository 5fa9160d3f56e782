"""GET /v1/events: what happens, as it happens, as server-sent events.

Every node streams the same events under the same ids, so that a client whose node died resumes
at another with `Last-Event-ID`. Events are for showing and waking up; the lists (`/v1/decisions`
and so on) are the record.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header
from starlette.responses import Response, StreamingResponse

from node.api.consistency import Read, Serving
from node.api.port import Streamed, TooManyFollowers
from node.api.problems import Kind, Problem
from node.api.schema import EVENTS, problem

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the stream."""
RETRY_MS = 1_000
"""What a browser should wait before it connects again."""
PATH = "/v1/events"

router = APIRouter()

_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {
        "description": "Events: `id`, `event` (kind), `data` (JSON), without end.",
        "content": {EVENTS: {"schema": {"type": "string"}}},
    },
    **{status: problem(status) for status in (400, 408, 413, 429)},
}


@router.get(PATH, responses=_RESPONSES)
async def follow_events(
    service: Serving,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=32,
            pattern=r"^[0-9]{1,18}\.[0-9]{1,6}$",
            description="Resume after this event; without it the stream begins now.",
        ),
    ] = None,
) -> Response:
    """Role changes, decisions, votes, actions, alarms: from now on, or after an event."""
    events = service.events(last_event_id)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # lets the source say at once that it has followers enough
    if first.done() and isinstance(first.exception(), TooManyFollowers):
        detail = "as many clients follow the events as this node serves"
        raise Problem(Kind.BUSY, detail, headers={"Retry-After": "5"})
    headers = {**Read(service).headers(), "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(events, first), headers=headers, media_type=EVENTS)


async def _stream(
    events: AsyncGenerator[Streamed, None], pending: asyncio.Future[Streamed]
) -> AsyncIterator[bytes]:
    """Frames of the stream; a comment whenever `KEEP_ALIVE` seconds pass in silence."""
    try:
        yield f"retry: {RETRY_MS}\n\n".encode()
        while True:
            await asyncio.wait({pending}, timeout=KEEP_ALIVE)
            if not pending.done():
                yield b": keep-alive\n\n"
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            yield frame(event)
            pending = asyncio.ensure_future(anext(events))
    finally:
        # A cancelled wait ends its generator by itself; one that is not waiting must be closed.
        if not pending.cancel():
            await events.aclose()


def frame(event: Streamed) -> bytes:
    """One event as it goes over the wire."""
    head = f"id: {event.id}\n" if event.id else ""
    data = msgspec.json.encode(event.data).decode()
    return f"{head}event: {event.kind}\ndata: {data}\n\n".encode()
