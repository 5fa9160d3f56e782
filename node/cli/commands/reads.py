"""Commands that only look: `status`, `explain`, `decisions` and their like."""

from typing import Annotated, Any

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
from stationkeep.node.cli.output import show

MOST_NODES = 99


def status(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """The cluster in a few lines: who is PRIMARY, who leads Raft, every node and its role."""
    node = client(url)
    cluster = node.get("/v1/cluster", shapes.Cluster)
    items = node.items("/v1/nodes", shapes.Node, MOST_NODES)

    def table(answer: Any) -> Any:
        from stationkeep.node.cli.rendering import tables  # noqa: PLC0415

        return tables.status(answer["cluster"], answer["nodes"])

    show({"cluster": cluster, "nodes": items}, format_, table)


def explain(
    node: NodeArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Why a node is what it is, and why it is not PRIMARY: samples, votes and rules."""
    answer = client(url).get(f"/v1/nodes/{part(node)}/explain", shapes.Explanation)
    _show(answer, format_, "explanation")


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
    _show(items, format_, "decisions")


def proposals(
    limit: LimitOption = 5, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Proposed changes with every voter's verdict; open ones first."""
    _show(client(url).items("/v1/proposals", shapes.Proposal, limit), format_, "proposals")


def operation(
    operation_id: Annotated[str, typer.Argument(metavar="OPERATION")],
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """What became of an operation whose outcome was unknown."""
    path = f"/v1/operations/{part(operation_id)}"
    _show(client(url).get(path, shapes.Written), format_, "facts")


def nodes_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Every node: role, effective role, risk, lease, cool-down."""
    _show(client(url).items("/v1/nodes", shapes.Node, MOST_NODES), format_, "nodes")


def roles_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """The role table beside what every node effectively is."""
    _show(client(url).items("/v1/roles", shapes.RoleNow, MOST_NODES), format_, "roles")


def roles_history(
    limit: LimitOption = 20, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Changes of role, newest first."""
    items = client(url).items("/v1/roles/history", shapes.RoleChange, limit)
    _show(items, format_, "role_history")


def actions_list(
    limit: LimitOption = 20, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Actions and how many of their targets have complied; open ones first."""
    _show(client(url).items("/v1/actions", shapes.Action, limit), format_, "actions")


def alarms_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """What is raised now, the grave first. What is over is among the decisions."""
    _show(client(url).get("/v1/alarms", shapes.Alarms)["items"], format_, "alarms")


def config_show(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """The settings that all nodes share."""
    _show(client(url).get("/v1/config", shapes.Config), format_, "settings")


def _show(answer: Any, format_: Format, table: str) -> None:
    """Prints `answer`; `table` names the function of `rendering.tables`, loaded when needed."""

    def build(printable: Any) -> Any:
        from stationkeep.node.cli.rendering import tables  # noqa: PLC0415

        return getattr(tables, table)(printable)

    show(answer, format_, build)
