"""`roles`, `switchover`, `failover`, `pause`, `resume`: the role table, and orders about it."""

from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.options import (
    MOST_NODES,
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import show_table
from stationkeep.node.cli.sending import given, send


def roles_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Shows the role table, and the role that every node acts in."""
    show_table(client(url).items("/v1/roles", shapes.RoleNow, MOST_NODES), format_, "roles")


def roles_history(
    limit: LimitOption = 20, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Lists role changes, newest first."""
    items = client(url).items("/v1/roles/history", shapes.RoleChange, limit)
    show_table(items, format_, "role_history")


def switchover(
    to: Annotated[
        str | None, typer.Option("--to", help="New PRIMARY. Default: the best candidate.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves the PRIMARY seat to a healthy node, in a planned handover."""
    body = given(target=to, reason=reason)
    send(
        client(url),
        "POST",
        "/v1/switchover",
        body,
        key=key,
        what=f"switchover to {to or 'the best candidate'}",
    )


def failover(
    to: Annotated[str, typer.Option("--to", help="New PRIMARY.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if the new PRIMARY is unfit.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves the PRIMARY seat even if the current PRIMARY is unhealthy."""
    body = given(target=to, force=force, reason=reason)
    send(client(url), "POST", "/v1/failover", body, key=key, what=f"failover to {to}")


def pause(
    for_: Annotated[str, typer.Option("--for", help="How long, such as 90s or 10m. It expires.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Suspends automatic role changes for a limited time."""
    body = given(duration=duration("--for", for_), reason=reason)
    send(client(url), "POST", "/v1/pause", body, key=key, what=f"pause for {for_}")


def resume(reason: ReasonOption = None, key: KeyOption = None, url: UrlOption = None) -> None:
    """Ends a pause."""
    send(client(url), "POST", "/v1/resume", given(reason=reason), key=key, what="resume")
