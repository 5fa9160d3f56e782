"""`alarms`: what an operator should look at, and has seen."""

from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import show_table
from stationkeep.node.cli.sending import given, send


def alarms_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """What is raised now, the grave first. What is over is among the decisions."""
    show_table(client(url).get("/v1/alarms", shapes.Alarms)["items"], format_, "alarms")


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
