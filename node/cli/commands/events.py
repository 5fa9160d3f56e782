"""`events`, `wait`: what happens, as it happens; and waiting until something has."""

import enum
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError, NoQuorumError, UnreachableError, UsageError
from stationkeep.node.cli.options import (
    MOST_NODES,
    Format,
    FormatOption,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import note, say
from stationkeep.node.cli.rendering import wording
from stationkeep.node.system.printable import printable

POLL_SECONDS = 0.5
MOST_SHOWN = 400
"""Characters of one event in a line."""
ROLES = ("PRIMARY", "BACKUP", "STANDBY", "SAFE_MODE")


class Topic(enum.StrEnum):
    """Kinds of events that belong together."""

    ROLES = "roles"
    VOTES = "votes"
    ALARMS = "alarms"
    ORDERS = "orders"
    MEMBERS = "members"
    DEVICES = "devices"
    TASKS = "tasks"
    ROLLOUTS = "rollouts"
    DECISIONS = "decisions"


KINDS = {
    Topic.ROLES: ("role_", "seat_", "founded"),
    Topic.VOTES: ("proposal_", "vote_", "samples_", "leases_"),
    Topic.ALARMS: ("alarm_",),
    Topic.ORDERS: ("action_", "settings_", "pause_"),
    Topic.MEMBERS: ("member_",),
    Topic.DEVICES: ("device", "fleet_", "rings_", "rebalance_"),
    Topic.TASKS: ("deployment_", "tasks_"),
    Topic.ROLLOUTS: ("rollout", "stage_", "gate_", "freeze_"),
    Topic.DECISIONS: ("decided",),
}
"""By topic, how the kinds of its events begin."""


def events(
    topic: Annotated[
        list[Topic] | None,
        typer.Option("--topic", help="Only these; repeatable. Default: all but votes."),
    ] = None,
    *,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="Begin after this event. Default: from now on."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many. Default: Ctrl-C.")
    ] = None,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="As it does anyway.", hidden=True)
    ] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Follows what happens, a line for each event, through the loss of nodes. What happened before
    is in `stationkeep decisions`."""
    from stationkeep.node.cli.event_stream import Event, follow  # noqa: PLC0415 - httpx

    prefixes = _prefixes(topic)
    left = count

    def take(event: Event) -> bool:
        nonlocal left
        if event.kind.startswith(prefixes):
            _show(event.id, event.kind, event.data, format_)
            left = None if left is None else left - 1
        return left == 0

    try:
        follow(client(url), after, take)
    except KeyboardInterrupt:
        return


def _prefixes(topics: list[Topic] | None) -> tuple[str, ...]:
    wanted = topics or [topic for topic in Topic if topic is not Topic.VOTES]
    kinds = tuple(prefix for topic in wanted for prefix in KINDS[topic])
    return (*kinds, "gap", "overrun")


def _show(id_: str, kind: str, data: dict[str, Any], format_: Format) -> None:
    if format_ is not Format.TABLE:  # a document each: a line of JSON is YAML, too
        say(json.dumps({"id": id_, "event": kind, **data}, ensure_ascii=False), whole=True)
        return
    wall = data.get("wall_ms")
    at = wording.clock(wall if isinstance(wall, int) and 0 <= wall < 2**53 // 1_000 else None)
    text = printable(_sentence(data))
    say(f"{at}  {printable(kind)}  {text[:MOST_SHOWN]}{'…' if len(text) > MOST_SHOWN else ''}")


def _sentence(data: dict[str, Any]) -> str:
    """What a decision says of itself, else the fields that are not of time."""
    said = data.get("sentence") or data.get("detail")
    if isinstance(said, str):
        return said
    kept = ((name, value) for name, value in data.items() if name not in _OF_TIME)
    return " ".join(f"{name}={_value(value)}" for name, value in kept if value not in _NOTHING)


_OF_TIME = ("index", "at_ms", "wall_ms", "at", "wall")
_NOTHING: tuple[object, ...] = (None, "", [], {})


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- waiting -------------------------------------------------------------------------------------


def wait(
    condition: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="CONDITION",
            help="ok, quorum, primary, primary=NODE, or NODE=ROLE: such as sat-003=STANDBY.",
        ),
    ],
    *,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long it may take.")
    ] = "60s",
    url: UrlOption = None,
) -> None:
    """Waits until a condition holds; exit 1 if it has not in time."""
    holds = _condition(condition)
    seconds = parse_duration("--timeout", duration("--timeout", timeout)) / 1_000
    node, until, seen = client(url), time.monotonic() + seconds, ""
    while True:
        try:
            answer = holds(node)
        except (UnreachableError, NoQuorumError) as error:
            if time.monotonic() >= until:
                raise
            answer = (False, str(error).partition("\n")[0])
        good, said = answer
        if good:
            say(said)
            return
        if time.monotonic() >= until:
            raise CommandError(f"--for {condition}: not within {timeout}: {said}")
        if said != seen:
            seen = said
            note(f"stationkeep: waiting: {said}")
        time.sleep(POLL_SECONDS)


Holds = Callable[[Client], tuple[bool, str]]
"""Whether a condition holds, and how things are."""


def _condition(text: str) -> Holds:
    name, equals, wanted = text.partition("=")
    if not equals and name in ("ok", "quorum", "primary"):
        return {"ok": _is_ok, "quorum": _has_quorum, "primary": _has_primary}[name]
    if name == "primary" and wanted:
        return lambda node: _acts(node, wanted, "PRIMARY")
    if name and wanted.upper() in ROLES:
        return lambda node: _acts(node, name, wanted.upper())
    rule = f"ok, quorum, primary, primary=NODE, or NODE=ROLE with a ROLE of {', '.join(ROLES)}"
    raise UsageError(f"--for {text!r}: {rule}")


def _is_ok(node: Client) -> tuple[bool, str]:
    cluster = node.get("/v1/cluster", shapes.Cluster)
    return cluster["verdict"] == "ok", f"{cluster['verdict']}: {printable(cluster['headline'])}"


def _has_quorum(node: Client) -> tuple[bool, str]:
    quorum = node.get("/v1/cluster", shapes.Cluster)["quorum"]
    touch = f"{quorum['connected']} of {quorum['members']} members are in touch"
    return quorum["present"], f"{touch}, {quorum['needed']} are needed"


def _has_primary(node: Client) -> tuple[bool, str]:
    members = node.items("/v1/nodes", shapes.Node, MOST_NODES)
    found = [member["id"] for member in members if member.get("effective_role") == "PRIMARY"]
    return bool(found), f"{printable(found[0])} is PRIMARY" if found else "no node acts as PRIMARY"


def _acts(node: Client, name: str, role: str) -> tuple[bool, str]:
    members = {m["id"]: m for m in node.items("/v1/nodes", shapes.Node, MOST_NODES)}
    if name not in members:
        raise CommandError(unknown("node", name, members))
    acting = members[name].get("effective_role")
    return acting == role, f"{printable(name)} acts as {printable(acting or 'nothing: not heard')}"
