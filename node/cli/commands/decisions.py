"""`explain`, `decisions`, `proposals`, `operation`: what was decided, and why."""

from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    LimitOption,
    NodeArgument,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import show_table


def explain(
    node: NodeArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Explains why a node has its role, and why it is not PRIMARY: samples, votes and rules."""
    answer = client(url).get(f"/v1/nodes/{part(node)}/explain", shapes.Explanation)
    show_table(answer, format_, "explanation")


def decisions(
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only about this node or device.")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", help="Only this outcome: approved, denied, held, done …"),
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists what was done or held back, newest first, with the reason."""
    items = client(url).items(
        "/v1/decisions", shapes.Decision, limit, subject=subject, outcome=outcome
    )
    show_table(items, format_, "decisions")


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
