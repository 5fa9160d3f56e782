"""Every class of error is a problem document, and none tells of the inside."""

import asyncio
import tracemalloc
from typing import Any

import httpx
import pytest

from stationkeep.node.api.resources.roles import RESCUES
from stationkeep.node.http.limits import MAX_BODY_BYTES, Limits, Places
from stationkeep.node.http.problems import Kind
from stationkeep.node.security.tokens import draw
from stationkeep.node.wire.faults import MAX_SHOWN
from tests.node.api.fake import FakeNode

JSON = {"Content-Type": "application/json"}


def _is_problem(answer: httpx.Response, kind: Kind) -> Any:
    assert answer.status_code == kind.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == kind.uri
    assert body["title"] == kind.title
    assert body["status"] == kind.status
    assert body["detail"]
    return body


async def test_no_such_path(client: httpx.AsyncClient) -> None:
    body = _is_problem(await client.get("/v1/nothing"), Kind.NOT_FOUND)
    assert "/v1/nothing" in body["detail"]


async def test_no_such_node_or_operation(client: httpx.AsyncClient) -> None:
    for path in ("/v1/nodes/sat-009", "/v1/nodes/sat-009/explain", "/v1/operations/op-9"):
        _is_problem(await client.get(path), Kind.NOT_FOUND)


async def test_method_not_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/cluster")
    _is_problem(answer, Kind.METHOD)
    assert "GET" in answer.headers["allow"]
    _is_problem(await client.post("/primary"), Kind.METHOD)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"duration": }',
        b'{"duration": "10m"',
        b"[" * 5_000,
        b'{"duration": 1' + b"0" * 5_000 + b"}",
    ],
)
async def test_malformed_json(client: httpx.AsyncClient, node: FakeNode, body: bytes) -> None:
    before = node.state.index
    answer = await client.post("/v1/pause", content=body, headers=JSON)
    problem = _is_problem(answer, Kind.INVALID)
    assert problem["field"] == "body"
    assert "malformed JSON" in problem["rule"]
    assert node.state.index == before


@pytest.mark.parametrize(
    ("path", "body", "field", "rule"),
    [
        ("/v1/pause", {"duration": True}, "duration", "a duration such as"),
        ("/v1/pause", {"duration": -1}, "duration", "between 10ms and 24h"),
        ("/v1/pause", {"duration": 86_401}, "duration", "between 10ms and 24h"),
        ("/v1/pause", {"duration": "9" * 33}, "duration", "between 10ms and 24h"),
        (
            "/v1/config",
            {"evaluation_interval": None, "primary_lease": []},
            "primary_lease",
            "a dur",
        ),
        ("/v1/config", {"swarm_mode": "maybe"}, "swarm_mode", "on or off"),
        ("/v1/resume", {"reason": "\x1b[31mred"}, "reason", "without control characters"),
        ("/v1/resume", {"reason": "two\nlines"}, "reason", "without control characters"),
        ("/v1/resume", {"reason": "\u202eturned"}, "reason", "without control characters"),
        ("/v1/actions", {"name": "a b"}, "name", "beginning with a letter"),
        (
            "/v1/actions",
            {"name": "a", "parameters": {"A": "b\0c"}},
            "parameters.A",
            "without the character NUL",
        ),
    ],
)
async def test_a_fault_is_told_once_and_in_words(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str, rule: str
) -> None:
    method = "PATCH" if path == "/v1/config" else "POST"
    problem = _is_problem(await client.request(method, path, json=body), Kind.INVALID)
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert len(problem["errors"]) == 1
    refused = f"{field}: {problem['value']} refused: {problem['rule']}"
    assert problem["detail"] == refused
    assert problem["detail"].isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"duration": NaN}',
        b'{"duration": Infinity}',
        b'{"duration": 1e400}',
        b'{"duration": "10m", "reason": "\\ud800"}',
        b'{"\\ud800": 1, "duration": "10m"}',
        b'"text"',
        b"null",
    ],
)
async def test_json_that_python_takes_and_nobody_should(
    client: httpx.AsyncClient, body: bytes
) -> None:
    problem = _is_problem(await client.post("/v1/pause", content=body, headers=JSON), Kind.INVALID)
    assert problem["field"]
    assert problem["rule"]


async def test_a_body_that_is_not_announced_as_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/pause", content=b'{"duration": "10m"}')
    assert "application/json" in _is_problem(answer, Kind.INVALID)["rule"]


async def test_a_token_that_was_put_in_the_wrong_place_is_not_told_again(
    client: httpx.AsyncClient,
) -> None:
    lost = draw()
    for path in (f"/v1/devices/{lost.text}", f"/v1/operations/{lost.text}", f"/{lost.text}"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert lost.secret not in answer.text


async def test_a_long_value_is_shown_in_part(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/switchover", json={"target": "x" * 10_000})
    assert len(_is_problem(answer, Kind.INVALID)["value"]) == MAX_SHOWN


async def test_several_faults_are_listed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/failover", json={"force": 1, "why": "x"})
    errors = _is_problem(answer, Kind.INVALID)["errors"]
    assert {error["field"] for error in errors} == {"target", "force", "why"}
    assert {"field": "why", "value": "x", "rule": "no such field"} in errors


async def test_a_body_beyond_the_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/pause", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    _is_problem(answer, Kind.TOO_LARGE)
    assert answer.headers["connection"] == "close"
    just = b'{"duration": "10m"}'
    answer = await client.post(
        "/v1/pause", content=just + b" " * (MAX_BODY_BYTES - len(just)), headers=JSON
    )
    assert answer.status_code == 200


async def test_a_body_beyond_the_limit_that_announces_nothing(client: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 1_024

    _is_problem(await client.post("/v1/pause", content=endless(), headers=JSON), Kind.TOO_LARGE)


async def test_a_body_that_announces_absurdly_much(client: httpx.AsyncClient) -> None:
    headers = {**JSON, "Content-Length": "9" * 4_000}
    answer = await client.post("/v1/pause", content=b"{}", headers=headers)
    _is_problem(answer, Kind.TOO_LARGE)


async def test_a_body_that_never_arrives() -> None:
    sent: list[Any] = []

    async def app(*_: Any) -> None:
        raise AssertionError("the request must not get here")

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/v1/pause",
        "headers": [],
        "method": "POST",
        "query_string": b"",
    }
    await Limits(app, body_timeout=0.01)(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_a_client_that_leaves_before_its_body_is_there() -> None:
    async def app(*_: Any) -> None:
        raise AssertionError("the request must not get here")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("there is nobody to answer")

    scope = {
        "type": "http",
        "path": "/v1/pause",
        "headers": [],
        "method": "POST",
        "query_string": b"",
    }
    await Limits(app)(scope, receive, send)


async def test_too_many_requests_in_flight(client: httpx.AsyncClient, node: FakeNode) -> None:
    limit = 3  # of four
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.app = Limits(transport.app, exempt=("/primary",), max_in_flight=limit + 1)
    node.gate = asyncio.Event()
    waiting = [asyncio.create_task(client.post("/v1/resume")) for _ in range(limit)]
    for _ in range(limit):
        await node.entered.get()
    answer = await client.post("/v1/resume")
    _is_problem(answer, Kind.BUSY)
    assert answer.headers["retry-after"] == "1"
    strong = await client.get("/v1/nodes", params={"consistency": "strong"})
    _is_problem(strong, Kind.BUSY)
    for path in ("/primary", "/v1/nodes"):
        assert (await client.get(path)).status_code == 200
    node.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * limit
    assert (await client.post("/v1/resume")).status_code == 200


async def test_an_order_that_ends_trouble_finds_a_place_when_other_writes_have_none(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.app = Limits(transport.app, rescues=RESCUES, max_in_flight=1)
    node.gate = asyncio.Event()
    waiting = [asyncio.create_task(client.post("/v1/switchover", json={}))]
    await node.entered.get()
    _is_problem(await client.post("/v1/switchover", json={}), Kind.BUSY)
    bodies: list[dict[str, str]] = [{"target": "sat-002"}, {"duration": "10m"}, {}]
    for path, body in zip(RESCUES, bodies, strict=True):
        waiting.append(asyncio.create_task(client.post(path, json=body)))
        await node.entered.get()
    node.gate.set()
    assert all(answer.status_code != 429 for answer in await asyncio.gather(*waiting))


def test_one_address_leaves_places_for_others() -> None:
    places = Places(8)
    assert [places.take("10.6.6.6") for _ in range(8)] == [True] * 6 + [False] * 2
    assert [places.take("10.0.0.1") for _ in range(3)] == [True, True, False]
    places.give_back("10.6.6.6")
    assert places.take("10.0.0.1")


def test_whoever_is_turned_away_leaves_nothing_behind() -> None:
    """Addresses can be had by the million."""
    places = Places(8)
    for number in range(8):
        assert places.take(f"client-{number}")
    tracemalloc.start()
    try:
        for number in range(10_000):
            assert not places.take(f"crowd-{number}")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000


async def test_a_bug_says_nothing_of_its_inside(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(node, "effective_role", broken)
    for path in ("/v1/nodes", "/v1/roles"):
        answer = await client.get(path)
        _is_problem(answer, Kind.INTERNAL)
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "http://evil.example:8701", "null", "["])
async def test_a_web_page_of_another_site_may_not_write(
    client: httpx.AsyncClient, origin: str
) -> None:
    body = _is_problem(await client.post("/v1/resume", headers={"Origin": origin}), Kind.FORBIDDEN)
    assert origin in body["detail"]
    read = await client.get("/v1/cluster", headers={"Origin": origin})
    assert read.status_code == 200


async def test_our_own_pages_may_write(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/resume", headers={"Origin": "http://127.0.0.1:8701"})
    assert answer.status_code == 200
