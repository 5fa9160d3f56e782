"""`explain`, `decisions`, `proposals`, `operation`: what was decided, and why."""

import enum
import time
from typing import Annotated, Any

import typer

from stationkeep.cluster.settings import LONGEST_PIN, parse_duration
from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client, Param, part
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    LimitOption,
    NodeArgument,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import show_table


class About(enum.StrEnum):
    """What a decision is about."""

    ALARMS = "alarms"
    ROLES = "roles"
    RINGS = "rings"
    ROLLOUTS = "rollouts"
    ORDERS = "orders"


SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="DURATION", help="Only of so long ago or less, such as 2h."),
]


def explain(
    node: NodeArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Explains why a node has its role, and why it is not PRIMARY: samples, votes and rules."""
    answer = client(url).get(f"/v1/nodes/{part(node)}/explain", shapes.Explanation)
    show_table(answer, format_, "explanation")


def decisions(
    *,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only about this node or device.")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", help="Only this outcome: approved, denied, held, done …"),
    ] = None,
    about: Annotated[
        About | None, typer.Option("--about", help="Only about things of this kind.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="Only with this in the sentence, who ordered it, or the reason.",
        ),
    ] = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists what was done or held back, newest first, with the reason."""
    items = decided(
        client(url), limit, subject=subject, outcome=outcome, text=text,
        about=None if about is None else about.value, since_ms=moment("--since", since),
    )  # fmt: skip
    show_table(items, format_, "decisions")


def decided(node: Client, limit: int, **which: Param) -> list[dict[str, Any]]:
    """Decisions, newest first."""
    return node.items("/v1/decisions", shapes.Decision, limit, **which)


def moment(option: str, text: str | None) -> int | None:
    """Milliseconds since 1970 of so long ago."""
    if text is None:
        return None
    return int(time.time() * 1_000) - parse_duration(option, duration(option, text, LONGEST_PIN))


def proposals(
    limit: LimitOption = 5, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Lists proposed changes with all votes; open ones first."""
    show_table(client(url).items("/v1/proposals", shapes.Proposal, limit), format_, "proposals")


def operation(
    operation_id: Annotated[str, typer.Argument(metavar="OPERATION")],
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows the outcome of an operation, for one that was unknown."""
    path = f"/v1/operations/{part(operation_id)}"
    show_table(client(url).get(path, shapes.Written), format_, "facts")
