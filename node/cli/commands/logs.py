"""`logs`: what a node of the local cluster writes."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import DEFAULT_DATA_DIR, DataDirOption
from stationkeep.node.cli.output import say
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import LocalError

POLL_SECONDS = 0.2
MOST_BYTES = 1 << 20
"""Read at a time; of a longer log only the end is looked at."""
ELSEWHERE = "of another machine's node: there, `journalctl -u stationkeep`"


def logs(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Of the local cluster; or `devices`.")
    ],
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=10_000, help="The last so many.")
    ] = 40,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, also when it starts anew.")
    ] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Shows the end of the log of a node of the local cluster."""
    try:
        path = LocalCluster(data_dir).log_of(node)
    except LocalError as error:
        raise CommandError(f"{error}\n  {ELSEWHERE}") from error
    text, at = _read(path, max(0, _size(path) - MOST_BYTES))
    for line in text.splitlines()[-lines:]:
        say(line)
    try:
        while follow:
            time.sleep(POLL_SECONDS)
            if _size(path) < at:
                at = 0  # a new file
            text, at = _read(path, at)
            if text:
                say(text.rstrip("\n"))
    except KeyboardInterrupt:
        return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _read(path: Path, at: int) -> tuple[str, int]:
    """What is written from there on, in whole lines, and where that ends."""
    try:
        with path.open("rb") as file:
            file.seek(at)
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    whole = content[: content.rfind(b"\n") + 1] or (content if len(content) == MOST_BYTES else b"")
    return whole.decode(errors="replace"), at + len(whole)
