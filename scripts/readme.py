"""Renews what the README and the guide show of a running system: the view of a failover, the eight
devices, and the figures. A part is written wherever its marks are.

.venv/bin/python -m scripts.readme picture
.venv/bin/python -m scripts.readme eight
.venv/bin/python -m scripts.readme trace
.venv/bin/python -m scripts.readme profiles
.venv/bin/python -m scripts.readme figures FIGURES.json   (from scripts/bench --json)
.venv/bin/python -m scripts.readme simulation FIGURES.json (its part simulation)
.venv/bin/python -m scripts.readme loss FIGURES.json       (its part loss)
.venv/bin/python -m scripts.readme rest FIGURES.json       (its part rest)
.venv/bin/python -m scripts.readme tasks FIGURES.json      (its part tasks)
.venv/bin/python -m scripts.readme rollouts FIGURES.json   (its part rollouts)
.venv/bin/python -m scripts.readme gates FIGURES.json      (its part gates)
.venv/bin/python -m scripts.readme tls FIGURES.json        (its part tls)
.venv/bin/python -m scripts.readme fleet FIGURES.json      (its other parts)
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts import bench_gates
from scripts.profiles import tables
from scripts.readme_loss import loss_figures
from scripts.readme_tls import tls_figures
from scripts.traces import QUIET, Received, collecting, tree
from stationkeep.node.chaos.constellation import Constellation

ROOT = Path(__file__).resolve().parent.parent
Row = tuple[str, str, str]
"""A figure, what was measured, and the aim."""
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "node" / "guide").rglob("*.md")))


def picture() -> str:
    """`watch`, one frame at 80 columns, five seconds after a PRIMARY was killed."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-readme-") as folder:
        cluster = Constellation(Path(folder))
        try:
            cluster.up(devices=12)
            cluster.until("twelve devices", lambda: _devices(cluster) == 12)
            primary = cluster.seat_primary(beside_leader=False)
            with cluster.watch() as watch:
                epoch = watch.wait(lambda a: a.node == primary, 10.0).epoch
                cluster.kill(primary)
                successor = watch.wait(lambda a: a.epoch > epoch, 10.0)
            address = cluster.addresses[successor.node]
            shown = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "stationkeep",
                    "watch",
                    "--once",
                    "--url",
                    f"http://{address}",
                ],
                capture_output=True,
                text=True,
                check=True,
                env={"COLUMNS": "80", "LINES": "34", "NO_COLOR": "1", "PATH": ""},
            ).stdout
        finally:
            cluster.stop()
    return _block(shown)


def _devices(cluster: Constellation) -> int:
    return int(cluster.anyone("/v1/cluster")["fleet"]["total_slaves"])


def _block(shown: str) -> str:
    lines = (line.rstrip() for line in shown.strip("\n").split("\n"))
    return "```text\n" + "\n".join(lines) + "\n```"


def eight() -> str:
    """What scripts/eight_devices.py prints: of the devices the first two, then the status."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-readme-") as folder:
        cluster = Constellation(Path(folder))
        try:
            cluster.up()
            cluster.settled()
            address = next(iter(cluster.addresses.values()))
            shown = subprocess.run(
                [sys.executable, "scripts/eight_devices.py", f"http://{address}"],
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT), "PATH": ""},
            ).stdout
        finally:
            cluster.stop()
    head, ruler, tail = shown.partition(next(line for line in shown.split("\n") if "====" in line))
    told = head.strip("\n").split("\n")
    return _block("\n".join([*told[:8], "…", ruler + tail]))


def trace() -> str:
    """The trace of a failover on three nodes, as scripts/traces.py prints it."""
    with tempfile.TemporaryDirectory(prefix="stationkeep-readme-") as folder, collecting() as all_:
        os.environ["STATIONKEEP_TRACING_ENDPOINT"] = all_.url
        cluster = Constellation(Path(folder))
        try:
            cluster.up(nodes=3)
            cluster.kill(cluster.seat_primary(beside_leader=False))
            spans = cluster.until("the failover's trace", lambda: _failover(all_.traces(QUIET)))
        finally:
            cluster.stop()
    return _block(tree(spans))


def _failover(traces: dict[str, list[Received]]) -> list[Received] | None:
    """The spans of an approved failover, once there are any."""
    wanted = {"stationkeep.rule": "primary_failed", "stationkeep.outcome": "approved"}
    for spans in traces.values():
        if any(wanted.items() <= span.attributes.items() for span in spans):
            return spans
    return None


def figures(measured: dict[str, Any]) -> str:
    """The tables of the README from what scripts/bench measured."""
    lines = [f"Machine: {measured['machine']}.", ""]
    lines += ["| figure | median | range | bound or aim |", "| --- | --- | --- | --- |"]
    names = {
        "failover": "kill -9 of a PRIMARY → another acts",
        "failover_with_leader": "the same, PRIMARY also leads Raft",
        "election": "kill -9 of the Raft leader → next write acknowledged",
    }
    for key, name in names.items():
        if key in measured:
            lines.append(_failover_row(name, measured[key]))
    for key, limit in (("idle_orbit", "2 %"), ("idle_demo", "8 %")):
        if key in measured:
            f = measured[key]
            lines.append(
                f"| idle node, profile {f['profile']}: CPU of a core, memory "
                f"| {f['cpu_percent_median']:.1f} % | at most {f['cpu_percent_max']:.1f} %, "
                f"{f['rss_mb_max']:.0f} MB | {limit}, 90 MB |"
            )
    if "commit" in measured:
        lines += ["", *_commit_table(measured["commit"])]
    return "\n".join(lines)


def rest_figures(measured: dict[str, Any]) -> str:
    """Requests a second through REST, beside etcd's, and beside commands without HTTP."""
    lines = [f"Machine: {measured['machine']}.", ""]
    lines += ["| 3 nodes, fsync on | REST | mean | etcd 3.4, gRPC | ratio | without HTTP |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for name, f in measured["rest"].items():
        told = [f"{f['ours_per_second']:,.0f}", f["ours_ms"], "-", "-", "-"]
        if "ratio" in f:
            told[2:4] = f"{f['etcd_per_second']:,.0f}", f"{f['ratio']:.2f}"
        if "inside_per_second" in f:
            told[4] = f"{f['inside_per_second']:,.0f}"
        lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(lines)


def fleet_figures(measured: dict[str, Any]) -> str:
    """The table of the fleet's figures, each beside what it should be."""
    rows = [*_core_rows(measured), *_query_rows(measured), *_door_rows(measured)]
    rows += [*_scrape_rows(measured), *_page_rows(measured)]
    lines = [f"Machine: {measured['machine']}.", ""]
    lines += ["| figure | measured | aim |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {took} | {aim} |" for what, took, aim in rows)])


def task_figures(measured: dict[str, Any]) -> str:
    """What deployments cost in apply, and how long one takes from the order to the last device."""
    rows = [*_roster_rows(measured), *_deployment_rows(measured)]
    lines = [f"Machine: {measured['machine']}, load {measured['load']:.1f} at the start.", ""]
    lines += ["| figure | measured | aim |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {took} | {aim} |" for what, took, aim in rows)])


def rollout_figures(measured: dict[str, Any]) -> str:
    """What rollouts cost in apply, and how long a whole one takes on real nodes."""
    rows = [*_apply_rows(measured), *_whole_rows(measured)]
    lines = [f"Machine: {measured['machine']}, load {measured['load']:.1f} at the start.", ""]
    lines += ["| figure | measured | aim |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {took} | {aim} |" for what, took, aim in rows)])


def _apply_rows(measured: dict[str, Any]) -> Iterator[Row]:
    everybody, tenth = measured["rollouts_open_stage_ms"].values()
    f = measured["rollouts_ms"]
    yield "open a stage of all, of a tenth", f"{everybody:.0f} ms, {tenth:.0f} ms", "60 ms"
    sets = "offer 8,192 tasks, and find twins for the first 2,000 devices"
    yield sets, f"{f['offer, sets']:.0f} ms", "15 ms"
    yield "offer 8,192 more", f"{f['offer']:.1f} ms", "15 ms"
    looks = "a look at 2,000 sets of twins, and the verdict; another that finds nothing new"
    yield looks, f"{f['check']:.1f} ms, {f['again']:.1f} ms", "5 ms"
    yield "what the leader is to propose", f"{f['advance']:.2f} ms", "-"
    yield "take back 500,000 devices", f"{f['back']:.0f} ms", "50 ms"


def _whole_rows(measured: dict[str, Any]) -> Iterator[Row]:
    f = measured["rollout_whole"]
    nodes = [v for name, v in measured.items() if name.startswith("rollout_whole_")]
    late = max(node["lag_p99"] for node in nodes)
    devices = f"{f['devices']:,}"
    what = f"3 nodes, {devices} devices behind gateways: a whole rollout, from start to succeeded"
    yield what, f"{f['seconds']:.0f} s", "-"
    yield "the same: loop lag, p99", f"≤ {late * 1e3:.0f} ms", "50 ms"
    spent = f["nodes_cpu_s"] / f["seconds"]
    yield "the same: processor time of all nodes together, a second", f"{spent:.2f} s", "-"


def gates_figures(measured: dict[str, Any]) -> str:
    """How often each gate stops what, and what the evidence costs."""
    found = measured["gates"]
    runs, took = found["health"][0]["runs"], found["speed"]
    costs = ", ".join(f"{name.removesuffix('_ms')} {ms:.1f} ms" for name, ms in took.items())
    lines = [f"Machine: {measured['machine']}. {runs:,} runs of each stage. Evidence: {costs}."]
    for part, heads in bench_gates.HEADS.items():
        lines += ["", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in bench_gates.rows(found, part)]
    return "\n".join(lines)


def simulation_figures(measured: dict[str, Any]) -> str:
    """How fast the simulator is, what it counts at 20 % loss, and what `plan` says of the same."""
    speed, seeds = measured["simulation"], measured["simulation_seeds"]
    elections = measured["simulation_elections"]
    rows: list[Row] = [
        (
            "simulated seconds a second on one core, 5 nodes, orbit, ten client calls a minute",
            f"{speed['simulated_seconds_per_second']:,.0f}",
            "500",
        ),
        (
            "seeds of a campaign a minute on one core",
            f"{seeds['seeds_per_minute']:,.0f}",
            "-",
        ),
        (
            f"elections an hour at 20 % loss, {elections['hours']:g} simulated hours",
            f"{elections['per_hour']:g}",
            "0",
        ),
        ("the same without pre-vote", f"{elections['per_hour_without_prevote']:g}", "-"),
    ]
    lines = [f"Machine: {measured['machine']}.", ""]
    lines += ["| figure | measured | aim |", "| --- | --- | --- |"]
    lines += [f"| {what} | {found} | {aim} |" for what, found, aim in rows]
    lines += ["", "| false alarm, profile demo, losses in bursts |", "| --- | --- |"]
    lines[-2] += " seconds: `plan` / counted (99.9 % interval, alarms) |"
    told = measured["simulation_agreement"]
    lines += [f"| {regime.replace('_', ' ')} | {found} |" for regime, found in told.items()]
    return "\n".join(lines)


def _scrape_rows(measured: dict[str, Any]) -> Iterator[Row]:
    if f := measured.get("scrape_100000"):
        took = f"{f['worst_ms']:.1f} ms, {f['kB']:.0f} kB, {f['series']} series"
        yield "a scrape of the leader of 5 nodes and 100,000 devices", took, "20 ms"


def _page_rows(measured: dict[str, Any]) -> Iterator[Row]:
    if f := measured.get("events"):
        what = f"an event at {f['followers']} followers of one node, from its entry into the log"
        late = f"event loop p99 ≤ {f['event_loop_lag_p99_below_ms']:.0f} ms late"
        yield what, f"p99 {f['ms']['p99']:.0f} ms, {late}", "250 ms, 50 ms"
    if f := measured.get("page"):
        paint = f"first paint {f['first_paint_ms']['median']:.0f} ms"
        yield "the dashboard", f"{f['bytes'] / 1_000:.0f} kB, {paint}", "300 kB, 1 s"


def _core_rows(measured: dict[str, Any]) -> Iterator[Row]:
    for count, aim in ((10**4, "-"), (10**5, "15 ms"), (10**6, "150 ms")):
        if f := measured.get(f"fleet_plan_{count}"):
            worst = max(f[f"{mode}_ms"] for mode in ("budget", "rotate", "random"))
            each = f"{worst:.1f} ms, {f['ns_a_device']:.0f} ns a device"
            yield f"plan of a check, {count:,} devices, 5 % unhealthy", each, aim
    if f := measured.get("fleet_apply"):
        took = max(f["healthy_ms"], f["mixed_ms"])
        yield f"apply {f['statuses']:,.0f} statuses", f"{took:.1f} ms", "3 ms"
    if f := measured.get("fleet_snapshot"):
        what = f"snapshot of {f['devices']:,.0f} devices"
        yield what, f"{f['cpu_s']:.2f} s", "1.5 s"
        stalls = ("freeze_cpu_ms_worst", "stall_ms", "restore_stall_ms", "replace_cpu_ms_worst")
        worst = max(f[stall] for stall in stalls)
        yield f"{what}, or taking one in: longest stall of the loop", f"{worst:.0f} ms", "50 ms"
        size = f"{f['bytes_a_device_without_names']:.0f} bytes"
        yield f"{what}: a device on disk, without its name", size, "100 bytes"
    if f := measured.get("fleet_memory"):
        size = f"{f['bytes_a_device']:.0f} bytes"
        yield "a device in memory, beside its id and metadata", size, "250 bytes"


def _query_rows(measured: dict[str, Any]) -> Iterator[Row]:
    if queries := measured.get("queries"):
        path, worst = max(queries.items(), key=lambda query: query[1]["hold_ms"])
        what = f"{len(queries)} kinds of questions about 1,000,000 devices: longest stall"
        yield what, f"{worst['hold_ms']:.0f} ms (`{path}`)", "50 ms"


def _door_rows(measured: dict[str, Any]) -> Iterator[Row]:
    carried = (
        ("devices_batched", "replicated statuses a second, 3 nodes, batched POST", "100,000"),
        ("devices_sockets", "the same through WebSockets, one in a message", "15,000"),
        ("devices_etcd", "the same statuses into etcd 3.4, transactions of 128", "-"),
    )
    for key, what, aim in carried:
        if (f := measured.get(key)) and "per_second" in f:
            yield what, f"{f['per_second']:,.0f}", aim
    if f := measured.get("devices_idle"):
        what = f"{f['devices']:,} idle devices on a node"
        yield f"{what}: memory of each", f"{f['kB_per_device']:.0f} kB", "40 kB"
        yield f"{what}: loop lag, p99", f"{f['lag_p99'] * 1e3:.0f} ms", "50 ms"
        yield f"{what}: a new ring told to all", f"{f['rings_delivered_s']:.2f} s", "2 s"


def _failover_row(name: str, f: dict[str, Any]) -> str:
    bound = f"{f['bound_s']:.0f} s" if "bound_s" in f else f"timeouts {f['election_timeout']}"
    twice = f", two at once: {f['two_primaries']}" if "two_primaries" in f else ""
    spread = f"{f['min_s']:.2f} … {f['max_s']:.2f} s, {f['runs']} kills{twice}"
    return f"| {name} | {f['median_s']:.2f} s | {spread} | {bound} |"


def _commit_table(commit: dict[str, Any]) -> list[str]:
    """Commands per second and latency; the baseline is stock PySyncObj in the same run."""
    lines = ["| commit on 3 nodes, 100 bytes | in flight | commands/s | p50 ms | p99 ms |"]
    lines.append("| --- | --- | --- | --- | --- |")
    names = {
        "ours": "Stationkeep, fsync on",
        "stock-batch": "PySyncObj 0.3.17, default",
        "stock-nobatch": "PySyncObj 0.3.17, no batches",
    }
    for in_flight in commit["ours"]:
        for system, name in names.items():
            f = commit[system][in_flight]
            per_second = f["per_second"]
            lines.append(
                f"| {name} | {in_flight} | {per_second['median']:,.0f} "
                f"({per_second['low']:,.0f} … {per_second['high']:,.0f}) "
                f"| {f['p50_ms']['median']:.2f} | {f['p99_ms']['median']:.2f} |"
            )
    one, many = commit["ratios"]["1"], commit["ratios"]["256"]
    lines += [
        "",
        f"At 1 in flight the median is {one['p50_stock_default_over_ours']:.0f} times lower than "
        f"stock's default; at 256 the throughput is {many['throughput_over_better_stock']:.1f} "
        "times that of stock's better mode. Stock never syncs its journal.",
    ]
    return lines


def _roster_rows(measured: dict[str, Any]) -> Iterator[Row]:
    life, snapshot = measured["tasks_life"], measured["tasks_snapshot"]
    worst = max(measured["tasks_open"].values())
    yield "open a deployment to 1,000,000 devices", f"{worst:.1f} ms", "60 ms, in pieces of 50"
    yield "apply 8,192 offers", f"{life['offer_8192_ms']:.1f} ms", "15 ms"
    worst = max(took for name, took in life.items() if name.startswith("report_"))
    yield "apply 8,192 words of devices", f"{worst:.1f} ms", "10 ms"
    yield "plan offers, 1,000,000 queued", f"{life['plan_offers_ms']:.1f} ms", "-"
    yield "cancel a deployment to 1,000,000", f"{life['cancel_ms']:.1f} ms", "-"
    memory, disk = measured["tasks_memory"]["bytes_a_task"], snapshot["bytes_a_task"]
    yield "a task in memory, in a snapshot", f"{memory:.0f}, {disk:.0f} bytes", "24 bytes"


def _deployment_rows(measured: dict[str, Any]) -> Iterator[Row]:
    f = measured["tasks_deployment"]
    nodes = [of for name, of in measured.items() if name.startswith("tasks_deployment_")]
    late, idle, before, after = (
        max(node[name] for node in nodes)
        for name in ("lag_p99", "idle_mb", "before_mb", "after_mb")
    )
    yield (
        f"3 nodes, {f['devices']:,} connected devices: all are known to have succeeded",
        f"{f['seconds']:.1f} s, worst {f['seconds_worst']:.1f} s",
        "10 s",
    )
    reporting = f"while they report at most {f['lag_max_reporting'] * 1e3:.0f} ms"
    yield "the same: loop lag, p99", f"≤ {late * 1e3:.0f} ms; {reporting}", "50 ms"
    spent = f"{f['us_a_task']:.0f} µs a task; a status: {f['us_a_status']:.0f} µs"
    yield "the same: processor time of all nodes", spent, "-"
    memory = f"{idle:.0f} MB; with the devices {before:.0f}, after {after:.0f} MB"
    yield "the same: memory of a node before any device connects", memory, "90 MB"


def replace(section: str, content: str) -> None:
    """Puts `content` between the marks of `section`, in every document that has them."""
    pattern = rf"(<!-- {section}:[^>]*-->\n).*?(<!-- /{section} -->)"
    found = 0
    for document in DOCUMENTS:
        renewed, count = re.subn(
            pattern, lambda m: f"{m[1]}{content}\n{m[2]}", document.read_text(), flags=re.DOTALL
        )
        if count:
            document.write_text(renewed)
        found += count
    assert found, f"no document has a section {section}"


def main() -> None:
    """Renews the section that is named, from a running system or from a file of figures."""
    match sys.argv[1:]:
        case ["picture"]:
            replace("watch", picture())
        case ["profiles"]:
            replace("profiles", tables())
        case ["trace"]:
            replace("trace", trace())
        case ["eight"]:
            replace("eight", eight())
        case ["figures", path]:
            replace("figures", figures(json.loads(Path(path).read_text())))
        case ["simulation", path]:
            replace("simulation-figures", simulation_figures(json.loads(Path(path).read_text())))
        case ["rest", path]:
            replace("rest-figures", rest_figures(json.loads(Path(path).read_text())))
        case ["fleet", path]:
            replace("fleet-figures", fleet_figures(json.loads(Path(path).read_text())))
        case ["tasks", path]:
            replace("task-figures", task_figures(json.loads(Path(path).read_text())))
        case ["rollouts", path]:
            replace("rollout-figures", rollout_figures(json.loads(Path(path).read_text())))
        case ["gates", path]:
            replace("gates-figures", gates_figures(json.loads(Path(path).read_text())))
        case ["loss", path]:
            replace("loss-figures", loss_figures(json.loads(Path(path).read_text())))
        case ["tls", path]:
            replace("tls-figures", tls_figures(json.loads(Path(path).read_text())))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
