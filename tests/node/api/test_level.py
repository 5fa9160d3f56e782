"""GET /v1/level, POST /v1/level/raise, and what is refused below a level."""

import httpx
import pytest

from stationkeep.cluster.commands import ChangeSettings, Echo, Measured, RecordEvaluation
from stationkeep.cluster.upgrades import SETTLED
from tests.node.api.fake import MEMBERS, FakeNode

MOVE = {"raft": "127.0.0.1:7705"}


def report(node: FakeNode, *highest: int) -> None:
    """An evaluation of members with these highest levels."""
    node.now += 1_000
    node.state.level, node.state.release = 1, "0.1"
    runs = dict(zip(MEMBERS, highest, strict=True))
    samples = tuple(Measured(n, 5, 0, release=f"0.{h}", highest=h) for n, h in runs.items())
    echoes = tuple(Echo(n, 2, node.now, node.now) for n in MEMBERS)
    node.commit(RecordEvaluation(node.state.evaluations, samples, echoes))


async def test_the_level_shows_what_every_member_runs_and_what_it_waits_for(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    report(node, 2, *(1 for _ in MEMBERS[1:]))
    shown = (await client.get("/v1/level")).json()
    assert (shown["level"], shown["release"], shown["next"], shown["hold"]) == (1, "0.1", 2, None)
    assert shown["obstacles"] == [f"{n} runs 0.1 and has levels up to 1" for n in MEMBERS[1:]]
    assert shown["raises_in_s"] is None
    assert shown["members"][0] == {"node": MEMBERS[0], "release": "0.2", "highest": 2}
    report(node, *(2 for _ in MEMBERS))
    shown = (await client.get("/v1/level")).json()
    assert (shown["obstacles"], shown["raises_in_s"]) == ([], SETTLED / 1_000)
    node.commit(ChangeSettings({"level_hold": 1}))
    shown = (await client.get("/v1/level")).json()
    assert (shown["obstacles"], shown["hold"]) == (["level_hold is 1"], 1)


async def test_what_needs_a_higher_level_is_refused_until_it_is_raised(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    report(node, *(2 for _ in MEMBERS))
    refused = await client.post("/v1/nodes/sat-002/move", json=MOVE)
    assert (refused.status_code, refused.json()["rule"]) == (409, "level")
    assert refused.json()["detail"].startswith("MoveMember needs level 2, and the cluster is at")
    done = await client.post("/v1/level/raise", json={})
    assert done.json()["result"] == {"level": 2}
    moved = await client.post("/v1/nodes/sat-002/move", json=MOVE)
    assert moved.json()["result"]["raft"] == MOVE["raft"]
    assert (await client.get("/v1/nodes/sat-002")).json()["address"]["raft"] == MOVE["raft"]


async def test_two_members_never_share_an_address(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    other = node.state.members["sat-001"].http
    refused = await client.post("/v1/nodes/sat-002/move", json={"http": other})
    assert (refused.status_code, refused.json()["rule"]) == (409, "duplicate")
    assert refused.json()["detail"] == f"sat-001 has {other} already"


@pytest.mark.parametrize("to", [0, 256, "two"])
async def test_a_level_is_a_number(client: httpx.AsyncClient, to: object) -> None:
    answer = await client.post("/v1/level/raise", json={"to": to})
    assert answer.status_code == 400
    assert "to" in answer.json()["detail"]
