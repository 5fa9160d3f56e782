"""Every read: its shape, its paging, its headers, its age."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from stationkeep.cluster.commands import Pause, Resume, SetPriority
from stationkeep.cluster.state.codec import FrozenState, decode_snapshot, digest, encode_snapshot
from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import NotProposed
from stationkeep.node.views import nodes as views
from stationkeep.node.views.links import LinkView
from tests.node.api.fake import MEMBERS, FakeNode, link
from tests.node.api.fleet_story import register

READS = (
    "/v1/cluster",
    "/v1/nodes",
    "/v1/nodes/sat-001",
    "/v1/nodes/sat-001/explain",
    "/v1/roles",
    "/v1/roles/history",
    "/v1/decisions",
    "/v1/proposals",
    "/v1/actions",
    "/v1/links",
    "/v1/machine",
    "/v1/config",
    "/v1/devices",
    "/v1/rings",
    "/v1/rings/history",
    "/v1/rings/plan",
)


async def _get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_cluster_says_what_needs_somebody(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    seen = await _get(client, "/v1/cluster")
    assert (seen["verdict"], seen["headline"]) == ("ok", "sat-001 is PRIMARY and healthy")
    assert (seen["needs"], seen["barred"], seen["age_ms"]) == ([], None, 7)
    node.consensus.has_quorum, node.consensus.leader = False, None
    node.late = {"pager": 95_000}
    seen = await _get(client, "/v1/cluster")
    assert (seen["verdict"], seen["headline"]) == ("critical", "The cluster has no quorum")
    assert [(need["level"], need["alarm"]) for need in seen["needs"]] == [
        ("critical", None),
        ("attention", None),
    ]
    assert seen["barred"].startswith("Nothing can be changed without a quorum")


async def test_an_alarm_among_what_needs_somebody_names_its_id(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.evaluate(sat_002=0.9, sat_003=0.9)
    seen = await _get(client, "/v1/cluster")
    assert "brake" in [need["alarm"] for need in seen["needs"]]


async def test_what_a_node_cannot_know_it_does_not_say(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    """Cut off, it knows only whom it hears itself; the dead are not well for being unknown."""
    node.stale = node.settings.heartbeat_timeout + 1
    node.acting = {"sat-003": None}
    for path in ("/v1/nodes/sat-002", "/v1/nodes/sat-003"):
        seen = await _get(client, path)
        assert (seen["known"], seen["risk"], seen["failure_mode"]) == (False, None, "UNKNOWN")
        assert seen["alive"] is (path != "/v1/nodes/sat-003")
        assert seen["last_heard_s"] >= node.stale / 1_000
    node.stale = 7
    seen = await _get(client, "/v1/nodes/sat-003")
    assert (seen["known"], seen["alive"], seen["risk"]) == (True, True, 0.1)


async def _fail_over(node: FakeNode) -> None:
    for _ in range(3):
        node.evaluate(sat_001=None)


async def test_cluster_at_a_glance(client: httpx.AsyncClient, node: FakeNode) -> None:
    seen = await _get(client, "/v1/cluster")
    assert seen["cluster_id"] == "test"
    assert seen["node"] == "sat-001"
    assert seen["leader"] == "sat-001"
    assert seen["term"] == 3
    assert seen["members"] == list(MEMBERS)
    assert seen["quorum"] == {"members": 3, "needed": 2, "connected": 3, "present": True}
    assert seen["primary"]["id"] == "sat-001"
    assert seen["primary"]["epoch"] == 1
    assert seen["paused"] is None
    assert seen["alarms"] == []
    assert seen["removed"] is False
    assert seen["commit_index"] == seen["applied_index"] == node.state.index
    assert "digest" not in seen


async def test_cluster_tells_its_digest_when_asked(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    seen = await _get(client, "/v1/cluster", digest=True)
    assert seen["digest"] == digest(node.state)


async def test_cluster_says_that_it_is_paused(client: httpx.AsyncClient) -> None:
    await client.post("/v1/pause", json={"duration": "10m", "reason": "drill"})
    paused = (await _get(client, "/v1/cluster"))["paused"]
    assert paused["remaining_s"] == 600
    assert paused["reason"] == "drill"


async def test_before_the_cluster_is_founded_reads_answer(client: httpx.AsyncClient) -> None:
    empty = FakeNode()
    client._transport.app.state.service = empty  # type: ignore[attr-defined]
    assert (await _get(client, "/v1/cluster"))["primary"] is None
    assert (await _get(client, "/v1/nodes"))["items"] == []


async def test_node_shape(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.leases["sat-001"] = 2.25
    seen = await _get(client, "/v1/nodes/sat-001")
    assert set(seen) == set(views.NodeView.__struct_fields__)
    assert seen["role"] == seen["effective_role"] == "PRIMARY"
    assert seen["epoch"] == 1
    assert seen["alive"] is True
    assert seen["raft_leader"] is True
    assert seen["risk"] == 0.1
    assert seen["failure_mode"] == "HEALTHY"
    assert seen["lease_remaining_s"] == 2.25
    assert seen["cooldown_remaining_s"] == 10
    assert seen["history"] == [
        {"at_ms": 1000, "risk": 0.1, "missed": False, "reports": 5, "cause": ""}
    ]
    assert seen["address"] == {"raft": "127.0.0.1:7701", "http": "127.0.0.1:8701"}


async def test_a_failing_node_shows_how(client: httpx.AsyncClient, node: FakeNode) -> None:
    await _fail_over(node)
    seen = await _get(client, "/v1/nodes/sat-001")
    assert seen["consecutive_unhealthy"] == 3
    assert seen["failure_mode"] == "DEGRADED"
    assert [sample["missed"] for sample in seen["history"]] == [False, True, True, True]
    assert seen["role"] == "BACKUP"
    assert seen["epoch"] is None
    assert seen["lease_remaining_s"] is None


async def test_a_node_not_heard_lately_has_no_effective_role(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.effective_role = lambda _: None  # type: ignore[method-assign]
    assert (await _get(client, "/v1/nodes/sat-002"))["effective_role"] is None


async def test_maintenance_and_policies_of_a_node(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    await client.post("/v1/nodes/sat-002/maintenance", json={"on": True, "duration": "1h"})
    policy = {"name": "calm", "priority": "safety", "score": 0.9, "forbids": ["*->PRIMARY"]}
    await client.post("/v1/nodes/sat-002/policies", json={**policy, "lifetime": "1m"})
    seen = await _get(client, "/v1/nodes/sat-002")
    assert seen["maintenance"] == {"remaining_s": 3600}
    assert seen["policies"] == [{**policy, "set_at_ms": node.now, "remaining_s": 60}]
    node.now += 60_000
    assert (await _get(client, "/v1/nodes/sat-002"))["policies"] == []


async def test_lists_of_nodes_show_only_the_newest_samples(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "HISTORY_IN_LISTS", 2)
    node.evaluate()
    node.evaluate()
    listed = (await _get(client, "/v1/nodes"))["items"][0]["history"]
    assert [sample["at_ms"] for sample in listed] == [2000, 3000]
    assert len((await _get(client, "/v1/nodes/sat-001"))["history"]) == 3


async def test_roles_and_their_history(client: httpx.AsyncClient, node: FakeNode) -> None:
    await _fail_over(node)
    node.acting["sat-002"] = Role.BACKUP
    roles = {row["node"]: row for row in (await _get(client, "/v1/roles"))["items"]}
    assert roles["sat-002"]["role"] == "PRIMARY"
    assert roles["sat-002"]["effective_role"] == "BACKUP"
    assert roles["sat-003"]["since_ms"] is None
    history = (await _get(client, "/v1/roles/history"))["items"]
    assert [(c["node"], c["origin"], c["target"]) for c in history] == [
        ("sat-002", "STANDBY", "PRIMARY"),
        ("sat-001", "PRIMARY", "BACKUP"),
        ("sat-001", "STANDBY", "PRIMARY"),
    ]
    assert {c["rule"] for c in history[:2]} == {"primary_failed"}


async def test_explanation(client: httpx.AsyncClient) -> None:
    seen = await _get(client, "/v1/nodes/sat-002/explain")
    assert seen["node"] == "sat-002"
    assert seen["role"] == "STANDBY"
    assert seen["summary"]
    assert seen["why_not_primary"]


async def test_decisions_carry_evidence_votes_and_a_sentence(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    await _fail_over(node)
    decisions = (await _get(client, "/v1/decisions", outcome="approved"))["items"]
    failed = decisions[0]
    assert failed["matter"] == "primary_failed"
    assert failed["evidence"]["sat-001"][-3:] == [None, None, None]  # missed
    assert {ballot["voter"] for ballot in failed["ballots"]} <= set(MEMBERS)
    assert {"node": "sat-002", "origin": "STANDBY", "target": "PRIMARY"} in failed["changes"]
    assert "sat-001" in failed["sentence"]
    assert failed["id"] > decisions[-1]["id"]


async def test_decisions_by_subject(client: httpx.AsyncClient, node: FakeNode) -> None:
    await client.post("/v1/nodes/sat-003/priority", json={"priority": 0})
    about = (await _get(client, "/v1/decisions", subject="sat-003"))["items"]
    assert about
    assert all("sat-003" in decision["subjects"] for decision in about)


async def test_decisions_by_their_words_and_their_time(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.commit(Pause(60_000), actor="Ann", reason="new batteries")
    node.now += 10_000
    node.commit(Resume(), actor="Bob", reason="they are in")
    wall = 1_000 + node.now

    async def found(**query: Any) -> list[str]:
        return [item["actor"] for item in (await _get(client, "/v1/decisions", **query))["items"]]

    assert await found(text="ann") == ["Ann"]
    assert await found(text="NEW BATT") == ["Ann"]
    assert await found(text="%") == []
    assert await found(since_ms=wall) == ["Bob"]
    assert await found(until_ms=wall, about="orders") == ["Ann"]
    assert await found(since_ms=wall, until_ms=wall) == []


async def test_decisions_by_what_they_are_about(client: httpx.AsyncClient, node: FakeNode) -> None:
    await _fail_over(node)
    await _fail_over(node)  # silent for so long that an alarm says so
    register(node, "device-1")
    await client.put("/v1/devices/device-1/ring", json={"ring": "prod"})
    await client.post("/v1/failover", json={"target": "sat-003"})
    for about in ("alarms", "roles", "rings", "orders"):
        found = (await _get(client, "/v1/decisions", about=about))["items"]
        assert found, about
        assert all(about in decision["about"] for decision in found)
    everything = (await _get(client, "/v1/decisions"))["items"]
    newest, pinned = everything[0], next(d for d in everything if d["matter"] == "assign_ring")
    assert newest["matter"] == "failover"
    assert newest["about"] == ["roles", "orders"]
    assert pinned["about"] == ["rings", "orders"]


async def test_proposals_open_first(client: httpx.AsyncClient, node: FakeNode) -> None:
    await _fail_over(node)
    items = (await _get(client, "/v1/proposals"))["items"]
    assert [item["rule"] for item in items] == ["primary_failed", "seat_empty"]
    assert items[0]["outcome"] == "approved"
    assert items[0]["quorum"] == 2
    assert len(items[0]["ballots"]) >= 2


async def test_actions_show_compliance(client: httpx.AsyncClient) -> None:
    await client.post("/v1/actions", json={"name": "beacon", "targets": ["sat-002"]})
    items = (await _get(client, "/v1/actions"))["items"]
    beacon = next(item for item in items if item["name"] == "beacon")
    assert beacon["targets"] == ["sat-002"]
    assert beacon["outcome"] == "open"
    assert beacon["compliance"] == 0
    assert beacon["acks"] == {}


async def test_what_is_under_a_node(client: httpx.AsyncClient) -> None:
    seen = await _get(client, "/v1/machine")
    assert (seen["node"], seen["up_s"]) == ("sat-001", 3_661.5)
    assert (seen["disk_total_bytes"], seen["disk_free_bytes"]) == (64_000_000_000, 16_000_000_000)
    assert (seen["data_dir"], seen["log"]) == ("/var/lib/stationkeep", "standard error")


async def test_the_rings_are_remembered_each_minute_for_a_day(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    began = node.state.time
    for n in range(3):
        node.now += 40_000
        register(node, f"device-{n}", f"device-{n}-ill", ill=n == 2)
    items = (await _get(client, "/v1/rings/history"))["items"]
    assert [(one["at_ms"] - items[0]["at_ms"]) // 1_000 for one in items] == [
        0,
        80 + began // 1_000,
    ]
    assert sum(items[-1]["rings"].values()) == 4
    node._memory.moments.extend([node._memory.moments[-1]] * 2_000)
    assert len((await _get(client, "/v1/rings/history"))["items"]) == 24 * 60


async def test_links_as_this_node_alone_sees_them(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.linked = [link("sat-002", stalled=True, in_doubt=True)]
    assert await _get(client, "/v1/links") == {
        "node": "sat-001",
        "links": [
            {
                "peer": "sat-002",
                "connected": True,
                "streams": 1,
                "stalled": True,
                "in_doubt": True,
                "window_s": 60.0,
                "sent": 400,
                "heard": 392,
                "longest_silence_s": 1.1,
                "received_total": 10_231,
                "lost_total": 209,
                "duplicates_total": 7_712,
                "refused_total": {"forged": 0, "malformed": 0, "replayed": 3, "too_many": 0},
                "address": "sat-002.example.net:7701",
                "state": "up",
                "error": None,
                "since_s": 512.25,
            }
        ],
    }


def test_every_figure_of_a_link_is_described() -> None:
    schema = msgspec.json.schema(LinkView)
    for name, field in schema["$defs"]["LinkView"]["properties"].items():
        assert field["description"].endswith("."), name


async def test_config_as_people_write_it(client: httpx.AsyncClient) -> None:
    seen = await _get(client, "/v1/config")
    assert seen["profile_hint"] == "demo"
    assert seen["settings"]["primary_lease"] == "2.5s"
    await client.patch("/v1/config", json={"backup_count": 2})
    seen = await _get(client, "/v1/config")
    assert seen["profile_hint"] is None
    assert seen["settings"]["backup_count"] == 2


@pytest.mark.parametrize("path", READS)
async def test_every_read_says_how_old_it_is(
    client: httpx.AsyncClient, node: FakeNode, path: str
) -> None:
    answer = await client.get(path)
    assert answer.headers["x-stationkeep-applied-index"] == str(node.state.index)
    assert answer.headers["x-stationkeep-staleness-ms"] == "7"
    assert answer.headers["cache-control"] == "no-store"
    assert node.barriers == 0


@pytest.mark.parametrize("path", [*READS, "/v1/snapshot", "/v1/operations/none"])
async def test_strong_reads_pass_a_barrier_or_fail(
    client: httpx.AsyncClient, node: FakeNode, path: str
) -> None:
    before = node.state.index
    answer = await client.get(path, params={"consistency": "strong"})
    assert node.barriers == 1
    if answer.status_code == 200:
        assert int(answer.headers["x-stationkeep-applied-index"]) > before
    node.refuse = NotProposed("no_leader")
    refused = await client.get(path, params={"consistency": "strong"})
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "path", ["/v1/nodes", "/v1/decisions", "/v1/proposals", "/v1/actions", "/v1/roles/history"]
)
async def test_pages_add_up_to_the_whole(
    client: httpx.AsyncClient, node: FakeNode, path: str
) -> None:
    await _fail_over(node)
    for n in range(5):
        await client.post("/v1/actions", json={"name": f"beacon-{n}"})
    whole = (await _get(client, path))["items"]
    assert len(whole) >= 2
    paged: list[Any] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await _get(client, path, **query)
        assert len(page["items"]) <= 2
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole


async def test_a_list_that_grows_at_its_head_repeats_nothing(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    first = await _get(client, "/v1/decisions", limit=1)
    await client.post("/v1/nodes/sat-003/priority", json={"priority": 5})
    second = await _get(client, "/v1/decisions", limit=1, cursor=first["next"])
    assert second["items"][0]["id"] == first["items"][0]["id"] - 1


@pytest.mark.parametrize("cursor", ["%%%", "AAAA", "wA", "é", "", "kgE", "zw" * 8])
async def test_a_bad_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    for path in ("/v1/nodes", "/v1/decisions", "/v1/proposals", "/v1/actions"):
        answer = await client.get(path, params={"cursor": cursor})
        problem = answer.json()
        assert answer.status_code == 400, (path, cursor)
        assert problem["field"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1.5"])
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, limit: str) -> None:
    answer = await client.get("/v1/nodes", params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["field"] == "limit"
    assert answer.json()["value"] == limit


async def test_snapshot_is_the_state_at_its_index(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    answer = await client.get("/v1/snapshot")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert digest(decode_snapshot(answer.content)) == digest(node.state)


@pytest.mark.parametrize("path", ["/v1/snapshot", "/v1/cluster?digest=true"])
async def test_the_whole_state_is_encoded_beside_the_event_loop(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    begun, go_on, parts = threading.Event(), threading.Event(), FrozenState._encoded

    def held_up(state: FrozenState) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(30.0)
        return parts(state)

    before, index = encode_snapshot(node.state), node.state.index
    monkeypatch.setattr(FrozenState, "_encoded", held_up)
    asked = asyncio.create_task(client.get(path))
    await asyncio.to_thread(begun.wait, 30.0)
    node.commit(SetPriority("sat-002", 7))
    assert (await _get(client, "/v1/cluster"))["applied_index"] == index + 1
    go_on.set()
    answer = await asked
    assert answer.headers["X-Stationkeep-Applied-Index"] == str(index)
    if "digest" in path:
        assert answer.json()["digest"] == digest(decode_snapshot(before))
        assert answer.json()["applied_index"] == index
    else:
        assert answer.content == before


async def test_who_waits_for_the_digest_of_another_holds_no_state_meanwhile(
    client: httpx.AsyncClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, parts = threading.Event(), threading.Event(), FrozenState._encoded

    def held_up(state: FrozenState) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(30.0)
        return parts(state)

    monkeypatch.setattr(FrozenState, "_encoded", held_up)
    first = asyncio.create_task(client.get("/v1/cluster?digest=true"))
    await asyncio.to_thread(begun.wait, 30.0)
    second = asyncio.create_task(client.get("/v1/cluster?digest=true"))
    await _get(client, "/v1/cluster")
    node.commit(SetPriority("sat-002", 7))
    go_on.set()
    await first
    seen = (await second).json()
    assert seen["applied_index"] == node.state.index, "taken when its turn had come"
    assert seen["digest"] == digest(node.state)


async def test_a_snapshot_that_cannot_be_made_gives_its_place_back(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(FrozenState, "encode", lambda _: 1 / 0)
        for _ in range(3):
            assert (await client.get("/v1/snapshot")).status_code == 500
    assert (await client.get("/v1/snapshot")).status_code == 200
