"""Batches over HTTP: what is stored, what is refused by index, what is answered."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from stationkeep.cluster.commands import AssignRing
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.fleet.reach import LOST_TOUCH, REMOVED
from stationkeep.node.gateway.batch_bodies import MAX_ERRORS
from stationkeep.node.http.limits import MAX_BATCH_BYTES
from stationkeep.node.ports import NotProposed
from stationkeep.node.wire import messages as wire
from tests.node.api.doorstep import STATUS
from tests.node.api.fake import FakeNode

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))


def _payload(id_: str, **readings: Any) -> dict[str, Any]:
    return {"device_status": STATUS | {"slave_id": id_} | readings}


async def _post(client: httpx.AsyncClient, what: str, body: Any, status: int = 200) -> Any:
    answer = await client.post(f"/v1/devices:{what}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
async def fleet(client: httpx.AsyncClient, node: FakeNode) -> FakeNode:
    """Eight devices, registered in one batch."""
    view = await _post(client, "register", {"registrations": [_payload(id_) for id_ in EIGHT]})
    assert (view["accepted"], view["refused"]) == (8, 0)
    assert [one["slave_id"] for one in view["assignments"]] == list(EIGHT)
    return node


def _flushed(node: FakeNode, id_: str) -> Any:
    """A device after the intake told the log."""
    node.now += 1_000
    node.intake.turn()
    row = node.state.fleet.row(id_)
    assert row is not None
    return node.state.fleet.device(row)


async def test_eight_devices_register_and_spread_over_the_rings(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    rings = [fleet.state.fleet.device(row).ring for row in range(8)]
    assert {ring: rings.count(ring) for ring in Ring} == dict.fromkeys(Ring, 2)
    for id_, ring in zip(EIGHT, rings, strict=True):
        view = (await client.get(f"/v1/devices/{id_}/assignment")).json()
        assert (view["slave_id"], view["ring"], view["reason"]) == (id_, ring, "registered")
        assert 0 < view["status_interval"] <= 1.1 * fleet.settings.device_status_interval / 1_000


async def test_the_ring_of_nobody(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    answer = await client.get("/v1/devices/nobody/assignment")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("codec", wire.CODECS.values(), ids=lambda codec: str(codec.name))
async def test_a_batch_is_stored(
    client: httpx.AsyncClient, fleet: FakeNode, codec: wire.Codec
) -> None:
    body = {"statuses": [_payload(id_, battery_level=n) for n, id_ in enumerate(EIGHT)]}
    body["statuses"][3]["device_status"]["metrics"] = {"temperature": -3.25}
    answer = await client.post(
        "/v1/devices:report",
        content=codec.encode(body),
        headers={"Content-Type": codec.media_type},
    )
    assert answer.headers["content-type"] == codec.media_type
    view = codec.decode_any(answer.content)
    assert (view["accepted"], view["refused"], view["errors"]) == (8, 0, [])
    assert [_flushed(fleet, id_).battery for id_ in EIGHT] == list(range(8))
    assert _flushed(fleet, EIGHT[3]).metrics == {"temperature": -3.25}


async def test_only_devices_with_another_ring_are_told(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    fleet.commit(AssignRing(EIGHT[0], Ring.STAGE))
    rings = {id_: fleet.state.fleet.device(row).ring for row, id_ in enumerate(EIGHT)}
    said = {**rings, EIGHT[0]: "canary", EIGHT[1]: None}
    body = {"statuses": [_payload(id_, assigned_ring=said[id_]) for id_ in EIGHT]}
    view = await _post(client, "report", body)
    assert {one["slave_id"]: one["ring"] for one in view["assignments"]} == {
        EIGHT[0]: "stage",
        EIGHT[1]: rings[EIGHT[1]],
    }


async def test_the_bad_ones_are_named_and_the_good_ones_stored(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    missing = _payload(EIGHT[3])
    del missing["device_status"]["disk_usage"]
    body = {
        "statuses": [
            _payload(EIGHT[0], battery_level=1),
            _payload(EIGHT[1], cpu_usage=100.01),
            _payload("stranger"),
            missing,
            _payload(EIGHT[4], battery_level=4),
            "no payload",
            _payload(EIGHT[6], metrics={"CPU load": 3}),
        ]
    }
    view = await _post(client, "report", body)
    assert (view["accepted"], view["refused"]) == (2, 5)
    assert [(e["index"], e["code"], e["field"], e["value"]) for e in view["errors"]] == [
        (1, "invalid", "device_status.cpu_usage", "100.01"),
        (2, "unknown", "device_status.slave_id", "stranger"),
        (3, "invalid", "device_status.disk_usage", ""),
        (5, "invalid", "payload", "no payload"),
        (6, "invalid", "device_status.metrics", "{'CPU load': 3}"),
    ]
    assert all(error["rule"] for error in view["errors"])
    assert _flushed(fleet, EIGHT[0]).battery == 1
    assert _flushed(fleet, EIGHT[4]).battery == 4
    assert _flushed(fleet, EIGHT[1]).cpu == STATUS["cpu_usage"]


async def test_of_a_device_that_is_in_a_batch_twice_the_newest_counts(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    body = {"statuses": [_payload(EIGHT[0], battery_level=n) for n in (3, 2, 1)]}
    assert (await _post(client, "report", body))["accepted"] == 3
    assert _flushed(fleet, EIGHT[0]).battery == 1


async def test_a_repeated_batch_changes_nothing(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    session = int(fleet.state.fleet.table.session[0])
    numbered = {**_payload(EIGHT[0], battery_level=7), "session": session, "sequence": 40}
    assert (await _post(client, "report", {"statuses": [numbered]}))["accepted"] == 1
    again = await _post(client, "report", {"statuses": [numbered]})
    assert again["errors"][0]["session"] == session
    assert (again["accepted"], again["refused"]) == (0, 1)
    assert (again["errors"][0]["code"], again["errors"][0]["value"]) == ("outdated", "40")


async def test_many_faults_are_counted_and_some_explained(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    many = 4 * MAX_ERRORS
    body = {"statuses": [_payload(EIGHT[0], disk_usage=-1) for _ in range(many)]}
    view = await _post(client, "report", body)
    assert (view["accepted"], view["refused"], len(view["errors"])) == (0, many, MAX_ERRORS)
    assert [error["index"] for error in view["errors"]] == list(range(MAX_ERRORS))


async def test_a_full_batch(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    body = {"statuses": [_payload(EIGHT[n % 8]) for n in range(wire.MAX_STATUSES)]}
    packed = msgspec.msgpack.encode(body)
    assert 64 * 1024 < len(packed) < MAX_BATCH_BYTES
    headers = {"Content-Type": "application/msgpack"}
    answer = await client.post("/v1/devices:report", content=packed, headers=headers)
    assert msgspec.msgpack.decode(answer.content)["accepted"] == wire.MAX_STATUSES


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        (b"", "body", "well-formed json"),
        (b"{", "body", "well-formed json"),
        (b"[]", "body", "expected object"),
        (b"{}", "statuses", "required"),
        (b'{"statuses": {}}', "statuses", "expected array"),
        (b'{"statuses": []}', "statuses", "length >= 1"),
        (b'{"statuses": [' + b"1," * 4_096 + b"1]}", "statuses", "length <= 4096"),
        (b'{"statuses": [1], "more": 1}', "more", "no such field"),
        (b'{"statuses": ' + b"[" * 50_000, "body", "nested less deeply"),
    ],
)
async def test_what_is_no_batch(
    client: httpx.AsyncClient, fleet: FakeNode, body: bytes, field: str, rule: str
) -> None:
    answer = await client.post(
        "/v1/devices:report", content=body, headers={"Content-Type": "application/json"}
    )
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (400, field)
    assert rule in problem["rule"]
    assert len(answer.content) < 2_000


async def test_a_payload_that_is_nested_deeply_or_no_text(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    good = msgspec.json.encode(_payload(EIGHT[0]))
    bad = (b"[" * 400 + b"]" * 400, b'{"device_status": {"slave_id": "\xff"}}')
    answer = await client.post(
        "/v1/devices:report",
        content=b'{"statuses": [' + b",".join((*bad, good)) + b"]}",
        headers={"Content-Type": "application/json"},
    )
    view = answer.json()
    assert (view["accepted"], view["refused"]) == (1, 2)
    assert view["errors"][1]["rule"] == "UTF-8 text"


async def test_an_encoding_that_nobody_speaks(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    answer = await client.post("/v1/devices:report", content=b"x", headers={"Content-Type": "x/y"})
    assert answer.status_code == 400
    assert answer.json()["field"] == "Content-Type"


async def test_a_batch_that_is_too_large(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    answer = await client.post("/v1/devices:report", content=b" " * (MAX_BATCH_BYTES + 1))
    assert answer.status_code == 413
    assert str(MAX_BATCH_BYTES) in answer.json()["detail"]
    answer = await client.post("/v1/devices:other", content=b" " * (64 * 1024 + 1))
    assert answer.status_code == 413


async def test_registrations_are_refused_one_by_one(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    older = {**_payload("numbered"), "session": 4, "sequence": 1}
    newer = {**_payload("numbered"), "session": 5, "sequence": 1}
    bad_id, bad_label = _payload("no spaces"), {**_payload("x"), "labels": {"site": 3}}
    body = {"registrations": [newer, older, bad_id, bad_label, _payload("fine")]}
    view = await _post(client, "register", body)
    assert sorted(one["slave_id"] for one in view["assignments"]) == ["fine", "numbered"]
    assert [(error["index"], error["code"]) for error in view["errors"]] == [
        (1, "outdated"),
        (2, "invalid"),
        (3, "invalid"),
    ]
    assert [error.get("session") for error in view["errors"]] == [5, None, None]
    assert view["errors"][2]["field"] == "labels"
    assert fleet.state.fleet.row("x") is None


async def test_a_device_that_registers_twice_in_a_batch(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    first = {**_payload("twice", app_version="1"), "session": 1}
    second = {**_payload("twice", app_version="2"), "session": 2}
    view = await _post(client, "register", {"registrations": [first, second]})
    assert (view["accepted"], view["errors"][0]["code"]) == (1, "superseded")
    row = fleet.state.fleet.row("twice")
    assert row is not None
    assert fleet.state.fleet.device(row).app_version == "2"
    assert len(fleet.intake.connected) == 0


async def test_more_registrations_than_fit(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    many = [_payload("x")] * (wire.MAX_REGISTRATIONS + 1)
    problem = await _post(client, "register", {"registrations": many}, 400)
    assert problem["field"] == "registrations"


async def test_a_stopping_node_registers_nobody(
    client: httpx.AsyncClient, app: FastAPI, fleet: FakeNode
) -> None:
    fleet.intake.stop()
    view = await _post(client, "register", {"registrations": [_payload("late")]})
    assert (view["accepted"], view["errors"][0]["code"]) == (0, "stopping")


# -- of a node that cannot bring them into the log -------------------------------------------------


async def _second_later(node: FakeNode) -> None:
    node.now += 1_000
    node.intake.turn()
    await asyncio.sleep(0)  # what was proposed is answered


async def test_a_node_cut_off_refuses_batches_that_would_get_nowhere(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    fleet.refuse = NotProposed("no_leader")
    batch = {"statuses": [_payload(EIGHT[0], cpu_usage=33)]}
    assert (await _post(client, "report", batch))["accepted"] == 1
    for _ in range(60):
        await _second_later(fleet)
    refused = await client.post("/v1/devices:report", json=batch)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["detail"] == LOST_TOUCH
    fleet.refuse = None
    await _second_later(fleet)
    assert (await _post(client, "report", batch))["accepted"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/devices:report", {"statuses": [_payload(EIGHT[0])]}),
        ("POST", "/v1/devices:register", {"registrations": [_payload("another")]}),
        ("POST", "/v1/tasks:report", {"updates": [{"task_id": "1/a/1", "state": "succeeded"}]}),
        ("GET", f"/v1/devices/{EIGHT[0]}/task", None),
    ],
)
async def test_a_removed_node_sends_devices_without_a_connection_elsewhere_at_once(
    client: httpx.AsyncClient, fleet: FakeNode, method: str, path: str, body: Any
) -> None:
    """Devices that speak together stay with a node until a whole request fails there; and a task
    that a removed node knows of may be long canceled."""
    fleet.consensus.is_removed = True
    refused = await client.request(method, path, json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["detail"] == REMOVED
