"""`node run` and `config validate`: what concerns one node's file and process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from node.cli.failures import ConfigurationError, UsageError

MOST_FAULTS = 20
"""Faults of one file that are printed."""

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A node's YAML file.")]


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
) -> None:
    """Runs one node until it is told to stop (SIGTERM; a second one stops it at once)."""
    if health_replay is not None and not health_replay.is_file():
        raise UsageError(f"--health-replay {health_replay}: no such file")
    if replay_speed is not None and health_replay is None:
        raise UsageError("--replay-speed says how fast --health-replay goes, which is not given")
    from node import config as configuration  # noqa: PLC0415

    try:
        loaded = configuration.load(config)
    except configuration.ConfigError as error:
        raise _refused([error, *error.others]) from error
    from node.runtime import run as run_node  # noqa: PLC0415 - the whole server

    raise typer.Exit(run_node(loaded, health_replay, replay_speed or 1.0))


def validate(file: FileArgument) -> None:
    """Says whether a node would start with this file, or names line, field and rule."""
    from node import config as configuration  # noqa: PLC0415

    errors = configuration.validate(file)
    if errors:
        raise _refused(errors)
    typer.echo(f"{file}: valid")


def _refused(errors: Sequence[Exception]) -> ConfigurationError:
    lines = [f"  {error}" for error in errors[:MOST_FAULTS]]
    if len(errors) > MOST_FAULTS:
        lines.append(f"  … and {len(errors) - MOST_FAULTS} more")
    return ConfigurationError("\n".join(["invalid configuration", *lines]))
