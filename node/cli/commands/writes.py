"""Commands by which an operator changes something. Each is one replicated command."""

import enum
from typing import Annotated

import msgspec
import typer

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.cli.client import part
from stationkeep.node.cli.failures import UsageError
from stationkeep.node.cli.options import KeyOption, NodeArgument, ReasonOption, UrlOption, duration
from stationkeep.node.cli.sending import given, pair, send


def switchover(
    to: Annotated[
        str | None, typer.Option("--to", help="New PRIMARY. Default: the best candidate.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves the PRIMARY seat in good order to a healthy node."""
    body = given(target=to, reason=reason)
    send(
        "POST",
        "/v1/switchover",
        body,
        key=key,
        url=url,
        what=f"switchover to {to or 'the best candidate'}",
    )


def failover(
    to: Annotated[str, typer.Option("--to", help="New PRIMARY.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even when the new PRIMARY is unfit.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves the PRIMARY seat even though the present PRIMARY is unhealthy."""
    body = given(target=to, force=force, reason=reason)
    send("POST", "/v1/failover", body, key=key, url=url, what=f"failover to {to}")


def pause(
    for_: Annotated[str, typer.Option("--for", help="How long, such as 90s or 10m. It expires.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Suspends automatic changes of role for a while."""
    body = given(duration=duration("--for", for_), reason=reason)
    send("POST", "/v1/pause", body, key=key, url=url, what=f"pause for {for_}")


def resume(reason: ReasonOption = None, key: KeyOption = None, url: UrlOption = None) -> None:
    """Ends a pause."""
    send("POST", "/v1/resume", given(reason=reason), key=key, url=url, what="resume")


class Switch(enum.StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def nodes_maintenance(
    node: NodeArgument,
    *,
    switch: Annotated[Switch, typer.Argument(metavar="on|off")] = Switch.ON,
    for_: Annotated[
        str | None, typer.Option("--for", help="How long, such as 1h. Default: the server's.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Drains a node to STANDBY and keeps it from being a candidate; ends by itself or with off."""
    if switch is Switch.OFF and for_ is not None:
        raise UsageError("--for goes with `on` only")
    span = None if for_ is None else duration("--for", for_)
    body = given(on=switch is Switch.ON, duration=span, reason=reason)
    what = f"maintenance of {node} {switch.value}"
    send("POST", f"/v1/nodes/{part(node)}/maintenance", body, key=key, url=url, what=what)


def nodes_join(
    node: NodeArgument,
    *,
    raft: Annotated[str, typer.Option("--raft", help="host:port for the other members.")],
    http: Annotated[str, typer.Option("--http", help="host:port for clients.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Takes a node in: a learner first, with a vote once it has caught up.

    Its own file lists the members and itself, and says `join: true`.
    """
    body = given(id=node, raft=raft, http=http, reason=reason)
    send("POST", "/v1/nodes", body, key=key, url=url, what=f"{node} joins")


def nodes_leave(node: NodeArgument, key: KeyOption = None, url: UrlOption = None) -> None:
    """Removes a node for good. The PRIMARY hands over first (switchover, or maintenance)."""
    path = f"/v1/nodes/{part(node)}"
    send("DELETE", path, None, key=key, url=url, what=f"{node} leaves")


def nodes_priority(
    node: NodeArgument,
    priority: Annotated[int, typer.Argument(min=0, max=1_000, help="0 = never PRIMARY.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Sets the order in which candidates for PRIMARY are taken; higher first, 0 never."""
    body = given(priority=priority, reason=reason)
    send(
        "POST",
        f"/v1/nodes/{part(node)}/priority",
        body,
        key=key,
        url=url,
        what=f"priority of {node} {priority}",
    )


class PolicyPriority(enum.StrEnum):
    """What a policy is for; decides its weight in arbitration."""

    SAFETY = "safety"
    PERFORMANCE = "performance"
    AVAILABILITY = "availability"


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
    for_: Annotated[str | None, typer.Option("--for", help="Expires after so long.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the policy.")] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Gives a node a local policy by which it denies proposals, or takes it away."""
    if remove == bool(forbid):
        raise UsageError("give --forbid PATTERN to set the policy, or --remove to take it away")
    path = f"/v1/nodes/{part(node)}/policies"
    if remove:
        send(
            "DELETE",
            f"{path}/{part(name)}",
            None,
            key=key,
            url=url,
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
    send("POST", path, body, key=key, url=url, what=f"policy {name} of {node}")


def actions_run(
    name: Annotated[str, typer.Argument(help="Name of the action: a hook in the nodes' files.")],
    *,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="A node. Repeatable. Default: every alive node."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="KEY=VALUE for the hook. Repeatable.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", help="Time to comply, such as 30s.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Has nodes run their hook of that name and acknowledge it."""
    parameters = dict(pair("--parameter", text) for text in parameter or [])
    body = given(
        name=name,
        targets=target,
        parameters=parameters or None,
        deadline=None if deadline is None else duration("--deadline", deadline),
        reason=reason,
    )
    send("POST", "/v1/actions", body, key=key, url=url, what=f"action {name}")


def alarms_ack(
    alarm: Annotated[
        str, typer.Argument(metavar="ALARM", help="Its id, or a name for all alarms of it.")
    ],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Says that an alarm was seen; it stays until what it is about is over."""
    path = f"/v1/alarms/{part(alarm)}/ack"
    send("POST", path, given(reason=reason), key=key, url=url, what=f"{alarm} acknowledged")


def config_set(
    assignments: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE …", help="Such as evaluation_interval=2s.")
    ],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Changes settings on all nodes at once; an impossible set is refused as a whole."""
    changes = {name: scalar(value) for name, value in (pair("", a) for a in assignments)}
    if reason is not None:
        changes["reason"] = reason
    send("PATCH", "/v1/config", changes, key=key, url=url, what="settings changed")


def scalar(text: str) -> str | int | float | bool:
    """`0.3` as a number, `true` as a flag, `5s` as text."""
    try:
        value = msgspec.json.decode(text)
    except (*UNREADABLE, UnicodeEncodeError):
        return text
    return value if isinstance(value, int | float) else text
