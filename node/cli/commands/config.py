"""`config`: the settings that all nodes share."""

from typing import Annotated

import msgspec
import typer

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.cli import shapes
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
    pairs,
)
from stationkeep.node.cli.output import show_table
from stationkeep.node.cli.sending import send


def config_show(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Shows the settings that all nodes share."""
    show_table(client(url).get("/v1/config", shapes.Config), format_, "settings")


def config_set(
    assignments: Annotated[list[str], typer.Argument(help="Such as evaluation_interval=2s.")],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Changes settings on all nodes at once; an invalid combination is refused as a whole."""
    changes = {name: scalar(value) for name, value in pairs("", assignments).items()}
    if reason is not None:
        changes["reason"] = reason
    send(client(url), "PATCH", "/v1/config", changes, key=key, what="settings changed")


def scalar(text: str) -> str | int | float | bool:
    """Parses `0.3` as a number, `true` as a flag, `5s` as text."""
    try:
        value = msgspec.json.decode(text)
    except (*UNREADABLE, UnicodeEncodeError):
        return text
    return value if isinstance(value, int | float) else text
