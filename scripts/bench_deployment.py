"""Deployments to ten thousand connected devices: how long until each is known to have succeeded.

Three real nodes, their journals synced, on the cores that the devices' side uses as well. A device
answers at once: it begins what it is told; once that is acknowledged it registers with the new
version; once it is registered it says that it has succeeded. So each task is in the log four times:
offered, and these three. Beside it, in the same run, two statuses of each of these devices, which
are replicated once a second.

.venv/bin/python -m scripts.bench_deployment [devices]
"""

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import psutil

from scripts.bench_cluster import running
from scripts.device_load import (
    READ_SECONDS,
    Meter,
    Sockets,
    device_sockets,
    ready,
    registration,
    said,
    status,
)
from stationkeep.node.chaos.constellation import Constellation

NODES, DEVICES, DEPLOYMENTS = 3, 10_000, 3
SECONDS = 60.0
"""What a deployment may take before it is given up."""


def run(devices: int = DEVICES) -> dict[str, dict[str, Any]]:
    """What all nodes needed together, then what each of them did meanwhile."""
    with running(NODES, "lan") as cluster, device_sockets() as connected:
        addresses = ready(cluster)
        idle = _memory(cluster)
        names = [f"device-{n:06d}" for n in range(devices)]
        connected.open(addresses, names, deployment=True)
        before = _memory(cluster)
        reporting = _report(cluster, connected, names)
        orders = [_Deployment(connected, names, n) for n in range(1, DEPLOYMENTS + 1)]
        meter = Meter(cluster.addresses)
        taken = [order.carry_out(addresses) for order in orders]
        spent, lags = meter.spent() / DEPLOYMENTS, meter.lags()
        after, leader = _memory(cluster), cluster.leader()
    whole = {
        "devices": devices,
        "seconds": statistics.median(taken),
        "seconds_worst": max(taken),
        "us_a_task": spent / devices * 1e6,
        **reporting,
    }
    return {"tasks_deployment": whole} | {
        f"tasks_deployment_{node}": {
            "leads": node == leader,
            **lags[node],
            "idle_mb": idle[node],
            "before_mb": before[node],
            "after_mb": after[node],
        }
        for node in lags
    }


class _Deployment:
    """The deployment of this number in its cluster, to devices that begin what they are told, and
    run it as soon as that is known."""

    def __init__(self, connected: Sockets, devices: Sequence[str], number: int) -> None:
        self._connected, self._number, self._version = connected, number, f"{number + 1}.0.0"
        tasks = {device: f"{number}/{device}/1" for device in devices}
        self._begun = [
            said("task_update", d, task_id=t, state="in_progress", phase="installing", progress=0)
            for d, t in tasks.items()
        ]
        self._renewed = [
            registration(d, status(d, 0) | {"app_version": self._version}, deployment=True)
            for d in devices
        ]
        self._done = [
            said("task_update", d, task_id=t, state="succeeded", installed_version=self._version)
            for d, t in tasks.items()
        ]
        self._queued = set(range(len(devices)))
        self._left = set(self._queued)

    def carry_out(self, addresses: Sequence[str]) -> float:
        """Seconds from the order until every device was told that its success is known, and every
        node says so."""
        count, began = len(self._left), time.monotonic()
        artifact = {"version": self._version}
        order = {"all": True, "artifact": artifact, "max_in_flight": count}
        with httpx.Client(timeout=READ_SECONDS) as client:
            answer = client.post(f"http://{addresses[0]}/v1/tasks", json=order).raise_for_status()
            if answer.json()["deployment"] != self._number:
                raise RuntimeError(f"not deployment {self._number}: {answer.text}")
            while self._left:
                if time.monotonic() > began + SECONDS:
                    raise RuntimeError(f"{len(self._left)} of {count} have not ended")
                self._connected.read(0.05, self._heard)
            for address in addresses:
                url = f"http://{address}/v1/deployments/{self._number}"
                while (tallies := client.get(url).json()["tallies"])["succeeded"] != count:
                    if time.monotonic() > began + SECONDS:
                        raise RuntimeError(f"{address} says {tallies}")
        return time.monotonic() - began

    def _heard(self, number: int, data: bytes) -> None:
        """Answers a device's messages. What is offered again, since no answer came in time, is
        begun once."""
        send = self._connected.sockets[number].send
        if b'"message_type":"task"' in data and number in self._queued:
            self._queued.discard(number)
            send(self._begun[number])
        if b'"state":"in_progress"' in data:
            send(self._renewed[number])
        if b'"message_type":"ack"' in data:
            send(self._done[number])
        if b'"state":"succeeded"' in data:
            self._left.discard(number)


def _report(cluster: Constellation, connected: Sockets, devices: Sequence[str]) -> dict[str, float]:
    """Processor time of all nodes for a status, of two of each device that all nodes know in the
    end; and the worst lag of an event loop meanwhile."""
    meter = Meter(cluster.addresses)
    for variant in (1, 2):
        for socket, device in zip(connected.sockets, devices, strict=True):
            words = said("device_status_update", device, device_status=status(device, variant))
            socket.send(words)
        for address in cluster.addresses.values():
            _await_status(address, devices[-1], 40.0 + variant)
    return {
        "us_a_status": meter.spent() / len(devices) / 2 * 1e6,
        "lag_max_reporting": max(lag["lag_max"] for lag in meter.lags().values()),
    }


def _await_status(address: str, device: str, cpu: float) -> None:
    """Waits until a node knows what a device said."""
    deadline = time.monotonic() + SECONDS
    while httpx.get(f"http://{address}/v1/devices/{device}").json()["status"]["cpu_usage"] != cpu:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{address} does not know that {device} said {cpu}")
        time.sleep(0.05)


def _memory(cluster: Constellation) -> dict[str, float]:
    """Node → resident megabytes."""
    nodes = cluster.local.manifest().nodes.items()
    return {node: psutil.Process(record.pid).memory_info().rss / 1e6 for node, record in nodes}


if __name__ == "__main__":
    found = run(*map(int, sys.argv[1:]))
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
