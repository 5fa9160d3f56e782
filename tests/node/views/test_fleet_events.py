"""Events about devices as followers get them: counts of all, names of the first few."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from stationkeep.cluster.commands import CreateDeployment
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.state.events import (
    DeviceRemoved,
    DevicesMoved,
    DevicesTurned,
    DevicesWentOffline,
    DevicesWentOnline,
    Event,
    TasksChanged,
)
from stationkeep.node.views import fleet_events
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import check, go_silent, register, report

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))


@pytest.fixture
def fleet(node: FakeNode) -> FakeNode:
    """Eight devices, two in each ring."""
    register(node, *EIGHT)
    return node


def told(node: FakeNode, kind: type[Event]) -> dict[str, Any]:
    """The data of the newest event of a kind, as a follower gets it."""
    event = next(e for e in reversed(node.happened) if isinstance(e, kind))
    data = fleet_events.fleet_event(event, node.state.fleet)
    assert data is not None
    assert json.loads(msgspec.json.encode(data)) == data
    return data


async def test_moves_are_told_by_way_and_by_name(fleet: FakeNode) -> None:
    ill = [
        device for device in EIGHT
        if fleet.state.fleet.device(fleet.state.fleet.table.rows[device]).ring == "prod"
    ]  # fmt: skip
    report(fleet, *ill, ill=True)
    assert told(fleet, DevicesTurned)["turned_unhealthy"] == 2
    check(fleet)
    data = told(fleet, DevicesMoved)
    assert data["count"] == 2
    assert sum(way["count"] for way in data["ways"]) == 2
    assert {(way["origin"], way["reason"]) for way in data["ways"]} == {("prod", "unhealthy")}
    assert [move["device"] for move in data["moves"]] == ill


async def test_a_registration_comes_from_nowhere(fleet: FakeNode) -> None:
    way = told(fleet, DevicesMoved)["ways"][0]
    assert (way["origin"], way["target"], way["reason"]) == (None, "canary", "registered")


async def test_of_a_crowd_the_first_few_are_named(fleet: FakeNode) -> None:
    register(fleet, *(f"more-{n:03d}" for n in range(250)))
    data = told(fleet, DevicesMoved)
    assert data["count"] == 250
    assert sum(way["count"] for way in data["ways"]) == 250
    assert len(data["moves"]) == fleet_events.MAX_NAMED


async def test_a_row_with_a_new_tenant_lends_nobody_its_name(
    client: httpx.AsyncClient, fleet: FakeNode
) -> None:
    await client.delete("/v1/devices/slave-001")
    register(fleet, "newcomer")
    first = next(e for e in fleet.happened if isinstance(e, DevicesMoved))
    data = fleet_events.fleet_event(first, fleet.state.fleet)
    assert data is not None
    assert data["count"] == 8
    assert [move["device"] for move in data["moves"]] == list(EIGHT[1:])


async def test_silence_and_return_are_told(fleet: FakeNode) -> None:
    go_silent(fleet, *EIGHT[:2])
    assert told(fleet, DevicesWentOffline)["count"] == 2
    report(fleet, EIGHT[0])
    assert told(fleet, DevicesWentOnline)["count"] == 1


def test_steps_of_tasks_are_told_by_device(fleet: FakeNode) -> None:
    register(fleet, "phone", app_version="1.0.0", capabilities={"deployment": "true"})
    fleet.commit(CreateDeployment(Target(everyone=True), artifact=Artifact("2.0.0")))
    for part in plan_offers(fleet.state, fleet.state.time):
        fleet.commit(part)
    assert told(fleet, TasksChanged) == {
        "deployment": 1,
        "count": 1,
        "tasks": [
            {
                "task_id": "1/phone/1",
                "device": "phone",
                "origin": "queued",
                "state": "offered",
                "reason": "",
            }
        ],
    }


def test_other_events_are_told_elsewhere(fleet: FakeNode) -> None:
    assert fleet_events.fleet_event(DeviceRemoved("x", 1), fleet.state.fleet) is None
