"""`tasks`: have devices do something, and see what became of it."""

import enum
from typing import Annotated, Any

import typer

from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.node.cli import shapes
from stationkeep.node.cli.artifact_options import (
    ArtifactOption,
    ComponentOption,
    HashOption,
    SignatureOption,
    SigningKeyOption,
    SizeOption,
)
from stationkeep.node.cli.client import Page
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.following import follow
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
    whole,
)
from stationkeep.node.cli.output import note, note_more, show_table
from stationkeep.node.cli.sending import given, send

TO, LIMITS = "To whom: one of these", "How fast, how long"
"""Panels of `tasks submit --help`, beside that of the artifact."""
PACE = ("from", "to", "factor")


class Standing(enum.StrEnum):
    """Where a deployment stands."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


NumberArgument = Annotated[
    int, typer.Argument(metavar="DEPLOYMENT", min=1, help="Number of the deployment.")
]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Follow it to its end; exit 1 if a task failed."),
]
DevicesOption = Annotated[
    list[str] | None, typer.Option("--device", help="Only this one. Repeatable. Default: all.")
]


def tasks_submit(
    version: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help="Version to install; none with another --type."),
    ] = None,
    *,
    ring: Annotated[
        Ring | None, typer.Option("--ring", help="Devices in this ring.", rich_help_panel=TO)
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(
            "--selector", help="Such as 'model in (Pixel 8, Pixel 9)'.", rich_help_panel=TO
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="A device. Repeatable.", rich_help_panel=TO),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="All devices.", rich_help_panel=TO)
    ] = False,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Type of the tasks. Default: deployment."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="NAME=VALUE for the device. Repeatable."),
    ] = None,
    component: ComponentOption = None,
    artifact: ArtifactOption = None,
    sha256: HashOption = None,
    size: SizeOption = None,
    signature: SignatureOption = None,
    signing_key: SigningKeyOption = None,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority", help="0 to 1000; the higher goes first.", rich_help_panel=LIMITS
        ),
    ] = None,
    max_in_flight: Annotated[
        int | None,
        typer.Option("--max-in-flight", help="Tasks under way at a time.", rich_help_panel=LIMITS),
    ] = None,
    pace: Annotated[
        str | None,
        typer.Option(
            "--pace",
            metavar="FROM:TO:FACTOR",
            help="Offers a minute, such as 10:1000:2: times 2 after each minute that went well.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline", help="After which none begins, such as 12h.", rich_help_panel=LIMITS
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option("--retries", help="After the first attempt.", rich_help_panel=LIMITS),
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(
            "--require",
            metavar="RULE",
            help="Of a device's newest status. Default: 'battery > 20', or charging; '': nothing.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    allow_downgrade: Annotated[
        bool,
        typer.Option(
            "--allow-downgrade",
            help="Also where a newer version runs.",
            rich_help_panel=LIMITS,
        ),
    ] = False,
    wait: WaitOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Has devices install a version, or do something else: `tasks submit 2.0.0 --ring prod`."""
    from stationkeep.cluster.deployments.deployment import MAX_DEADLINE  # noqa: PLC0415 - numpy

    details = given(
        component=component, url=artifact, sha256=sha256, size=size, signature=signature,
        key=signing_key,
    )  # fmt: skip
    body = given(
        **_target(ring, selector, device, everyone=everyone),
        task_type=type_,
        parameters=pairs("--parameter", parameter) or None,
        artifact=_artifact(version, type_, details),
        priority=priority,
        max_in_flight=max_in_flight,
        pace=None if pace is None else _pace(pace),
        deadline=None if deadline is None else duration("--deadline", deadline, MAX_DEADLINE),
        retries=retries,
        require=require,
        allow_downgrade=allow_downgrade or None,
        reason=reason,
    )
    what = f"{version or type_} is submitted"
    node = client(url)
    made = send(node, "POST", "/v1/tasks", body, key=key, what=what)
    if wait:
        if "deployment" not in made:
            raise CommandError("the answer names no deployment; is that a Stationkeep node?")
        follow(node, made["deployment"])


def tasks_list(
    *,
    state: Annotated[
        list[Standing] | None,
        typer.Option("--state", help="Only deployments in this state; repeatable."),
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists deployments, the newest first: what, to whom, and how far they have come."""
    found = client(url).page("/v1/deployments", shapes.Deployment, limit, state=state)
    show_table(found.items, format_, "deployments", "task_tables")
    note_more(found.more, limit, format_)


def tasks_show(
    number: NumberArgument,
    *,
    state: Annotated[
        TaskState | None, typer.Option("--state", help="Only tasks in this state.")
    ] = None,
    ring: Annotated[
        Ring | None, typer.Option("--ring", help="Only tasks of devices in this ring.")
    ] = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows one deployment: its state, tallies, failures, and tasks."""
    node, path = client(url), f"/v1/deployments/{number}"
    found = node.get(path, shapes.Deployment)
    filters = given(state=state, ring=ring)
    tasks = Page([], False, [])
    if found["rostered"]:
        tasks = node.page(f"{path}/tasks", shapes.Task, limit, **filters)
    show_table(found | {"tasks": tasks.items}, format_, "deployment", "task_tables")
    if tasks.more and format_ is Format.TABLE:
        note(f"… and more tasks: --state, --ring, or raise --limit {limit}")


def tasks_cancel(
    number: NumberArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Offers nothing more; devices that have begun to install run to their end."""
    path, what = f"/v1/deployments/{number}/cancel", f"deployment {number} is canceled"
    send(client(url), "POST", path, given(reason=reason), key=key, what=what)


def tasks_retry(
    number: NumberArgument,
    *,
    device: DevicesOption = None,
    wait: WaitOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Gives tasks that failed or were not reached another attempt, and opens it again if closed."""
    body = given(devices=device, reason=reason)
    path, what = f"/v1/deployments/{number}/retry", f"deployment {number} is tried again"
    node = client(url)
    send(node, "POST", path, body, key=key, what=what)
    if wait:
        follow(node, number)


def _target(
    ring: Ring | None, selector: str | None, devices: list[str] | None, *, everyone: bool
) -> dict[str, Any]:
    found = given(ring=ring, selector=selector, devices=devices or None, all=everyone or None)
    if len(found) != 1:
        raise UsageError("give exactly one of --ring, --selector, --device, --all")
    return found


def _artifact(
    version: str | None, type_: str | None, details: dict[str, Any]
) -> dict[str, Any] | None:
    if version is not None:
        return {"version": version, **details}
    if details:
        raise UsageError("an artifact needs its VERSION")
    if type_ is None:
        raise UsageError("give a VERSION to install, or --type for tasks that install nothing")
    return None


def _pace(text: str) -> dict[str, int]:
    parts = text.split(":")
    if len(parts) != 3:
        raise UsageError(f"--pace {text!r}: must have the form FROM:TO:FACTOR, such as 10:1000:2")
    return {name: whole("--pace", part) for name, part in zip(PACE, parts, strict=True)}
