"""Our own cluster where packets are lost: one function a run, each in a namespace of its own.

`datagrams` False: all of them are lost, so that only the streams between the nodes are left.
Figures are in seconds.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from scripts.bench_cluster import BOUND, spread
from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.isolated import Isolated
from stationkeep.node.chaos.namespace import SPARED, Rules, loss, without
from stationkeep.node.chaos.seatwatch import SeatWatch

WATCH_PERIOD = 0.05
USED_TO_IT = 5.0
"""Seconds of loss before something is killed: the streams must have had time to stand still."""
SUCCESSOR_SECONDS = 60.0
LEVEL_SECONDS = 300.0
BURST, BURST_EVERY = 3.0, 15.0
WRITE_EVERY = 0.2
WRITE_SECONDS = 20.0
AT_ONCE = 64


@contextmanager
def _running(nodes: int, profile: str) -> Iterator[Isolated]:
    """A cluster in which somebody acts as PRIMARY, and nothing is lost yet."""
    with (
        tempfile.TemporaryDirectory(prefix="stationkeep-loss-") as folder,
        Isolated(Path(folder)) as cluster,
    ):
        cluster.up(nodes, profile)
        cluster.until("somebody acts", cluster.acting, _patience(profile))
        yield cluster


def _patience(profile: str) -> float:
    """Seconds until a new cluster has a PRIMARY that every node has heard of."""
    return 30.0 + 3 * PROFILES[profile].evaluation_interval / 1_000


def _faults(share: float, datagrams: bool) -> list[Rules]:
    return [*([] if datagrams else [without("udp")]), *([loss(share)] if share else [])]


def _watch(cluster: Isolated) -> SeatWatch:
    return SeatWatch(cluster.addresses, WATCH_PERIOD, caller=SPARED)


def quiet(
    *, profile: str, nodes: int, share: float, minutes: float, datagrams: bool
) -> dict[str, Any]:
    """Nothing is killed; what changes nevertheless?"""
    with _running(nodes, profile) as cluster:
        cluster.network.impose(*_faults(share, datagrams))
        with _watch(cluster) as watch:
            time.sleep(60 * minutes)
        return msgspec.to_builtins(watch.tally())


def bursts(*, profile: str, nodes: int, minutes: float, datagrams: bool) -> dict[str, Any]:
    """One member after the other is deaf and mute for a while, and all hear all between."""
    with _running(nodes, profile) as cluster, _watch(cluster) as watch:
        for number in range(max(1, round(60 * minutes / BURST_EVERY))):
            victim = list(cluster.ports)[number % nodes]
            cut = [cluster.muted(victim), cluster.deafened(victim)]
            cluster.network.impose(*_faults(0.0, datagrams), *cut)
            time.sleep(BURST)
            cluster.network.impose(*_faults(0.0, datagrams))
            time.sleep(BURST_EVERY - BURST)
    return msgspec.to_builtins(watch.tally())


def kills(*, nodes: int, share: float, count: int, datagrams: bool) -> dict[str, Any]:
    """kill -9 of the PRIMARY under loss → another answers 200 on /primary."""
    taken: list[float] = []
    late = violations = 0
    with _running(nodes, "demo") as cluster:
        for _ in range(count):
            cluster.seat_primary(beside_leader=False)
            cluster.network.impose(*_faults(share, datagrams))
            with _watch(cluster) as watch:
                time.sleep(USED_TO_IT)
                try:
                    taken.append(_replaced(watch, cluster))
                except TimeoutError:
                    late += 1
            violations += len(watch.violations())
            cluster.network.impose()
            for node in set(cluster.ports) - set(cluster.local.running()):
                cluster.local.start(node)
    figures = spread(taken) if taken else {"runs": 0}
    return {**figures, "bound_s": BOUND, "not_within_60_s": late, "two_primaries": violations}


def _replaced(watch: SeatWatch, cluster: Isolated) -> float:
    """Kills who acts now; the seconds until another acted."""
    now = time.monotonic()
    reign = watch.wait(lambda a: a.sent > now, SUCCESSOR_SECONDS)
    killed = time.monotonic()
    cluster.kill(reign.node)
    successor = watch.wait(lambda a: a.epoch > reign.epoch, SUCCESSOR_SECONDS)
    return successor.received - killed


def writes(*, share: float, seconds: float, datagrams: bool) -> dict[str, Any]:
    """Small writes to the leader and to a follower of 3 nodes, one each `WRITE_EVERY` s.

    They are sent on time, whether those before were answered or not; otherwise a slow one would
    hide those that should have been sent meanwhile.
    """
    with _running(3, "demo") as cluster:
        cluster.network.impose(*_faults(share, datagrams))
        return asyncio.run(_written(cluster, seconds))


async def _written(cluster: Isolated, seconds: float) -> dict[str, Any]:
    writes: dict[str, list[asyncio.Task[float | None]]] = {"leader": [], "follower": []}
    async with _caller() as client, asyncio.TaskGroup() as group:
        for number in range(round(seconds / WRITE_EVERY / len(writes))):
            for which, sent in writes.items():
                sent.append(group.create_task(_write(client, cluster, which, number)))
                await asyncio.sleep(WRITE_EVERY)
    figures: dict[str, Any] = {}
    for which, sent in writes.items():
        taken = [write.result() for write in sent]
        figures[f"{which}_writes"] = len(taken)
        figures[f"{which}_not_acknowledged"] = taken.count(None)
        figures |= _percentiles(which, [WRITE_SECONDS if t is None else t for t in taken])
    return figures


def _caller() -> httpx.AsyncClient:
    """One that loses nothing itself."""
    transport = httpx.AsyncHTTPTransport(local_address=SPARED)
    return httpx.AsyncClient(transport=transport, timeout=WRITE_SECONDS)


async def _write(
    client: httpx.AsyncClient, cluster: Isolated, which: str, number: int
) -> float | None:
    """To the leader, or to a node that is not; see `_acknowledged`."""
    leader = await _leader(client, cluster)
    others = [node for node in cluster.ports if node != leader]
    node = leader if which == "leader" and leader is not None else others[0]
    return await _acknowledged(client, cluster, node, number)


async def _leader(client: httpx.AsyncClient, cluster: Isolated) -> str | None:
    for address in cluster.addresses.values():
        seen = (await client.get(f"http://{address}/primary")).json()
        if seen["leader"] == seen["node"]:
            return str(seen["leader"])
    return None


async def _acknowledged(
    client: httpx.AsyncClient, cluster: Isolated, node: str, number: int
) -> float | None:
    """Seconds until one write was acknowledged; None when it was not."""
    began = time.monotonic()
    url = f"http://{cluster.addresses[node]}/v1/nodes/{node}/priority"
    try:
        answer = await client.post(url, json={"priority": 100 + number % 500})
    except httpx.TransportError:
        return None
    return time.monotonic() - began if answer.status_code == 200 else None


def _percentiles(which: str, taken: list[float]) -> dict[str, float]:
    """A write that was not acknowledged counts as `WRITE_SECONDS`."""
    hundredths = statistics.quantiles(taken, n=100, method="inclusive")
    found = {"p50_s": hundredths[49], "p99_s": hundredths[98], "max_s": max(taken)}
    return {f"{which}_{name}": value for name, value in found.items()}


def catch_up(*, share: float, entries: int, datagrams: bool) -> dict[str, Any]:
    """A follower was away for so many small entries; from its start until it is level."""
    with _running(3, "demo") as cluster:
        away = next(n for n in cluster.ports if n not in (cluster.leader(), cluster.acting()))
        cluster.kill(away)
        first = cluster.ask(cluster.leader(), "/v1/cluster")["applied_index"]
        asyncio.run(_fill(cluster, cluster.leader(), entries))
        last = cluster.ask(cluster.leader(), "/v1/cluster")["applied_index"]
        cluster.network.impose(*_faults(share, datagrams))
        began = time.monotonic()
        cluster.local.start(away)

        def level() -> bool:
            return bool(cluster.ask(away, "/v1/cluster")["applied_index"] >= last)

        try:
            cluster.until(f"{away} is level", level, LEVEL_SECONDS)
        except TimeoutError:
            return {"entries": last - first, "level_after_s": None}
        return {"entries": last - first, "level_after_s": time.monotonic() - began}


async def _fill(cluster: Isolated, node: str, entries: int) -> None:
    """So many acknowledged writes, `AT_ONCE` of them at a time."""
    numbers = iter(range(entries))
    async with _caller() as client:

        async def some() -> None:
            for number in numbers:
                if await _acknowledged(client, cluster, node, number) is None:
                    raise RuntimeError(f"{node} does not acknowledge although nothing is lost")

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())
