"""`actions`: hooks that nodes run and acknowledge."""

from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.following import follow_action
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    client,
    duration,
    pairs,
)
from stationkeep.node.cli.output import show_table
from stationkeep.node.cli.sending import given, send


def actions_list(
    limit: LimitOption = 20, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Lists actions and how many of their targets have complied; open ones first."""
    show_table(client(url).items("/v1/actions", shapes.Action, limit), format_, "actions")


def actions_run(
    name: Annotated[str, typer.Argument(metavar="ACTION", help="A hook in the nodes' files.")],
    *,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="A node. Repeatable. Default: all nodes that are alive."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="NAME=VALUE for the hook. Repeatable.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", help="Time to comply, such as 30s.")
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Until all have acknowledged it; exit 1 if one has not."),
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Makes nodes run their hook of that name and acknowledge it."""
    body = given(
        name=name,
        targets=target,
        parameters=pairs("--parameter", parameter) or None,
        deadline=None if deadline is None else duration("--deadline", deadline),
        reason=reason,
    )
    node = client(url)
    done = send(node, "POST", "/v1/actions", body, key=key, what=f"action {name}")
    if wait:
        action = (done.get("result") or {}).get("action")
        if not isinstance(action, str):
            raise CommandError("the answer names no action; is that a Stationkeep node?")
        follow_action(node, action)
