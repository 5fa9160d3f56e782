"""A campaign: many seeds over all fault profiles; failures are printed, kept and replayable.

    scripts/simulate --seeds 1000              all profiles, mixed anew for each seed
    scripts/simulate --faults crash,lossy      these, in every run
    scripts/simulate --hazards 1000            each guard off: the table of node/raft/README.md

Exit code: 0 when everything held, 1 when anything did not, 2 for what cannot be meant.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from stationkeep.node.simulation.campaigns import campaign, transcript
from stationkeep.node.simulation.campaigns.campaign import Outcome, Plan
from stationkeep.node.simulation.faults import profiles as faults
from stationkeep.node.simulation.scenario import BadScenario
from stationkeep.node.system import garbage

SAVE = Path(".stationkeep/simulation")
LINE_SECONDS = 60.0
"""Between two lines about how far it is, where no bar can be shown."""


def main() -> int:
    options = _options()
    try:
        if options.hazards is not None:
            from scripts import hazards_table  # noqa: PLC0415 - rarely wanted

            return hazards_table.write(options.hazards, options.jobs, options.only)
        return _campaign(options)
    except BadScenario as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=_count, default=200, help="how many (default: 200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--faults", default="all", help="names with commas, all, or none")
    parser.add_argument(
        "--tasks",
        type=_share,
        default=campaign.WITH_TASKS,
        help=f"share of mixed runs with tasks of devices (default: {campaign.WITH_TASKS})",
    )
    parser.add_argument(
        "--rollouts",
        type=_share,
        default=campaign.WITH_ROLLOUTS,
        help=f"share of mixed runs with rollouts (default: {campaign.WITH_ROLLOUTS})",
    )
    parser.add_argument("--nodes", type=int, help="default: 3 or 5, drawn")
    parser.add_argument("--profile", default="demo", help="settings (default: demo)")
    parser.add_argument("--seconds", type=float, default=campaign.DURATION, help="of faults")
    parser.add_argument("--jobs", type=_count, default=2, help="processes (default: 2)")
    parser.add_argument("--save", type=Path, default=SAVE, help="where transcripts go")
    parser.add_argument("--hazards", type=_count, help="runs for each guard, off and on")
    parser.add_argument("--only", help="with --hazards: these guards, such as s3,l2")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{number}: from 1 to 10,000,000")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text}: from 0 to 1")
    return number


def _campaign(options: argparse.Namespace) -> int:
    plan = Plan(
        faults=faults.parse(options.faults),
        nodes=options.nodes,
        profile=options.profile,
        duration=options.seconds,
        tasks=options.tasks,
        rollouts=options.rollouts,
    )
    seeds = range(options.first, options.first + options.seeds)
    plan.scenario(seeds[0])
    plan.scenario(seeds[-1])
    garbage.tune()  # one job runs in this process
    console = Console(stderr=True)
    began, done, failed = time.monotonic(), Counter[str](), []
    ended = Counter[str]()
    for outcome in _shown(campaign.run_all(plan, seeds, options.jobs), len(seeds), console):
        done["runs"] += 1
        done["with tasks"] += "tasks" in outcome.faults
        done["with rollouts"] += "rollouts" in outcome.faults
        done["turns"] += outcome.turns
        done["calls"] += outcome.calls
        done["undecided"] += outcome.undecided
        done["begun"] += outcome.rollouts.begun
        done["judged"] += outcome.rollouts.judged
        done["stopped"] += outcome.rollouts.stopped
        ended.update(outcome.rollouts.ended)
        if not outcome.ok:
            failed.append(outcome)
            console.print(_failure(plan, outcome, options.save), soft_wrap=True)
    _report(done, failed, time.monotonic() - began, options.seconds)
    if done["begun"]:
        print(_course(done, ended))
    return 1 if failed else 0


def _shown(outcomes: Iterator[Outcome], total: int, console: Console) -> Iterator[Outcome]:
    """Shows how far they are: a bar on a terminal, elsewhere a line a minute."""
    if not console.is_terminal:
        yield from _with_lines(outcomes, total, console)
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("seeds", total=total)
        for outcome in outcomes:
            progress.advance(bar)
            yield outcome


def _with_lines(outcomes: Iterator[Outcome], total: int, console: Console) -> Iterator[Outcome]:
    began = said = time.monotonic()
    for number, outcome in enumerate(outcomes, 1):
        yield outcome
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said, pace = now, number * 60 / (now - began)
            console.print(
                f"{number:,} of {total:,} seeds, {pace:.0f} a minute, "
                f"{(total - number) / pace:.0f} min to go",
                soft_wrap=True,
            )


def _failure(plan: Plan, outcome: Outcome, folder: Path) -> str:
    """Keeps the transcript; what to say about it."""
    record = transcript.record(plan.scenario(outcome.seed))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"seed-{outcome.seed}.txt"
    file.write_text(record.text(), encoding="utf-8")
    return (
        f"seed {outcome.seed}, {outcome.nodes} nodes, {', '.join(outcome.faults)}: "
        f"{outcome.rule} at {outcome.at:.3f} s\n  {outcome.detail}\n"
        f"  stationkeep simulate --replay {file}"
    )


def _report(done: Counter[str], failed: list[Outcome], took: float, seconds: float) -> None:
    runs = done["runs"]
    print(
        f"{runs} seeds, {done['with tasks']} with tasks, {done['with rollouts']} with "
        f"rollouts, {len(failed)} with violations; "
        f"{done['turns']:,} turns checked, "
        f"{done['calls']:,} client calls, {done['undecided']} histories undecided; "
        f"{took:.0f} s, {runs * 60 / took:.0f} seeds a minute, "
        f"{runs * seconds / took:.0f} simulated seconds a second"
    )
    for rule, count in Counter(outcome.rule for outcome in failed).most_common():
        print(f"  {count} x {rule}")


def _course(done: Counter[str], ended: Counter[str]) -> str:
    """What became of the rollouts, and how often one was stopped although it does no harm."""
    ends = ", ".join(f"{count:,} {how.replace('_', ' ')}" for how, count in ended.most_common())
    return (
        f"{done['begun']:,} rollouts begun: {ends or 'none ended'}; {done['stopped']} of "
        f"{done['judged']:,} stages that do no harm stopped for health"
    )


if __name__ == "__main__":
    sys.exit(main())
