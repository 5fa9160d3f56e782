"""What a table looks like."""

import io
from typing import Any

from rich.console import Console


def printed(view: Any, width: int) -> str:
    """The table as a terminal of that many columns shows it."""
    console = Console(width=width, highlight=False, file=io.StringIO())
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip()
