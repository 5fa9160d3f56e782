"""Tasks over HTTP: given, followed, canceled, refused."""

import asyncio
from typing import Any

import httpx
import pytest

from stationkeep.cluster.commands import RemoveDevice
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.state.codec import digest
from stationkeep.node.api.resources import deployments
from stationkeep.node.api.resources.rosters import positions
from stationkeep.node.http.paging import encode_cursor
from stationkeep.node.views.deployments import DeploymentView, TaskView
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.tasks import TaskPayload
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register, report

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))
CAPABLE = {"deployment": "true"}
V2 = {"version": "2.0.0"}
WHOLE = {
    "version": "2.0.0",
    "url": "https://updates.example/fw.bin",
    "sha256": "9f" * 32,
    "size": 18_874_368,
}


@pytest.fixture
def fleet(node: FakeNode) -> FakeNode:
    """Eight devices that carry out tasks, two in each ring, and one that cannot."""
    register(node, *EIGHT, app_version="1.0.0", capabilities=CAPABLE)
    register(node, "old-one", app_version="1.0.0")
    return node


async def _submit(client: httpx.AsyncClient, **body: Any) -> Any:
    answer = await client.post("/v1/tasks", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def offer(node: FakeNode, deployment: int = 1) -> None:
    """As the leader does."""
    for part in plan_offers(node.state, node.now):
        node.commit(part)
    assert node.state.deployments.known[deployment].in_flight


async def test_the_seeds_task_for_a_ring(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    made = await _submit(client, task_type="deployment", parameters=V2 | {"ring": "prod"})
    assert (made["deployment"], made["members"]) == (1, 2)
    seen = await _get(client, "/v1/deployments/1")
    assert set(seen) == set(DeploymentView.__struct_fields__)
    assert (seen["component"], seen["version"], seen["target"]) == ("app", "2.0.0", "ring prod")
    assert {state: n for state, n in seen["tallies"].items() if n} == {"queued": 2}
    tasks = (await _get(client, "/v1/deployments/1/tasks"))["items"]
    assert {task["ring"] for task in tasks} == {"prod"}
    assert set(tasks[0]) == set(TaskView.__struct_fields__)
    assert tasks[0]["waits"] == "it is offered next"


async def test_the_seeds_task_for_a_device(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    made = await _submit(client, parameters=V2 | {"target": "slave-001"})
    assert made["members"] == 1
    offer(fleet)
    (task,) = (await _get(client, "/v1/devices/slave-001/tasks"))["items"]
    said = ("task_id", "state", "version", "previous")
    assert [task[field] for field in said] == ["1/slave-001/1", "offered", "2.0.0", "1.0.0"]
    polled = await _get(client, "/v1/devices/slave-001/task")
    assert (
        wire.JSON.decoder(TaskPayload).decode(wire.JSON.encode(polled)).task_id == task["task_id"]
    )


@pytest.mark.parametrize(
    ("target", "members"),
    [
        ({"all": True}, 8),
        ({"ring": "dev"}, 2),
        ({"devices": ["slave-003", "slave-001"]}, 2),
        ({"selector": "app=1.0.0"}, 8),
    ],
)
async def test_every_kind_of_target(
    client: httpx.AsyncClient, fleet: FakeNode, target: dict[str, Any], members: int
) -> None:
    made = await _submit(client, artifact=WHOLE, **target)
    assert made["members"] == members
    (artifact,) = (await _get(client, "/v1/artifacts"))["items"]
    assert artifact["deployments"] == [1]
    assert WHOLE.items() <= artifact.items()


async def test_devices_that_cannot_are_counted(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    assert (await _submit(client, all=True, artifact=V2))["incapable"] == 1
    refused = await client.post("/v1/tasks", json={"devices": ["old-one"], "artifact": V2})
    assert (refused.status_code, refused.json()["rule"]) == (409, "incapable")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameters": {"target": "slave-001", "ring": "prod"}}, "parameters.target"),
        ({"parameters": {"ring": "gold"}}, "parameters.ring"),
        ({}, "devices"),
        ({"all": True, "ring": "prod"}, "all"),
        ({"ring": "gold"}, "ring"),
        ({"all": True, "priority": 1_001}, "priority"),
        ({"all": True, "max_in_flight": 0}, "max_in_flight"),
        ({"all": True, "pace": {"from": 0}}, "pace.from"),
        ({"all": True, "deadline": "soon"}, "deadline"),
        ({"all": True, "deadline": "91d"}, "deadline"),
        ({"all": True, "retries": 11}, "retries"),
        ({"all": True, "require": "battery !! 3"}, "require"),
        ({"all": True, "task_type": "\x1b[1m"}, "task_type"),
        ({"all": True, "artifact": {"version": 2}}, "artifact.version"),
        ({"all": True, "artifact": {}}, "artifact.version"),
        ({"all": True, "artifact": V2 | {"component": "bios"}}, "artifact.component"),
        ({"all": True, "artifact": V2 | {"size": -1}}, "artifact.size"),
        ({"all": True, "parameters": {"k": "x" * 1_025}}, "parameters.k"),
        ({"all": True, "colour": "red"}, "colour"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_done(
    client: httpx.AsyncClient, fleet: FakeNode, body: dict[str, Any], field: str
) -> None:
    before = digest(fleet.state)
    answer = await client.post("/v1/tasks", json=body)
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert digest(fleet.state) == before


@pytest.mark.parametrize(
    ("artifact", "named"),
    [
        (WHOLE | {"url": "http://example.org/x"}, "artifact.url"),
        (WHOLE | {"sha256": "beef"}, "artifact.sha256"),
        (WHOLE | {"size": 0}, "artifact.size"),
        (V2 | {"version": "two words"}, "artifact.version"),
        (WHOLE | {"signature": "AAAA", "key": "k"}, "artifact.signature"),
    ],
)
async def test_the_rules_of_artifacts_are_the_state_machines(
    client: httpx.AsyncClient, fleet: FakeNode, artifact: dict[str, Any], named: str
) -> None:
    answer = await client.post("/v1/tasks", json={"all": True, "artifact": artifact})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(f"{named}: ")
    assert not fleet.state.deployments.known


@pytest.mark.parametrize("deadline", ["90d", 90 * 86_400])
async def test_a_deadline_is_as_long_in_seconds_as_in_words(
    client: httpx.AsyncClient, fleet: FakeNode, deadline: str | int
) -> None:
    await _submit(client, all=True, artifact=V2, deadline=deadline)
    assert (await _get(client, "/v1/deployments/1"))["deadline_s"] == 90 * 86_400


async def test_a_repetition_opens_nothing_more(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    given: dict[str, Any] = {"json": {"all": True}, "headers": {"Idempotency-Key": "once"}}
    answers = [await client.post("/v1/tasks", **given) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert fleet.state.deployments.opened == 1


async def test_cancel_and_retry(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    await _submit(client, all=True, artifact=V2)
    answer = await client.post("/v1/deployments/1/cancel", json={"reason": "wrong file"})
    assert answer.json()["result"]["canceled"] == 8
    seen = await _get(client, "/v1/deployments/1")
    assert (seen["state"], seen["reason"]) == ("closed", "canceled")
    again = await client.post("/v1/deployments/1/cancel", json={})
    assert (again.status_code, again.json()["rule"]) == (409, "not_in_state")
    retried = await client.post("/v1/deployments/1/retry", json={"devices": ["nobody"]})
    assert retried.status_code in (404, 409)


async def test_what_is_not_there(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    for path in ("/v1/deployments/7", "/v1/deployments/7/tasks", "/v1/devices/nobody/tasks"):
        assert (await client.get(path)).status_code == 404, path
    for path in ("/v1/deployments/7/cancel", "/v1/deployments/7/retry"):
        answer = await client.post(path, json={})
        assert (answer.status_code, answer.json()["rule"]) == (404, "unknown_deployment")
    for path in ("/v1/deployments/0", "/v1/deployments/x", "/v1/deployments?cursor=x"):
        assert (await client.get(path)).status_code == 400, path


async def test_lists_are_paged_and_filtered(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    for _ in range(3):
        await _submit(client, all=True, task_type="restart")
    first = await _get(client, "/v1/deployments", limit=2)
    rest = await _get(client, "/v1/deployments", limit=2, cursor=first["next"])
    assert [item["deployment"] for item in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next"] is None
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await _get(client, "/v1/deployments/1/tasks", **query)
        seen += [item["device"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(seen) == list(EIGHT)
    offer(fleet)
    queued = await _get(client, "/v1/deployments/1/tasks", state="queued")
    assert queued["items"] == []
    dev = await _get(client, "/v1/deployments/1/tasks", ring="dev", state="offered")
    assert len(dev["items"]) == 2


@pytest.mark.parametrize("gone", ["a roster", "a device"])
async def test_what_goes_while_a_list_is_rendered_is_left_out(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """A list is rendered fifty tasks at a time."""
    many = tuple(f"slave-{number:03d}" for number in range(60))
    register(node, *many, app_version="1.0.0", capabilities=CAPABLE)
    await _submit(client, all=True, task_type="restart")

    def go() -> None:
        if gone == "a roster":
            del node.state.deployments.rosters[1]
        else:
            node.commit(RemoveDevice(many[-1]))

    def found(*arguments: Any) -> Any:
        asyncio.get_running_loop().call_soon(go)
        return positions(*arguments)

    monkeypatch.setattr(deployments, "positions", found)
    page = await _get(client, "/v1/deployments/1/tasks", limit=60)
    left = many[:50] if gone == "a roster" else many[:-1]
    assert [item["device"] for item in page["items"]] == list(left)


async def test_deployments_are_filtered_by_state(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    """An old one that is open still is found however many newer ones are closed."""
    for _ in range(4):
        await _submit(client, all=True, task_type="restart")
    offer(fleet)
    await client.post(
        "/v1/tasks:report",
        json={"updates": [{"task_id": "1/slave-001/1", "state": "in_progress"}]},
    )
    for number in (1, 2, 4):
        await client.post(f"/v1/deployments/{number}/cancel", json={})
    for states, numbers in (
        (["open"], [3]),
        (["closing"], [1]),
        (["closed"], [4, 2]),
        (["open", "closing"], [3, 1]),
        ([], [4, 3, 2, 1]),
    ):
        items = (await _get(client, "/v1/deployments", state=states))["items"]
        assert [item["deployment"] for item in items] == numbers
    first = await _get(client, "/v1/deployments", state=["open", "closing"], limit=1)
    query = {"state": ["open", "closing"], "limit": 1, "cursor": first["next"]}
    rest = await _get(client, "/v1/deployments", **query)
    assert [page["items"][0]["deployment"] for page in (first, rest)] == [3, 1]
    assert rest["next"] is None


async def test_a_state_that_no_deployment_has_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/deployments?state=open&state=done")
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"field": "state.1", "value": "done", "rule": "'open', 'closing' or 'closed'"}
    ]


async def test_a_device_without_a_connection_works_through_its_task(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    idle = await client.get("/v1/devices/slave-001/task")
    assert idle.status_code == 204
    assert int(idle.headers["retry-after"]) >= 1
    await _submit(client, devices=["slave-001"], task_type="restart")
    offer(fleet)
    body = {
        "updates": [
            {"task_id": "1/slave-001/1", "state": "succeeded"},
            {"task_id": "9/slave-002/1", "state": "failed"},
            {"task_id": "1/nobody/1", "state": "failed"},
            {"task_id": "x", "state": "failed"},
        ]
    }
    view = (await client.post("/v1/tasks:report", json=body)).json()
    assert (view["accepted"], view["refused"]) == (1, 3)
    assert [ack["task_id"] for ack in view["acknowledged"]] == ["1/slave-001/1"]
    assert [(e["index"], e["code"], e["field"]) for e in view["errors"]] == [
        (1, "unknown_task", "task_id"),
        (2, "unknown", "device"),
        (3, "invalid", "task_id"),
    ]
    assert (await _get(client, "/v1/deployments/1"))["state"] == "closed"


async def test_an_ill_device_is_not_offered_what_asks_for_more(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    report(fleet, EIGHT[0])
    await _submit(client, devices=[EIGHT[0]], artifact=V2, require="battery > 90")
    (task,) = (await _get(client, f"/v1/devices/{EIGHT[0]}/tasks"))["items"]
    assert task["waits"] == "its newest status does not meet battery > 90"


async def test_artifacts_are_paged(client: httpx.AsyncClient, fleet: FakeNode) -> None:
    for version in ("2.0.0", "2.1.0", "2.2.0"):
        await _submit(client, devices=["slave-001"], artifact={"version": version})
    first = await _get(client, "/v1/artifacts", limit=2)
    rest = await _get(client, "/v1/artifacts", limit=2, cursor=first["next"])
    shown = [item["version"] for item in first["items"] + rest["items"]]
    assert (shown, rest["next"]) == (["2.0.0", "2.1.0", "2.2.0"], None)


@pytest.mark.parametrize("list_", ["deployments", "deployments/1/tasks", "artifacts", "devices"])
async def test_a_cursor_that_points_nowhere_is_no_fault_of_the_nodes(
    client: httpx.AsyncClient, fleet: FakeNode, list_: str
) -> None:
    await _submit(client, task_type="restart", all=True)  # a deployment without an artifact
    for beyond in (-(2**63), -1, 2**31, 2**64 - 1):
        answer = await client.get(f"/v1/{list_}", params={"cursor": encode_cursor(beyond)})
        assert answer.status_code in {200, 400}, (beyond, answer.text)
