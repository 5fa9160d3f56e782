"""Printing: the same answer as a table for people, or as JSON or YAML for programs."""

import io
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from node.cli.options import Format

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, RenderableType

PIPE_WIDTH = 160
"""Columns assumed when stdout is not a terminal, so that no cell is cut in a pipe."""


class StandardOutput(io.FileIO):
    """Standard output that knows its own failure: a full disk, or nobody who reads. So it is
    told from an error of anything else."""

    def __init__(self) -> None:
        super().__init__(_descriptor(), "w", closefd=False)
        self.failure: OSError | None = None
        self.text = io.TextIOWrapper(
            io.BufferedWriter(self),
            getattr(sys.stdout, "encoding", "utf-8"),
            getattr(sys.stdout, "errors", None),
            line_buffering=True,
        )

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.failure = error
            raise


def _descriptor() -> int:
    """That of standard output. Python has none when it was closed before the start (`>&-`): then
    nobody reads, as with /dev/null, which takes the place that a socket would be given."""
    return sys.stdout.fileno() if sys.stdout is not None else os.open(os.devnull, os.O_WRONLY)


def console() -> "Console":
    """Standard output: as wide as the terminal, or wide enough when there is none."""
    from rich.console import Console  # noqa: PLC0415

    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(answer: Any, format_: Format, table: Callable[[], "RenderableType"]) -> None:
    """Prints `answer` as asked; `table` is called only when a table is wanted."""
    if format_ is Format.JSON:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif format_ is Format.YAML:
        import yaml  # noqa: PLC0415

        typer.echo(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True), nl=False)
    else:
        console().print(table())


def note(text: str) -> None:
    """A remark for people; on stderr, so that it never mixes with an answer."""
    typer.echo(text, err=True)
