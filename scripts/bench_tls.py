"""What TLS costs, and that what holds without it holds with it. Run through scripts/bench.

The first two parts compare with the same in clear, in turns, on loopback. The others are clusters
across machines (`tests/hosts`: root, iproute2, iptables, faketime), whose nodes ask for
certificates and tokens; here they share the cores of one machine with whoever asks them.
"""

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts import bench_commit, tls_echo
from scripts.bench_cluster import BOUND, spread
from scripts.device_crowd import Crowd
from scripts.device_load import Meter
from stationkeep.node.http.connections import raise_descriptors
from stationkeep.node.security.trust import of_file
from tests.hosts import endured
from tests.hosts.bed import Bed, Machine
from tests.hosts.cluster import HTTP, Cluster

KILLS, DEVICES, FLEET = 5, 10_000, 1_000_000
BACK_SECONDS = 180.0
"""For devices to come back, where a third is the aim."""
AT_ONCE = 400
"""Connections that the devices' side makes concurrently."""


def run() -> dict[str, Any]:
    """All of them."""
    return {
        "tls_transport": tls_echo.run(),
        "tls_commit": commits(),
        "tls_failover": failover(),
        "tls_devices": devices(),
        "tls_snapshot": snapshot(),
    }


def commits() -> dict[str, Any]:
    """Commands a second with 1 and 256 in flight, in clear and with TLS in turns; processor time of
    the leader for each."""
    systems = ("ours", bench_commit.WITH_TLS)
    found = bench_commit.run(repeats=8, seconds=1.0, in_flight=(1, 256), systems=systems)
    plain, tls = (found[system] for system in systems)
    return {
        count: {
            figure: {
                "plain": plain[count][figure],
                "tls": tls[count][figure],
                "ratio": tls[count][figure]["median"] / plain[count][figure]["median"],
            }
            for figure in ("per_second", "cpu_us")
        }
        for count in plain
    }


@contextmanager
def machines(profile: str) -> Iterator[Cluster]:
    """A cluster across three, with its settings; not started."""
    with (
        tempfile.TemporaryDirectory(prefix="stationkeep-bench-") as folder,
        Bed(Path(folder)) as bed,
        closing(Cluster(bed)) as cluster,
    ):
        for machine in cluster.machines:
            cluster.configure(machine, profile=profile)
        yield cluster


def failover(kills: int = KILLS) -> dict[str, Any]:
    """kill -9 of the PRIMARY → another node answers 200 on /primary; seconds. `late`: how many took
    longer than their bound, which has 2 s more where the PRIMARY led Raft, too."""
    taken, late, violations = [], 0, 0
    with machines("demo") as cluster:
        cluster.start()
        for _ in range(kills):
            primary = cluster.settled()
            bound = BOUND + (2.0 if cluster.leader() is primary else 0.0)
            with cluster.watch() as watch:
                reign = watch.wait(lambda a, p=primary: a.node == p.name, 10.0)  # type: ignore[misc]
                killed = time.monotonic()
                cluster.nodes[primary.name].stop(signal.SIGKILL)
                successor = watch.wait(lambda a, e=reign.epoch: a.epoch > e, 60.0)  # type: ignore[misc]
                taken.append(successor.received - killed)
            late += taken[-1] > bound
            violations += len(watch.violations())
            cluster.start(primary)
    return {**spread(taken), "late": late, "two_primaries": violations}


def devices(count: int = DEVICES) -> dict[str, Any]:
    """So many idle devices on one node: memory of each. Then the node is killed: seconds until all
    are registered at the two others, and what happened there meanwhile."""
    raise_descriptors()
    with machines("ground") as cluster:
        cluster.up()
        seats = {cluster.leader(), cluster.acting()}
        dies = next(machine for machine in cluster.machines if machine not in seats)
        others = cluster.others(dies)
        idle, _ = cluster.size(dies)
        with _crowd(cluster, count, dies) as crowd:
            _until_registered(crowd, time.monotonic())
            full, _ = cluster.size(dies)
            before = cluster.standing()
            meter = Meter({m.name: m.address for m in others}, _scrape(cluster))
            crowd.addresses = [(m.address, HTTP) for m in others]
            with cluster.watch() as watch:
                cluster.nodes[dies.name].stop(signal.SIGKILL)
                back = _until_registered(crowd, time.monotonic())
            cluster.machines.remove(dies)
            epoch, term = cluster.standing()
            return {
                "devices": count,
                "kB_per_device": (full - idle) * 1e6 / count / 1_024,
                "back_s": back,
                "tries": sum(crowd.lost.values()) - count,
                "lag_p99": max(lag["lag_p99"] for lag in meter.lags().values()),
                "elections": term - before[1],
                "primary_changes": epoch - before[0],
                "two_primaries": watch.tally().two_primaries,
            }


def _crowd(cluster: Cluster, count: int, at: Machine) -> Crowd:
    return Crowd(
        [f"{at.address}:{HTTP}"],
        count,
        tls=of_file(str(at.folder / "tls" / "ca.pem")),
        token=cluster.device_token(),
        source=cluster.bed.guest,
        at_once=AT_ONCE,
    )


def _until_registered(crowd: Crowd, began: float) -> float:
    """Seconds until all devices are, at any of the crowd's addresses; those that were connected
    before elsewhere have lost that first."""
    while not crowd.at_home():
        if time.monotonic() > began + BACK_SECONDS:
            raise RuntimeError(f"{len(crowd.registered)} of {crowd.count}; {crowd.lost}")
        time.sleep(0.05)
    return time.monotonic() - began


def _scrape(cluster: Cluster) -> Any:
    names = {machine.address: machine for machine in cluster.machines}
    return lambda address: cluster.text(names[address], "/metrics")


def snapshot(count: int = FLEET) -> dict[str, Any]:
    """From the start of a node that joined, behind NAT and on a path that swallows long packets,
    until it has the whole fleet and acts on it."""
    with machines("demo") as cluster:
        votes = endured.sent_a_fleet(cluster, count)
        said = cluster.said(cluster.bed.machines["sat-004"])
    started, acts = (_when(said, words) for words in ("started", "role enacted"))
    return {"devices": count, "votes_after_s": votes, "known_after_s": acts - started}


def _when(said: str, words: str) -> float:
    """When a node said something first, by its clock."""
    found = re.search(rf"^(\S+) \[\w+ *\] {words} ", said, re.MULTILINE)
    assert found is not None, said
    return datetime.fromisoformat(found[1]).timestamp()
