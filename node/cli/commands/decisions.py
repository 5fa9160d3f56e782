"""Why: decisions, proposals, operations, and a node explained."""

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
    """Why a node is what it is, and why it is not PRIMARY: samples, votes and rules."""
    answer = client(url).get(f"/v1/nodes/{part(node)}/explain", shapes.Explanation)
    show_table(answer, format_, "explanation")


def decisions(
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only about this node, or device.")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", help="Only this outcome: approved, denied, held, done …"),
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """What was done or held back, newest first, with the reason."""
    items = client(url).items(
        "/v1/decisions", shapes.Decision, limit, subject=subject, outcome=outcome
    )
    show_table(items, format_, "decisions")


def proposals(
    limit: LimitOption = 5, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Proposed changes with every voter's verdict; open ones first."""
    show_table(client(url).items("/v1/proposals", shapes.Proposal, limit), format_, "proposals")


def operation(
    operation_id: Annotated[str, typer.Argument(metavar="OPERATION")],
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """What became of an operation whose outcome was unknown."""
    path = f"/v1/operations/{part(operation_id)}"
    show_table(client(url).get(path, shapes.Written), format_, "facts")
