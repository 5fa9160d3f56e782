"""Options that whole kinds of commands have: `--format` of orders, `--watch` of reads.

A command is an order if it takes an idempotency key, and a read if it asks a node and prints what
it finds, unless it goes on by itself.
"""

import functools
import inspect
import time
from typing import Annotated, Any, get_type_hints

import typer

from stationkeep.node.cli import sending
from stationkeep.node.cli.failures import NoQuorumError, UnreachableError
from stationkeep.node.cli.grammar import Callback, parameters
from stationkeep.node.cli.options import Format, FormatOption
from stationkeep.node.cli.output import console, note

WATCH_SECONDS = 2.0
"""Between two looks."""
WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help=f"Look again every {WATCH_SECONDS:g} s, until Ctrl-C.")
]


def completed(command: Callback) -> Callback:
    """The command with the options of its kind."""
    taken = {one.name: one for one in parameters(command)}
    if "key" in taken:
        return _printing(command, own="format_" in taken)
    if {"url", "format_"} <= taken.keys() and not (taken["url"].repeated or "following" in taken):
        return _watching(command)
    return command


def _printing(command: Callback, *, own: bool) -> Callback:
    """An order, whose outcome has a format. `own`: it takes one itself, as it reads, too."""

    @functools.wraps(command)
    def run(*, format_: Format, **given: Any) -> None:
        with sending.printed_as(format_):
            command(**given, format_=format_) if own else command(**given)

    if not own:
        _add(run, command, "format_", FormatOption, Format.TABLE)
    return run


def _watching(command: Callback) -> Callback:
    @functools.wraps(command)
    def run(*, watching: bool, **given: Any) -> None:
        if watching:
            _again_and_again(functools.partial(command, **given))
        else:
            command(**given)

    _add(run, command, "watching", WatchOption, False)
    return run


def _again_and_again(look: Callback) -> None:
    """Until somebody interrupts it. A cluster that does not answer for a while is one to watch."""
    screen = console()
    try:
        while True:
            screen.clear()
            try:
                look()
            except (NoQuorumError, UnreachableError) as error:
                note(f"stationkeep: {error}")
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _add(run: Callback, command: Callback, name: str, hint: Any, default: object) -> None:
    """Has `run` say that it takes what `command` takes, and one option more."""
    signature, kind = inspect.signature(command), inspect.Parameter.KEYWORD_ONLY
    more = inspect.Parameter(name, kind, default=default, annotation=hint)
    parameters = [*signature.parameters.values(), more]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = get_type_hints(command, include_extras=True) | {name: hint}
