"""The fast path of plain requests answers what FastAPI would, and asks it about all others."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import CreateDeployment, CreateRollout
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import Access
from stationkeep.node.api import submission
from stationkeep.node.api.app import RESOURCES, build
from stationkeep.node.http.access import CALLER, Admission, Caller
from stationkeep.node.http.fast_path import FastPath
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register

JSON = (b"content-type", b"application/json")
BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/nodes": {"id": "sat-004", "raft": "127.0.0.1:7704", "http": "127.0.0.1:8704"},
    "POST /v1/nodes/{node}/move": {"raft": "127.0.0.1:7705", "http": "127.0.0.1:8705"},
    "POST /v1/level/raise": {"to": 2},
    "POST /v1/nodes/{node}/maintenance": {"on": True, "duration": "10m", "reason": "paint"},
    "POST /v1/nodes/{node}/priority": {"priority": 7, "reason": "old"},
    "POST /v1/nodes/{node}/policies": {
        "name": "p", "priority": "safety", "score": 0.5, "forbids": ["*->PRIMARY"], "lifetime": 60
    },
    "POST /v1/switchover": {"target": "sat-002"},
    "POST /v1/failover": {"target": "sat-002", "force": True},
    "POST /v1/pause": {"duration": "1m"},
    "POST /v1/resume": {"reason": "done"},
    "POST /v1/actions": {"name": "beacon", "targets": ["sat-001"], "parameters": {"a": "b"}},
    "POST /v1/alarms/{alarm}/ack": {"reason": "seen"},
    "PATCH /v1/config": {"evaluation_interval": "1s", "swarm_mode": "on"},
    "PUT /v1/devices/{device}/ring": {"ring": "stage", "lifetime": "1h"},
    "POST /v1/rings/rebalance": {"reason": "now"},
    "POST /v1/rings/plan": {},
    "PUT /v1/rings/shares": {"weights": {"canary": 1, "dev": 1, "stage": 2, "prod": 6}},
    "PUT /v1/rings/policies": {"policies": [], "version": ""},
    "POST /v1/rings/policies/plan": {"policies": []},
    "PUT /v1/rings/health-rule": {"rule": "battery > 20 and cpu < 80"},
    "POST /v1/rings/health-rule/plan": {"rule": "battery > 20 and cpu < 80"},
    "POST /v1/rings/release-brake": {},
    "DELETE /v1/devices/{device}/credential": {"reason": "stolen"},
    "POST /v1/devices/{device}/credential/reset": {"reason": "replaced"},
    "POST /v1/devices:report": {"statuses": []},
    "POST /v1/devices:register": {"registrations": []},
    "POST /v1/tasks": {
        "task_type": "deployment", "devices": ["device-001"],
        "artifact": {"version": "2", "size": 1},
        "pace": {"from": 1, "to": 5, "factor": 2}, "deadline": "1h", "priority": 1, "retries": 0,
        "max_in_flight": 1, "require": "battery > 20",
    },
    "POST /v1/tasks:report": {"updates": [{"task_id": "1/device-001/1", "state": "succeeded"}]},
    "POST /v1/deployments/{number}/cancel": {"reason": "enough"},
    "POST /v1/deployments/{number}/retry": {"devices": ["device-001"], "reason": "once more"},
    "POST /v1/rollouts": {
        "rollout": "fw", "plan": {"artifact": {"version": "2.0.0"}, "priority": 600},
        "replace": True, "comment": "at last",
    },
    "POST /v1/rollouts:validate": {"rollout": "fw", "plan": {"artifact": {"version": "2.0.0"}}},
    "POST /v1/rollouts/{rollout}/start": {"force": True, "revision": 1},
    "POST /v1/rollouts/{rollout}/approve": {"digest": "0" * 32, "stage": "canary"},
    "POST /v1/rollouts/{rollout}/pause": {"duration": "10m"},
    "POST /v1/rollouts/{rollout}/resume": {"reason": "seen"},
    "POST /v1/rollouts/{rollout}/promote": {"variant": "a", "force": True},
    "POST /v1/rollouts/{rollout}/abort": {"revision": 1},
    "POST /v1/rollouts/{rollout}/rollback": {"reason": "ill"},
    "POST /v1/rollouts/{rollout}/retry": {"stage": "canary", "devices": ["device-001"]},
    "PUT /v1/freezes/{freeze}": {"duration": "1h", "rings": ["prod"], "selector": "app=2.0.0"},
    "DELETE /v1/freezes/{freeze}": {"reason": "over"},
    "POST /v1/tls/revocations": {"serial": "4fa0", "reason": "stolen"},
    "POST /v1/tls/rotation/start": {"pem": "", "reason": "stolen"},
    "POST /v1/tls/rotation/finish": {"leave_behind": 3, "reason": "stolen"},
    "POST /v1/tls/rotation/abort": {"reason": "no"},
    "POST /v1/tokens": {
        "token": "aaaaaaaa", "name": "ci", "role": "viewer", "sha256": "0" * 64, "lifetime": "90d",
        "ids": "", "overlap": "1h",
    },
    "DELETE /v1/tokens/{token}": {"reason": "lost"},
    "POST /v1/invitations": {
        "invitation": "aaaaaaaa", "sha256": "0" * 64, "uses": 1, "lifetime": "1h",
        "node": "sat-009",
    },
    "DELETE /v1/invitations/{invitation}": {"reason": "lost"},
    "POST /v1/join": {
        "word": "skj_", "node": "sat-009", "raft": "127.0.0.1:7709", "http": "127.0.0.1:8709",
        "csr": "", "lowest": 1, "highest": 1,
    },
    "POST /v1/artifacts/{component}/{version}:unblock": {"sha256": "", "reason": "mended"},
}  # fmt: skip
"""Bodies that a route takes, or nearly: the walk is about both."""
LEFT_OUT = {"/v1/rings/plan", "/v1/events"}
"""Draws anew; never ends."""


def _routes() -> list[APIRoute]:
    routes = [route for resource in RESOURCES for route in resource.router.routes]
    return [route for route in routes if isinstance(route, APIRoute)]


ROUTES = [
    f"{method} {route.path}"
    for route in _routes()
    if route.path not in LEFT_OUT
    for method in sorted(route.methods)
]
PARAMETERS = (
    "sat-002", "device-001", "fw", "nobody", "x" * 129, "a/b", "a%0A", "%C3%BC", "%00", "", "1",
    "0", "4294967296", "%31", "1.0", "9" * 5_000,
)  # fmt: skip
QUERIES = (
    b"", b"consistency=strong", b"consistency=local", b"consistency=weak", b"limit=5", b"limit=0",
    b"limit=x", b"limit=%35", b"limit=+5", b"limit=5&limit=6", b"limit=", b"cursor=!", b"cursor=",
    b"cursor=AA", b"digest=true", b"digest=1", b"digest=no?", b"subject=a&subject=b", b"=", b"&",
    b"state=succeeded&ring=dev", b"state=none", b"state=open&state=closed", b"state=",
    b"state=open&state=x", b"cursor=AQ",
    b"outcome=done", b"about=roles", b"ring=prod", b"healthy=yes&online=off", b"%ff", b"unheard=of",
)  # fmt: skip
HEADERS = (
    *((b"idempotency-key", value) for value in (b"k", b"", b" k", b"k\xfc", b"k" * 129, b"two k")),
    *((b"x-stationkeep-actor", value) for value in (b"ann@ground", b"", b"\xe9", b"a" * 200)),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"traceparent", b"nonsense"),
    *((b"content-type", value) for value in (
        b"application/json; charset=utf-8", b"APPLICATION/JSON", b"text/plain", b"", b"a/b+json",
        b"application/msgpack",
    )),
)  # fmt: skip
WEIRD = st.sampled_from([
    None, "", " ", "on", "x" * 501, "\0", "\ud800", -1, 0, 1_001, 10**30, 0.5, True, [], {}, [None],
    ["x"] * 40, {"a": {"b": []}}, "10m", "1e9d",
])  # fmt: skip
RAW = (
    b"", b" ", b"null", b"[]", b"{}", b"{", b'"x"', b"\xff", b'{"priority": NaN}', b"1e999",
    b'{"priority": 1, "priority": 2}', b'{"priority": 1}'.decode().encode("utf-16"),
    b"\xef\xbb\xbf{}", b"[" * 20_000, b"9" * 5_000, b'{"priority": 1} x',
)  # fmt: skip


class Asked(NamedTuple):
    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)
    body: bytes = b""


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


async def ask(app: Any, asked: Asked) -> Answer:
    """Straight to the application: a client would not say much of this."""
    pending = [{"type": "http.request", "body": asked.body, "more_body": False}]
    heard: list[dict[str, Any]] = []

    async def receive() -> Any:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        heard.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": unquote(asked.path),
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "root_path": "",
        "headers": [(b"host", b"localhost:8701"), *asked.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8701),
    }
    await app(scope, receive, send)
    start, *bodies = heard
    return start["status"], start["headers"], b"".join(part.get("body", b"") for part in bodies)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def ways() -> list[FastAPI]:
    """The application, and the same one without its fast path."""
    short, long = build(FakeNode()), build(FakeNode())
    long.user_middleware = [made for made in long.user_middleware if made.cls is not FastPath]
    return [short, long]


@pytest.fixture(autouse=True)
def _one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "operation_id", lambda _: "op-1")


def story() -> FakeNode:
    node = FakeNode().with_primary()
    register(node, "device-001", capabilities={"deployment": "true"})
    node.commit(CreateDeployment(Target(everyone=True), artifact=Artifact("2.0.0")))
    node.commit(CreateRollout("fw", Plan(Artifact("2.0.0"))))
    return node


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """One request, plain or with a few things wrong."""
    route = draw(st.sampled_from(ROUTES))
    method, _, path = route.partition(" ")
    while "{" in path:
        head, _, tail = path.partition("{")
        path = head + draw(st.sampled_from(PARAMETERS)) + tail.partition("}")[2]
    content = () if route not in BODIES or draw(st.integers(0, 9)) == 0 else (JSON,)
    others = draw(st.lists(st.sampled_from(HEADERS), max_size=3))
    query = draw(st.sampled_from(QUERIES))
    return Asked(method, path, query, (*content, *others), draw(bodies(BODIES.get(route))))


@st.composite
def bodies(draw: st.DrawFn, good: dict[str, Any] | None) -> bytes:
    if good is None or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(RAW))
    body = dict(good)
    for name in draw(st.lists(st.sampled_from([*good, "reason", "more"]), max_size=2)):
        if draw(st.booleans()):
            body.pop(name, None)
        else:
            body[name] = draw(WEIRD)
    return json.dumps(body).encode()


PRIORITY = "/v1/nodes/sat-002/priority"


def test_the_walk_has_a_body_for_every_route_that_takes_one() -> None:
    operations = build(FakeNode()).openapi()["paths"]
    taking = {
        f"{method.upper()} {path}"
        for path, methods in operations.items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert taking == BODIES.keys()


@given(asked=requests())
@example(Asked("POST", PRIORITY, body=b'{"priority": 7}'))
@example(Asked("POST", PRIORITY, headers=(JSON, JSON), body=b'{"priority": 7}'))
@example(Asked("POST", PRIORITY, headers=(), body=b'{"priority": 7}'))
@example(Asked("POST", "/v1/resume", body=b"null"))
@example(Asked("GET", "/v1/cluster%0A"))
@example(Asked("GET", "//v1/cluster"))
@example(Asked("GET", "/v1/cluster/"))
@example(Asked("HEAD", "/v1/cluster"))
@example(Asked("OPTIONS", PRIORITY))
@settings(max_examples=1_000, deadline=None, derandomize=True)
def test_both_ways_give_the_same_answer(
    runner: asyncio.Runner, ways: list[FastAPI], asked: Asked
) -> None:
    nodes = [story(), story()]
    answers: list[Answer] = []
    for app, node in zip(ways, nodes, strict=True):
        app.state.service, app.state.admission = node, Admission()
        random.seed(0)  # by which a device's interval is drawn
        answers.append(runner.run(ask(app, asked)))
    assert answers[0] == answers[1]
    assert answers[0][0] < 500
    assert codec.digest(nodes[0].state) == codec.digest(nodes[1].state)


async def test_plain_requests_do_not_come_to_fastapi() -> None:
    async def fastapi(*_: Any) -> None:
        raise AssertionError("it was to be answered before")

    app = build(node := story())
    short = FastPath(fastapi, _routes())

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await short({**scope, "app": app, CALLER: Caller(Access.ADMIN, "here")}, receive, send)

    app.state.service = node
    assert (await ask(behind, Asked("GET", "/v1/cluster", b"consistency=strong")))[0] == 200
    write = Asked("POST", PRIORITY, body=b'{"priority": 7}')
    assert (await ask(behind, write))[0] == 200
    assert node.state.members["sat-002"].priority == 7


def test_every_route_is_understood_but_those_whose_parameters_are_no_part_of_a_path() -> None:
    short = FastPath(build(FakeNode()), _routes())
    long = [
        route.path
        for route in _routes()
        if not all(short.find(method, route.path) for method in route.methods)
    ]
    assert long == [
        "/v1/operations/{operation:path}",
        "/v1/artifacts/{component}/{version}:unblock",
    ]
    assert short.find("GET", "/v1/nodes/") is None
    assert short.find("PUT", "/v1/nodes") is None
