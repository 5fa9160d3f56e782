"""`nodes links`: what each node misses of the others' packets, as that node measured it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
import typer

from node.cli.client import Client
from node.cli.failures import CommandError
from node.cli.options import Format, FormatOption, UrlOption, client
from node.cli.output import note, show
from node.cli.reads import MOST_NODES
from node.peers.figures import LinkFigures

AT_ONCE = 16
"""Nodes that are asked side by side: one that hangs holds up only those behind it."""

NodeId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=64)]


class Link(LinkFigures, frozen=True, kw_only=True):
    """A link in an answer. Its peer's name goes to a terminal: it must be one."""

    peer: NodeId


class Seen(msgspec.Struct, frozen=True):
    """Answer to `GET /v1/links`: the links to `node` from its peers."""

    node: NodeId
    links: list[Link]

    def about(self, node: str | None) -> "Seen":
        """Only the links from or to a node, if one is given."""
        if node in (None, self.node):
            return self
        return Seen(self.node, [link for link in self.links if link.peer == node])


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
    seen, silent = _ask_each(asked) if every else ([_ask(asked)], {})
    found = [one.about(node) for one in seen]
    if node is not None and not any(one.links for one in found):
        raise CommandError(f"no link from or to {node}")

    def table() -> Any:
        from node.cli import tables  # noqa: PLC0415

        return tables.links([(one.node, link) for one in found for link in one.links])

    show({"nodes": msgspec.to_builtins(found), "unanswered": silent}, format_, table)
    for name, why in silent.items():
        note(f"{name}: {why}")


def _ask(asked: Client) -> Seen:
    answer = asked.get("/v1/links")
    try:
        return msgspec.convert(answer, Seen)
    except msgspec.ValidationError as error:
        raise CommandError(f"{asked.url}/v1/links: {error}") from error


def _ask_each(asked: Client) -> tuple[list[Seen], dict[str, str]]:
    """What each member sees, and why some do not say."""
    members = asked.items("/v1/nodes", MOST_NODES)
    urls = {member["id"]: f"http://{member['address']['http']}" for member in members}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(urls, pool.map(_try, urls.values()), strict=True))
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    return [answer for answer in answers.values() if isinstance(answer, Seen)], silent


def _try(url: str) -> Seen | str:
    try:
        return _ask(Client(url))
    except CommandError as error:
        return str(error).partition("\n")[0]
