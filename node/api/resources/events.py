"""GET /v1/events: what happens, as it happens, as server-sent events.

Every node streams the same events under the same ids, so that a client whose node died resumes
at another with `Last-Event-ID`. Events are for showing and waking up; the lists (`/v1/decisions`
and so on) are the record.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.node.api.actor import caller_of
from stationkeep.node.api.consistency import Read, Serving
from stationkeep.node.api.openapi import ALWAYS, EVENTS, problem
from stationkeep.node.http.problems import Kind, Problem
from stationkeep.node.replica import StreamedEvent
from stationkeep.node.service.port import Service, TooManyFollowers
from stationkeep.node.views.events import event_view

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
    **{status: problem(status) for status in ALWAYS},
}


@router.get(PATH, responses=_RESPONSES)
async def follow_events(
    request: Request,
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
    """Role changes, decisions, votes, ring moves, alarms: from now on, or after an event."""
    follow = Follow(service, last_event_id, caller_of(request).good)
    await asyncio.sleep(0)  # lets the source say at once that it has followers enough
    if follow.turned_away():
        detail = "as many clients follow the events as this node serves"
        raise Problem(Kind.BUSY, detail, headers={"Retry-After": "5"})
    headers = {**Read(service).headers(), "X-Accel-Buffering": "no"}
    return _Streaming(follow, headers)


class Follow:
    """One client's place in the stream of events: always waiting for the next one. `good`: whether
    the client still may."""

    def __init__(
        self, service: Service, last_id: str | None, good: Callable[[], bool] = lambda: True
    ) -> None:
        self._service, self._good = service, good
        self._events = service.events(last_id)
        self._next = asyncio.ensure_future(anext(self._events))

    def turned_away(self) -> bool:
        """Whether the source has refused another follower."""
        return self._next.done() and isinstance(self._next.exception(), TooManyFollowers)

    async def frames(self) -> AsyncIterator[bytes]:
        """What goes over the wire; a comment after every `KEEP_ALIVE` seconds of silence."""
        yield f"retry: {RETRY_MS}\n\n".encode()
        while True:
            await asyncio.wait({self._next}, timeout=KEEP_ALIVE)
            if not self._good():  # that its token was revoked is an event, too
                return
            if not self._next.done():
                yield b": keep-alive\n\n"
                continue
            try:
                event = self._next.result()
            except StopAsyncIteration:
                return
            yield frame(event, self._service.state.fleet)
            self._next = asyncio.ensure_future(anext(self._events))

    async def close(self) -> None:
        """A cancelled wait ends the source by itself; one that is not waiting is closed."""
        if not self._next.cancel():
            await self._events.aclose()


class _Streaming(StreamingResponse):
    """The stream; gives up its place however it ends, also when it never began."""

    def __init__(self, follow: Follow, headers: dict[str, str]) -> None:
        super().__init__(follow.frames(), headers=headers, media_type=EVENTS)
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._follow.close()


def frame(event: StreamedEvent, fleet: Fleet) -> bytes:
    """One event as it goes over the wire."""
    head = f"id: {event.id}\n" if event.id else ""
    data = msgspec.json.encode(_data(event, fleet)).decode()
    return f"{head}event: {event.kind}\ndata: {data}\n\n".encode()


def _data(event: StreamedEvent, fleet: Fleet) -> dict[str, Any]:
    """What happened, beside its log index and times."""
    if event.event is None:
        return {"detail": event.detail}
    index = int(event.id.partition(".")[0])
    when = {"index": index, "at_ms": event.at, "wall_ms": event.wall}
    return when | event_view(event.event, fleet)
