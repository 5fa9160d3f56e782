"""Benches of the devices' door: statuses a second, batched and over WebSockets, beside etcd's;
ten thousand idle devices on one node. Run through scripts/bench.

Three real nodes, their journals synced, on the cores that the load generator uses as well. A load
is raised step by step until the 99th percentile of commits or of loop lag passes 250 ms, or less
is taken than is sent. Statuses are replicated once a second: of a device that spoke twice in it
the newest readings, and how each of the two was judged; rates below the number of devices replicate
every reading. Afterwards devices are asked of a node that they did not talk to.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import psutil

from scripts import bench_etcd
from scripts.bench_cluster import running
from scripts.device_load import (
    READ_SECONDS,
    Caller,
    Meter,
    Sockets,
    device_sockets,
    post,
    ready,
    register_all,
    said,
    status,
    within_bounds,
)

NODES = 3
BATCH, BATCHES = 4_096, 48
SECONDS = 6.0
SETTLING = 2.0
"""Seconds of load before the meters count."""
BATCHED_RATES = tuple(range(20_000, 400_000, 20_000))
SOCKET_RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 60_000)
SOCKETS = 15_000
IDLE = 10_000
CHECKED = 50


def run() -> dict[str, Any]:
    """All figures of this module."""
    return {
        "devices_batched": batched(),
        "devices_sockets": sockets(),
        "devices_etcd": bench_etcd.run(),
        "devices_idle": idle(),
    }


def _raise(
    rates: Sequence[int], drive: Callable[[int, float], None], meter: Callable[[], Meter]
) -> dict[str, Any]:
    """The highest of the rates that is carried; `stopped_at`: what the next one came to."""
    best: dict[str, Any] = {"per_second": 0.0}
    for rate in rates:
        drive(rate, SETTLING)
        metering = meter()
        drive(rate, SECONDS)
        figures = metering.read()
        if not within_bounds(figures, rate):
            shown = {name: round(figure, 3) for name, figure in figures.items()}
            return {**best, "stopped_at": f"{rate}: {shown}"}
        best = {"rate": rate, **figures}
    return best


# -- batched POST -------------------------------------------------------------------------------


def batched() -> dict[str, Any]:
    """Statuses a second through `POST /v1/devices:report`, 4,096 in each."""
    with running(NODES, "lan") as cluster:
        addresses = ready(cluster)
        devices = [f"device-{n:06d}" for n in range(BATCHES * BATCH)]
        began = time.monotonic()
        rings = register_all(addresses, devices)
        registering = time.monotonic() - began
        load = _Batches(addresses, rings)
        found = _raise(BATCHED_RATES, load.drive, lambda: Meter(cluster.addresses))
        _check(addresses, load.last)
        return {"devices": len(devices), "registered_per_s": len(devices) / registering, **found}


class _Batches:
    """Sends batches, each to always the same node, in two variants that take turns."""

    def __init__(self, addresses: Sequence[str], rings: Mapping[str, str]) -> None:
        devices = list(rings)
        self._callers = [Caller(address) for address in addresses]
        self._parts = [devices[at : at + BATCH] for at in range(0, len(devices), BATCH)]
        self._requests = [
            [
                post(
                    "/v1/devices:report",
                    {"statuses": [{"device_status": status(d, variant, rings[d])} for d in part]},
                )
                for variant in (1, 2)
            ]
            for part in self._parts
        ]
        self._turn = 0
        self.last: dict[str, tuple[int, float]] = {}
        """Device → (index of its node, CPU it said last), of some."""

    def drive(self, rate: int, seconds: float) -> None:
        """Sends so many statuses a second; a node that has not answered gets no second batch."""
        began, sent = time.monotonic(), 0
        busy = [False] * len(self._callers)
        while (now := time.monotonic()) < began + seconds:
            if sent * BATCH > (now - began) * rate:
                time.sleep(0.002)
                continue
            number = self._turn % len(self._parts)
            variant = self._turn // len(self._parts) % 2
            node = number % len(self._callers)
            if busy[node]:
                self._callers[node].answer()
            self._callers[node].send(self._requests[number][variant])
            busy[node] = True
            self.last[self._parts[number][0]] = (node, 41.0 + variant)
            self._turn += 1
            sent += 1
        for node, waits in enumerate(busy):
            if waits:
                self._callers[node].answer()


def _check(addresses: Sequence[str], last: dict[str, tuple[int, float]]) -> None:
    """Raises unless devices are known as they said last on a node that they did not talk to."""
    deadline = time.monotonic() + 10.0
    some = random.Random(1).sample(sorted(last.items()), min(CHECKED, len(last)))
    for device, (node, cpu) in some:
        other = addresses[(node + 1) % len(addresses)]
        while True:
            view = httpx.get(f"http://{other}/v1/devices/{device}").json()
            if view["status"]["cpu_usage"] == cpu:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{device} said {cpu}, {other} knows {view}")
            time.sleep(0.05)


# -- WebSockets ---------------------------------------------------------------------------------


def sockets() -> dict[str, Any]:
    """Statuses a second through WebSockets, one in each message."""
    with running(NODES, "lan") as cluster, device_sockets() as connected:
        addresses = ready(cluster)
        devices = [f"device-{n:06d}" for n in range(SOCKETS)]
        connected.open(addresses, devices)
        frames = [
            [said("device_status_update", d, device_status=status(d, v)) for d in devices]
            for v in (1, 2)
        ]
        turn = 0

        def drive(rate: int, seconds: float) -> None:
            nonlocal turn
            began, sent = time.monotonic(), 0
            while (now := time.monotonic()) < began + seconds:
                due = int((now - began) * rate)
                for _ in range(min(due - sent, 256)):
                    number, variant = turn % SOCKETS, turn // SOCKETS % 2
                    connected.sockets[number].send(frames[variant][number])
                    turn += 1
                    sent += 1
                if due - sent < 1:
                    time.sleep(0.002)

        found = _raise(SOCKET_RATES, drive, lambda: Meter(cluster.addresses))
        return {"devices": SOCKETS, **found}


# -- idle devices -------------------------------------------------------------------------------


def idle() -> dict[str, Any]:
    """10,000 devices that say nothing, on one node: memory, loop lag, and a ring for them all."""
    with running(1, "orbit") as cluster, device_sockets() as connected:
        address = ready(cluster)[0]
        process = psutil.Process(next(iter(cluster.local.manifest().nodes.values())).pid)
        before = process.memory_info().rss
        devices = [f"device-{n:06d}" for n in range(IDLE)]
        took = connected.open([address], devices)
        after = process.memory_info().rss
        meter = Meter(cluster.addresses)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            connected.read(0.1)
        quiet = meter.read()
        connected.beat(devices)  # who is offline keeps its ring
        time.sleep(SETTLING)
        _move_all(address, connected, "canary", IDLE * 3 // 4)
        delivering = Meter(cluster.addresses)
        seconds = _move_all(address, connected, "dev", IDLE)
        return {
            "devices": IDLE,
            "registered_per_s": IDLE / took,
            "kB_per_device": (after - before) / IDLE / 1_024,
            "lag_p99": quiet["lag_p99"],
            "rings_delivered_s": seconds,
            "lag_p99_delivering": delivering.read()["lag_p99"],
        }


def _move_all(address: str, connected: Sockets, ring: str, told: int) -> float:
    """Seconds from asking for a check of the rings until so many devices, all that stood in
    another ring, have heard of this one."""
    policy = {"name": "everybody", "selector": "os=Android 14", "rings": [ring]}
    before = connected.heard[b"ring_assignment"]
    with httpx.Client(base_url=f"http://{address}", timeout=READ_SECONDS) as client:
        client.put("/v1/rings/policies", json={"policies": [policy]}).raise_for_status()
        began = time.monotonic()
        client.post("/v1/rings/rebalance", json={}).raise_for_status()
    return connected.until(b"ring_assignment", before + told) - began
