"""Options that many commands share."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from stationkeep.cluster.settings import LONGEST, SettingsError, parse_duration
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import UsageError
from stationkeep.node.cli.output import Format
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR

MOST_NODES = 99
"""The most nodes that a cluster can have, and that a list shows."""
MOST_DIGITS = 9
"""Of a number within a text; all limits of nodes are below that."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="STATIONKEEP_URL",
        help="Any node of the cluster. Default: http://127.0.0.1:8701, or whichever node of the "
        "local cluster answers.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Why; kept in the decision log.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="Operation id to use. Repeating a command with the same id cannot apply it twice.",
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, help="The most items to show.")
]
DataDirOption = Annotated[
    Path, typer.Option("--data-dir", help="Where the local cluster keeps its data.")
]
DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Device id.")]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Node id, such as sat-001.")]

__all__ = [
    "DEFAULT_DATA_DIR",
    "DataDirOption",
    "DeviceArgument",
    "Format",
    "FormatOption",
    "KeyOption",
    "LimitOption",
    "NodeArgument",
    "ReasonOption",
    "UrlOption",
    "client",
    "duration",
    "pairs",
    "whole",
]


def client(url: str | None) -> Client:
    """The client for a value of `--url`."""
    return Client(url)


def duration(option: str, text: str, longest: int = LONGEST) -> str:
    """`text` unchanged, if it is a duration of at most `longest` ms; else raises a usage error that
    names the option."""
    try:
        parse_duration(option, text, longest)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    return text


def pairs(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    """The values of `NAME=VALUE` texts by name; else raises a usage error that names the option.
    A name that is given twice is one too: which of the values was meant?"""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        given = f"{option} {text!r}".strip()
        if not equals or not name:
            raise UsageError(f"{given}: must have the form NAME=VALUE")
        if name in found:
            raise UsageError(f"{given}: {name} is given twice")
        found[name] = value
    return found


def whole(option: str, text: str) -> int:
    """The number; else raises a usage error that names the option."""
    if not re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}", text):
        rule = f"must be a whole number of at most {MOST_DIGITS} digits"
        raise UsageError(f"{option}: {text!r} {rule}")
    return int(text)
