"""Data directories of earlier releases go on."""

from pathlib import Path

from stationkeep.cluster.invariants import violations
from stationkeep.cluster.state import codec
from tests.cluster.delivery.deliveries import CAPABLE, DeliveryDriver

FORMAT_2 = Path(__file__).parent / "format_2.snapshot"
"""Seven devices, one of them pinned, one unhealthy, one with a metric, and one that was removed;
written by d64c4d1, before there were deployments."""


def test_a_snapshot_from_before_deployments_is_read_with_every_device_free() -> None:
    state = codec.decode_snapshot(FORMAT_2.read_bytes())
    assert list(violations(state)) == []
    assert len(state.fleet) == 7
    assert len(state.deployments) == 0
    assert state.fleet.table.task[: state.fleet.table.used].tolist() == [0] * 8
    device = state.fleet.device(0)
    assert (device.app_version, device.metrics) == ("1.0.0", {"temperature": 41.5})
    assert [row for row in range(8) if row in state.fleet.pins] == [2]


def test_such_a_cluster_takes_deployments_and_writes_what_it_can_read() -> None:
    driver = DeliveryDriver()
    driver.state = codec.decode_snapshot(FORMAT_2.read_bytes())
    driver.log = [b""] * driver.state.index
    driver.clock, driver.sequence = driver.state.time, 10_000
    driver.register("fresh", capabilities=CAPABLE)
    driver.create()
    assert driver.offer() == 4  # the battery of one is low
    again = codec.decode_snapshot(codec.encode_snapshot(driver.state))
    assert codec.digest(again) == codec.digest(driver.state)
