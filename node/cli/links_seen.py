"""The members' links (`GET /v1/links`), fetched and checked."""

from typing import Annotated

import msgspec

from stationkeep.node.cli import members
from stationkeep.node.cli.client import Client
from stationkeep.node.ports import LinkFigures

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
    found, silent = members.ask_each(asked, lambda address: ask(asked.at(address)))
    return [*found.values()], silent
