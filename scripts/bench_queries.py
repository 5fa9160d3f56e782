"""Questions about a fleet of a million: how long until the answer, and how long the event loop is
held meanwhile. The real application, in-process; run through scripts/bench.

No request may hold the loop for more than 50 ms. What holds it is counted as CPU
time of its thread between two turns of another task: what the work costs, whatever else the
machine is doing. The first request of each, which imports and caches, is not counted.
"""

import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any, cast

import httpx

from scripts.bench_fleet import populated
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.api.app import build
from stationkeep.node.service.port import Service

RUNS = 5
QUERIES = (
    "/v1/cluster",
    "/v1/rings",
    "/v1/rings/plan",
    "/v1/devices?limit=1000",
    "/v1/devices?online=false&ring=stage",
    "/v1/devices?selector=model=none",
    "/v1/devices?selector=id=none",
    "/v1/devices?text=none",
    "/v1/devices?sort=-battery&limit=100",
    "/v1/devices?sort=seen&text=999999",
    "/v1/devices/device-0500000/explain",
    "/v1/devices/device-0999999/history",
)


class Standing:
    """As much of `node.service.port.Service` as reads of a state need that stands still."""

    node = "sat-001"

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.consensus: Any = SimpleNamespace(
            leader="sat-001", term=1, commit_index=1, applied_index=1, is_leader=True,
            has_quorum=True, journal_error=None,
        )  # fmt: skip

    @property
    def settings(self) -> Settings:
        return self.state.settings

    def cluster_time(self) -> int:
        return self.state.time

    def staleness_ms(self) -> int:
        return 0

    def connected(self) -> int:
        return 1

    def effective_role(self, node: str) -> Role | None:
        return self.state.members[node].role

    def removed(self) -> bool:
        return False

    def late_webhooks(self) -> dict[str, int]:
        return {}


async def _asked(client: httpx.AsyncClient, path: str) -> dict[str, float]:
    """ms until the answer, and the longest between two turns of another task."""
    answers: list[float] = []
    holds: list[float] = []
    assert (await client.get(path)).status_code == 200
    for _ in range(RUNS):
        beat = asyncio.create_task(_beat(holds))
        await asyncio.sleep(0)
        began = time.perf_counter()
        answer = await client.get(path)
        answers.append(time.perf_counter() - began)
        await asyncio.sleep(0.002)
        beat.cancel()
        assert answer.status_code == 200, answer.text
    return {"answer_ms": sorted(answers)[RUNS // 2] * 1e3, "hold_ms": max(holds) * 1e3}


async def _beat(holds: list[float]) -> None:
    last = time.thread_time()
    while True:
        await asyncio.sleep(0.0005)
        now = time.thread_time()
        holds.append(now - last)
        last = now


def run(count: int = 1_000_000) -> dict[str, dict[str, float]]:
    """Each query's figures by its path."""
    app = build(cast(Service, Standing(populated(count))))
    gc.collect()
    gc.freeze()

    async def ask() -> dict[str, dict[str, float]]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return {path: await _asked(client, path) for path in QUERIES}

    return asyncio.run(ask())


if __name__ == "__main__":
    for path, figures in run().items():
        print(f"{figures['answer_ms']:8.1f} ms  held {figures['hold_ms']:6.1f} ms  {path}")
