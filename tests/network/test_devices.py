"""Devices that reach their nodes through a network that loses a fifth of all packets."""

import time

import pytest

from stationkeep.node.chaos.isolated import Isolated
from stationkeep.node.chaos.namespace import loss
from tests.chaos.devices import Devices, counts

pytestmark = pytest.mark.timeout(150)

FLEET = 200
SECONDS = 30


def test_no_device_is_taken_for_offline_under_loss(cluster: Isolated) -> None:
    """In profile lan: a device reports every 2 s, and counts as offline after 12 s of silence."""
    cluster.up(profile="lan")
    cluster.until("devices are taken in", lambda: cluster.anyone("/v1/rings"))
    devices = Devices(cluster)
    try:
        devices.simulate(FLEET, "healthy")
        cluster.until("all are online", lambda: online(cluster) == FLEET)
        cluster.network.impose(loss(0.2))
        assert [online(cluster, 1.0) for _ in range(SECONDS)] == [FLEET] * SECONDS
    finally:
        cluster.network.impose()
        devices.end()


def online(cluster: Isolated, pause: float = 0.0) -> int:
    """Devices that count as online, as the node sees it that leads; looks after a pause."""
    time.sleep(pause)
    fleet = counts(cluster, cluster.leader())
    return int(fleet["total_slaves"] - fleet["offline_devices"])
