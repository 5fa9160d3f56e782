"""What the commands about rollouts share: files and paths, and how one is laid down."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from stationkeep.node.cli import rollout_shapes
from stationkeep.node.cli.client import Client, part
from stationkeep.node.cli.failures import ConfigurationError, UsageError, see
from stationkeep.node.cli.output import Format, show_table
from stationkeep.node.cli.sending import given, send
from stationkeep.node.system.operator_files import regular
from stationkeep.node.system.printable import printable

MOST_FAULTS = 20
RolloutArgument = Annotated[
    str, typer.Argument(metavar="ROLLOUT", help="Name of the rollout.", show_default=False)
]


class DescribedRollout(NamedTuple):
    """A rollout that a file or an order describes; `plan` with the keys of a file."""

    rollout: str
    plan: dict[str, Any]
    comment: str
    digest: str


def described(file: Path) -> DescribedRollout:
    """What a file says. Raises `ConfigurationError` with every fault: line, key, value, rule."""
    from stationkeep.node.config.yaml_document import ConfigError  # noqa: PLC0415 - slow to import
    from stationkeep.node.rollout_file.document import MAX_FILE_BYTES, load  # noqa: PLC0415
    from stationkeep.node.rollout_file.writing import plan_json  # noqa: PLC0415

    try:
        with open(file, "rb", opener=regular) as opened:
            found = load(str(file), opened.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise _refused([f"{file}: {error.strerror}"]) from error
    except ConfigError as error:
        raise _refused([str(each) for each in (error, *error.others)]) from error
    return DescribedRollout(found.rollout, plan_json(found.plan), found.comment, found.plan.digest)


def _refused(faults: list[str]) -> ConfigurationError:
    lines = [f"  {fault}" for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        lines.append(f"  … and {len(faults) - MOST_FAULTS} more")
    return ConfigurationError("\n".join(["invalid rollout", *lines]) + see("rollout-file"))


def previewed(node: Client, found: DescribedRollout) -> dict[str, Any]:
    """What a rollout would do. Nothing changes."""
    body = {"rollout": found.rollout, "plan": found.plan}
    return node.plan("/v1/rollouts:validate", rollout_shapes.Preview, body)


def preview(node: Client, found: DescribedRollout, format_: Format) -> None:
    """Shows what a rollout would do."""
    show_table(previewed(node, found), format_, "preview", "rollout_tables")


def send_draft(
    node: Client,
    found: DescribedRollout,
    *,
    replace: bool = False,
    reason: str | None = None,
    key: str | None = None,
    preliminary: bool = False,
) -> None:
    """Lays down what was described; `preliminary`: and then something is ordered of it."""
    body = {"rollout": found.rollout, "plan": found.plan}
    body |= given(replace=replace or None, comment=reason or found.comment or None)
    what = f"rollout {printable(found.rollout)} is laid down"
    send(node, "POST", "/v1/rollouts", body, key=key, what=what, preliminary=preliminary)


def rollout_path(rollout: str, what: str = "") -> str:
    """The path of a rollout, or of something about it."""
    if not rollout:
        raise UsageError("ROLLOUT: '' is no name")
    return f"/v1/rollouts/{part(rollout)}{what}"
