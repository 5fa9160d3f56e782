"""Commands that look at the fleet: devices, their rings, and why they are in them."""

from typing import Annotated, Any

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.options import (
    DeviceArgument,
    Format,
    FormatOption,
    LimitOption,
    Ring,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import note, show, warn


def devices_list(
    *,
    ring: Annotated[Ring | None, typer.Option("--ring", help="Only this ring.")] = None,
    healthy: Annotated[
        bool | None, typer.Option("--healthy/--unhealthy", help="Only these; none that is offline.")
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
    """Devices with their ring, health and last readings."""
    found = client(url).page(
        "/v1/devices",
        shapes.Device,
        limit,
        ring=None if ring is None else ring.value,
        healthy=_flag(healthy),
        online=_flag(online),
        selector=selector,
    )
    _show(found.items, format_, "devices")
    if not found.items:
        warn(found.warnings)
    if found.more and format_ is Format.TABLE:
        note(f"… and more: --limit {limit} shows no more of them")


def devices_show(
    device: DeviceArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Everything that is known of one device."""
    _show(client(url).get(_path(device), shapes.Device), format_, "device")


def devices_history(
    device: DeviceArgument,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """The rings a device was in, newest first: since when, assigned by whom, and why."""
    items = client(url).items(f"{_path(device)}/history", shapes.Move, limit)
    _show(items, format_, "ring_history")


def devices_explain(
    device: DeviceArgument, url: UrlOption = None, format_: FormatOption = Format.TABLE
) -> None:
    """Why a device is in its ring, and what could move it."""
    answer = client(url).get(f"{_path(device)}/explain", shapes.DeviceExplanation)
    _show(answer, format_, "device_explanation")


def rings_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """The rings: devices, health, quotas; the health rule, policies and the brake."""
    _show(client(url).get("/v1/rings", shapes.Rings), format_, "rings")


def policies_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Ring policies in their order: the first whose selector matches a device rules it."""
    _show(client(url).get("/v1/rings", shapes.Rings)["policies"], format_, "ring_policies")


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _path(device: str) -> str:
    return f"/v1/devices/{part(device)}"


def _show(answer: Any, format_: Format, table: str) -> None:
    """Prints `answer`; `table` names the function of `node.cli.rendering.fleet_tables`."""

    def build(printable: Any) -> Any:
        from stationkeep.node.cli.rendering import fleet_tables  # noqa: PLC0415

        return getattr(fleet_tables, table)(printable)

    show(answer, format_, build)
