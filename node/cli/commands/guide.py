"""`guide`: shows the pages of the guide in a terminal. No node is needed."""

from typing import Annotated

import typer

from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import console, note, page
from stationkeep.node.guide.pages import INDEX, UnknownTopicError, find, for_terminal, topics


def guide(
    topic: Annotated[
        str | None, typer.Argument(help="A page, such as failover. Default: list all pages.")
    ] = None,
) -> None:
    """Shows a page of the guide, or lists the pages."""
    if topic is None:
        _list()
        return
    try:
        found = find(topic)
    except UnknownTopicError as error:
        raise CommandError(f"{error}\n  stationkeep guide lists them") from error
    page(found.text, for_terminal(found))


def _list() -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table("topic", "page", box=None, pad_edge=False)
    for topic in topics():
        if topic != INDEX:
            table.add_row(topic, find(topic).title)
    console().print(table)
    note("stationkeep guide TOPIC shows a page; every node serves them at /guide/")
