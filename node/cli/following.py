"""Follows a deployment until none of its tasks will change any more."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError, NoQuorumError, UnreachableError
from stationkeep.node.cli.output import console, note, say
from stationkeep.node.cli.rendering import wording
from stationkeep.node.system.printable import all_printable

POLL_SECONDS = 0.5
PATIENCE = 60.0
"""Seconds for which a cluster that does not answer is asked again; a failover is over by then."""

Told = Callable[[str], None]


def follow(client: Client, number: int) -> None:
    """Returns when the deployment is closed. Raises `CommandError` when a task of it failed, or it
    was canceled. Ctrl-C ends only the following."""
    try:
        with _line() as told:
            closed = _until_closed(client, number, told)
    except KeyboardInterrupt:
        note(f"deployment {number} goes on: stationkeep tasks show {number}")
        raise
    summary = f"deployment {number}: {wording.deployment_line(closed)}"
    if closed["reason"] == "canceled":
        raise CommandError(f"{summary}; it was canceled")
    if wording.count(closed, wording.FAILED):
        raise CommandError(f"{summary}\n  see: stationkeep tasks show {number}")
    say(summary)


def _until_closed(client: Client, number: int, told: Told) -> dict[str, Any]:
    path = f"/v1/deployments/{number}"
    answered = time.monotonic()
    while True:
        try:
            # Strong, because another node than the one that took the order may not have applied it.
            found = all_printable(client.get(path, shapes.Deployment, consistency="strong"))
        except (UnreachableError, NoQuorumError):
            if time.monotonic() - answered > PATIENCE:
                raise
            told("no answer from the cluster, still trying")
        else:
            answered = time.monotonic()
            told(wording.deployment_line(found))
            if found["closed_s"] is not None:
                return dict(found)
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _line() -> Iterator[Told]:
    """One line that changes on a terminal; elsewhere a line for each change."""
    if sys.stderr.isatty():
        from rich.text import Text  # noqa: PLC0415

        with console(stderr=True).status("asking") as status:
            yield lambda line: status.update(Text(line))
        return
    last = ""

    def told(line: str) -> None:
        nonlocal last
        if line != last:
            last = line
            note(line)

    yield told
