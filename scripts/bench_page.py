"""The dashboard and what feeds it: the page's weight and first paint, and the stream of events
with as many followers as a node serves. A real cluster; run through scripts/bench.
"""

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from stationkeep.node.api.pages import load
from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.service.node_service import MAX_FOLLOWERS

LOADS = 10
ORDERS = 100
BETWEEN = 0.1
"""Seconds between two orders, each of which is two events for everybody."""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@contextmanager
def _cluster() -> Iterator[tuple[Constellation, str]]:
    """Five nodes, and one of them that is neither PRIMARY nor leads Raft."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-bench-") as folder:
        cluster = Constellation(Path(folder) / "cluster")
        try:
            cluster.up(devices=12)
            taken = {cluster.settled(), cluster.leader()}
            yield cluster, next(node for node in cluster.addresses if node not in taken)
        finally:
            cluster.stop()


def page() -> dict[str, Any]:
    """Weight in bytes, and ms to the first paint with something on it, each in a new browser."""
    with _cluster() as (cluster, node), sync_playwright() as playwright:
        paints = []
        for _ in range(LOADS):
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            shown = browser.new_page()
            shown.goto(f"http://{cluster.addresses[node]}/")
            shown.locator("#nodes .node").first.wait_for()
            paints.append(shown.evaluate(PAINT))
            browser.close()
    return {
        "bytes": sum(len(file.content) for file in load().values()),
        "first_paint_ms": {"median": statistics.median(paints), "max": max(paints)},
    }


def events() -> dict[str, Any]:
    """ms from an event's entry into the log at the leader to each of its followers elsewhere."""
    with _cluster() as (cluster, node):
        return asyncio.run(_followed(cluster, node))


async def _followed(cluster: Constellation, node: str) -> dict[str, Any]:
    delays: list[float] = []
    host, port = cluster.addresses[node].split(":")
    following = [
        asyncio.create_task(_follow(host, int(port), delays)) for _ in range(MAX_FOLLOWERS)
    ]
    metrics = f"http://{cluster.addresses[node]}/metrics"
    _lags(metrics)  # measuring begins with the first scrape
    await asyncio.sleep(3.0)
    before = _lags(metrics)
    for number in range(ORDERS):
        body = {"duration": f"{10 + number}m"}
        await asyncio.to_thread(cluster.ask, cluster.leader(), "/v1/pause", body)
        await asyncio.sleep(BETWEEN)
    await asyncio.sleep(2.0)
    for task in following:
        task.cancel()
    ended = await asyncio.gather(*following, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    lag = _lag_p99(before, _lags(metrics))
    marks = statistics.quantiles(delays, n=100)
    return {
        "followers": MAX_FOLLOWERS,
        "delivered": len(delays),
        "ms": {"median": marks[49], "p99": marks[98], "max": max(delays)},
        "event_loop_lag_p99_below_ms": lag,
    }


def _lags(url: str) -> dict[float, float]:
    """How late the node's event loop has woken: bound in ms → how often it was below."""
    families = {
        family.name: family for family in text_string_to_metric_families(httpx.get(url).text)
    }
    samples = families["stationkeep_event_loop_lag_seconds"].samples
    return {
        1_000 * float(sample.labels["le"]): sample.value
        for sample in samples
        if sample.name.endswith("_bucket")
    }


def _lag_p99(before: dict[float, float], after: dict[float, float]) -> float:
    """The bound below which 99 of 100 wakings between two scrapes were."""
    counted = {bound: after[bound] - before[bound] for bound in after}
    assert counted[float("inf")] >= 50, counted
    return min(b for b, count in counted.items() if count >= 0.99 * counted[float("inf")])


async def _follow(host: str, port: int, delays: list[float]) -> None:
    """Adds the delay of every decision that the stream tells of."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    decided = False
    while line := await reader.readline():
        if line.startswith(b"data: ") and decided:
            delays.append(time.time() * 1_000 - json.loads(line[6:])["wall_ms"])
        decided = line == b"event: decided\n"
