"""The members' links (`GET /v1/links`), fetched and checked."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated

import msgspec

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import MOST_NODES
from stationkeep.node.ports import LinkFigures

AT_ONCE = 16
"""Nodes that are asked concurrently: one that hangs delays only those queued after it."""
MOST_LINKS = 99

NodeId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]


class Link(LinkFigures, frozen=True, kw_only=True):
    """A link in an answer. The peer's name is shown on a terminal, so it is checked as well."""

    peer: NodeId
    window_s: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)]
    sent: Count
    heard: Count
    longest_silence_s: Seconds
    address: Annotated[str, msgspec.Meta(pattern=r"\A[!-~]*\Z", max_length=300)] = ""
    error: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,32}\Z")] | None = None


class Seen(msgspec.Struct, frozen=True):
    """The links from its peers to `node`, as it sees them."""

    node: NodeId
    links: Annotated[list[Link], msgspec.Meta(max_length=MOST_LINKS)]

    def about(self, node: str | None) -> "Seen":
        """Only the links from or to `node`; all if it is None."""
        if node in (None, self.node):
            return self
        return Seen(self.node, [link for link in self.links if link.peer == node])


def ask(asked: Client) -> Seen:
    """The links of one node. Raises `CommandError` when there is no valid answer."""
    return msgspec.convert(asked.get("/v1/links", Seen), Seen)


def ask_each(asked: Client) -> tuple[list[Seen], dict[str, str]]:
    """The links of each member, and by name why some did not answer."""
    members = asked.items("/v1/nodes", shapes.Node, MOST_NODES)
    scheme = asked.url.partition("://")[0]
    urls = {member["id"]: f"{scheme}://{member['address']['http']}" for member in members}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(urls, pool.map(partial(_try, asked), urls.values()), strict=True))
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    return [answer for answer in answers.values() if isinstance(answer, Seen)], silent


def _try(teller: Client, url: str) -> Seen | str:
    try:
        return ask(teller.at(url))
    except CommandError as error:
        return str(error).partition("\n")[0]
