"""What loss of packets does: to our clusters with and without datagrams, and to others.

Every run has a network namespace of its own (`node/chaos/namespace.py`); some run at once, each
in a process of its own. Needs root, iproute2 and iptables.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from cluster.settings import PROFILES
from node.chaos.namespace import unavailable
from scripts import (
    bench_cluster,
    bench_commit,
    loss_cluster,
    loss_etcd,
    loss_patroni,
    loss_sentinel,
)

KINDS = ("quiet", "kills", "writes", "level", "bursts", "peers", "clean")
PEERS = {"etcd": loss_etcd.run, "Patroni": loss_patroni.run, "Sentinel": loss_sentinel.run}
SHARES = (0.1, 0.2, 0.3)
FIFTH = 0.2
ENTRIES = 10_000
WRITES_MINUTES = 2.0


class Run(NamedTuple):
    """`labels` say what was run; `measure` does it and returns figures."""

    kind: str
    labels: dict[str, Any]
    measure: Callable[[], dict[str, Any]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of the part `loss`."""
    group = parser.add_argument_group("part loss")
    group.add_argument("--kinds", type=_words, default=KINDS, help=f"of {', '.join(KINDS)}; all")
    group.add_argument("--minutes", type=float, default=10.0, help="of each run (default 10)")
    group.add_argument("--profiles", type=_words, default=tuple(PROFILES), help="default all")
    group.add_argument("--nodes", type=int, default=5)
    group.add_argument("--loss", type=_shares, default=SHARES, help="default 0.1,0.2,0.3")
    group.add_argument("--lane", choices=("on", "off", "both"), default="both", help="datagrams")
    group.add_argument("--at-once", type=int, default=3, help="runs at the same time (default 3)")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a run: kind, labels, figures, and the mean load of the machine meanwhile."""
    why = unavailable()
    if why is not None:
        return [{"kind": "missing", "why": why}]
    runs = [one for one in _runs(options) if one.kind in options.kinds]
    records = list(_measured(runs, options.at_once))
    if "clean" in options.kinds:
        records += _clean(options)
    return sorted(records, key=lambda record: KINDS.index(record["kind"]))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(map(float, text.split(",")))
    if not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text}: each must lie between 0 and 1")
    return shares


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    """All of them, the longest kinds first."""
    minutes, nodes = options.minutes, options.nodes
    for lane in {"on": (True,), "off": (False,), "both": (True, False)}[options.lane]:
        for share in options.loss:
            for profile in options.profiles:
                labels = {"profile": profile, "nodes": nodes, "loss": share, "lane": lane}
                yield Run("quiet", labels, partial(
                    loss_cluster.quiet, profile=profile, nodes=nodes, share=share,
                    minutes=minutes, lane=lane,
                ))  # fmt: skip
        for profile in options.profiles:
            yield Run("bursts", {"profile": profile, "nodes": nodes, "lane": lane}, partial(
                loss_cluster.bursts, profile=profile, nodes=nodes, minutes=minutes, lane=lane,
            ))  # fmt: skip
        labels = {"profile": "demo", "loss": FIFTH, "lane": lane}
        yield Run("kills", {**labels, "nodes": nodes}, partial(
            loss_cluster.kills, nodes=nodes, share=FIFTH, count=options.kills, lane=lane,
        ))  # fmt: skip
        yield Run("writes", labels, partial(
            loss_cluster.writes, share=FIFTH, seconds=60 * min(minutes, WRITES_MINUTES), lane=lane,
        ))  # fmt: skip
        yield Run("level", labels, partial(
            loss_cluster.catch_up, share=FIFTH, entries=ENTRIES, lane=lane,
        ))  # fmt: skip
    for share in options.loss:
        for name, measure in PEERS.items():
            labels = {"system": name, "loss": share}
            yield Run("peers", labels, partial(measure, share=share, minutes=minutes))


def _measured(runs: list[Run], at_once: int) -> Iterator[dict[str, Any]]:
    """Each run in a fresh process; one that fails says so in its record."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        waiting: dict[Future[dict[str, Any]], Run] = {
            pool.submit(_with_load, one.measure): one for one in runs
        }
        for number, future in enumerate(as_completed(waiting), 1):
            one = waiting[future]
            error = future.exception()
            found = future.result() if error is None else {"failed": str(error).split("\n")[0]}
            Console().print(f"{number} of {len(runs)}: {one.kind} {one.labels} {found}")
            yield {"kind": one.kind, **one.labels, **found}


def _with_load(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures, and how many cores were busy meanwhile, with all that ran."""
    before, began = _busy(), time.monotonic()
    figures = measure()
    return {**figures, "cores_busy": (_busy() - before) / (time.monotonic() - began)}


def _busy() -> float:
    """Seconds that all processors of this machine have worked since boot."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, *interrupts = map(int, stat.readline().split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _clean(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Without loss, one after the other: what the lane must not cost."""
    commits = bench_commit.run(in_flight=(1, 256), systems=("ours",))["ours"]
    for in_flight, figures in commits.items():
        found = {name: value["median"] for name, value in figures.items()}
        yield {"kind": "clean", "what": f"commits, {in_flight} in flight", **found}
    failover = bench_cluster.failover(options.kills, beside_leader=False)
    yield {"kind": "clean", "what": "failover", **failover}
    for profile in ("orbit", "demo"):
        yield {"kind": "clean", "what": "idle", **bench_cluster.idle(profile, options.seconds)}


def show(records: list[dict[str, Any]]) -> None:
    """A table a kind, with the columns that its records have."""
    console = Console(width=180)
    for kind in dict.fromkeys(record["kind"] for record in records):
        rows = [record for record in records if record["kind"] == kind]
        columns = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "kind"]
        table = Table(*columns, title=f"loss: {kind}", title_justify="left")
        for row in rows:
            table.add_row(*(_cell(row.get(name, "")) for name in columns))
        console.print(table)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and value < 1_000 else str(value)
