"""`devices`: list, show, pin to a ring, explain."""

from typing import Annotated

import typer

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.settings import LONGEST_PIN
from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client, part
from stationkeep.node.cli.options import (
    DeviceArgument,
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    client,
    duration,
)
from stationkeep.node.cli.output import note_more, show_fleet, show_table, warn
from stationkeep.node.cli.sending import given, send


def devices_list(
    *,
    ring: Annotated[Ring | None, typer.Option("--ring", help="Only this ring.")] = None,
    healthy: Annotated[
        bool | None, typer.Option("--healthy/--unhealthy", help="Only these, and only online.")
    ] = None,
    online: Annotated[bool | None, typer.Option("--online/--offline", help="Only these.")] = None,
    selector: Annotated[
        str | None,
        typer.Option("--selector", help="Such as 'os=Android 14, model in (Pixel 8, Pixel 9)'."),
    ] = None,
    limit: LimitOption = 50,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists devices with their ring, health and last readings."""
    found = client(url).page(
        "/v1/devices",
        shapes.Device,
        limit,
        ring=None if ring is None else ring.value,
        healthy=_flag(healthy),
        online=_flag(online),
        selector=selector,
    )
    show_fleet(found.items, format_, "devices")
    if not found.items:
        warn(found.warnings)
    note_more(found.more, limit, format_)


def devices_show(
    device: DeviceArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Shows everything that is known about one device."""
    show_device(client(url), device, format_)


def show_device(node: Client, device: str, format_: Format) -> None:
    """The same of a node that was asked before."""
    found = node.get(_path(device), shapes.Device)
    if format_ is Format.TABLE:
        found |= {"tasks": node.get(f"{_path(device)}/tasks", shapes.Page[shapes.Task])["items"]}
    show_fleet(found, format_, "device")


def devices_history(
    device: DeviceArgument,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists the rings that a device was in, newest first: since when, by whose order, and why."""
    items = client(url).items(f"{_path(device)}/history", shapes.Move, limit)
    show_fleet(items, format_, "ring_history")


def devices_tasks(
    device: DeviceArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Lists the tasks that a device was given, newest first, and what became of them."""
    found = client(url).get(f"{_path(device)}/tasks", shapes.Page[shapes.Task])
    show_table(found["items"], format_, "tasks", "task_tables")


def devices_explain(
    device: DeviceArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Explains why a device is in its ring, and what could move it."""
    answer = client(url).get(f"{_path(device)}/explain", shapes.DeviceExplanation)
    show_fleet(answer, format_, "device_explanation")


def devices_assign(
    device: DeviceArgument,
    ring: Annotated[Ring, typer.Argument(help="The ring to pin it to.")],
    *,
    for_: Annotated[
        str | None, typer.Option("--for", help="When the pin expires. Default: never.")
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Moves a device to a ring and pins it there, whatever its health, until it is released."""
    lifetime = None if for_ is None else duration("--for", for_, LONGEST_PIN)
    body = given(ring=ring.value, lifetime=lifetime, reason=reason)
    what = f"{device} is pinned to {ring.value}"
    send(client(url), "PUT", f"{_path(device)}/ring", body, key=key, what=what)


def devices_release(device: DeviceArgument, key: KeyOption = None, url: UrlOption = None) -> None:
    """Ends a pin: health, policies and quotas decide about the device's ring again."""
    what = f"{device} is released"
    send(client(url), "DELETE", f"{_path(device)}/ring", None, key=key, what=what)


def devices_remove(device: DeviceArgument, key: KeyOption = None, url: UrlOption = None) -> None:
    """Removes a device; if its agent connects again, it registers as a new one."""
    send(client(url), "DELETE", _path(device), None, key=key, what=f"{device} is removed")


def credentials_revoke(
    device: DeviceArgument,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Ends a device's own credential, and its connection. The device cannot enrol until a reset."""
    what, body = f"the credential of {device} is revoked", given(reason=reason)
    send(client(url), "DELETE", f"{_path(device)}/credential", body, key=key, what=what)


def credentials_reset(
    device: DeviceArgument,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Ends a device's own credential, and takes in whoever enrols under its id next."""
    what, body = f"{device} may enrol anew", given(reason=reason)
    send(client(url), "POST", f"{_path(device)}/credential/reset", body, key=key, what=what)


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _path(device: str) -> str:
    return f"/v1/devices/{part(device)}"
