"""Devices, rings and the cluster, as a node's own API tells them."""

import asyncio
import math
from collections.abc import Iterator

import httpx
import pytest

from stationkeep.node.api.app import build
from stationkeep.node.client import (
    AsyncClient,
    Client,
    DeviceStatus,
    NotFoundError,
    RefusedError,
    RingType,
    nodes,
)
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import go_silent, register, report

EIGHT = tuple(f"slave-{n:03d}" for n in range(1, 9))
RINGS = [RingType.CANARY, RingType.DEV, RingType.STAGE, RingType.PROD]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Eight devices, two in each ring; of one nothing is known but that it registered."""
    node = FakeNode().with_primary()
    about = {"os_version": "Android 14", "app_version": "1.0.0", "labels": {"site": "lab"}}
    register(node, *EIGHT, name="Pixel 8 Pro", **about)
    app = build(node)
    monkeypatch.setattr(
        nodes,
        "open_http",
        lambda **_: httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("127.0.0.1", 1))),
    )
    return node


@pytest.fixture
def master(fleet: FakeNode) -> Iterator[Client]:
    with Client(actor="ann") as client:
        yield client


def test_the_cluster_at_a_glance(fleet: FakeNode, master: Client) -> None:
    report(fleet, EIGHT[0], ill=True)
    go_silent(fleet, EIGHT[1])
    status = master.get_cluster_status()
    assert status["total_slaves"] == 8
    assert status["healthy_devices"] == 6
    assert (status["unhealthy_devices"], status["offline_devices"]) == (1, 1)
    assert status["ring_distribution"] == dict.fromkeys(RINGS, 2)
    assert status["ring_distribution"][RingType.PROD] == 2
    assert status["primary"] == fleet.state.seat.holder
    assert status["members"] == ["sat-001", "sat-002", "sat-003"]


def test_a_ring_names_its_devices(fleet: FakeNode, master: Client) -> None:
    rings = master.ring_assignments
    assert list(rings) == RINGS
    assert rings["prod"] == rings[RingType.PROD] != ()
    assert sorted(device for ids in rings.values() for device in ids) == sorted(EIGHT)
    assert "blue" not in rings
    with pytest.raises(KeyError, match="blue"):
        rings["blue"]


def test_what_was_looked_at_stays_and_the_attribute_is_asked_anew(
    fleet: FakeNode, master: Client
) -> None:
    before = master.ring_assignments
    assert len(before["prod"]) == 2
    outsider = before["dev"][0]
    master.assign_slave_to_ring(outsider, RingType.PROD)
    assert len(before["prod"]) == 2
    assert outsider in master.ring_assignments["prod"]


def test_a_device_is_told_flat_as_a_seed_program_reads_it(fleet: FakeNode, master: Client) -> None:
    device = master.device_statuses["slave-001"]
    assert (device.device_name, device.os_version, device.app_version) == (
        "Pixel 8 Pro", "Android 14", "1.0.0",
    )  # fmt: skip
    assert device.assigned_ring.value == fleet.state.fleet.device(0).ring
    assert f"{device.battery_level}% {device.cpu_usage:.1f}%" == "85% 45.2%"
    assert device.battery_charging
    assert device.is_healthy()
    assert device.labels == {"site": "lab"}
    with pytest.raises(AttributeError):
        device.battery_level = 7  # type: ignore[misc]


def test_an_ill_and_a_silent_device_are_not_healthy(fleet: FakeNode, master: Client) -> None:
    report(fleet, EIGHT[0], ill=True)
    go_silent(fleet, EIGHT[1])
    ill, silent, well = (master.device(slave_id) for slave_id in EIGHT[:3])
    assert [ill.is_healthy(), silent.is_healthy(), well.is_healthy()] == [False, False, True]
    assert (ill.online, silent.online) == (True, False)


def test_all_devices_can_be_gone_through_and_one_be_looked_up(
    fleet: FakeNode, master: Client
) -> None:
    statuses = master.device_statuses
    assert len(statuses) == 8
    assert {slave_id: device.slave_id for slave_id, device in statuses.items()} == {
        slave_id: slave_id for slave_id in EIGHT
    }
    assert statuses["slave-003"] is statuses["slave-003"]
    for whole in (statuses, master.device_statuses):
        assert "nobody" not in whole
        with pytest.raises(KeyError):
            whole["nobody"]


def test_devices_are_filtered_and_limited(fleet: FakeNode, master: Client) -> None:
    report(fleet, EIGHT[0], ill=True)
    assert [d.slave_id for d in master.devices(healthy=False)] == [EIGHT[0]]
    assert len(list(master.devices(ring="prod"))) == 2
    assert len(list(master.devices(selector="site=lab", online=True, limit=3))) == 3
    assert list(master.devices(limit=0)) == []
    with pytest.raises(RefusedError) as caught:
        list(master.devices(selector="site=="))
    assert caught.value.field == "selector"


def test_a_pin_is_set_for_a_time_and_ended(fleet: FakeNode, master: Client) -> None:
    master.assign_slave_to_ring(
        slave_id="slave-001", ring=RingType.PROD, reason="promoted", lifetime="2h"
    )
    device = master.device("slave-001")
    assert device.pinned
    assert device.assigned_ring is RingType.PROD
    [decision] = [d for d in fleet.state.decisions if "slave-001" in d.subjects]
    assert (decision.actor, decision.comment) == ("ann", "promoted")
    master.release_slave("slave-001")
    assert not master.device("slave-001").pinned


def test_a_change_under_one_key_is_made_once_and_can_be_looked_up(
    fleet: FakeNode, master: Client
) -> None:
    master.assign_slave_to_ring("slave-001", "prod", key="once")
    master.release_slave("slave-001")
    master.assign_slave_to_ring("slave-001", "prod", key="once")
    assert not master.device("slave-001").pinned
    found = master.operation("once")
    assert (found.status, found.actor) == ("done", "ann")
    with pytest.raises(NotFoundError):
        master.operation("never")


def test_what_is_refused_says_by_which_rule(fleet: FakeNode, master: Client) -> None:
    with pytest.raises(NotFoundError) as missing:
        master.assign_slave_to_ring("nobody", "prod")
    assert missing.value.rule == "unknown_device"
    with pytest.raises(RefusedError) as wrong:
        master.assign_slave_to_ring("slave-001", "blue")
    assert (wrong.value.field, wrong.value.value) == ("ring", "blue")
    with pytest.raises(NotFoundError):
        master.device("nobody")


async def test_with_a_loop_the_same_is_awaited(fleet: FakeNode) -> None:
    async with AsyncClient() as master:
        rings = await master.ring_assignments
        assert list(rings) == RINGS
        assert (await master.device_statuses).keys() == set(EIGHT)
        await master.assign_slave_to_ring(slave_id="slave-001", ring=RingType.PROD, reason="good")
        assert "slave-001" in (await master.ring_assignments)["prod"]
        assert (await master.get_cluster_status())["total_slaves"] == 8
        found = [device async for device in master.devices(ring="prod", limit=2)]
        assert [type(device) for device in found] == [DeviceStatus] * 2


async def test_without_await_the_attributes_are_what_a_seed_program_expects(
    fleet: FakeNode,
) -> None:
    async with AsyncClient() as master:
        assert len(master.ring_assignments[RingType.PROD]) == 2
        assert sorted(master.device_statuses) == sorted(EIGHT)
        assert master.device_statuses["slave-001"].device_name == "Pixel 8 Pro"


async def test_a_plain_client_can_be_used_where_a_loop_runs(fleet: FakeNode) -> None:
    with Client() as master:
        assert master.get_cluster_status()["total_slaves"] == 8
        others = await asyncio.gather(
            *(asyncio.to_thread(master.device, slave_id) for slave_id in EIGHT)
        )
    assert [device.slave_id for device in others] == list(EIGHT)


def test_what_a_device_has_not_reported_is_not_a_number() -> None:
    import msgspec

    from stationkeep.node.client.results import DeviceAnswer
    from tests.node.cli.canned import DEVICES

    silent = msgspec.convert(DEVICES[2], DeviceAnswer).device()
    assert math.isnan(silent.battery_level)
    assert f"{silent.cpu_usage:.1f}%" == "nan%"
    assert not silent.is_healthy()
