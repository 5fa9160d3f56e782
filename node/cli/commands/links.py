"""`nodes links`: what each node misses of the others' packets, as that node measured it."""

from typing import Annotated, Any

import msgspec
import typer

from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.links_seen import ask, ask_each
from stationkeep.node.cli.options import Format, FormatOption, UrlOption, client
from stationkeep.node.cli.output import note, show


def nodes_links(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="Only links from or to this node.")
    ] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Ask each member for what it sees, not only one.")
    ] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Packets lost between the nodes within the last minute, as the receiving node counts them."""
    asked = client(url)
    seen, silent = ask_each(asked) if every else ([ask(asked)], {})
    found = [one.about(node) for one in seen]
    if node is not None and not any(one.links for one in found):
        raise CommandError(f"no link from or to {node}")

    def table(_answer: Any) -> Any:  # of the structs, whose names are checked as ids
        from stationkeep.node.cli.rendering import tables  # noqa: PLC0415

        return tables.links(found)

    show({"nodes": msgspec.to_builtins(found), "unanswered": silent}, format_, table)
    for name, why in silent.items():
        note(f"{name}: {why}")
