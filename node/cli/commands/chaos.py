"""`stationkeep chaos`: injects faults into a real cluster and checks what its clients saw."""

import contextlib
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import Format, FormatOption
from stationkeep.node.cli.output import console, note, show

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from stationkeep.node.chaos.storm import Plan, Report
    from stationkeep.node.chaos.storm import Progress as StormProgress

MAX_MINUTES = 240.0
LINE_EVERY = 30.0
"""Seconds between two lines of progress if there is no terminal."""


def chaos(  # noqa: PLR0917 - options, always named
    minutes: Annotated[
        float, typer.Option("--minutes", help=f"How long, at most {MAX_MINUTES:g}.")
    ] = 5.0,
    nodes: Annotated[int, typer.Option("--nodes", help="Members, 3 to 9.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Determines the faults and their times.")] = 1,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            help="all, or a list with commas: kill, stop, term, restart, majority, blackout.",
        ),
    ] = "all",
    plain: Annotated[
        bool, typer.Option("--plain", help="Without TLS and tokens, which it has otherwise.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="New directory for data and history, kept in any case."),
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Kills, stops and starts the processes of a cluster under load, and checks all its answers.

    Runs its own cluster on free ports, in a temporary directory. Exits with 1 if a promise was
    broken; then everything is kept, and the directory is named.
    """
    from stationkeep.node.chaos.storm import storm  # noqa: PLC0415

    plan = _plan(minutes, nodes, seed, faults, plain)
    folder = _folder(keep)
    try:
        with _progress(plan.seconds) as progress:
            report = storm(plan, folder, progress)
    except TimeoutError as error:
        raise CommandError(f"the cluster did not come up, see {folder}: {error}") from error
    except KeyboardInterrupt:
        raise CommandError(f"interrupted; data and history so far: {folder}") from None
    show(_as_dict(report), format_, _table)
    if report.violations:
        shown = "\n  ".join(report.violations)
        raise CommandError(f"promises were broken:\n  {shown}\ndata and history: {folder}")
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)


def _plan(minutes: float, nodes: int, seed: int, faults: str, plain: bool) -> "Plan":
    from stationkeep.node.chaos.forecast import BadForecast, parse_faults  # noqa: PLC0415
    from stationkeep.node.chaos.storm import Plan  # noqa: PLC0415

    if not (math.isfinite(minutes) and 0.1 <= minutes <= MAX_MINUTES):
        raise UsageError(f"--minutes {minutes:g} refused: from 0.1 to {MAX_MINUTES:g}")
    if not 3 <= nodes <= 9:
        raise UsageError(f"--nodes {nodes} refused: from 3 to 9")
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"--seed {seed} refused: from 0 to 2^64 - 1")
    try:
        weather = parse_faults(faults)
    except BadForecast as error:
        raise UsageError(f"--faults {error}") from error
    return Plan(seconds=60 * minutes, nodes=nodes, seed=seed, faults=weather, plain=plain)


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="stationkeep-chaos-"))
    try:
        keep.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"--keep {keep} refused: it exists already") from error
    except OSError as error:
        raise UsageError(f"--keep {keep} refused: {error.strerror}") from error
    return keep


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator["StormProgress"]:
    """Shows a bar with live counters on a terminal, else a line from time to time. SIGTERM
    interrupts like Ctrl-C, so that no process outlives the storm."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if sys.stderr.isatty():
            with _bar() as bar:
                task = bar.add_task("storm", total=seconds, news="")
                yield lambda at, counts: bar.update(task, completed=at, news=_news(counts))
        else:
            yield _Lines()
    finally:
        signal.signal(signal.SIGTERM, before)


def _bar() -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
        console=console(stderr=True),
        transient=True,
    )


class _Lines:
    """Progress for a log file."""

    def __init__(self) -> None:
        self._next = LINE_EVERY

    def __call__(self, at: float, counts: dict[str, int]) -> None:
        if at >= self._next:
            self._next = at + LINE_EVERY
            note(f"{at:5.0f} s: {_news(counts)}")


def _news(counts: dict[str, int]) -> str:
    def count(name: str) -> int:
        return counts.get(name, 0)

    return (
        f"{count('kills')} killed, {count('stops')} stopped, {count('terms')} ended, "
        f"{count('starts')} started; {count('acknowledged')} written, {count('reads')} read, "
        f"{count('retried')} retried"
    )


def _as_dict(report: "Report") -> dict[str, Any]:
    counts = report.counts
    names = {
        "kills": "kills",
        "stops": "stops",
        "terms": "terms",
        "starts": "starts",
        "majority": "majorities_lost",
        "blackout": "blackouts",
        "acknowledged": "writes_acknowledged",
        "unknown": "outcomes_unknown",
        "retried": "writes_retried",
        "refused": "switchovers_refused",
        "reads": "strong_reads",
    }
    return {
        "seconds": round(report.seconds, 1),
        "nodes": report.plan.nodes,
        "seed": report.plan.seed,
        "plain": report.plan.plain,
        **{shown: counts.get(name, 0) for name, shown in names.items()},
        "seat_changes": report.seat_changes,
        "raft_terms": report.terms,
        "longest_without_primary_s": round(report.longest_gap, 1),
        "calms": len(report.recoveries),
        "longest_recovery_s": round(max(report.recoveries, default=0.0), 1),
        "checks": report.checks,
        "histories": report.registers,
        "histories_undecided": report.undecided,
        "decisions": report.decisions,
        "digests_compared": report.compared,
        "violations": report.violations,
    }


def _table(a: dict[str, Any]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "storm": f"{a['seconds']:g} s over {a['nodes']} nodes, seed {a['seed']}, "
        f"{'in clear' if a['plain'] else 'over TLS, with a token'}",
        "faults": f"{a['kills']} kill -9, {a['stops']} SIGSTOP, {a['terms']} SIGTERM; "
        f"{a['starts']} starts",
        "of these at once": f"{a['majorities_lost']} times a majority, "
        f"{a['blackouts']} times all nodes",
        "failovers": f"{a['seat_changes']} changes of the PRIMARY seat, "
        f"{a['raft_terms']} Raft terms",
        "longest without PRIMARY": f"{a['longest_without_primary_s']:g} s",
        "well again": f"{a['calms']} times, after at most {a['longest_recovery_s']:g} s",
        "writes acknowledged": str(a["writes_acknowledged"]),
        "answers unknown, tries repeated": f"{a['outcomes_unknown']}, {a['writes_retried']}",
        "strong reads": str(a["strong_reads"]),
        "checked": f"{a['checks']} times: {a['histories']} histories "
        f"({a['histories_undecided']} undecided), {a['decisions']} decisions, "
        f"{a['digests_compared']} pairs of digests",
        "violations": str(len(a["violations"])),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
