"""No request holds the event loop for long, whatever is in it: neither one nor many together."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from stationkeep.cluster.commands import CreateDeployment, OfferTasks
from stationkeep.cluster.deployments.deployment import Limits as DeploymentLimits
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.devices.fleet import SCAN, Fleet, Page
from stationkeep.cluster.devices.table import Kind
from stationkeep.node.api.resources import rings
from stationkeep.node.http.connections import Connection
from stationkeep.node.http.crowd import Crowd
from stationkeep.node.http.limits import MAX_BATCH_BYTES, MAX_BODY_BYTES, Limits
from stationkeep.node.rollout_file.reading import PLAN_KEYS
from stationkeep.node.system.turns import Gate, Turns
from stationkeep.node.wire import messages as wire
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register
from tests.node.holding import holding

LONGEST = 0.1
"""Seconds of processor time. The aim is half of that, which a test on a busy machine cannot ask."""
JSON = {"Content-Type": "application/json"}
PARTS = {
    "number": 1, "node": "sat-001", "device": "d", "name": "x", "alarm": "x", "rollout": "fw",
    "freeze": "xmas", "component": "app", "version": "2.0.0", "token": "ab12cd34",
    "invitation": "ab12cd34",
}  # fmt: skip


def _many(unit: str, size: int) -> str:
    return ",".join([unit] * (size // (len(unit) + 1) - 100))


def _dense(fields: list[str], size: int) -> Iterator[str]:
    """Bodies of at most `size` bytes with as many objects, or faults, as go into one."""
    keys = ",".join(f'"{number:x}":1' for number in range(size // 9 - 100))
    yield f"{{{keys}}}"
    yield f"[{_many('[]', size)}]"
    yield "[" * (size - 1)
    yield "9" * (size - 1)
    for field in fields:
        yield f'{{"{field}":[{_many("{}", size)}]}}'
        yield f'{{"{field}":[{_many("[]", size)}]}}'
        yield f'{{"{field}":[{_many("1", size)}]}}'
        yield f'{{"{field}":{{{keys[: size - 100].rpartition(",")[0]}}}}}'


def _writes(app: FastAPI) -> Iterator[tuple[str, str, list[str]]]:
    document = app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "get":
                yield method.upper(), path.format(**PARTS), _fields(document, operation)


def _fields(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    if "requestBody" not in operation:
        return []
    (content,) = operation["requestBody"]["content"].values()
    schema = content["schema"]
    reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]  # the second is one left out
    name = reference.rpartition("/")[2]
    return list(document["components"]["schemas"][name]["properties"])


async def test_no_body_of_any_write_holds_the_loop(app: FastAPI, client: httpx.AsyncClient) -> None:
    held = {}
    for method, path, fields in _writes(app):
        size = (
            MAX_BATCH_BYTES if path.startswith(("/v1/devices:", "/v1/tasks:")) else MAX_BODY_BYTES
        )
        for body in _dense(fields[:1], size):
            with holding() as hold:
                asked = client.request(method, path, content=body.encode(), headers=JSON)
                answer = await asyncio.create_task(asked)
            assert answer.status_code < 500
            held[method, path, body[:40]] = hold.longest
    slowest = max(held, key=held.__getitem__)
    assert held[slowest] < LONGEST, slowest


async def test_no_plan_holds_the_loop(client: httpx.AsyncClient) -> None:
    held = {}
    for plan in _dense(list(PLAN_KEYS), MAX_BODY_BYTES - 100):
        with holding() as hold:
            body = f'{{"rollout": "fw", "plan": {plan}}}'
            asked = client.post("/v1/rollouts", content=body.encode(), headers=JSON)
            answer = await asyncio.create_task(asked)
        assert answer.status_code == 400, answer.text
        held[plan[:40]] = hold.longest
    slowest = max(held, key=held.__getitem__)
    assert held[slowest] < LONGEST, slowest


@pytest.mark.parametrize(
    "fault", [{"device_status": 1}, {"device_status": {"slave_id": "x" * 9_000}}, {"z": {}}]
)
async def test_no_batch_of_faults_holds_the_loop(client: httpx.AsyncClient, fault: object) -> None:
    number = min(4_096, MAX_BATCH_BYTES // (len(json.dumps(fault)) + 2) - 1)
    with holding() as hold:
        asked = client.post("/v1/devices:report", json={"statuses": [fault] * number})
        answer = await asyncio.create_task(asked)
    assert answer.json()["refused"] == number
    assert hold.longest < LONGEST


STATUS = {
    "battery_level": 85, "battery_charging": True, "cpu_usage": 45.2, "memory_usage": 62.5,
    "disk_usage": 55.0,
}  # fmt: skip


def _statuses(ids: list[str]) -> Any:
    return {"statuses": [{"device_status": STATUS | {"slave_id": id_}} for id_ in ids]}


def _beginnings(ids: list[str]) -> Any:
    said = {"state": "in_progress", "phase": "downloading", "progress": 1}
    return {"updates": [said | {"task_id": f"1/{id_}/1"} for id_ in ids]}


def _failures(ids: list[str]) -> Any:
    said = {"state": "failed", "reason": "install", "detail": "no room\n" * 8}
    return {"updates": [said | {"task_id": f"1/{id_}/1"} for id_ in ids]}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/devices:report", _statuses),
        ("/v1/tasks:report", _beginnings),
        ("/v1/tasks:report", _failures),
    ],
)
async def test_no_batch_of_what_thousands_have_to_say_holds_the_loop(
    client: httpx.AsyncClient, node: FakeNode, path: str, content: Callable[[list[str]], Any]
) -> None:
    ids = [f"d{n}" for n in range(4_096)]
    register(node, *ids, capabilities={"deployment": "true"})
    most = DeploymentLimits(max_in_flight=len(ids))
    node.commit(CreateDeployment(Target(everyone=True), limits=most))
    positions = np.arange(len(ids), dtype="<u4").tobytes()
    offered = node.commit(OfferTasks(1, positions, b"\x01" * len(ids)))
    assert offered.result["left_out"] == 0
    body = wire.MSGPACK.encode(content(ids))
    with holding() as hold:
        asked = client.post(path, content=body, headers={"Content-Type": "application/msgpack"})
        answer = await asyncio.create_task(asked)
    assert wire.MSGPACK.decode_any(answer.content)["accepted"] == len(ids)
    assert hold.longest < LONGEST


async def test_no_search_of_devices_that_are_each_a_kind_of_their_own_holds_the_loop(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    """A million of them is sixteen times as many; a selector is tried of each."""
    for number in range(SCAN):
        serial = Kind("Android 14", "1.0", (), (("serial", str(number)),))
        node.state.fleet.table.add(f"d{number}", "", serial)
    selector = ",".join([*(f"serial!=x{number}" for number in range(15)), "nowhere=1"])
    with holding() as hold:
        asked = client.get("/v1/devices", params={"selector": selector})
        answer = await asyncio.create_task(asked)
    assert answer.json()["warnings"] == ["no device has nowhere"]
    assert hold.longest < LONGEST


@pytest.mark.parametrize(
    "path", ["/v1/devices?text=zzz", "/v1/devices?text=zzz&sort=cpu", "/v1/devices?selector=id=z"]
)
async def test_many_searches_at_once_look_at_one_part_in_a_turn(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Each part takes 10 ms; those of two hundred searches in one turn, two seconds."""
    register(node, *(f"d{number}" for number in range(20)))
    monkeypatch.setattr("stationkeep.cluster.devices.fleet.SCAN_EACH", 1)
    together, longest, looked, select = 0, 0, 0, Fleet.select

    def counted(*given: Any, **named: Any) -> Page:
        nonlocal together, longest, looked
        together, looked = together + 1, looked + 1
        longest = max(longest, together)
        return select(*given, **named)

    monkeypatch.setattr(Fleet, "select", counted)
    searches = asyncio.gather(*(client.get(path) for _ in range(30)))
    while not searches.done():
        together = 0
        await asyncio.sleep(0)
    assert {answer.json()["next"] for answer in await searches} == {None}
    assert looked == 30 * 20
    assert longest <= 2, "one that begins, and one that goes on"


RULE = {"rule": "battery > 20"}
PLANS: dict[str, Any] = {
    "/v1/rings/plan": {"weights": {"canary": 1, "dev": 1, "stage": 1, "prod": 1}},
    "/v1/rings/policies/plan": {"policies": []},
}


async def test_many_plans_at_once_look_at_all_devices_one_by_one(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million rows are some milliseconds, and 64 writes begin in a turn."""
    together, longest, meeting = 0, 0, Fleet.meeting

    def counted(*given: Any) -> Any:
        nonlocal together, longest
        together += 1
        longest = max(longest, together)
        return meeting(*given)

    monkeypatch.setattr(Fleet, "meeting", counted)
    asked = (client.post("/v1/rings/health-rule/plan", json=RULE) for _ in range(30))
    plans = asyncio.gather(*asked)
    while not plans.done():
        together = 0
        await asyncio.sleep(0)
    assert {answer.status_code for answer in await plans} == {200}
    assert longest == 2, "the rule that stands, and the one that is asked about"


@pytest.mark.parametrize("path", PLANS)
async def test_who_gets_no_plan_now_has_no_device_looked_at(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    looked = list[object]()
    monkeypatch.setattr(Fleet, "view", looked.append)
    monkeypatch.setattr(rings, "grouped", looked.append)
    async with app.state.planning:
        answer = await client.post(path, json=PLANS[path])
    assert (answer.status_code, looked) == (429, [])


async def test_many_reads_at_once_have_one_turn_each() -> None:
    """Each takes 5 ms; a hundred in one turn of the loop would hold it for half a second."""
    gate, served, longest, together = Gate(1), 0, 0, 0

    async def read() -> None:
        nonlocal served, together, longest
        await gate.wait()
        served, together = served + 1, together + 1
        longest = max(longest, together)

    reads = [asyncio.create_task(read()) for _ in range(100)]
    while served < len(reads):
        together = 0
        await asyncio.sleep(0)
    await asyncio.gather(*reads)
    assert longest == 1


async def test_who_no_longer_waits_takes_nobodys_turn() -> None:
    gate = Gate(1)
    first, *others = (asyncio.create_task(gate.wait()) for _ in range(5))
    await first
    for gone in others[:-1]:
        gone.cancel()
    await others[-1]


async def test_the_share_of_a_turn_is_kept_and_the_line_is_served_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("stationkeep.node.system.turns.perf_counter", lambda: now)
    turns, taken = Turns(share=0.008), list[tuple[int, int]]()
    turn = 0

    def step(number: int) -> None:
        nonlocal now
        now += 0.003
        taken.append((turn, number))
        if number < 3:
            turns.take(partial(step, number + 10))

    for number in range(5):
        turns.take(partial(step, number))
    while len(taken) < 8:
        turn += 1
        await asyncio.sleep(0)
    assert [number for _, number in taken] == [0, 10, 1, 11, 2, 3, 4, 12]
    assert max(Counter(turn for turn, _ in taken).values()) == 3


async def test_a_step_that_fails_is_nobody_elses_trouble() -> None:
    told, taken, turns = list[str](), list[int](), Turns()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))

    def fails() -> None:
        turns.take(partial(taken.append, 1))
        raise ValueError("a fault in the code of one connection")

    turns.take(fails)
    turns.take(partial(taken.append, 2))
    assert (taken, told) == ([1, 2], ["a fault in the code of one connection"])


async def test_many_connections_with_many_requests_leave_turns_to_others() -> None:
    served = 0

    async def app(_: Scope, __: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(Limits(app), log_config=None, lifespan="off")  # type: ignore[arg-type]
    made = partial(Connection, Turns(), Crowd(), (), config, ServerState(), {})
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        with holding() as hold:
            for _, writer in pairs:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
            for reader, _ in pairs:
                for _ in range(300):
                    await reader.readuntil(b"\r\n\r\n")
        for _, writer in pairs:
            writer.close()
    assert served == 20 * 300
    assert hold.longest < LONGEST
