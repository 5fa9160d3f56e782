"""Prints answers: as a table for people, or as JSON or YAML for programs.

All output to the terminal passes through this module. It makes every text printable and never
interprets it as Rich markup. Texts from an answer become one line each; our own messages keep their
line breaks, but not those of texts that they quote.
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

from stationkeep.node.system.printable import MOST_SHOWN, all_printable, printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, RenderableType

PIPE_WIDTH = 160
"""Columns assumed when stdout is not a terminal, so that no cell is cut in a pipe."""
PAGE_WIDTH = 100
"""Columns that a page of prose uses at most: longer lines are hard to read."""
PAGER_OPTIONS = "FRX"
"""Default options of `less`: keep colours, and quit at once if the text fits on the screen."""


class Format(enum.StrEnum):
    """How a read is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class StandardOutput(io.FileIO):
    """Standard output that remembers its own failure, a full disk or a closed pipe, so that it can
    be distinguished from other errors."""

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
    """The descriptor of standard output. If that was closed before the start (`>&-`), /dev/null is
    opened in its place, so that no socket gets its number."""
    return sys.stdout.fileno() if sys.stdout is not None else os.open(os.devnull, os.O_WRONLY)


def console(*, stderr: bool = False) -> "Console":
    """Standard output or error: as wide as the terminal, or `PIPE_WIDTH` when there is none."""
    from rich.console import Console  # noqa: PLC0415

    plain: dict[str, Any] = {"stderr": stderr, "markup": False, "emoji": False, "highlight": False}
    screen = Console(**plain)
    return screen if screen.is_terminal else Console(**plain, width=PIPE_WIDTH)


def show(answer: Any, format_: Format, table: Callable[[Any], "RenderableType"]) -> None:
    """Prints `answer` in a format. `table` is called only for a table, with all texts printable."""
    if format_ is Format.JSON:
        document = json.dumps(answer, indent=2, ensure_ascii=False)
        typer.echo(printable_lines(document, most=None))
    elif format_ is Format.YAML:
        typer.echo(_yaml(answer), nl=False)
    else:
        console().print(table(all_printable(answer)))


def page(written: str, shown: str) -> None:
    """Prints a page of Markdown: `written` as it is in a pipe; `shown`, rendered, in the operator's
    pager on a terminal."""
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
    """YAML; in plain ASCII if PyYAML would leave characters in it that are not printable."""
    import yaml  # noqa: PLC0415

    document: str = yaml.safe_dump(answer, sort_keys=False, allow_unicode=True)
    if printable_lines(document, most=None) != document:
        document = yaml.safe_dump(answer, sort_keys=False, allow_unicode=False)
    return document


def show_table(answer: Any, format_: Format, table: str, module: str = "tables") -> None:
    """Shows `answer`. `table` names a function in a module of `rendering`, which is imported only
    if needed: programs that read JSON need not wait for Rich."""

    def build(printable: Any) -> Any:
        return getattr(import_module(f"stationkeep.node.cli.rendering.{module}"), table)(printable)

    show(answer, format_, build)


def show_fleet(answer: Any, format_: Format, table: str) -> None:
    """Shows an answer about devices or rings. `table`: a function in `rendering.fleet_tables`."""
    show_table(answer, format_, table, "fleet_tables")


def note_more(more: bool, limit: int, format_: Format) -> None:
    """Says below a table that a list goes on."""
    if more and format_ is Format.TABLE:
        note(f"… and more: raise --limit {limit} to see them")


def say(text: str, *, whole: bool = False) -> None:
    """Prints the outcome of a command; `whole`: a document, which nothing is cut from."""
    typer.echo(printable_lines(text, most=None if whole else MOST_SHOWN))


def warn(warnings: Iterable[str]) -> None:
    """Prints warnings on stderr, one a line."""
    for text in warnings:
        note(f"warning: {text}")


def note(text: str) -> None:
    """Prints a remark for people on stderr, so that it never mixes with an answer."""
    typer.echo(printable_lines(text), err=True)
