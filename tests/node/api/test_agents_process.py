"""The devices' door of a real node: the process as `up` starts it, on its own event loop."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.gateway.sessions import PATH
from stationkeep.node.wire import messages as wire
from tests.node.api.doorstep import STATUS

pytestmark = pytest.mark.processes
PATIENCE = 30.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Constellation]:
    cluster = Constellation(tmp_path)
    try:
        cluster.up(nodes=2)
        cluster.settled()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def _registered(cluster: Constellation, node: str, device: str) -> Iterator[ClientConnection]:
    """A device's connection to a node."""
    message = {
        "message_type": "registration",
        "sender_id": device,
        "receiver_id": "master-orchestrator",
        "payload": {"device_status": STATUS | {"slave_id": device}},
    }
    with connect(f"ws://{cluster.addresses[node]}{PATH}", compression=None) as connection:
        connection.send(json.dumps(message))
        assert json.loads(connection.recv(PATIENCE))["message_type"] == "ack"
        yield connection


def test_a_device_of_a_stopping_node_is_sent_elsewhere(cluster: Constellation) -> None:
    first, second = cluster.addresses
    with (
        _registered(cluster, first, "slave-001") as leaving,
        _registered(cluster, second, "slave-002") as staying,
    ):
        ring = cluster.ask(first, "/v1/devices/slave-001/assignment")["ring"]
        os.kill(cluster.local.manifest().nodes[first].pid, signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            leaving.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == wire.Close.RESTART
        assert closed.value.rcvd.reason == "the node stops"
        assert staying.ping().wait(PATIENCE)
        assert cluster.ask(second, "/v1/devices/slave-001/assignment")["ring"] == ring
