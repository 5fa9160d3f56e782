"""The table of rights: whole, and read as the API reads paths."""

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Match, Route

from stationkeep.cluster.state.state import Access
from stationkeep.node.api import guide, pages
from stationkeep.node.api.app import RESOURCES, build
from stationkeep.node.gateway.sessions import PATH
from stationkeep.node.metrics.node import PATH as METRICS
from stationkeep.node.security.authorisation import RIGHTS, SOCKET, may, right_to, route_of
from tests.node.api.fake import FakeNode

ROLES = (None, *Access)


def routes() -> Iterator[tuple[str, str]]:
    """Everything that a node answers, as method and route."""
    app = build(FakeNode())
    routers = [*(resource.router for resource in RESOURCES), pages.routes({}), guide.router]
    found = [route for router in routers for route in router.routes]
    for route in (*found, *app.router.routes):
        if isinstance(route, APIRoute | Route):
            for method in (route.methods or set()) - {"HEAD"}:
                yield method, route.path
    yield "GET", METRICS
    yield SOCKET, PATH


ALL = sorted(set(routes()))


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    assert set(ALL) == set(RIGHTS)


def test_every_operation_of_the_document_is_in_the_table() -> None:
    document = build(FakeNode()).openapi()
    described = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
    assert described - {(m, route.replace(":path}", "}")) for m, route in RIGHTS} == set()


@pytest.mark.parametrize(("method", "route"), ALL)
def test_a_path_is_read_as_the_route_that_answers_it(method: str, route: str) -> None:
    path = route.replace(":path}", "/more}").replace("{", "x-").replace("}", "")
    assert route_of(method, path) == route
    if method == "GET":
        assert route_of("HEAD", path) == route


@pytest.mark.parametrize(
    "path", ["", "//", "/v1", "/v1/", "/v1/nodes/", "/v1/nodes//explain", "/v1/cluster/", "/V1/me"]
)
def test_what_is_no_path_of_ours_is_no_route(path: str) -> None:
    assert route_of("GET", path) is None


def test_what_the_table_does_not_name_is_for_administrators() -> None:
    assert [role for role in ROLES if may(role, "POST", "/v1/new")] == [Access.ADMIN]


@pytest.mark.parametrize(("method", "route"), ALL)
def test_each_role_of_the_ladder_may_what_the_one_below_may(method: str, route: str) -> None:
    allowed = [may(role, method, route) for role in (Access.VIEWER, Access.OPERATOR, Access.ADMIN)]
    assert allowed == sorted(allowed)
    assert allowed[-1]


def allowed(role: Access | None) -> set[str]:
    return {f"{method} {route}" for method, route in ALL if may(role, method, route)}


JOINING = "POST /v1/join"
"""Who comes there shows an invitation instead of a token."""


def test_who_shows_no_token_sees_files_and_status_alone() -> None:
    seen = {route.partition(" ")[2] for route in allowed(None) - {JOINING}}
    assert {each for each in seen if each.startswith("/v1")} == {"/v1/me", "/v1/tls/ca"}
    assert "/metrics" not in seen


def test_metrics_and_devices_have_one_door_each() -> None:
    assert allowed(Access.METRICS) - allowed(None) == {"GET /metrics"}
    assert allowed(Access.DEVICE) - allowed(None) == {
        "WS /v1/agents",
        "POST /v1/devices:register",
        "POST /v1/devices:report",
        "POST /v1/tasks:report",
        "GET /v1/devices/{device}/assignment",
        "GET /v1/devices/{device}/task",
    }


def test_a_viewer_changes_nothing() -> None:
    plans = {"POST /v1/rollouts:validate"} | {
        f"POST /v1/rings/{what}" for what in ("plan", "health-rule/plan", "policies/plan")
    }
    writes = {each for each in allowed(Access.VIEWER) if not each.startswith("GET")}
    assert writes - {JOINING} == plans


@pytest.mark.parametrize(
    "route",
    [
        "POST /v1/nodes",
        "DELETE /v1/nodes/{node}",
        "PATCH /v1/config",
        "PUT /v1/rings/shares",
        "PUT /v1/rings/policies",
        "PUT /v1/rings/health-rule",
        "GET /v1/snapshot",
        "GET /v1/tokens",
        "POST /v1/tokens",
        "DELETE /v1/tokens/{token}",
    ],
)
def test_an_operator_does_not_administer(route: str) -> None:
    assert route in allowed(Access.ADMIN)
    assert route not in allowed(Access.OPERATOR)


ODD = (
    "x", "x:unblock", ":unblock", "x:register", "..", ".", "%2F", "\n", "me\n", "", " ", "\0", "é",
    "me", "ca", "plan", "ring", "config", "tokens", "explain", "shares", "policies", "{node}",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get")


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str]:
    """A method, and a path that is nearly one of ours."""
    method, route = draw(st.sampled_from(ALL))
    odd = st.sampled_from(ODD)
    parts = [draw(odd) if "{" in part else part for part in route.split("/")]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(parts) - 1))
        parts[place : place + draw(st.integers(0, 1))] = draw(st.lists(odd, max_size=2)) or ["x"]
    return draw(st.sampled_from([method] * 20 + list(METHODS))), "/".join(parts)


ANSWERING = [
    route
    for router in (*(resource.router for resource in RESOURCES), pages.routes({}), guide.router)
    for route in router.routes
    if isinstance(route, Route)
]


@given(requests())
@settings(max_examples=2_000, deadline=None)
def test_no_path_is_answered_by_a_route_that_is_for_fewer_than_it_was_judged_by(
    request: tuple[str, str],
) -> None:
    method, path = request
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    answering = next((r for r in ANSWERING if r.matches(scope)[0] is Match.FULL), None)
    judged = route_of(method, path)
    if answering is not None and judged is not None:
        assert right_to(method, answering.path) == right_to(method, judged)
