"""Probes: 200 or 503, at the instant of the request, for GET and HEAD."""

import httpx
import pytest

from stationkeep.cluster.transitions import Role
from tests.node.api.fake import FakeNode

BY_ROLE = {
    Role.PRIMARY: "/primary",
    Role.BACKUP: "/backup",
    Role.STANDBY: "/standby",
    Role.SAFE_MODE: "/safe-mode",
}


@pytest.mark.parametrize("role", list(Role))
async def test_exactly_the_effective_role_answers(
    client: httpx.AsyncClient, node: FakeNode, role: Role
) -> None:
    node.acting["sat-001"] = role
    for asked, path in BY_ROLE.items():
        answer = await client.get(path)
        assert answer.status_code == (200 if asked is role else 503)
        assert answer.json()["ok"] is (asked is role)
        assert answer.json()["effective_role"] == role


async def test_nothing_is_remembered_between_two_requests(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    assert (await client.get("/primary")).status_code == 200
    node.acting["sat-001"] = Role.SAFE_MODE
    assert (await client.get("/primary")).status_code == 503
    assert (await client.get("/safe-mode")).status_code == 200


async def test_body_of_a_probe(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.leases["sat-001"] = 1.5
    answer = await client.get("/primary")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "ok": True,
        "node": "sat-001",
        "role": "PRIMARY",
        "effective_role": "PRIMARY",
        "epoch": 1,
        "lease_remaining_s": 1.5,
        "leader": "sat-001",
        "term": 3,
        "applied_index": node.state.index,
        "removed": False,
    }


async def test_who_was_removed_is_not_ready_and_says_why(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    node.dismissed = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["removed"]) == (503, True)
    assert (await client.get("/v1/cluster")).json()["removed"] is True


async def test_head_answers_without_a_body(client: httpx.AsyncClient, node: FakeNode) -> None:
    for path in ("/livez", "/readyz", "/leader", *BY_ROLE.values()):
        answer = await client.head(path)
        assert answer.status_code == (await client.get(path)).status_code


async def test_leader_probe_follows_raft(client: httpx.AsyncClient, node: FakeNode) -> None:
    assert (await client.get("/leader")).status_code == 200
    node.consensus.is_leader = False
    assert (await client.get("/leader")).status_code == 503


async def test_ready_needs_a_cluster_and_a_leader(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    node.consensus.leader = None
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200


async def test_a_node_without_a_cluster_is_alive_and_not_ready(client: httpx.AsyncClient) -> None:
    from stationkeep.node.api.app import build

    transport = httpx.ASGITransport(app=build(FakeNode()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as new:
        assert (await new.get("/livez")).status_code == 200
        ready = await new.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["role"] is None
