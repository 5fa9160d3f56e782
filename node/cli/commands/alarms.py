"""`alarms`: list and acknowledge."""

from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import part
from stationkeep.node.cli.commands.decisions import SinceOption, decided, moment
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import show_table
from stationkeep.node.cli.sending import given, send


def alarms_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Lists raised alarms, critical ones first. Cleared ones are in `stationkeep decisions`."""
    show_table(client(url).get("/v1/alarms", shapes.Alarms)["items"], format_, "alarms")


def alarms_history(
    since: SinceOption = None,
    limit: LimitOption = 20,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Lists alarms that were raised, cleared and acknowledged, newest first."""
    items = decided(client(url), limit, about="alarms", since_ms=moment("--since", since))
    show_table(items, format_, "decisions")


def alarms_ack(
    alarm: Annotated[
        str, typer.Argument(metavar="ALARM", help="An id, or a name for all alarms of that name.")
    ],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Acknowledges an alarm; it stays raised until its cause is gone."""
    path = f"/v1/alarms/{part(alarm)}/ack"
    send(client(url), "POST", path, given(reason=reason), key=key, what=f"{alarm} acknowledged")
