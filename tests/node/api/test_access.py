"""A node that asks for tokens: each route for each role, what is kept of who asked, what ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stationkeep.cluster.access import OF_DEVICES
from stationkeep.cluster.commands import CreateToken, RevokeCredential, RevokeToken
from stationkeep.cluster.state.state import Access
from stationkeep.node.api.app import build
from stationkeep.node.api.resources.probes import PROBES
from stationkeep.node.http.access import Admission
from stationkeep.node.security.authorisation import RIGHTS, SOCKET, may
from stationkeep.node.security.device_secrets import DeviceSecret
from stationkeep.node.security.device_secrets import draw as draw_own
from stationkeep.node.security.tokens import Shown, draw
from tests.node.api.doorstep import STATUS
from tests.node.api.fake import FakeNode

TOKENS = {role: draw() for role in Access}
OPEN_ENDED = ("/v1/events", "/v1/snapshot")


def enter(node: FakeNode, shown: Shown, role: Access, **more: Any) -> None:
    ids = "sensor-*" if role in OF_DEVICES else ""
    limit = 2 if role is Access.ENROL else 0
    given = {"name": role.value, "role": role.value, "hash": shown.hash, "ids": ids, "limit": limit}
    node.commit(CreateToken(shown.id, **given | more), key=shown.id, actor="ann")


@pytest.fixture
def node() -> FakeNode:
    node = FakeNode().with_primary()
    for role, shown in TOKENS.items():
        enter(node, shown, role)
    return node


@pytest.fixture
async def client(node: FakeNode) -> AsyncIterator[httpx.AsyncClient]:
    admission = Admission(
        lambda: node.state.tokens, required=True, fleet=lambda: node.state.fleet, probes=PROBES
    )
    app = build(node, admission=admission)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        yield client


def by(role: Access | None, **more: str) -> dict[str, str]:
    return more if role is None else {"Authorization": f"Bearer {TOKENS[role].text}"} | more


def path_of(route: str) -> str:
    known = {
        "{node}": "sat-001",
        "{number}": "1",
        "{token}": "zzzzzzzz",
        "{topic}": "start",
        "{device}": "sensor-7",
    }
    for name, value in known.items():
        route = route.replace(name, value)
    return route.replace(":path}", "}").replace("{", "").replace("}", "")


@pytest.mark.parametrize("role", [None, *Access])
async def test_every_route_is_answered_as_the_table_has_it(
    client: httpx.AsyncClient, role: Access | None
) -> None:
    for method, route in RIGHTS:
        if method == SOCKET or (route in OPEN_ENDED and may(role, method, route)):
            continue
        answer = await client.request(method, path_of(route), headers=by(role))
        refused = answer.status_code in (401, 403)
        assert refused is not may(role, method, route), (method, route, answer.text)
        if refused:
            assert answer.status_code == (401 if role is None else 403)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_nowhere_is_not_found_by_who_is_known(client: httpx.AsyncClient) -> None:
    for role in Access:
        assert (await client.get("/v1/nowhere", headers=by(role))).status_code == 404
    assert (await client.get("/v1/nowhere")).status_code == 401


async def test_a_failover_by_force_is_for_administrators(client: httpx.AsyncClient) -> None:
    order = {"target": "sat-002", "force": True}
    answer = await client.post("/v1/failover", json=order, headers=by(Access.OPERATOR))
    assert (answer.status_code, answer.json()["rule"]) == (403, "role")
    plain = {"target": "sat-002"}
    answer = await client.post("/v1/failover", json=plain, headers=by(Access.OPERATOR))
    assert answer.status_code == 200
    order["target"] = "sat-001"
    answer = await client.post("/v1/failover", json=order, headers=by(Access.ADMIN))
    assert answer.status_code == 200


async def test_the_token_says_who_acted_and_the_client_for_whom(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    forged = {"X-Stationkeep-Actor": "root@prod", "X-Forwarded-For": "203.0.113.9"}
    headers = by(Access.OPERATOR, **forged)
    await client.post("/v1/pause", json={"duration": "1m", "reason": "look"}, headers=headers)
    [decision, *_] = (await client.get("/v1/decisions", headers=by(Access.VIEWER))).json()["items"]
    actor = f"operator#{TOKENS[Access.OPERATOR].id}"
    assert decision["actor"] == actor
    assert decision["on_behalf_of"] == "root@prod"
    assert decision["origin"] == "127.0.0.1 via sat-001"
    assert decision["sentence"].endswith(f"(by {actor}, who says for root@prod: look)")
    assert node.state.pause is not None
    assert node.state.pause.actor == actor


async def test_who_asks_is_told_who_they_are_and_what_is_missing(client: httpx.AsyncClient) -> None:
    nobody = (await client.get("/v1/me")).json()
    assert nobody == {
        "actor": "",
        "role": "none",
        "because": "Authorization: Bearer TOKEN is missing",
    }
    viewer = (await client.get("/v1/me", headers=by(Access.VIEWER))).json()
    assert viewer == {
        "actor": f"viewer#{TOKENS[Access.VIEWER].id}",
        "role": "viewer",
        "because": "",
    }


async def test_a_probe_says_to_strangers_only_whether(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"ok": True}
    assert (await client.get("/livez", headers=by(Access.VIEWER))).json()["node"] == "sat-001"


async def test_a_token_is_made_without_its_secret_coming_by(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    shown = draw()
    order = {"token": shown.id, "name": "ci", "role": "viewer", "sha256": shown.hash.hex()}
    headers = by(Access.ADMIN, **{"Idempotency-Key": "once"})
    for _ in range(2):  # a repetition is the same token
        answer = await client.post("/v1/tokens", json=order, headers=headers)
        assert answer.status_code == 200, answer.text
    listed = await client.get("/v1/tokens", headers=by(Access.ADMIN))
    [mine] = [one for one in listed.json()["items"] if one["token"] == shown.id]
    assert mine["state"] == "good"
    assert mine["created_by"] == f"admin#{TOKENS[Access.ADMIN].id}"
    assert shown.hash.hex() not in listed.text
    seen = {"Authorization": f"Bearer {shown.text}"}
    assert (await client.get("/v1/cluster", headers=seen)).status_code == 200
    await client.delete(f"/v1/tokens/{shown.id}", headers=by(Access.ADMIN))
    refused = await client.get("/v1/cluster", headers=seen)
    assert (refused.status_code, refused.json()["rule"]) == (401, "revoked")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sha256": "x"}, "sha256"),
        ({"token": "x"}, "token"),
        ({"role": "root"}, "role"),
        ({"lifetime": "11y"}, "lifetime"),
        ({"ids": "*-x"}, "ids"),
        ({"secret": "x"}, "secret"),
    ],
)
async def test_what_is_no_token_is_refused_by_field(
    client: httpx.AsyncClient, changes: dict[str, str], field: str
) -> None:
    shown = draw()
    order = {"token": shown.id, "name": "ci", "role": "viewer", "sha256": shown.hash.hex()}
    answer = await client.post("/v1/tokens", json=order | changes, headers=by(Access.ADMIN))
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Stationkeep-Actor"])
async def test_a_token_in_the_wrong_header_is_not_kept(
    client: httpx.AsyncClient, node: FakeNode, header: str
) -> None:
    shown = draw()
    headers = by(Access.OPERATOR, **{header: shown.text})
    answer = await client.post("/v1/pause", json={"duration": "1m"}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, header)
    assert shown.secret not in answer.text
    assert node.state.pause is None


async def test_a_token_is_not_taken_for_a_reason(client: httpx.AsyncClient, node: FakeNode) -> None:
    shown = draw()
    order = {"duration": "1m", "reason": f"as agreed {shown.text}"}
    answer = await client.post("/v1/pause", json=order, headers=by(Access.OPERATOR))
    assert (answer.status_code, answer.json()["field"]) == (400, "reason")
    assert shown.secret not in answer.text
    assert node.state.pause is None


async def test_a_stream_of_events_ends_with_its_token(
    node: FakeNode, client: httpx.AsyncClient
) -> None:
    from stationkeep.node.api.resources.events import Follow

    admission = Admission(lambda: node.state.tokens, required=True)
    headers = [(b"authorization", f"Bearer {TOKENS[Access.VIEWER].text}".encode())]
    caller = admission.admit("GET", "/v1/events", headers, "::1")
    follow = Follow(node, None, caller.good)
    frames = follow.frames()
    await anext(frames)
    coming = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    node.commit(RevokeToken(TOKENS[Access.VIEWER].id), key="k", actor="ann")
    with pytest.raises(StopAsyncIteration):
        await coming
    await follow.close()


async def test_a_device_s_token_reports_for_its_own_devices_alone(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    def registration(device: str) -> dict[str, Any]:
        status = {
            "slave_id": device, "battery_level": 85, "battery_charging": True, "cpu_usage": 4.0,
            "memory_usage": 5.0, "disk_usage": 6.0, "last_updated": "2025-10-16T12:34:56",
        }  # fmt: skip
        return {"device_status": status, "session": 1}

    body = {"registrations": [registration("sensor-1"), registration("phone-1")]}
    answer = await client.post("/v1/devices:register", json=body, headers=by(Access.DEVICE))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (1, 1)
    assert [(e["index"], e["rule"]) for e in told["errors"]] == [
        (1, "the token speaks for sensor-*")
    ]
    mine = await client.get("/v1/devices/sensor-1/assignment", headers=by(Access.DEVICE))
    other = await client.get("/v1/devices/phone-1/assignment", headers=by(Access.DEVICE))
    assert (mine.status_code, other.status_code) == (200, 403)


async def test_a_loopback_user_of_an_open_node_needs_no_token(node: FakeNode) -> None:
    """As before there were any: every route but one that only a device has."""
    transport = httpx.ASGITransport(app=build(node), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        for method, route in RIGHTS:
            if method != SOCKET and route not in OPEN_ENDED:
                answer = await client.request(method, path_of(route))
                assert answer.status_code not in (401, 403), (method, route)


async def test_devices_of_a_batch_enrol_one_by_one(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    """By a token for two sensors: one that says no hash, two that are new, and one too many."""
    secrets = {f"sensor-{n}": draw_own(f"sensor-{n}") for n in (1, 2, 3)}
    said = [enrolling(secret) for secret in secrets.values()]
    body = {"registrations": [{"device_status": STATUS | {"slave_id": "sensor-0"}}, *said]}
    answer = await client.post("/v1/devices:register", json=body, headers=by(Access.ENROL))
    view = answer.json()
    told = [(error["index"], error["code"]) for error in view["errors"]]
    assert (view["accepted"], told) == (2, [(0, "invalid"), (3, "not_enrolled")])
    again = await client.post(
        "/v1/devices:register",
        json={"registrations": [said[0], enrolling(draw_own("sensor-2"))]},
        headers=by(Access.ENROL),
    )
    assert [error["index"] for error in again.json()["errors"]] == [1], "one is known, one repeats"
    assert node.state.tokens[TOKENS[Access.ENROL].id].used == 2
    mine = {"Authorization": f"Bearer {secrets['sensor-1'].text}"}
    statuses = [{"device_status": STATUS | {"slave_id": f"sensor-{n}"}} for n in (1, 2)]
    answer = await client.post("/v1/devices:report", json={"statuses": statuses}, headers=mine)
    assert (answer.json()["accepted"], answer.json()["errors"][0]["index"]) == (1, 1)
    assert (await client.get("/v1/devices/sensor-1/task", headers=mine)).status_code == 204
    for path in ("/v1/devices/sensor-2/task", "/v1/devices/sensor-2/assignment"):
        refused = (await client.get(path, headers=mine)).json()
        assert (refused["status"], refused["rule"]) == (403, "ids")
    node.commit(RevokeCredential("sensor-1"), key="r", actor="ann")
    refused = (await client.get("/v1/devices/sensor-1/task", headers=mine)).json()
    assert (refused["status"], refused["rule"]) == (401, "revoked")


def enrolling(secret: DeviceSecret) -> dict[str, Any]:
    status = STATUS | {"slave_id": secret.device}
    return {"device_status": status, "credential_sha256": secret.hash.hex()}


async def test_only_who_enrols_says_what_is_to_be_the_device_s_own(
    client: httpx.AsyncClient,
) -> None:
    body = {"registrations": [enrolling(draw_own("sensor-7"))]}
    for role in (Access.DEVICE, Access.ADMIN):
        answer = await client.post("/v1/devices:register", json=body, headers=by(role))
        (error,) = answer.json()["errors"]
        assert (error["field"], error["code"]) == ("credential_sha256", "invalid")
