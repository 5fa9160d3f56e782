"""`stationkeep simulate`: runs simulated clusters under faults, in virtual time."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stationkeep.node.cli.failures import CommandError, ConfigurationError, UsageError
from stationkeep.node.cli.options import Format, FormatOption
from stationkeep.node.cli.output import console, say, show

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from stationkeep.node.simulation.campaigns.campaign import Outcome, Plan
    from stationkeep.node.simulation.campaigns.summary import Summary
    from stationkeep.node.simulation.world import World

MAX_RUNS = 10_000
FAULTS_PER_EVALUATIONS = 20


def simulate(  # noqa: PLR0917 - options, always named
    nodes: Annotated[int, typer.Option("--nodes", help="Members, 3 to 9.")] = 5,
    seed: Annotated[
        int, typer.Option("--seed", help="Random seed of the first run; determines everything.")
    ] = 1,
    runs: Annotated[int, typer.Option("--runs", help="How many, with consecutive seeds.")] = 1,
    faults: Annotated[
        str, typer.Option("--faults", help="Fault profiles with commas, all (mixed), or none.")
    ] = "lossy,partition,crash",
    hours: Annotated[float, typer.Option("--hours", help="Simulated time of each run.")] = 1.0,
    profile: Annotated[
        str, typer.Option("--profile", help="Settings: orbit, ground, lan, demo.")
    ] = "orbit",
    every: Annotated[
        str | None,
        typer.Option("--every", help="Mean time between faults of a profile, such as 10m."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the first run's roles over time; SVG.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the first run's transcript.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Repeat the run of a transcript and compare.")
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Simulates whole clusters under faults, checks them at every step, and sums up."""
    if replay is not None:
        _replay(replay)
        return
    plan = _plan(nodes, faults, hours, profile, every)
    _check(seed, runs, plan)
    answer = _Answer()
    with _bar() as bar:
        task = bar.add_task("simulating", total=runs * plan.duration)
        for number in range(runs):
            done = number * plan.duration
            world, outcome = _run(
                plan, seed + number, lambda at, done=done: bar.update(task, completed=done + at)
            )
            answer.add(world, outcome)
            if number == 0 and world is not None:
                _keep(world, plan, seed, picture, save)
    show(answer.as_dict(), format_, _table)
    if answer.broken:
        raise CommandError(answer.broken[0])


# -- options ------------------------------------------------------------------------------------


def _plan(nodes: int, faults: str, hours: float, profile: str, every: str | None) -> "Plan":
    from stationkeep.cluster.settings import PROFILES, SettingsError, parse_duration  # noqa: PLC0415
    from stationkeep.node.simulation.campaigns import campaign  # noqa: PLC0415
    from stationkeep.node.simulation.faults import profiles  # noqa: PLC0415
    from stationkeep.node.simulation.scenario import MAX_HOURS, BadScenario  # noqa: PLC0415

    if not (math.isfinite(hours) and 0 < hours <= MAX_HOURS):
        raise UsageError(f"--hours {hours:g} refused: more than 0 and at most {MAX_HOURS}")
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile!r} refused: one of {', '.join(PROFILES)}")
    gap = FAULTS_PER_EVALUATIONS * PROFILES[profile].evaluation_interval / 1_000
    try:
        return campaign.Plan(
            faults=profiles.parse(faults),
            nodes=nodes,
            profile=profile,
            duration=hours * 3_600,
            gap=gap if every is None else parse_duration("--every", every) / 1_000,
            load=0.2,
            orders=False,
            compact=(8_192,),
        )
    except (BadScenario, SettingsError) as error:
        raise UsageError(f"{error}") from error


def _check(seed: int, runs: int, plan: "Plan") -> None:
    from stationkeep.node.simulation.actions import check_scenario  # noqa: PLC0415
    from stationkeep.node.simulation.scenario import BadScenario, Scenario  # noqa: PLC0415

    if not 1 <= runs <= MAX_RUNS:
        raise UsageError(f"--runs {runs} refused: from 1 to {MAX_RUNS}")
    try:
        for one in (seed, seed + runs - 1):
            check_scenario(Scenario(seed=one, nodes=plan.nodes or 3, duration=plan.duration))
    except BadScenario as error:
        raise UsageError(f"--{error}") from error


def _bar() -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )


# -- running ------------------------------------------------------------------------------------


def _run(plan: "Plan", seed: int, told: Any) -> tuple["World | None", "Outcome"]:
    from stationkeep.node.simulation.campaigns.campaign import attempt, quiet  # noqa: PLC0415

    with quiet():
        return attempt(plan.scenario(seed), told)


def _keep(world: "World", plan: "Plan", seed: int, picture: Path | None, save: Path | None) -> None:
    from stationkeep.node.simulation.campaigns import picture as drawing  # noqa: PLC0415
    from stationkeep.node.simulation.campaigns import transcript  # noqa: PLC0415
    from stationkeep.node.simulation.campaigns.summary import courses, spans  # noqa: PLC0415

    faults = " + ".join(world.scenario.faults)
    title = f"{plan.nodes} nodes, profile {plan.profile}, {faults}, seed {seed}"
    if picture is not None:
        found = spans(world)
        _write(
            picture,
            drawing.draw(
                world.names,
                found,
                end=world.time.now,
                title=title,
                leaders=world.leader_changes,
                rollouts=courses(world),
            ),
        )
    if save is not None:
        _write(save, transcript.of(world).text())


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror or error}") from error


def _replay(file: Path) -> None:
    """Replays a transcript; fails if the run differs from it, or violates a rule."""
    from stationkeep.node.simulation.campaigns import transcript  # noqa: PLC0415

    try:
        before = transcript.read(file)
    except transcript.BadTranscript as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from error
    after = transcript.record(before.scenario)
    say("\n".join(f"| {line}" for line in after.seen))
    say(f"= {after.end}")
    difference = transcript.difference(before, after)
    if difference:
        raise CommandError(f"{file}: the run differs: {difference}")
    if after.end != transcript.NOTHING:
        raise CommandError(f"{file}: the run is the same, with its violation")


# -- results ------------------------------------------------------------------------------------


class _Answer:
    """Sums over all runs."""

    def __init__(self) -> None:
        self._summaries: list[Summary] = []
        self.broken: list[str] = []

    def add(self, world: "World | None", outcome: "Outcome") -> None:
        from stationkeep.node.simulation.campaigns.summary import summarise  # noqa: PLC0415

        if not outcome.ok:
            self.broken.append(
                f"seed {outcome.seed}: {outcome.rule} at {outcome.at:.3f} s: {outcome.detail}"
            )
        if world is not None:
            self._summaries.append(summarise(world))

    def as_dict(self) -> dict[str, Any]:
        from stationkeep.node.simulation.campaigns.summary import together  # noqa: PLC0415

        total = together(self._summaries)
        return {
            "runs": total.runs,
            "simulated_hours": round(total.seconds / 3_600, 3),
            "failovers": total.failovers,
            "false_failovers": total.false_failovers,
            "elections": total.elections,
            "unneeded_elections": total.unneeded_elections,
            "flaps": total.flaps,
            "availability": round(total.availability, 6),
            "longest_gap_s": round(total.longest_gap, 1),
            "violations": self.broken,
        }


def _table(answer: dict[str, Any]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "simulated": f"{answer['runs']} runs, {answer['simulated_hours']:g} h in all",
        "failovers": f"{answer['failovers']}, of which false {answer['false_failovers']}",
        "elections": f"{answer['elections']}, of which unneeded {answer['unneeded_elections']}",
        "flaps": str(answer["flaps"]),
        "PRIMARY seat served": f"{100 * answer['availability']:.3f} % of the time",
        "longest gap": f"{answer['longest_gap_s']:g} s",
        "violations": str(len(answer["violations"])),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
