"""Every figure that the README states, measured here and now."""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts import (
    bench_cluster,
    bench_commit,
    bench_devices,
    bench_fleet,
    bench_gates,
    bench_hostile,
    bench_loss,
    bench_metrics,
    bench_page,
    bench_queries,
    bench_rest,
    bench_rollouts,
    bench_simulation,
    bench_tasks,
    bench_tls,
)

PARTS = (
    "commit",
    "failover",
    "election",
    "idle",
    "simulation",
    "fleet",
    "tasks",
    "rollouts",
    "gates",
    "queries",
    "rest",
    "devices",
    "metrics",
    "page",
    "events",
    "hostile",
)
NAMED = ("loss", "tls")
"""Parts that are run only when they are named: they need root, and the first takes hours."""


def main() -> None:
    """Runs the parts asked for, prints a table each, and writes all figures as JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"of {', '.join(PARTS)}; all of these; or {', '.join(NAMED)}",
    )
    parser.add_argument("--kills", type=int, default=20, help="per failover figure (default 20)")
    parser.add_argument("--seconds", type=float, default=60.0, help="idle time measured")
    parser.add_argument("--runs", type=int, default=1_000, help="of each gate (default 1000)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    bench_loss.add_options(parser)
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    known = (*PARTS, *NAMED)
    unknown = set(parts) - set(known)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    console = Console()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    console.print(f"[bold]scripts/bench[/] on {machine}, load {load:.2f}")
    figures: dict[str, Any] = {"machine": machine, "load": load}
    if "commit" in parts:
        figures["commit"] = bench_commit.run()
        bench_commit.show(figures["commit"])
    if "failover" in parts:
        for beside in (False, True):
            name = "failover_with_leader" if beside else "failover"
            figures[name] = bench_cluster.failover(options.kills, beside_leader=beside)
            show(console, name, figures[name])
    if "election" in parts:
        figures["election"] = bench_cluster.election(options.kills)
        show(console, "election", figures["election"])
    if "idle" in parts:
        for profile in ("orbit", "demo"):
            figures[f"idle_{profile}"] = bench_cluster.idle(profile, options.seconds)
            show(console, f"idle_{profile}", figures[f"idle_{profile}"])
    if "simulation" in parts:
        for name, measure in (
            ("simulation", bench_simulation.speed),
            ("simulation_seeds", bench_simulation.campaign),
            ("simulation_elections", bench_simulation.elections),
        ):
            figures[name] = measure()
            show(console, name, figures[name])
        figures["simulation_lanes"] = bench_simulation.lanes()
        for name, found in figures["simulation_lanes"].items():
            console.print(f"{name}, every fifth packet lost: {found}")
        console.print("[italic]s to a false alarm: plan / counted in simulated clusters")
        figures["simulation_agreement"] = bench_simulation.agreement()
        for name, found in figures["simulation_agreement"].items():
            console.print(f"{name}: {found}")
    if "fleet" in parts:
        for name, figure in bench_fleet.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "tasks" in parts:
        for name, figure in bench_tasks.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "rollouts" in parts:
        for name, figure in bench_rollouts.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "gates" in parts:
        figures["gates"] = bench_gates.run(options.runs)
        bench_gates.show(figures["gates"])
    if "queries" in parts:
        figures["queries"] = bench_queries.run()
        for path, figure in figures["queries"].items():
            show(console, f"GET {path}, 1,000,000 devices", figure)
    if "rest" in parts:
        figures["rest"] = bench_rest.run()
        for name, figure in figures["rest"].items():
            show(console, name, figure)
    if "devices" in parts:
        for name, figure in bench_devices.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "hostile" in parts:
        for name, figure in bench_hostile.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "metrics" in parts:
        for name, figure in bench_metrics.run().items():
            figures[name] = figure
            show(console, name, figure)
    if "page" in parts:
        figures["page"] = bench_page.page()
        show(console, "the dashboard", figures["page"])
    if "events" in parts:
        figures["events"] = bench_page.events()
        show(console, "the stream of events", figures["events"])
    if "tls" in parts:
        for name, figure in bench_tls.run().items():
            figures[name] = figure
            console.print(name, figure)
    if "loss" in parts:
        figures["loss"] = bench_loss.run(options)
        bench_loss.show(figures["loss"])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def show(console: Console, title: str, figures: dict[str, Any]) -> None:
    """One small table."""
    table = Table(title=title, title_justify="left")
    for name in figures:
        table.add_column(name)
    table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in figures.values()))
    console.print(table)


if __name__ == "__main__":
    main()
