"""What loss of packets does: to our clusters with and without datagrams, and to others.

Every run has a network namespace of its own (`node/chaos/namespace.py`); some run at once, each
in a process of its own. Needs root, iproute2 and iptables.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from scripts import (
    bench_cluster,
    bench_commit,
    loss_cluster,
    loss_etcd,
    loss_patroni,
    loss_sentinel,
)
from stationkeep.cluster.settings import PROFILES
from stationkeep.node.chaos.namespace import unavailable

PEERS = {"etcd": loss_etcd.run, "patroni": loss_patroni.run, "sentinel": loss_sentinel.run}
TIMED = ("kills", "writes", "level")
"""Kinds whose figures are times; nothing else runs beside them."""
KINDS = ("quiet", "bursts", *TIMED, *PEERS, "clean")
DATAGRAMS = {"on": (True,), "off": (False,), "both": (True, False)}
SHARES = (0.1, 0.2, 0.3)
FIFTH = 0.2
ENTRIES = 10_000
WRITES_SECONDS = 120.0


class Run(NamedTuple):
    """`measure` is called with `arguments`, in a process of its own, and returns figures."""

    kind: str
    measure: Callable[..., dict[str, Any]]
    arguments: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of the part `loss`."""
    group = parser.add_argument_group("part loss")
    group.add_argument("--kinds", type=_some(KINDS), default=KINDS, help=",".join(KINDS))
    group.add_argument("--minutes", type=float, default=10.0, help="of each run (default 10)")
    group.add_argument("--profiles", type=_some(tuple(PROFILES)), default=tuple(PROFILES))
    group.add_argument("--nodes", type=int, default=5)
    group.add_argument("--loss", type=_shares, default=SHARES, help="default 0.1,0.2,0.3")
    group.add_argument("--datagrams", choices=DATAGRAMS, default="both")
    group.add_argument("--at-once", type=int, default=3, help="runs at the same time (default 3)")


def _some(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """The type of an option that takes words with commas."""

    def words(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r}: none of {', '.join(known)}")
        return chosen

    return words


def _shares(text: str) -> tuple[float, ...]:
    shares = tuple(map(float, text.split(",")))
    if not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text}: each must lie between 0 and 1")
    return shares


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a run: its kind, arguments and figures, and how busy the machine was."""
    why = unavailable()
    if why is not None:
        return [{"kind": "missing", "why": why}]
    runs = [one for one in _runs(options) if one.kind in options.kinds]
    records = [
        *_measured([one for one in runs if one.kind not in TIMED], options.at_once),
        *_measured([one for one in runs if one.kind in TIMED], 1),
        *(_clean(options) if "clean" in options.kinds else ()),
    ]
    return sorted(records, key=lambda record: KINDS.index(record["kind"]))


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    for datagrams in DATAGRAMS[options.datagrams]:
        yield from _ours(options, datagrams)
    for share in options.loss:
        for kind, measure in PEERS.items():
            yield Run(kind, measure, {"share": share, "minutes": options.minutes})


def _ours(options: argparse.Namespace, datagrams: bool) -> Iterator[Run]:
    long = {"nodes": options.nodes, "minutes": options.minutes, "datagrams": datagrams}
    for profile in options.profiles:
        for share in options.loss:
            yield Run("quiet", loss_cluster.quiet, {"profile": profile, "share": share, **long})
        yield Run("bursts", loss_cluster.bursts, {"profile": profile, **long})
    fifth = {"share": FIFTH, "datagrams": datagrams}
    five = {"nodes": options.nodes, "count": options.kills}
    yield Run("kills", loss_cluster.kills, {**five, **fifth})
    yield Run("writes", loss_cluster.writes, {"seconds": WRITES_SECONDS, **fifth})
    yield Run("level", loss_cluster.catch_up, {"entries": ENTRIES, **fifth})


def _measured(runs: list[Run], at_once: int) -> Iterator[dict[str, Any]]:
    """Each run in a fresh process; one that fails says so in its record."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(_with_load, one.measure, one.arguments): one for one in runs}
        for number, future in enumerate(as_completed(waiting), 1):
            one = waiting[future]
            error = future.exception()
            found = future.result() if error is None else {"failed": str(error).split("\n")[0]}
            record = {"kind": one.kind, **one.arguments, **found}
            print(f"{number} of {len(runs)}: {json.dumps(record)}", flush=True)
            yield record


def _with_load(measure: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    """The figures, and how many cores were busy meanwhile, with all that ran."""
    before, began = _busy(), time.monotonic()
    figures = measure(**arguments)
    return {**figures, "cores_busy": (_busy() - before) / (time.monotonic() - began)}


def _busy() -> float:
    """Seconds that all processors of this machine have worked since boot."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, *interrupts = map(int, stat.readline().split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _clean(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Without loss, one after the other: what datagrams must not cost."""
    commits = bench_commit.run(in_flight=(1, 256), systems=("ours",))["ours"]
    for in_flight, figures in commits.items():
        found = {name: value["median"] for name, value in figures.items()}
        yield {"kind": "clean", "what": f"commits, {in_flight} in flight", **found}
    failover = bench_cluster.failover(options.kills, beside_leader=False)
    yield {"kind": "clean", "what": "failover", **failover}
    for profile in ("orbit", "demo"):
        yield {"kind": "clean", "what": "idle", **bench_cluster.idle(profile, options.seconds)}


def show(records: list[dict[str, Any]]) -> None:
    """A table for each kind, and within it for each set of figures."""
    console = Console(width=180)
    for (kind, *names), rows in groupby(records, key=lambda record: (record["kind"], *record)):
        columns = [name for name in names if name != "kind"]
        table = Table(*columns, title=f"loss: {kind}", title_justify="left")
        for row in rows:
            table.add_row(*(_cell(row[name]) for name in columns))
        console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value)
