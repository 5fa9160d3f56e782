"""The API of whole nodes in virtual time: what a running node says of itself and of the others."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.node.api.app import create_app
from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.peers.network import PeerNetwork
from stationkeep.node.raft import Journal, Raft, SnapshotStore
from stationkeep.node.replica import Replica
from stationkeep.node.runtime.node import timings
from stationkeep.node.service.door import MAX_REASONS, Door, Stored, Wired, _bounded
from stationkeep.node.service.node_service import NodeService
from tests.node.api.fleet_story import ILL, WELL
from tests.node.fleet.proposing import Ears
from tests.node.world import ManualClock, World

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
            agents = Sessions(name, loop.intake, loop.replica)
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


async def test_events_have_the_same_ids_everywhere(constellation: Constellation) -> None:
    streams = []
    for loop in constellation.world.loops.values():
        door = Door(NodeService(loop, lambda: None))
        async with aclosing(door.events("0.0")) as events:
            streams.append([await anext(events) for _ in range(30)])
    assert streams[0] == streams[1] == streams[2]
    kinds = {event.kind for event in streams[0]}
    assert {"founded", "decided", "role_changed", "samples_recorded"} <= kinds
    assert "leases_echoed" not in kinds
    decided = next(event for event in streams[0] if event.kind == "decided")
    assert decided.data["sentence"]
    assert decided.data["index"] == int(decided.id.partition(".")[0])


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


async def test_moves_are_streamed_with_names_under_the_same_ids(
    constellation: Constellation,
) -> None:
    world = constellation.world
    intake = next(iter(world.loops.values())).intake
    intake.register(Registration("device-001", session=1, sequence=1, reading=WELL), Ears())
    world.run(2)
    streams = []
    for loop in world.loops.values():
        door = Door(NodeService(loop, lambda: None))
        async with aclosing(door.events("0.0")) as events:
            streams.append(await anext(e async for e in events if e.kind == "devices_moved"))
    assert streams[0] == streams[1] == streams[2]
    assert [move["device"] for move in streams[0].data["moves"]] == ["device-001"]


async def test_an_event_that_is_forgotten_is_told_as_a_gap(constellation: Constellation) -> None:
    loop = constellation.world.loops["sat-001"]
    loop.replica.prepare(codec.encode_snapshot(loop.replica.state))()
    constellation.world.run(2)
    async with aclosing(Door(NodeService(loop, lambda: None)).events("3.0")) as events:
        first = await asyncio.wait_for(anext(events), 5)
    assert first.kind == "gap"
    assert first.data["detail"]


async def test_metrics_of_a_consensus_without_files(constellation: Constellation) -> None:
    answer = await constellation.ask("sat-001", "GET", "/metrics")
    assert 'stationkeep_messages_rejected_total{link="gossip",reason="malformed"}' in answer.text
    assert "stationkeep_raft_log_entries" not in answer.text
    assert (await constellation.ask("sat-001", "GET", "/v1/snapshot")).status_code == 503


class _Alone:
    """`Network` of a node without peers."""

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        raise AssertionError("there is nobody to send to")

    def connected(self, peer: str) -> bool:
        return False


async def test_raft_offers_what_the_door_asks_of_it(tmp_path: Path) -> None:
    clock = ManualClock()
    replica = Replica(clock, PROFILES["demo"])
    raft = Raft(
        node_id="sat-001",
        members=["sat-001"],
        network=_Alone(),  # type: ignore[arg-type]
        clock=clock,
        machine=replica,
        journal=Journal(tmp_path, cluster="test", node="sat-001"),
        snapshots=SnapshotStore(
            tmp_path, cluster="test", encode_state=replica.snapshot, submit=lambda work: work()
        ),
        timings=timings(PROFILES["demo"]),
    )
    try:
        assert isinstance(raft, Stored)
    finally:
        raft.close()


def test_the_network_offers_what_the_door_asks_of_it() -> None:
    network = PeerNetwork(node_id="sat-001", cluster="test", listen="127.0.0.1:0", peers={})
    assert isinstance(network, Wired)
    assert network.figures() == []


async def test_links_that_nobody_measures_are_none(constellation: Constellation) -> None:
    assert await constellation.get("sat-001", "/v1/links") == {"node": "sat-001", "links": []}
    told = (await constellation.ask("sat-001", "GET", "/metrics")).text
    assert "stationkeep_link_connected{" not in told


def test_reasons_of_refusal_are_bounded() -> None:
    reasons = {f"reason {n}": 1 for n in range(MAX_REASONS + 8)}
    labels = _bounded("raft", reasons)
    assert len(labels) == MAX_REASONS + 1
    assert labels["raft", "other"] == 8
