"""`plan`: what settings promise under packet loss, computed by `cluster.odds`.

Settings come from one source (a profile, a node's file, or the running cluster); `--set` changes
them. Invalid settings lead to exit code 5, an invalid loss to 2.
"""

import enum
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stationkeep.cluster.settings import (
    DEFAULT_PROFILE,
    PROFILES,
    Settings,
    SettingsError,
    parse,
    parse_duration,
)
from stationkeep.node.cli import shapes
from stationkeep.node.cli.commands.config import scalar
from stationkeep.node.cli.failures import CommandError, ConfigurationError, UsageError
from stationkeep.node.cli.options import Format, FormatOption, client, pairs
from stationkeep.node.cli.output import console, note, show

if TYPE_CHECKING:
    from stationkeep.cluster.odds import Forecast, Loss


class Lane(enum.StrEnum):
    """`cluster.odds.Lane`, whose import would bring numpy."""

    DATAGRAM = "datagram"
    STREAM = "stream"


DEFAULT_NODES = 5
FREQUENT = 100.0
"""Mean number of samples between two events that `--check` counts; rarer events are counted at a
higher loss."""


class Source(NamedTuple):
    """Settings and number of nodes, and the name of where they come from."""

    name: str
    settings: Settings
    nodes: int


def plan(
    *,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help=f"{', '.join(PROFILES)}. Default: {DEFAULT_PROFILE}."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A node's YAML file: its settings and members.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Use the running cluster's settings and members.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SETTING=VALUE", help="Such as evaluation_interval=10s."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option("--loss", help="Share of packets lost: 0.2 or 20%. Default: 0.2."),
    ] = None,
    burst: Annotated[
        str | None,
        typer.Option("--burst", help="Mean length of a burst of losses, such as 10s."),
    ] = None,
    measured: Annotated[
        bool,
        typer.Option("--measured", help="Use the loss that the running cluster measures."),
    ] = False,
    lane: Annotated[
        Lane, typer.Option("--lane", help="How reports travel; stream: when UDP is blocked.")
    ] = Lane.DATAGRAM,
    nodes: Annotated[
        int | None, typer.Option("--nodes", help="Default: 5, or the members of the source.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the distributions into an SVG file.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with events counted in simulated runs.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of --check.")] = 1,
    cases: Annotated[
        int, typer.Option("--cases", min=30, max=100_000, help="Events that --check counts.")
    ] = 400,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Any node of the running cluster; implies --live."),
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Computes how often losses look like failures, and how soon a real failure is repaired."""
    from stationkeep.cluster import odds  # noqa: PLC0415 - numpy
    from stationkeep.node.cli.rendering import plan_view  # noqa: PLC0415

    if measured:
        _alone("--measured", loss=loss, burst=burst, plot=plot, check=check)
    if lane is Lane.STREAM:
        _alone("--lane stream", plot=plot, check=check)
    source = _source(profile, config, live or measured or url is not None, url)
    settings = _changed(source.settings, changes or [])
    count = source.nodes if nodes is None else nodes
    if measured:
        _plan_measured(source, settings, count, lane=lane, url=url, format_=format_)
        return
    figures = _forecast(settings, odds.Loss(_share(loss or "0.2"), _seconds(burst)), count, lane)
    answer = plan_view.answer(figures, source.name)
    if plot is not None:
        _draw(figures, plot)
    if check:
        answer["check"] = list(_checked(figures, seed, cases))
    show(answer, format_, plan_view.table)
    if plot is not None:
        note(f"plot: {plot}")
    missed = [c["what"] for c in answer.get("check", []) if not c["agrees"]]
    if missed:
        raise CommandError(f"counted and computed figures differ: {', '.join(missed)}")


def _forecast(settings: Settings, loss: "Loss", nodes: int, lane: str) -> "Forecast":
    from stationkeep.cluster import odds  # noqa: PLC0415

    try:
        return odds.forecast(settings, loss, nodes, odds.Lane(lane))
    except odds.LossError as error:
        raise UsageError(f"--{error}") from error


def _plan_measured(
    source: Source, settings: Settings, nodes: int, *, lane: Lane, url: str | None, format_: Format
) -> None:
    """Plans for the loss of the worst link, and for the longest bursts if there are any."""
    from rich.console import Group  # noqa: PLC0415

    from stationkeep.node.cli import plan_measured  # noqa: PLC0415
    from stationkeep.node.cli.rendering import plan_view  # noqa: PLC0415

    cluster = client(url or os.environ.get("STATIONKEEP_URL"))
    seen = plan_measured.measure(cluster, settings)
    losses = [x for x in seen.losses() if lane is Lane.DATAGRAM or x.burst is None]
    plans = [
        plan_view.answer(_forecast(settings, loss, nodes, lane), source.name) for loss in losses
    ]
    show(
        {"measured": plan_measured.answer(seen), "plans": plans},
        format_,
        lambda answer: Group(
            plan_measured.table(answer["measured"]), *map(plan_view.table, answer["plans"])
        ),
    )


def _alone(option: str, **others: object) -> None:
    """Refuses options that have no effect together with this one."""
    given = [f"--{name}" for name, value in others.items() if value]
    if given:
        raise UsageError(f"{option} cannot be combined with {' or '.join(given)}")


# -- settings and loss --------------------------------------------------------------------------


def _source(profile: str | None, config: Path | None, live: bool, url: str | None) -> Source:
    given = [n for n, v in (("--profile", profile), ("--config", config), ("--live", live)) if v]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give only one source of settings")
    if config is not None:
        return _from_file(config)
    if live:
        return _from_cluster(url or os.environ.get("STATIONKEEP_URL"))
    name = profile or DEFAULT_PROFILE
    if name not in PROFILES:
        raise UsageError(f"--profile {name!r}: must be one of {', '.join(PROFILES)}")
    return Source(f"profile {name}", PROFILES[name], DEFAULT_NODES)


def _from_file(path: Path) -> Source:
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415

    try:
        loaded = configuration.load(path)
    except configuration.ConfigError as error:
        lines = "\n".join(f"  {e}" for e in [error, *error.others])
        raise ConfigurationError(f"invalid configuration\n{lines}") from error
    return Source(str(path), loaded.settings, len(loaded.members))


def _from_cluster(url: str | None) -> Source:
    node = client(url)
    settings = node.get("/v1/config", shapes.Config)["settings"]
    cluster = node.get("/v1/cluster", shapes.Cluster)
    return Source(
        f"cluster {cluster['cluster_id']}", _changed_by(settings), len(cluster["members"])
    )


def _changed(settings: Settings, assignments: list[str]) -> Settings:
    changes = pairs("--set", assignments)
    return _changed_by({name: scalar(value) for name, value in changes.items()}, settings)


def _changed_by(changes: dict[str, Any], base: Settings | None = None) -> Settings:
    try:
        return parse(changes, base)
    except SettingsError as error:
        raise ConfigurationError(f"invalid settings: {error}") from error


def _share(text: str) -> float:
    number, percent = (text[:-1], 100) if text.endswith("%") else (text, 1)
    try:
        return float(number) / percent
    except ValueError as error:
        raise UsageError(f"--loss {text!r}: must be a share such as 0.2 or 20%") from error


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration("--burst", text) / 1_000
    except SettingsError as error:
        raise UsageError(str(error)) from error


# -- plot and check -----------------------------------------------------------------------------


def _draw(figures: "Forecast", path: Path) -> None:
    from stationkeep.node.cli.rendering import plan_plot  # noqa: PLC0415

    try:
        path.write_text(plan_plot.picture(figures), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--plot {path}: {error.strerror or error}") from error


def _checked(figures: "Forecast", seed: int, cases: int) -> Iterator[dict[str, Any]]:
    """Counts every figure, with a progress bar on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        for what, computed, loss, values in _counts(figures, seed):
            task = bar.add_task(what, total=cases)
            counted = list(itertools.islice(_ticking(values, bar, task), cases))
            yield _verdict(what, computed, loss, counted)


def _ticking(values: Iterator[float], bar: Any, task: Any) -> Iterator[float]:
    for value in values:
        bar.advance(task)
        yield value


def _counts(figures: "Forecast", seed: int) -> Iterator[tuple[str, float, float, Iterator[float]]]:
    """(name, computed s, loss, endless counted s) of every figure that can be counted; false
    alarms are counted at a loss that makes them frequent."""
    from stationkeep.cluster.odds import Model  # noqa: PLC0415
    from stationkeep.cluster.odds.forecast import false_alarm, frequent, watch  # noqa: PLC0415
    from stationkeep.cluster.odds.trial import failures, false_alarms  # noqa: PLC0415
    from stationkeep.cluster.transitions import Rule  # noqa: PLC0415

    settings, nodes = figures.settings, figures.nodes
    triggers = (
        ("false failover", Rule.PRIMARY_FAILED, settings.failures_to_fail_primary),
        ("false SAFE_MODE", Rule.ISOLATE, settings.failures_to_safe_mode),
    )
    for model in Model:
        for name, rule, length in triggers:
            loss = frequent(settings, figures.loss, nodes, model, failures=length, samples=FREQUENT)
            draw = random.Random(seed).random  # noqa: S311
            counted = false_alarms(settings, loss, nodes, model, rule=rule, draw=draw)
            computed = false_alarm(settings, watch(settings, loss, nodes, model), length)
            yield f"{name}, {model}", computed, loss.rate, counted
        outlook = figures.outlooks[model]
        assert outlook.detection is not None
        assert outlook.failover is not None
        if outlook.failover.mean == float("inf"):
            continue
        for at, name, spread in (
            (0, "detection", outlook.detection),
            (1, "failover", outlook.failover),
        ):
            draw = random.Random(seed).random  # noqa: S311
            pairs = failures(settings, figures.loss, nodes, model, draw=draw)
            yield f"{name}, {model}", spread.mean, figures.loss.rate, (p[at] for p in pairs)


def _verdict(what: str, computed: float, loss: float, counted: list[float]) -> dict[str, Any]:
    from stationkeep.cluster.odds.trial import CONFIDENCE, estimate  # noqa: PLC0415

    found = estimate(counted)
    return {
        "what": what,
        "loss": loss,
        "computed_s": computed,
        "counted_s": found.mean,
        "interval_s": [found.low, found.high],
        "confidence": CONFIDENCE,
        "cases": found.cases,
        "agrees": found.covers(computed),
    }
