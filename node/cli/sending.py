"""Sends the commands that change something, and prints their outcome."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import Format, note, say, show, warn
from stationkeep.node.cli.rendering.wording import cluster_time
from stationkeep.node.system.printable import all_printable

_format = Format.TABLE


@contextlib.contextmanager
def printed_as(format_: Format) -> Iterator[None]:
    """Outcomes are printed in this format meanwhile."""
    global _format  # noqa: PLW0603 - an option of the command, for all that it sends
    _format = format_
    try:
        yield
    finally:
        _format = Format.TABLE


def tell(text: str) -> None:
    """Prints what came of an order later; beside a document it goes to standard error."""
    (say if _format is Format.TABLE else note)(text)


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def send(
    node: Client,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    key: str | None,
    what: str,
    preliminary: bool = False,
) -> dict[str, Any]:
    """Sends the command, prints its outcome in one line, then its results; returns the answer.

    As a document the answer is printed as it is, but not that of an order which only prepares
    another one (`preliminary`): one command prints one document."""
    told = node.write(method, path, body, key)
    answer: dict[str, Any] = all_printable(told)
    if answer.get("status") not in {"done", None}:
        raise CommandError(f"{what}: {answer.get('status')}: {answer.get('detail') or answer}")
    if _format is not Format.TABLE:
        if not preliminary:
            show(told, _format, str)
        return answer
    at = f" at log index {answer['index']}" if answer.get("index") else ""
    say(f"done: {what}{at} (operation {answer.get('operation', '-')})")
    made = {name: answer[name] for name in shapes.Made.__annotations__ if name in answer}
    result = answer.get("result") or made
    warnings = result.pop("warnings", [])
    warn(warnings if isinstance(warnings, list) else [str(warnings)])
    for name, value in result.items():
        if value == "":
            continue
        say(f"  {_result_line(name, value)}")
    return answer


def _result_line(name: str, value: Any) -> str:
    if name.endswith("_ms") and isinstance(value, int) and abs(value) <= 2**53:
        return f"{name.removesuffix('_ms')}: {cluster_time(value)}"
    return f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
