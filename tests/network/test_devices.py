"""Devices that reach their nodes through a network that loses a fifth of all packets."""

import pytest

from node.chaos.isolated import Isolated
from node.chaos.namespace import loss
from tests.chaos.devices import Devices, counts

pytestmark = pytest.mark.timeout(150)

FLEET = 200
TRIALS = 30
"""Looks at the fleet, a second apart."""


def test_no_device_is_taken_for_offline_under_loss(cluster: Isolated) -> None:
    """In profile lan: a device reports every 2 s, and counts as offline after 12 s of silence."""
    cluster.up(profile="lan")
    cluster.until("devices are taken in", lambda: cluster.anyone("/v1/rings"))
    devices = Devices(cluster)
    try:
        devices.simulate(FLEET, "healthy")
        cluster.until("all are online", lambda: online(cluster) == FLEET)
        cluster.network.impose(loss(0.2))
        seen = [online(cluster) for _ in range(TRIALS)]
        assert seen == [FLEET] * TRIALS
    finally:
        cluster.network.impose()
        devices.end()


def online(cluster: Isolated) -> int:
    """Devices that count as online, as the node sees it that leads."""
    fleet = counts(cluster, cluster.leader())
    return int(fleet["total_slaves"] - fleet["offline_devices"])
