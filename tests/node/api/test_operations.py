"""Every write: its command, its outcome, its repetition."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from stationkeep.cluster.settings import PROFILES, Unit, counts_of, to_user, unit_of
from stationkeep.node.ports import NotProposed, OutcomeUnknown
from tests.node.api.fake import FakeNode

POLICY = {"name": "calm", "priority": "safety", "score": 0.9, "forbids": ["*->PRIMARY"]}

WRITES: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", "/v1/failover", {"target": "sat-002", "force": True}, "Failover"),
    ("POST", "/v1/pause", {"duration": "10m"}, "Pause"),
    ("POST", "/v1/pause", {"duration": 90}, "Pause"),
    ("POST", "/v1/resume", {}, "Resume"),
    ("POST", "/v1/resume", None, "Resume"),
    ("POST", "/v1/nodes/sat-002/maintenance", {"on": True, "duration": "1h"}, "SetMaintenance"),
    ("POST", "/v1/nodes/sat-002/maintenance", {"on": False}, "SetMaintenance"),
    ("POST", "/v1/nodes/sat-002/priority", {"priority": 0}, "SetPriority"),
    ("POST", "/v1/nodes/sat-002/policies", POLICY, "PutPolicy"),
    ("POST", "/v1/nodes", {"id": "sat-009", "raft": "[::1]:7709", "http": "h:1"}, "AddMember"),
    ("DELETE", "/v1/nodes/sat-003", None, "RemoveMember"),
    ("PATCH", "/v1/config", {"backup_count": 2, "swarm_mode": False}, "ChangeSettings"),
    ("PATCH", "/v1/config", {"swarm_mode": "off"}, "ChangeSettings"),
    ("POST", "/v1/actions", {"name": "beacon", "parameters": {"to": "x"}}, "RunAction"),
)


@pytest.mark.parametrize(("method", "path", "body", "kind"), WRITES)
async def test_a_write_is_done_and_remembered(
    client: httpx.AsyncClient, node: FakeNode, *, method: str, path: str, body: Any, kind: str
) -> None:
    eve = {"X-Stationkeep-Actor": "eve@ground"}
    answer = await client.request(method, path, json=body, headers=eve)
    done = answer.json()
    assert answer.status_code == 200, answer.text
    assert set(done) == {"operation", "status", "index", "result"}
    assert done["status"] == "done"
    assert done["index"] == node.state.index
    assert done["operation"].startswith("op-")
    told = (await client.get(f"/v1/operations/{done['operation']}", headers=eve)).json()
    assert told["status"] == "done"
    assert told["kind"] == kind
    assert told["actor"] == "eve@ground"
    assert told["index"] == done["index"]
    assert told["result"] == done["result"]


async def test_switchover_to_the_best_candidate(client: httpx.AsyncClient, node: FakeNode) -> None:
    for _ in range(11):
        node.evaluate()
    answer = await client.post("/v1/switchover", json={"reason": "maintenance window"})
    assert answer.status_code == 200, answer.text
    assert node.state.seat.holder == answer.json()["result"]["primary"] != "sat-001"
    operation = node.state.operations.find("anonymous@127.0.0.1", answer.json()["operation"])
    assert operation is not None
    assert operation.reason == "maintenance window"


async def test_a_policy_comes_and_goes(client: httpx.AsyncClient, node: FakeNode) -> None:
    await client.post("/v1/nodes/sat-002/policies", json=POLICY)
    assert node.state.members["sat-002"].policies["calm"].score == 900_000
    answer = await client.delete("/v1/nodes/sat-002/policies/calm")
    assert answer.status_code == 200
    assert node.state.members["sat-002"].policies == {}


async def test_the_decision_keeps_from_where_and_by_which_node(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    headers = {"X-Stationkeep-Actor": "eve@ground"}
    await client.post("/v1/pause", json={"duration": "10m"}, headers=headers)
    told = (await client.get("/v1/decisions")).json()["items"][0]
    assert (told["actor"], told["origin"]) == ("eve@ground", "127.0.0.1 via sat-001")


async def test_an_actor_is_named_even_when_nobody_says_who(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    answer = await client.post("/v1/pause", json={"duration": "10m"})
    operation = answer.json()["operation"]
    assert node.state.operations.find("anonymous@127.0.0.1", operation) is not None


async def test_a_repetition_returns_the_first_outcome(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    headers = {"Idempotency-Key": "tuesday/1"}
    first = await client.post("/v1/pause", json={"duration": "10m"}, headers=headers)
    node.now += 5_000
    again = await client.post("/v1/pause", json={"duration": "10m"}, headers=headers)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert first.json()["operation"] == "tuesday/1"
    assert (await client.get("/v1/operations/tuesday/1")).json()["operation"] == "tuesday/1"


async def test_a_refusal_is_repeated_too(client: httpx.AsyncClient, node: FakeNode) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/v1/switchover", json={"target": "sat-001"}, headers=headers)
    node.now += 60_000
    again = await client.post("/v1/switchover", json={"target": "sat-001"}, headers=headers)
    assert first.status_code == again.status_code == 409
    assert first.json() == again.json()
    told = (await client.get("/v1/operations/k")).json()
    assert told["status"] == "refused"
    assert told["rule"] == first.json()["rule"] == "is_primary"


async def test_a_key_serves_one_command(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    await client.post("/v1/pause", json={"duration": "10m"}, headers=headers)
    answer = await client.post("/v1/resume", headers=headers)
    assert answer.status_code == 409
    assert answer.json()["rule"] == "duplicate"


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a\tb", "schl\u00fcssel"])
async def test_a_bad_key_is_refused(client: httpx.AsyncClient, node: FakeNode, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    before = node.state.index
    answer = await client.post("/v1/resume", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["field"] == "Idempotency-Key"
    assert node.state.index == before


@pytest.mark.parametrize(
    ("path", "body", "rule"),
    [
        ("/v1/switchover", {"target": "sat-001"}, "is_primary"),
        ("/v1/switchover", {"target": "sat-002"}, "cooldown"),
        ("/v1/failover", {"target": "sat-001"}, "is_primary"),
    ],
)
async def test_refused_by_a_rule(
    client: httpx.AsyncClient, path: str, body: Any, rule: str
) -> None:
    answer = await client.post(path, json=body)
    problem = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["rule"] == rule
    assert problem["type"] == "urn:stationkeep:problem:refused"
    assert problem["operation"].startswith("op-")
    assert "sat-001" in problem["detail"]


async def test_settings_that_break_a_relation_are_refused_as_a_whole(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    before = node.state.settings
    answer = await client.patch("/v1/config", json={"backup_count": 2, "primary_lease": "90s"})
    assert answer.status_code == 409
    assert answer.json()["rule"] == "settings"
    assert "primary_lease" in answer.json()["detail"]
    assert node.state.settings == before


@pytest.mark.parametrize("profile", PROFILES)
async def test_the_settings_that_are_shown_can_be_set(
    client: httpx.AsyncClient, node: FakeNode, profile: str
) -> None:
    shown = to_user(PROFILES[profile])
    answer = await client.patch("/v1/config", json=shown)
    assert answer.status_code == 200, answer.text
    assert (await client.get("/v1/config")).json()["settings"] == shown


@pytest.mark.parametrize(
    "setting", [name for name in to_user(PROFILES["orbit"]) if unit_of(name) is Unit.COUNT]
)
async def test_a_count_goes_to_its_bounds_and_no_further(
    client: httpx.AsyncClient, node: FakeNode, setting: str
) -> None:
    """Within them, relations to other settings may refuse it still."""
    least, most = counts_of(setting)
    for value, fits in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
        answer = await client.patch("/v1/config", json={setting: value})
        assert answer.status_code in ((200, 409) if fits else (400,)), answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/switchover", {"target": "sat-009"}),
        ("POST", "/v1/failover", {"target": "sat-009"}),
        ("POST", "/v1/nodes/sat-009/priority", {"priority": 1}),
        ("POST", "/v1/nodes/sat-009/maintenance", {"on": True}),
        ("POST", "/v1/nodes/sat-009/policies", POLICY),
        ("DELETE", "/v1/nodes/sat-009/policies/calm", None),
        ("POST", "/v1/actions", {"name": "beacon", "targets": ["sat-009"]}),
    ],
)
async def test_an_unknown_node_is_not_found(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 404, answer.text
    assert answer.json()["rule"] == "unknown_node"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/switchover", {"target": "sat-002", "to": "x"}, "to"),
        ("POST", "/v1/switchover", {"target": 7}, "target"),
        ("POST", "/v1/switchover", {"target": "../etc"}, "target"),
        ("POST", "/v1/switchover", {"reason": "x" * 501}, "reason"),
        ("POST", "/v1/switchover", [], "body"),
        ("POST", "/v1/failover", {}, "target"),
        ("POST", "/v1/failover", {"target": "sat-002", "force": "yes"}, "force"),
        ("POST", "/v1/pause", {}, "duration"),
        ("POST", "/v1/pause", {"duration": "a while"}, "duration"),
        ("POST", "/v1/pause", {"duration": 0}, "duration"),
        ("POST", "/v1/nodes/sat-002/maintenance", {"on": 1}, "on"),
        ("POST", "/v1/nodes/sat-002/priority", {"priority": 1001}, "priority"),
        ("POST", "/v1/nodes/sat-002/priority", {"priority": 1.5}, "priority"),
        ("POST", "/v1/nodes/sat-002/priority", {"priority": True}, "priority"),
        ("POST", "/v1/nodes/sat-002/policies", {**POLICY, "score": 1.5}, "score"),
        ("POST", "/v1/nodes/sat-002/policies", {**POLICY, "priority": "mine"}, "priority"),
        ("POST", "/v1/nodes/sat-002/policies", {**POLICY, "forbids": []}, "forbids"),
        ("PATCH", "/v1/config", {"no_such": 1}, "no_such"),
        ("PATCH", "/v1/config", {"primary_lease": "soon"}, "primary_lease"),
        ("PATCH", "/v1/config", {"unhealthy_above": 2}, "unhealthy_above"),
        ("PATCH", "/v1/config", {"backup_count": 1.5}, "backup_count"),
        ("PATCH", "/v1/config", {}, "body"),
        ("POST", "/v1/actions", {"name": "rm -rf"}, "name"),
        ("POST", "/v1/actions", {"name": "x", "targets": ["a"] * 100}, "targets"),
        ("POST", "/v1/actions", {"name": "x", "parameters": {"a": 1}}, "parameters.a"),
        ("POST", "/v1/actions", {"name": "x", "deadline": "never"}, "deadline"),
    ],
)
async def test_bad_input_names_the_field_the_value_and_the_rule(
    client: httpx.AsyncClient, node: FakeNode, *, method: str, path: str, body: Any, field: str
) -> None:
    before = node.state.index
    answer = await client.request(method, path, json=body)
    problem = answer.json()
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["field"].startswith(field)
    assert problem["rule"]
    assert "value" in problem
    assert node.state.index == before


async def test_the_state_machine_has_the_last_word_on_input(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    answer = await client.post(
        "/v1/nodes/sat-002/policies", json={**POLICY, "forbids": ["nonsense"]}
    )
    assert answer.status_code == 400
    assert answer.json()["rule"] == "invalid"
    assert answer.json()["operation"].startswith("op-")


@pytest.mark.parametrize(
    ("why", "status"),
    [("no_leader", 503), ("stopping", 503), ("queue_full", 429), ("too_large", 413)],
)
async def test_what_certainly_did_not_enter_the_log(
    client: httpx.AsyncClient, node: FakeNode, why: str, status: int
) -> None:
    node.refuse = NotProposed(why)
    answer = await client.post("/v1/resume")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status != 413)


async def test_without_a_quorum_it_is_said_who_is_missing(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    """And not in a word of the code's."""
    node.refuse = NotProposed("no_leader")
    enough = (await client.post("/v1/resume")).json()["detail"]
    assert "no_leader" not in enough
    assert "no leader is elected yet" in enough
    node.consensus.has_quorum = False
    gone = node.linked = [replace(link, connected=False) for link in node.linked]
    told = (await client.post("/v1/resume")).json()["detail"]
    assert told.startswith("nothing can be agreed now: no leader; sat-001 is in touch with ")
    assert f"missing: {', '.join(link.peer for link in gone)}: start or reach them" in told


async def test_an_unknown_outcome_can_be_asked_for_later(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.refuse = OutcomeUnknown("the leader was lost")
    headers = {"Idempotency-Key": "night shift/7"}
    answer = await client.post("/v1/resume", headers=headers)
    assert answer.status_code == 202
    assert answer.json()["operation"] == "night shift/7"
    assert answer.json()["status"] == "unknown"
    location = answer.headers["location"]
    assert (await client.get(location)).status_code == 404
    node.refuse = None
    assert (await client.post("/v1/resume", headers=headers)).status_code == 200
    assert (await client.get(location)).json()["status"] == "done"


async def test_writes_before_the_cluster_is_founded(client: httpx.AsyncClient) -> None:
    client._transport.app.state.service = FakeNode()  # type: ignore[attr-defined]
    answer = await client.post("/v1/resume")
    assert answer.status_code == 503
    assert answer.json()["rule"] == "not_founded"


async def test_a_key_is_its_actors_own(client: httpx.AsyncClient, node: FakeNode) -> None:
    eve, mallory = ({"X-Stationkeep-Actor": name} for name in ("eve", "mallory"))
    key = {"Idempotency-Key": "k"}
    for headers, priority in ((mallory, 3), (eve, 4), (mallory, 3)):
        body = {"priority": priority}
        path = "/v1/nodes/sat-002/priority"
        answer = await client.post(path, json=body, headers=key | headers)
        assert answer.status_code == 200, answer.text
    assert node.state.members["sat-002"].priority == 4
    for headers, actor in ((eve, "eve"), (mallory, "mallory")):
        told = (await client.get("/v1/operations/k", headers=headers)).json()
        assert told["actor"] == actor
    stranger = await client.get("/v1/operations/k")
    assert stranger.status_code == 404
    assert "no operation k of anonymous@127.0.0.1 " in stranger.json()["detail"]


async def test_whoever_has_used_up_the_memory_of_operations_is_told_to_wait(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stationkeep.cluster.state.operations.MAX_OPERATIONS", 2)
    mallory = {"X-Stationkeep-Actor": "mallory"}
    path, body = "/v1/nodes/sat-002/priority", {"priority": 3}
    for _ in range(2):
        assert (await client.post(path, json=body, headers=mallory)).status_code == 200
    answer = await client.post(path, json=body, headers=mallory)
    assert (answer.status_code, answer.json()["rule"]) == (429, "quota")
    assert answer.headers["retry-after"] == "1"
    assert (await client.post(path, json=body)).status_code == 200
    assert (await client.post("/v1/resume", headers=mallory)).status_code == 200
