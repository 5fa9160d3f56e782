"""`devices simulate`: a fleet of simulated devices, each a real client."""

import contextlib
import enum
import gc
import math
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stationkeep.node.cli.commands.agent import (
    TokenFileOption,
    UrlsOption,
    reached,
    run,
    seconds,
    stopping,
)
from stationkeep.node.cli.failures import UsageError
from stationkeep.node.cli.options import Format, FormatOption
from stationkeep.node.cli.output import console, note, show
from stationkeep.node.security.credentials import Access, Credentials
from stationkeep.node.security.tokens import enrols
from stationkeep.node.system.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from stationkeep.node.agent.simulator import Fleet, Moment
    from stationkeep.node.agent.updates import Updates

LINE_EVERY = 10.0
"""Seconds between two lines of progress if there is no terminal."""
SPARE_FILES = 100
"""Open files in addition to the devices' sockets."""
MOST_REASONS = 6
"""Reasons of one kind shown in the table at the end."""


class Profile(enum.StrEnum):
    """How simulated devices feel; see `node.agent.behaviour`."""

    HEALTHY = "healthy"
    MIXED = "mixed"
    FLAPPING = "flapping"
    STORM = "storm"
    REPLAY = "replay"


def simulate(
    *,
    count: Annotated[int, typer.Option("--count", help="Devices.")] = 12,
    profile: Annotated[
        Profile, typer.Option("--profile", help="How they feel; replay needs --data.")
    ] = Profile.MIXED,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="CSV (timestamp,value) of CPU percentages, or a directory of them. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides how each device feels.")] = 1,
    speed: Annotated[
        float, typer.Option("--speed", help="How much faster than life their readings go by.")
    ] = 1.0,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Such as 90s or 5m. Default: until Ctrl-C.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Ids are this and a number.")] = "device",
    update_seconds: Annotated[
        float, typer.Option("--update-seconds", help="That a device takes for an update.")
    ] = 5.0,
    fail: Annotated[float, typer.Option("--fail", help="Share of updates that fail.")] = 0.0,
    brick: Annotated[
        float, typer.Option("--brick", help="Share of updates after which a device is silent.")
    ] = 0.0,
    ill: Annotated[
        float, typer.Option("--ill", help="Share of updated devices that are overloaded.")
    ] = 0.0,
    ill_version: Annotated[
        str | None, typer.Option("--ill-version", help="Only as long as they run this one.")
    ] = None,
    revert: Annotated[
        float, typer.Option("--revert", help="Share of updates that are undone soon after.")
    ] = 0.0,
    batch: Annotated[
        bool, typer.Option("--batch", help="Report over HTTP in batches, without connections.")
    ] = False,
    url: UrlsOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Simulates a fleet: thousands of devices, each a real client.

    Profiles: healthy; mixed (one in eight is ill for a while, then others); flapping (every status
    well or ill at random); storm (now and then most are ill at once); replay (recorded CPU
    percentages, each device from another place in one of them).
    """
    fleet = _fleet(
        count=count, profile=profile, data=data or [], seed=seed, speed=speed, prefix=prefix,
        updates=_updates(update_seconds, ill_version, seed,
                         {"fail": fail, "brick": brick, "ill": ill, "revert": revert}),
    )  # fmt: skip
    length = math.inf if duration is None else seconds("--duration", duration)
    if not batch:
        _raise_file_limit(count)
    urls, shown = reached(url, token_file)
    if enrols(Credentials(urls, **shown).token):
        rule = "simulated devices have no credentials of their own; show a token of role device"
        raise UsageError(f"--token-file: this one enrols devices, and {rule}")
    moment = run(_simulate(fleet, urls, shown, length, batch=batch))
    show(_as_dict(moment), format_, _table)


def _fleet(
    *,
    count: int,
    profile: Profile,
    data: list[Path],
    seed: int,
    speed: float,
    prefix: str,
    updates: "Updates",
) -> "Fleet":
    from stationkeep.node.agent.behaviour import behaviour  # noqa: PLC0415
    from stationkeep.node.agent.simulator import MAX_DEVICES, Fleet  # noqa: PLC0415

    if not 1 <= count <= MAX_DEVICES:
        raise UsageError(f"--count {count} refused: from 1 to {MAX_DEVICES}")
    if not 0 < speed <= 1e6:
        raise UsageError(f"--speed {speed:g} refused: more than 0, at most 1000000")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}", prefix):
        rule = "1 to 48 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        raise UsageError(f"--prefix {prefix!r} refused: {rule}")
    try:
        feel = behaviour(profile.value, seed, data)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Fleet(count=count, behaviour=feel, updates=updates, speed=speed, prefix=prefix)


def _updates(
    took: float, ill_version: str | None, seed: int, shares: dict[str, float]
) -> "Updates":
    from stationkeep.node.agent.updates import MOST_SECONDS, Updates  # noqa: PLC0415

    if not 0 <= took <= MOST_SECONDS:
        raise UsageError(f"--update-seconds {took:g} refused: from 0 to {MOST_SECONDS:g}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"--{name} {share:g} refused: a share from 0 to 1")
    if ill_version is not None and not shares["ill"]:
        raise UsageError("--ill-version needs --ill")
    return Updates(seconds=took, ill_version=ill_version, seed=seed, **shares)


def _raise_file_limit(count: int) -> None:
    """Every socket is an open file, and the usual limit of a process is 1,024."""
    wanted = count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        rule = f"at most {hard - SPARE_FILES}: this system allows {hard} open files (ulimit -Hn)"
        raise UsageError(f"--count {count} refused: {rule}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _simulate(
    fleet: "Fleet", urls: list[str], shown: Access, length: float, *, batch: bool
) -> "Moment":
    from stationkeep.node.agent.simulator import Simulator  # noqa: PLC0415

    try:
        simulator = Simulator(fleet, urls, in_batches=batch, **shown)
    except ValueError as error:
        raise UsageError(f"--url {error}") from error
    gc.freeze()  # the devices live as long as the process: nothing to look through for garbage
    with stopping(simulator.stop), _progress() as told:
        return await simulator.run(length, told)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[["Moment"], None]]:
    """One line that changes on a terminal, now and then a line elsewhere."""
    if sys.stderr.isatty():
        from rich.text import Text  # noqa: PLC0415

        with console(stderr=True).status("connecting") as status:
            yield lambda moment: status.update(Text(printable(_news(moment))))
        return
    due = 0.0

    def line(moment: "Moment") -> None:
        nonlocal due
        if moment.seconds >= due:
            due = moment.seconds + LINE_EVERY
            note(_news(moment))

    yield line


def _news(moment: "Moment") -> str:
    missing = moment.connected + moment.ended < moment.devices
    most = max(moment.failed.items(), key=lambda item: item[1], default=("", 0))
    why = f"; {most[1]:,} tries failed: {most[0]}" if missing and most[1] else ""
    return (
        f"{moment.seconds:.0f} s: {moment.connected:,} of {moment.devices:,} connected, "
        f"{moment.statuses_per_second:,.0f} statuses/s, {moment.ring_changes:,} rings, "
        f"{moment.reconnects:,} reconnects, {sum(moment.refused.values()):,} refused{why}"
    )


def _as_dict(moment: "Moment") -> dict[str, Any]:
    from msgspec import to_builtins  # noqa: PLC0415

    answer: dict[str, Any] = to_builtins(moment)
    del answer["statuses_per_second"]
    return answer | {"seconds": round(moment.seconds, 1)}


def _table(told: dict[str, Any]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    per_second = told["statuses"] / max(told["seconds"], 1e-3)
    rings = ", ".join(f"{ring} {n:,}" for ring, n in told["rings"].items())
    rows = {
        "devices": f"{told['devices']:,}, connected at the end {told['connected']:,}",
        "time": f"{told['seconds']:.1f} s",
        "statuses": f"{told['statuses']:,}, {per_second:,.0f}/s",
        "heartbeats": f"{told['heartbeats']:,}",
        "registrations": f"{told['registrations']:,}, of which again {told['reconnects']:,}",
        "connections lost": _reasons(told["lost"]),
        "tries that failed": _reasons(told["failed"]),
        "refused": _reasons(told["refused"]),
        "ended for good": _reasons(told["ended_because"]),
        "updates": _reasons(told["tasks"]),
        "changes of ring": f"{told['ring_changes']:,}, first ones included",
        "rings": rings or "none heard of",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _reasons(counts: dict[str, int]) -> str:
    """`12: why`, a line each, the most frequent first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    lines = [f"{count:,}: {why}" for why, count in most[:MOST_REASONS]]
    rest = sum(count for _, count in most[MOST_REASONS:])
    return "\n".join([*lines, f"{rest:,} for other reasons"] if rest else lines) or "0"
