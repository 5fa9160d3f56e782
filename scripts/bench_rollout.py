"""A rollout to a hundred thousand devices of three real nodes, from its start to SUCCEEDED.

Their journals are synced, on the cores that the devices' side uses as well. Devices reach their
nodes through a gateway each, over HTTP: a status of every device in each interval, in batches; who
was offered a task asks for it, says that it begins, and registers with the new version. The plan is
the default one, ring by ring with all gates, but for its pace.

.venv/bin/python -m scripts.bench_rollout [devices]
"""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import msgspec

from scripts.bench_cluster import running
from scripts.device_load import READ_SECONDS, Caller, Meter, post, ready, status

NODES, DEVICES = 3, 100_000
INTERVAL, OFFLINE_AFTER = 10, 60
"""Seconds between two statuses of a device, and until it counts as offline: those of a fleet
(`orbit`), where each soak and trial waits for a few of them."""
IN_FLIGHT = 5_000
NAME, NEW = "big", "2.0.0"
STATUSES, REGISTRATIONS = 4_096, 256
"""In a batch, at most."""
LOOK = 0.25
"""Seconds between two looks at who was told, while nobody is left that was."""
LONGEST = 1_800.0


class Gateway:
    """The devices of one node, which speak through it: one request at a time."""

    def __init__(self, address: str, devices: Sequence[str]) -> None:
        self.versions = dict.fromkeys(devices, "1.0.0")
        self._caller = Caller(address)
        self._due: deque[tuple[float, Sequence[str]]] = deque()

    def register(self, devices: Sequence[str]) -> None:
        """Brings these in with the versions that they run, in batches."""
        for part in _parts(devices, REGISTRATIONS):
            new = [
                {"device_status": self._status(d), "capabilities": {"deployment": True}}
                for d in part
            ]
            self._ask("/v1/devices:register", registrations=new)

    def begin_statuses(self) -> None:
        """From now on each device says how it is once in each interval, evenly spread."""
        parts = list(_parts(list(self.versions), STATUSES))
        now = time.monotonic()
        self._due = deque((now + INTERVAL * n / len(parts), part) for n, part in enumerate(parts))

    def say_statuses(self) -> None:
        """Those that are due."""
        while self._due[0][0] <= time.monotonic():
            due, part = self._due.popleft()
            words = [{"device_status": self._status(device)} for device in part]
            self._ask("/v1/devices:report", statuses=words)
            self._due.append((max(due + INTERVAL, time.monotonic()), part))

    def install(self, devices: Sequence[str]) -> int:
        """Each of these asks for its task and carries it out; how many had one."""
        told = []
        for device in devices:
            self._caller.send(
                f"GET /v1/devices/{device}/task HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            task = self._caller.found()
            if task is not None:
                assert task["artifact"]["version"] == NEW, task
                told.append((device, task["task_id"]))
        begun = [
            {"task_id": task, "state": "in_progress", "phase": "installing"} for _, task in told
        ]
        for part in _parts(begun, STATUSES):
            self._ask("/v1/tasks:report", updates=part)
        self.versions |= dict.fromkeys((device for device, _ in told), NEW)
        self.register([device for device, _ in told])
        return len(told)

    def _status(self, device: str) -> dict[str, Any]:
        return status(device, 0) | {"app_version": self.versions[device]}

    def _ask(self, path: str, **body: Any) -> None:
        self._caller.send(post(path, body))
        answer = self._caller.answer()
        if answer["refused"]:
            raise RuntimeError(f"{path}: {answer['errors'][:3]}")


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def run(devices: int = DEVICES) -> dict[str, dict[str, Any]]:
    """What the whole took, then what each node did meanwhile."""
    names = [f"device-{number:06d}" for number in range(devices)]
    with running(NODES, "lan") as cluster:
        gateways = [
            Gateway(address, names[place::NODES]) for place, address in enumerate(ready(cluster))
        ]
        client = httpx.Client(
            base_url=f"http://{cluster.addresses[cluster.leader()]}", timeout=READ_SECONDS
        )
        settings = {
            "device_status_interval": f"{INTERVAL}s",
            "device_offline_after": f"{OFFLINE_AFTER}s",
        }
        client.patch("/v1/config", json=settings).raise_for_status()
        began = time.monotonic()
        # In turn, so that no connection is idle.
        for first in range(0, -(-devices // NODES), REGISTRATIONS):
            for gateway in gateways:
                gateway.register(list(gateway.versions)[first : first + REGISTRATIONS])
        for gateway in gateways:
            gateway.begin_statuses()
        registering = time.monotonic() - began
        meter, leader = Meter(cluster.addresses), cluster.leader()
        began = time.monotonic()
        _start(client)
        installed, seen = _follow(client, gateways)
        seconds = time.monotonic() - began
        lags, spent = meter.lags(), meter.spent()
    whole = {
        "devices": devices,
        "installed": installed,
        "seconds": seconds,
        "nodes_cpu_s": spent,
        "registered_per_s": devices / registering,
        **{f"until_{stage}": until - began for stage, until in seen.items()},
    }
    return {"rollout_whole": whole} | {
        f"rollout_whole_{node}": {"leads": node == leader, **lag} for node, lag in lags.items()
    }


def _start(client: httpx.Client) -> None:
    plan = {"artifact": {"version": NEW}, "max_in_flight": IN_FLIGHT}
    client.post("/v1/rollouts", json={"rollout": NAME, "plan": plan}).raise_for_status()
    client.post(f"/v1/rollouts/{NAME}/start", json={}).raise_for_status()


def _follow(client: httpx.Client, gateways: Sequence[Gateway]) -> tuple[int, dict[str, float]]:
    """Plays the devices until the rollout has succeeded: how many installed something, and stage →
    the moment at which it had passed."""
    homes = {device: gateway for gateway in gateways for device in gateway.versions}
    end, installed, passed = time.monotonic() + LONGEST, 0, dict[str, float]()
    while True:
        for gateway in gateways:
            gateway.say_statuses()
        rollout = client.get(f"/v1/rollouts/{NAME}").raise_for_status().json()
        for stage in rollout["stages"]:
            if stage["state"] == "passed":
                passed.setdefault(stage["name"], time.monotonic())
        if rollout["state"] == "succeeded":
            return installed, passed
        if rollout["state"] != "running" or time.monotonic() > end:
            raise RuntimeError(f"{rollout['state']}: {rollout['reason']}, {rollout['stages']}")
        told = [device for stage in rollout["stages"] for device in _told(client, stage)]
        for gateway in gateways:
            installed += gateway.install([d for d in told if homes[d] is gateway])
        if not told:
            time.sleep(LOOK)


def _told(client: httpx.Client, stage: dict[str, Any]) -> list[str]:
    """Up to a thousand devices of a stage to which a task was offered."""
    if not stage["tallies"].get("offered"):
        return []
    path = f"/v1/deployments/{stage['deployment']}/tasks"
    answer = client.get(path, params={"state": "offered", "limit": 1_000}).raise_for_status()
    return [task["device"] for task in answer.json()["items"]]


if __name__ == "__main__":
    found = run(*map(int, sys.argv[1:]))
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
