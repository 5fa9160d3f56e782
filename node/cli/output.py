"""Printing: the same answer as a table for people, or as JSON or YAML for programs.

The only door to the terminal: whatever leaves through it is printable, and no text is taken for
Rich markup. A table is made of an answer whose texts are on one line each; lines of ours may
quote others, and keep their own line breaks only.
"""

import enum
import io
import json
import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from stationkeep.node.system.printable import all_printable, printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, RenderableType

PIPE_WIDTH = 160
"""Columns assumed when stdout is not a terminal, so that no cell is cut in a pipe."""
PAGE_WIDTH = 100
"""Columns that a page of prose takes up at most: longer lines are hard to read."""
PAGER_OPTIONS = "FRX"
"""What `less` is asked for unless the operator has said: colours, and no pager for what fits."""


class Format(enum.StrEnum):
    """How a read is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


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


def console(*, stderr: bool = False) -> "Console":
    """Standard output or error: as wide as the terminal, or wide enough when there is none."""
    from rich.console import Console  # noqa: PLC0415

    plain: dict[str, Any] = {"stderr": stderr, "markup": False, "emoji": False, "highlight": False}
    screen = Console(**plain)
    return screen if screen.is_terminal else Console(**plain, width=PIPE_WIDTH)


def show(answer: Any, format_: Format, table: Callable[[Any], "RenderableType"]) -> None:
    """Prints `answer` as asked; `table` is called only when a table is wanted, with the answer as
    people may see it."""
    if format_ is Format.JSON:
        document = json.dumps(answer, indent=2, ensure_ascii=False)
        typer.echo(printable_lines(document, most=None))
    elif format_ is Format.YAML:
        typer.echo(_yaml(answer), nl=False)
    else:
        console().print(table(all_printable(answer)))


def page(written: str, shown: str) -> None:
    """A page of Markdown: in a pipe as it is `written`, on a terminal `shown` with its headings
    and tables drawn, in the operator's pager."""
    screen = console()
    if not screen.is_terminal:
        typer.echo(printable_lines(written, most=None), nl=False)
        return
    from rich.markdown import Markdown  # noqa: PLC0415

    os.environ.setdefault("LESS", PAGER_OPTIONS)
    text = printable_lines(shown, most=None)
    drawn = Markdown(text, code_theme="ansi_dark", hyperlinks=False)
    with screen.pager(styles=True):
        screen.print(drawn, width=min(screen.width, PAGE_WIDTH))


def _yaml(answer: Any) -> str:
    """In plain ASCII where PyYAML would print an override or the like as it is."""
    import yaml  # noqa: PLC0415

    document: str = yaml.safe_dump(answer, sort_keys=False, allow_unicode=True)
    if printable_lines(document, most=None) != document:
        document = yaml.safe_dump(answer, sort_keys=False, allow_unicode=False)
    return document


def show_table(answer: Any, format_: Format, table: str, module: str = "tables") -> None:
    """Shows `answer`; `table` names a function of a module of `rendering`, which is imported when
    it is needed: programs that read JSON need not wait for Rich."""

    def build(printable: Any) -> Any:
        return getattr(import_module(f"stationkeep.node.cli.rendering.{module}"), table)(printable)

    show(answer, format_, build)


def show_fleet(answer: Any, format_: Format, table: str) -> None:
    """Shows an answer about devices or rings; `table`: a function of `rendering.fleet_tables`."""
    show_table(answer, format_, table, "fleet_tables")


def say(text: str) -> None:
    """What came of a command, in words."""
    typer.echo(printable_lines(text))


def warn(warnings: Iterable[str]) -> None:
    """What is likely not to be meant, a line each, on stderr."""
    for text in warnings:
        note(f"warning: {text}")


def note(text: str) -> None:
    """A remark for people; on stderr, so that it never mixes with an answer."""
    typer.echo(printable_lines(text), err=True)
