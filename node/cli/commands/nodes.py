"""`nodes`: list, links, join, move, leave, maintenance, priority, local policies."""

import enum
from typing import Annotated, Any

import msgspec
import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.options import (
    MOST_NODES,
    Format,
    FormatOption,
    KeyOption,
    NodeArgument,
    ReasonOption,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import note, show, show_table
from stationkeep.node.cli.sending import given, send


class Switch(enum.StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


class PolicyPriority(enum.StrEnum):
    """What a policy protects; decides which of several policies a denial names."""

    SAFETY = "safety"
    PERFORMANCE = "performance"
    AVAILABILITY = "availability"


def nodes_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Lists all nodes: role, effective role, risk, lease, cool-down."""
    show_table(client(url).items("/v1/nodes", shapes.Node, MOST_NODES), format_, "nodes")


def nodes_links(
    node: Annotated[str | None, typer.Argument(help="Only links from or to this node.")] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Ask each member for its own figures, not only one.")
    ] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows packets lost between nodes within the last minute, as counted by the receiving node."""
    from stationkeep.node.cli.links_seen import ask, ask_each  # noqa: PLC0415

    asked = client(url)
    seen, silent = ask_each(asked) if every else ([ask(asked)], {})
    found = [one.about(node) for one in seen]
    if node is not None and not any(one.links for one in found):
        raise CommandError(f"no link from or to {node}")

    def table(_answer: Any) -> Any:  # of the structs, whose names are checked as ids
        from stationkeep.node.cli.rendering import link_tables  # noqa: PLC0415

        return link_tables.links(found)

    show({"nodes": msgspec.to_builtins(found), "unanswered": silent}, format_, table)
    for name, why in silent.items():
        note(f"{name}: {why}")


def topology(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Shows who hears whom, and what gets lost: each node says it of those whom it hears."""
    from stationkeep.node.cli.links_seen import ask_each  # noqa: PLC0415

    found, silent = ask_each(client(url))

    def table(_answer: Any) -> Any:  # of the structs, whose names are checked as ids
        from stationkeep.node.cli.rendering import link_tables  # noqa: PLC0415

        return link_tables.topology(found)

    show({"nodes": msgspec.to_builtins(found), "unanswered": silent}, format_, table)
    for name, why in silent.items():
        note(f"{name}: {why}")


def nodes_join(
    node: NodeArgument,
    *,
    raft: Annotated[str, typer.Option("--raft", help="host:port for the other members.")],
    http: Annotated[str, typer.Option("--http", help="host:port for clients.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Adds a node: a learner at first, a voter once it has caught up.

    Its own file lists the members and itself, and has `join: true`.
    """
    body = given(id=node, raft=raft, http=http, reason=reason)
    send(client(url), "POST", "/v1/nodes", body, key=key, what=f"{node} joins")


def nodes_move(
    node: NodeArgument,
    *,
    raft: Annotated[
        str | None, typer.Option("--raft", help="host:port for the other members.")
    ] = None,
    http: Annotated[str | None, typer.Option("--http", help="host:port for clients.")] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Tells the cluster where a node is reached from now on. What is left out stays as it is."""
    body = given(raft=raft, http=http, reason=reason)
    path = f"/v1/nodes/{part(node)}/move"
    send(client(url), "POST", path, body, key=key, what=f"{node} moves")


def nodes_leave(
    node: NodeArgument,
    *,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Its machine may be in foreign hands.")
    ] = False,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Removes a node for good. A PRIMARY must hand over first (switchover, or maintenance)."""
    path = f"/v1/nodes/{part(node)}" + ("?compromised=true" if compromised else "")
    send(client(url), "DELETE", path, None, key=key, what=f"{node} leaves")
    if compromised:
        note("the CA's key may be known: replace the CA (stationkeep certs rotate-ca start)")


def nodes_maintenance(
    node: NodeArgument,
    *,
    switch: Annotated[Switch, typer.Argument(metavar="on|off")] = Switch.ON,
    for_: Annotated[
        str | None, typer.Option("--for", help="How long, such as 1h. Default: the setting's.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves a node to STANDBY and keeps it from being a candidate; expires, or ends with off."""
    if switch is Switch.OFF and for_ is not None:
        raise UsageError("--for is only valid with `on`")
    span = None if for_ is None else duration("--for", for_)
    body = given(on=switch is Switch.ON, duration=span, reason=reason)
    what = f"maintenance of {node} {switch.value}"
    send(client(url), "POST", f"/v1/nodes/{part(node)}/maintenance", body, key=key, what=what)


def nodes_priority(
    node: NodeArgument,
    priority: Annotated[int, typer.Argument(min=0, max=1_000, help="0 = never PRIMARY.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Sets a node's priority as a candidate for PRIMARY: the highest is chosen first, 0 never."""
    body = given(priority=priority, reason=reason)
    send(
        client(url),
        "POST",
        f"/v1/nodes/{part(node)}/priority",
        body,
        key=key,
        what=f"priority of {node} {priority}",
    )


def nodes_policy(
    node: NodeArgument,
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    *,
    forbid: Annotated[
        list[str] | None,
        typer.Option("--forbid", help="Pattern [NODE:]FROM->TO, * for any. Repeatable."),
    ] = None,
    priority: Annotated[PolicyPriority, typer.Option("--priority")] = PolicyPriority.SAFETY,
    score: Annotated[float, typer.Option("--score", min=0.0, max=1.0)] = 1.0,
    for_: Annotated[str | None, typer.Option("--for", help="How long. Default: no end.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the policy.")] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Sets or removes a local policy of a node: it makes the node deny proposals."""
    if remove == bool(forbid):
        raise UsageError("give --forbid PATTERN to set the policy, or --remove to remove it")
    path = f"/v1/nodes/{part(node)}/policies"
    if remove:
        send(
            client(url),
            "DELETE",
            f"{path}/{part(name)}",
            None,
            key=key,
            what=f"policy {name} of {node} removed",
        )
        return
    lifetime = None if for_ is None else duration("--for", for_)
    body = given(
        name=name,
        priority=priority.value,
        score=score,
        forbids=forbid,
        lifetime=lifetime,
        reason=reason,
    )
    send(client(url), "POST", path, body, key=key, what=f"policy {name} of {node}")
