"""`node run`, `node rejoin`, `config validate`: one node's process and file."""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from stationkeep.node.cli.failures import CommandError, ConfigurationError, UsageError, see
from stationkeep.node.cli.output import say

MOST_FAULTS = 20
"""Errors of one file that are printed."""
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A node's YAML file.")]


class Durability(enum.StrEnum):
    """Whether the journal is synced at every commit."""

    SYNC = "sync"
    OS = "os"


def run(
    config: Annotated[Path, typer.Option("--config", help="The node's YAML file.")],
    health_replay: Annotated[
        Path | None,
        typer.Option("--health-replay", help="CSV of recorded health instead of the sensors."),
    ] = None,
    replay_speed: Annotated[
        float | None,
        typer.Option("--replay-speed", min=0.001, help="Recorded seconds per second. Default: 1."),
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option("--durability", help="os: no sync; a power cut loses acknowledged writes."),
    ] = None,
) -> None:
    """Runs one node until SIGTERM or Ctrl-C; a second signal stops it at once."""
    if health_replay is not None and not health_replay.is_file():
        raise UsageError(f"--health-replay {health_replay}: no such file")
    if replay_speed is not None and health_replay is None:
        raise UsageError("--replay-speed needs --health-replay")
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415

    try:
        loaded = configuration.load(config)
    except configuration.ConfigError as error:
        raise _refused([error, *error.others]) from error
    from stationkeep.node.runtime.node import run as run_node  # noqa: PLC0415 - the whole server

    if durability is not None:
        loaded = replace(loaded, durability=durability.value)
    raise typer.Exit(run_node(loaded, health_replay, replay_speed or 1.0))


def rejoin(
    config: Annotated[Path, typer.Option("--config", help="The node's YAML file.")],
) -> None:
    """Prepares a stopped node to rejoin that lost its disk, or whose journal is damaged.

    Its data directory is moved aside and replaced by an empty one with a new incarnation: the node
    does not vote until the other members have sent it everything. One node at a time.
    """
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415
    from stationkeep.node.raft import JournalError, rejoin_empty  # noqa: PLC0415

    try:
        loaded = configuration.load(config)
    except configuration.ConfigError as error:
        raise _refused([error, *error.others]) from error
    if len(loaded.members) == 1:
        raise CommandError(
            f"{loaded.node} is the only member: nobody could send it the state. Restore it from a "
            "snapshot (stationkeep snapshot restore)"
        )
    try:
        aside = rejoin_empty(loaded.data_dir, cluster=loaded.cluster, node=loaded.node)
    except JournalError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{loaded.data_dir}: {error.strerror}: {error.filename}") from error
    if aside is not None:
        say(f"moved aside: {aside}")
    say(f"{loaded.node} may be started; it votes again once it has caught up")


def validate(file: FileArgument) -> None:
    """Checks whether a node would start with this file; names line, field and rule if not."""
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415

    errors = configuration.validate(file)
    if errors:
        raise _refused(errors)
    say(f"{file}: valid")


def _refused(errors: Sequence[Exception]) -> ConfigurationError:
    lines = [f"  {error}" for error in errors[:MOST_FAULTS]]
    if len(errors) > MOST_FAULTS:
        lines.append(f"  … and {len(errors) - MOST_FAULTS} more")
    return ConfigurationError("\n".join(["invalid configuration", *lines]) + see("configuration"))
