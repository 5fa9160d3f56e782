"""Sends the commands that change something, and prints their outcome."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import Format, note, say, show, warn
from stationkeep.node.cli.rendering.wording import clock, cluster_time, date, span
from stationkeep.node.system.printable import all_printable

DAY = 86_400_000
LONGEST_SHOWN = 20_000 * DAY
"""Milliseconds before or after now that have a date."""
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
    moments = {name for name, value in result.items() if _is_moment(name, value)}
    now = _cluster_time(node) if moments else None
    for name, value in result.items():
        if name in moments:
            say(f"  {name.removesuffix('_ms').removesuffix('_wall')}: {_moment(name, value, now)}")
        elif value != "":
            say(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
    return answer


def _is_moment(name: str, value: Any) -> bool:
    return name.endswith("_ms") and isinstance(value, int) and abs(value) <= 2**53


def _cluster_time(node: Client) -> int | None:
    """Cluster time now; None where nobody tells."""
    try:
        now: int = node.get("/v1/cluster", shapes.Cluster)["time_ms"]
    except CommandError:
        return None
    return now


def _moment(name: str, value: int, now: int | None) -> str:
    """`14:03:20, in 30.0s (T+46.3s)`: by the clock first; cluster time alone where `now`, which is
    in it, is not known."""
    by_wall = name.endswith("_wall_ms")
    here = int(time.time() * 1_000)
    left = value - here if by_wall else value - now if now is not None else LONGEST_SHOWN
    if abs(left) >= LONGEST_SHOWN:
        return cluster_time(value)
    day = f"{date(here + left)} " if abs(left) > DAY else ""
    when = f"in {span(left / 1_000)}" if left >= 0 else f"{span(-left / 1_000)} ago"
    own = "" if by_wall else f" ({cluster_time(value)})"
    return f"{day}{clock(here + left)}, {when}{own}"
