"""The event stream: frames, resumption, silence, limits, and no place kept after the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from stationkeep.node.api.resources import events
from stationkeep.node.replica import StreamedEvent
from tests.node.api.fake import FakeNode


class Follower:
    """An HTTP client of the stream, in-process: httpx's own transport would wait for the end."""

    def __init__(self, app: FastAPI, last_id: str | None = None) -> None:
        self._gone = asyncio.Event()
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._asked = False
        self.status = 0
        self.headers: dict[str, str] = {}
        headers = [(b"last-event-id", last_id.encode())] if last_id is not None else []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/events",
            "raw_path": b"/v1/events",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("sat-001", 80),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        elif message.get("body"):
            self._frames.put_nowait(message["body"].decode())

    async def frame(self) -> str:
        return await asyncio.wait_for(self._frames.get(), 5)

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, 5)


Follow = Callable[..., Follower]


@pytest.fixture
async def follow(app: FastAPI) -> AsyncIterator[Follow]:
    followers: list[Follower] = []

    def begin(last_id: str | None = None) -> Follower:
        followers.append(Follower(app, last_id))
        return followers[-1]

    yield begin
    for follower in followers:
        await follower.leave()


async def test_events_arrive_as_they_happen(node: FakeNode, follow: Follow) -> None:
    stream = follow()
    assert await stream.frame() == "retry: 1000\n\n"
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    node.evaluate()
    first = node.streamed[-1].id.partition(".")[0]
    head, kind, data, *rest = (await stream.frame()).split("\n")
    assert head.startswith("id: ")
    assert int(head[4:].partition(".")[0]) <= int(first)
    assert kind.startswith("event: ")
    assert data.startswith('data: {"index":')
    assert rest == ["", ""]


async def test_resumes_after_the_last_event_seen(node: FakeNode, follow: Follow) -> None:
    node.evaluate()
    seen, following = node.streamed[-2], node.streamed[-1]
    stream = follow(seen.id)
    await stream.frame()
    assert (await stream.frame()).startswith(f"id: {following.id}\nevent: {following.kind}\n")


@pytest.mark.parametrize("bad", ["", "x", "1", "1.2.3", "-1.0", "9" * 40 + ".1"])
async def test_a_bad_event_id_is_refused(client: httpx.AsyncClient, bad: str) -> None:
    answer = await client.get("/v1/events", headers={"Last-Event-ID": bad})
    assert answer.status_code == 400
    assert answer.json()["field"] == "Last-Event-ID"


async def test_silence_is_kept_alive(
    node: FakeNode, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.01)
    stream = follow()
    await stream.frame()
    assert await stream.frame() == ": keep-alive\n\n"
    node.evaluate()
    frame = await stream.frame()
    while frame.startswith(":"):
        frame = await stream.frame()
    assert frame.startswith("id: ")


async def test_followers_are_limited_and_give_their_place_back(
    client: httpx.AsyncClient, node: FakeNode, follow: Follow
) -> None:
    streams = [follow() for _ in range(node.max_followers)]
    for stream in streams:
        await stream.frame()
    assert node.followers == node.max_followers
    answer = await client.get("/v1/events")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "5"
    await streams[0].leave()
    assert node.followers == node.max_followers - 1
    again = follow()
    assert await again.frame() == "retry: 1000\n\n"


async def test_a_follower_that_leaves_in_the_middle_of_events(
    node: FakeNode, follow: Follow
) -> None:
    stream = follow()
    await stream.frame()
    node.evaluate()
    await stream.leave()
    assert node.followers == 0


async def test_the_stream_ends_with_its_source(
    node: FakeNode, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def short(_: str | None) -> AsyncIterator[StreamedEvent]:
        yield StreamedEvent("", "gap", "forgotten")

    monkeypatch.setattr(node, "events", short)
    stream = follow()
    await stream.frame()
    assert await stream.frame() == 'event: gap\ndata: {"detail":"forgotten"}\n\n'
    await asyncio.wait_for(stream.task, 5)
