"""A scrape of /metrics: how long it takes, how large it is, and that devices do not make it larger.

The real application, in-process, as the leader of five nodes; run through scripts/bench. Times
are CPU time of the event loop's thread, which the scrape holds from beginning to end: what it
costs, whatever else the machine is doing.
"""

import asyncio
import gc
import time
from typing import Any, cast

import httpx

from scripts.bench_fleet import populated
from scripts.bench_queries import Standing
from stationkeep.cluster.state.state import MAX_FAILOVERS, ClusterState, Member, Sample
from stationkeep.cluster.transitions import TRANSITIONS, Role
from stationkeep.node.api.app import build
from stationkeep.node.service.port import Durations, Service, Vitals

RUNS = 50
BETWEEN = 2_000
"""Commits and syncs between two scrapes: of 15 s under a load of 130 commits a second."""
FLEETS = (0, 100_000, 1_000_000)


class Scraped(Standing):
    """A node that has worked since the newest scrape."""

    def effective_role(self, node: str) -> Role:
        return Role.PRIMARY

    def lease_remaining(self, node: str) -> float:
        return 10.0

    def vitals(self) -> Vitals:
        rejected = {("raft", f"reason {n}"): n for n in range(16)}
        return Vitals(1_000, 0.2, 3, 1, False, rejected, {"taken": 1, "outdated": 2})

    def take_durations(self) -> Durations:
        return Durations([0.004] * BETWEEN, [0.001] * BETWEEN, [0.01])


def grown(devices: int) -> ClusterState:
    """Five nodes that have changed roles in every way, and failed over as often as is kept."""
    state = populated(devices)
    history = [Sample(at, 50_000, 6) for at in range(10)]
    for number in range(1, 6):
        node = f"sat-00{number}"
        member = Member(node, f"127.0.0.1:770{number}", f"127.0.0.1:870{number}", history=history)
        state.members[node] = member
    counters = state.counters
    counters.role_changes = {f"{t.origin}>{t.target}>{t.rule}": 9 for t in TRANSITIONS}
    counters.failover_ms = list(range(MAX_FAILOVERS))
    counters.failovers = MAX_FAILOVERS
    return state


def scrape(devices: int) -> dict[str, Any]:
    """Figures of one size of fleet."""
    app = build(cast(Service, Scraped(grown(devices))))
    gc.collect()
    gc.freeze()

    async def ask() -> tuple[list[float], str]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
            answer = await client.get("/metrics")
            costs: list[float] = []
            for _ in range(RUNS):
                began = time.thread_time()
                answer = await client.get("/metrics")
                costs.append(time.thread_time() - began)
            return sorted(costs), answer.text

    costs, text = asyncio.run(ask())
    return {
        "devices": devices,
        "median_ms": costs[RUNS // 2] * 1e3,
        "worst_ms": costs[-1] * 1e3,
        "series": sum(1 for line in text.splitlines() if line and not line.startswith("#")),
        "kB": len(text) / 1e3,
    }


def run() -> dict[str, dict[str, Any]]:
    """By the size of the fleet."""
    return {f"scrape_{devices}": scrape(devices) for devices in FLEETS}


if __name__ == "__main__":
    for name, figures in run().items():
        print(name, figures)
