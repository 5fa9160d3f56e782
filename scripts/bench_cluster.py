"""Benches with a real local cluster: failover, election, idle cost. Run through scripts/bench."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.progress import track

from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.constellation import Constellation

DEMO = PROFILES["demo"]
BOUND = (
    (DEMO.failures_to_fail_primary + 1) * DEMO.evaluation_interval + DEMO.proposal_timeout
) / 1_000
"""Seconds within which a failed PRIMARY is replaced: roles.md, invariant 6."""


@contextmanager
def running(nodes: int, profile: str) -> Iterator[Constellation]:
    """A cluster in a temporary directory, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-bench-") as folder:
        cluster = Constellation(Path(folder))
        try:
            cluster.up(nodes=nodes, profile=profile)
            yield cluster
        finally:
            cluster.stop()


def failover(kills: int, *, beside_leader: bool) -> dict[str, Any]:
    """kill -9 of the PRIMARY → another node answers 200 on /primary; seconds."""
    taken: list[float] = []
    violations: list[str] = []
    label = "PRIMARY + leader" if beside_leader else "PRIMARY"
    with running(5, "demo") as cluster:
        cluster.settled()
        for _ in track(range(kills), f"kill -9 of the {label}"):
            primary = cluster.seat_primary(beside_leader=beside_leader)
            with cluster.watch() as watch:
                reign = watch.wait(lambda a, p=primary: a.node == p, 10.0)
                killed = time.monotonic()
                cluster.kill(primary)
                successor = watch.wait(lambda a, e=reign.epoch: a.epoch > e, 60.0)
                taken.append(successor.received - killed)
                cluster.local.start(primary)
            violations += watch.violations()
    return {
        **spread(taken),
        "bound_s": BOUND + (2.0 if beside_leader else 0.0),
        "two_primaries": len(violations),
    }


def election(kills: int) -> dict[str, Any]:
    """kill -9 of the Raft leader → next write acknowledged by a survivor; seconds."""
    taken: list[float] = []
    with running(5, "demo") as cluster:
        cluster.settled()
        for number in track(range(kills), "kill -9 of the Raft leader"):
            leader = cluster.leader()
            survivor = next(n for n in cluster.addresses if n != leader)
            killed = time.monotonic()
            cluster.kill(leader)
            _write_until_acknowledged(cluster, survivor, number)
            taken.append(time.monotonic() - killed)
            cluster.local.start(leader)
            cluster.acting()
            cluster.until("all follow", lambda: len(set(_leaders(cluster))) == 1)
    timeouts = f"{DEMO.election_timeout_min}-{DEMO.election_timeout_max} ms"
    return {**spread(taken), "election_timeout": timeouts}


def _leaders(cluster: Constellation) -> list[str | None]:
    return [cluster.ask(node, "/v1/cluster")["leader"] for node in cluster.addresses]


def _write_until_acknowledged(cluster: Constellation, node: str, number: int) -> None:
    """One idempotent write, retried under one key until a node says that it is done."""
    url = f"http://{cluster.addresses[node]}/v1/nodes/{node}/priority"
    headers = {"Idempotency-Key": f"bench-election-{number}"}
    with httpx.Client(timeout=5.0) as client:
        for _ in range(2_000):
            answer = client.post(url, json={"priority": 100 + number}, headers=headers)
            if answer.status_code == 200:
                return
            time.sleep(0.005)
    raise TimeoutError("no write was acknowledged")


def idle(profile: str, seconds: float) -> dict[str, Any]:
    """CPU (percent of a core) and resident memory (MB) per node of an idle cluster of 5."""
    with running(5, profile) as cluster:
        if profile == "demo":
            cluster.settled()
        cluster.leader()
        processes = [
            psutil.Process(record.pid) for record in cluster.local.manifest().nodes.values()
        ]
        before = [sum(p.cpu_times()[:2]) for p in processes]
        began = time.monotonic()
        for _ in track(range(int(seconds)), f"idle in profile {profile}"):
            time.sleep(1.0)
        elapsed = time.monotonic() - began
        after = [sum(p.cpu_times()[:2]) for p in processes]
        cpu = [100.0 * (b - a) / elapsed for a, b in zip(before, after, strict=True)]
        rss = [p.memory_info().rss / 1e6 for p in processes]
    return {
        "profile": profile,
        "cpu_percent_median": statistics.median(cpu),
        "cpu_percent_max": max(cpu),
        "rss_mb_max": max(rss),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, extremes and interquartile range: the range is the machine's noise."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {
        "runs": len(values),
        "median_s": statistics.median(values),
        "min_s": min(values),
        "max_s": max(values),
        "iqr_s": quartiles[2] - quartiles[0],
    }
