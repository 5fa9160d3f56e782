"""`level`: which commands the cluster may use while its members run different releases."""

import enum
from typing import Annotated

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.failures import UsageError
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


class Order(enum.StrEnum):
    """What to do about the level."""

    SHOW = "show"
    RAISE = "raise"
    HOLD = "hold"


def level(
    order: Annotated[Order, typer.Argument(metavar="raise|hold")] = Order.SHOW,
    to: Annotated[
        str | None,
        typer.Argument(metavar="LEVEL|off", help="Default of raise: what all members have."),
    ] = None,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows the cluster's level and what members run; raises it for good, or holds it for a way
    back."""
    node = client(url)
    if order is Order.HOLD:
        held = 0 if to == "off" else _number(to, "`level hold` takes a level, or off")
        body = given(level_hold=held, reason=reason)
        send(node, "PATCH", "/v1/config", body, key=key, what=f"level held at {to}")
    elif order is Order.RAISE:
        wanted = None if to is None else _number(to, "`level raise` takes a level")
        body = given(to=wanted, reason=reason)
        send(node, "POST", "/v1/level/raise", body, key=key, what="level raised")
    else:
        show_table(node.get("/v1/level", shapes.Level), format_, "level")


def _number(text: str | None, rule: str) -> int:
    if text is None or not text.isdecimal() or len(text) > 3:
        raise UsageError(rule)
    return int(text)
