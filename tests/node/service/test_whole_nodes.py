"""The API of whole nodes in virtual time: what a running node says of itself and of the others."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest
import structlog

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.state import codec
from stationkeep.node.api.app import create_app
from stationkeep.node.api.resources.events import frame
from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.loop import NodeLoop
from stationkeep.node.service.figures import MAX_REASONS, bounded
from stationkeep.node.service.node_service import NodeService
from tests.node.api.fleet_story import ILL, WELL
from tests.node.fleet.proposing import Ears
from tests.node.world import World

ROLE_PROBES = ("/primary", "/backup", "/standby", "/safe-mode")


class Constellation:
    """A world, and an HTTP client for each of its nodes."""

    def __init__(self, world: World, clients: dict[str, httpx.AsyncClient]) -> None:
        self.world, self.clients = world, clients

    async def ask(self, node: str, method: str, path: str, **request: Any) -> httpx.Response:
        """One request; virtual time passes until it is answered."""
        asking = asyncio.ensure_future(self.clients[node].request(method, path, **request))
        while not asking.done():
            self.world.run(0.01)
            await asyncio.sleep(0)
        return asking.result()

    async def get(self, node: str, path: str) -> Any:
        return (await self.ask(node, "GET", path)).json()


@pytest.fixture
async def constellation() -> AsyncIterator[Constellation]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    world = World(3)
    world.run_until(lambda: world.primary is not None, 5)
    world.run(16)
    async with AsyncExitStack() as stack:
        clients = {}
        for name, loop in world.loops.items():
            agents = Sessions(name, loop.intake, loop.errands, loop.replica)
            app = create_app(NodeService(loop, lambda: None), agents)
            transport = httpx.ASGITransport(app=app)
            client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
            clients[name] = await stack.enter_async_context(client)
        yield Constellation(world, clients)


async def test_each_node_answers_to_exactly_one_role(constellation: Constellation) -> None:
    found = {}
    for node in constellation.clients:
        yes = [p for p in ROLE_PROBES if (await constellation.ask(node, "GET", p)).is_success]
        assert len(yes) == 1
        found[node] = yes[0]
    assert sorted(found.values()) == ["/backup", "/primary", "/standby"]
    assert found[str(constellation.world.primary)] == "/primary"


async def test_every_node_tells_the_same_roles(constellation: Constellation) -> None:
    told = [await constellation.get(node, "/v1/roles") for node in constellation.clients]
    assert told[0] == told[1] == told[2]
    assert all(row["role"] == row["effective_role"] for row in told[0]["items"])


async def test_the_lease_is_seen_from_everywhere(constellation: Constellation) -> None:
    primary = str(constellation.world.primary)
    for node in constellation.clients:
        seen = await constellation.get(node, f"/v1/nodes/{primary}")
        assert 0 < seen["lease_remaining_s"] <= 2.5


async def test_a_follower_forwards_and_repeats_anywhere(constellation: Constellation) -> None:
    leader = constellation.world.leader
    follower = next(node for node in constellation.clients if node != leader)
    request: dict[str, Any] = {"json": {"duration": "1h"}, "headers": {"Idempotency-Key": "once"}}
    first = await constellation.ask(follower, "POST", "/v1/pause", **request)
    assert first.status_code == 200
    again = await constellation.ask(str(leader), "POST", "/v1/pause", **request)
    assert again.json() == first.json()
    seen = await constellation.get(follower, "/v1/operations/once?consistency=strong")
    assert seen["status"] == "done"


async def test_the_age_of_a_read(constellation: Constellation) -> None:
    world = constellation.world
    follower = next(node for node in constellation.clients if node != world.leader)
    fresh = await constellation.ask(follower, "GET", "/v1/cluster")
    assert int(fresh.headers["x-stationkeep-staleness-ms"]) < 1_000
    world.partition(follower)
    world.run(5)
    stale = await constellation.ask(follower, "GET", "/v1/cluster")
    assert int(stale.headers["x-stationkeep-staleness-ms"]) >= 4_000
    assert stale.json()["quorum"]["present"] is False
    strong = await constellation.ask(follower, "GET", "/v1/cluster?consistency=strong")
    assert strong.status_code == 503
    write = await constellation.ask(follower, "POST", "/v1/resume")
    assert write.status_code == 503


async def test_a_dead_node_has_no_effective_role(constellation: Constellation) -> None:
    world = constellation.world
    dead = str(world.primary)
    viewer = next(node for node in constellation.clients if node != dead)
    world.kill(dead)
    if world.leader == dead:
        world.elect(viewer)
    world.run_until(lambda: world.primary is not None, 8)
    seen = await constellation.get(viewer, f"/v1/nodes/{dead}")
    assert seen["effective_role"] is None
    assert seen["alive"] is False
    nodes = (await constellation.get(viewer, "/v1/nodes"))["items"]
    assert sum(node["effective_role"] == "PRIMARY" for node in nodes) == 1


async def _streamed(loop: NodeLoop, count: int) -> list[bytes]:
    """The first events of a node, as they go over the wire."""
    async with aclosing(NodeService(loop, lambda: None).events("0.0")) as events:
        return [frame(await anext(events), loop.replica.state.fleet) for _ in range(count)]


def _told(frame: bytes) -> tuple[str, str, Any]:
    """Id, kind and data of an event."""
    id_, kind, data, *_ = (line.partition(": ")[2] for line in frame.decode().split("\n"))
    return id_, kind, json.loads(data)


async def test_events_are_the_same_everywhere(constellation: Constellation) -> None:
    streams = [await _streamed(loop, 30) for loop in constellation.world.loops.values()]
    assert streams[0] == streams[1] == streams[2]
    told = [_told(event) for event in streams[0]]
    kinds = {kind for _, kind, _ in told}
    assert {"founded", "decided", "role_changed", "samples_recorded"} <= kinds
    assert "leases_echoed" not in kinds
    id_, decided = next((id_, data) for id_, kind, data in told if kind == "decided")
    assert decided["sentence"]
    assert decided["index"] == int(id_.partition(".")[0])


async def test_a_device_of_one_node_is_seen_from_every_node(constellation: Constellation) -> None:
    world, node = constellation.world, next(iter(constellation.clients))
    patient = {"device_offline_after": "10m"}  # virtual time runs while requests are answered
    await constellation.ask(node, "PATCH", "/v1/config", json=patient)
    intake, device = world.loops[node].intake, Ears()
    intake.register(Registration("device-001", session=1, sequence=1, reading=WELL), device)
    world.run(2)
    assert device.heard == ["registered"]
    assert intake.report("device-001", 1, 2, ILL) is None
    assert intake.report("device-001", 1, 3, ILL) is None
    assert intake.report("device-001", 1, 3, ILL) is not None  # said before
    world.run(1.5)
    told = [
        await constellation.get(name, "/v1/devices/device-001") for name in constellation.clients
    ]
    assert {view["healthy"] for view in told} == {False}
    assert {view["served_by"] for view in told} == {node}
    fleets = [
        (await constellation.get(name, "/v1/cluster"))["fleet"] for name in constellation.clients
    ]
    assert fleets[0] == fleets[1] == fleets[2]
    assert (fleets[0]["total_slaves"], fleets[0]["unhealthy_devices"]) == (1, 1)


async def test_what_a_node_and_the_leader_measure_of_devices(constellation: Constellation) -> None:
    world = constellation.world
    leader = str(world.leader)
    other = next(node for node in constellation.clients if node != leader)
    await constellation.ask(other, "PATCH", "/v1/config", json={"device_offline_after": "10m"})
    intake = world.loops[other].intake
    intake.register(Registration("device-001", session=1, sequence=1, reading=WELL), Ears())
    world.run(2)
    intake.report("device-001", 1, 2, WELL)
    intake.report("nobody", 1, 2, WELL)
    world.run(3)
    told = (await constellation.ask(other, "GET", "/metrics")).text
    assert 'stationkeep_device_reports_total{result="taken"} 1.0' in told
    assert 'stationkeep_device_reports_total{result="unknown"} 1.0' in told
    assert "stationkeep_devices{" not in told
    assert "stationkeep_rebalance_seconds_count 0.0" in told
    led = (await constellation.ask(leader, "GET", "/metrics")).text
    assert re.search(r'stationkeep_devices\{health="healthy",ring="\w+"\} 1\.0', led)
    assert re.search(r"stationkeep_rebalance_seconds_count [1-9]", led)


async def test_moves_are_streamed_with_names(constellation: Constellation) -> None:
    world = constellation.world
    intake = next(iter(world.loops.values())).intake
    intake.register(Registration("device-001", session=1, sequence=1, reading=WELL), Ears())
    world.run(2)
    streams = []
    for loop in world.loops.values():
        async with aclosing(NodeService(loop, lambda: None).events("0.0")) as events:
            moved = await anext(e async for e in events if e.kind == "devices_moved")
            streams.append(frame(moved, loop.replica.state.fleet))
    assert streams[0] == streams[1] == streams[2]
    _, _, data = _told(streams[0])
    assert [move["device"] for move in data["moves"]] == ["device-001"]


async def test_an_event_that_is_forgotten_is_told_as_a_gap(constellation: Constellation) -> None:
    loop = constellation.world.loops["sat-001"]
    loop.replica.prepare(codec.encode_snapshot(loop.replica.state))()
    constellation.world.run(2)
    async with aclosing(NodeService(loop, lambda: None).events("3.0")) as events:
        first = await asyncio.wait_for(anext(events), 5)
    assert first.kind == "gap"
    assert first.detail


async def test_metrics_of_a_consensus_without_files(constellation: Constellation) -> None:
    answer = await constellation.ask("sat-001", "GET", "/metrics")
    assert 'stationkeep_messages_rejected_total{link="gossip",reason="malformed"}' in answer.text
    assert "stationkeep_raft_log_entries" not in answer.text
    assert (await constellation.ask("sat-001", "GET", "/v1/snapshot")).status_code == 503


async def test_links_that_nobody_measures_are_none(constellation: Constellation) -> None:
    assert await constellation.get("sat-001", "/v1/links") == {"node": "sat-001", "links": []}
    told = (await constellation.ask("sat-001", "GET", "/metrics")).text
    assert "stationkeep_link_connected{" not in told


def test_reasons_of_refusal_arebounded() -> None:
    reasons = {f"reason {n}": 1 for n in range(MAX_REASONS + 8)}
    labels = bounded("raft", reasons)
    assert len(labels) == MAX_REASONS + 1
    assert labels["raft", "other"] == 8
