"""Clients whose connections lead to nodes that a test plays."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from stationkeep.node.client import AsyncClient, nodes

Json = dict[str, Any]
Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
URLS = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]


class PlayedNodes:
    """Answers by port. Of the replies of a port each serves one request, and the last all further
    ones; where there are none nobody listens."""

    def __init__(self) -> None:
        self.replies: dict[int, list[Reply]] = {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        waiting = self.replies.get(request.url.port or 80)
        if not waiting:
            raise httpx.ConnectError("no") from ConnectionRefusedError(111, "Connection refused")
        reply = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) else reply

    @property
    def ports(self) -> list[int | None]:
        """Where the requests went, in order."""
        return [request.url.port for request in self.requests]

    @property
    def keys(self) -> set[str | None]:
        return {request.headers.get("Idempotency-Key") for request in self.requests}

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedNodes:
    found = PlayedNodes()

    def open_http(**_: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(found))

    monkeypatch.setattr(nodes, "open_http", open_http)
    monkeypatch.setattr(nodes, "FIRST_PAUSE", 0.0)
    return found


@pytest.fixture
async def client(played: PlayedNodes) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(URLS, actor="ann", timeout=5.0) as made:
        yield made


def done(request: httpx.Request) -> httpx.Response:
    key = request.headers["Idempotency-Key"]
    return httpx.Response(200, json={"operation": key, "status": "done", "index": 7, "result": {}})


def unknown(request: httpx.Request) -> httpx.Response:
    key = request.headers["Idempotency-Key"]
    return httpx.Response(202, json={"operation": key, "status": "unknown", "detail": "too slow"})


def problem(status: int, detail: str, **more: str) -> httpx.Response:
    body: Json = {"type": "urn:stationkeep:problem:x", "title": "No", "status": status}
    return httpx.Response(status, json=body | {"detail": detail} | more)


NO_QUORUM = problem(503, "nothing can be agreed now: no leader")
BUSY = problem(429, "256 requests are already being served")
