"""One link: from a node to a peer that it dials; and whom its network asks about them."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from stationkeep.node.simulation.links.connection import Connection, Message
from stationkeep.node.simulation.links.dialling import Race
from stationkeep.node.simulation.links.weather import Way

BACKOFF_FIRST, BACKOFF_LAST = 0.05, 1.0


class Link(msgspec.Struct, eq=False):
    """From a node to a peer that it dials."""

    sender: str
    peer: str
    way: Way
    up: bool = False
    streams: list[Connection] = []
    """Established streams; the last is the newest, and the one that is written to."""
    session: int = 0
    """Number of the newest stream; datagrams carry it."""
    oldest: int = 1
    """The first session whose datagrams the peer still accepts."""
    heard: float = 0.0
    """When anything of this link arrived last."""
    race: Race | None = None
    dialling: bool = False
    """Whether a dial is under way, or will be begun soon."""
    backoff: float = BACKOFF_FIRST
    watched: bool = False
    refused: str = ""
    """Why the last handshake failed, while that is so."""
    serials: tuple[str, ...] = ()
    """Of the certificates that the newest stream began with."""

    @property
    def newest(self) -> Connection | None:
        return self.streams[-1] if self.streams else None


Judge = Callable[[str, str], tuple[str, tuple[str, ...]]]
"""Dialler and peer → why their handshake fails, or ""; and serial numbers of certificates."""


class Party(Protocol):
    """A node as the network sees it."""

    def accepts(self) -> bool:
        """Whether its process could answer a hello now."""
        ...

    def deliver(self, sender: str, message: Message) -> None: ...
    def on_connected(self, peer: str) -> None: ...
    def on_disconnected(self, peer: str) -> None: ...


class Hints(Protocol):
    """Where nodes look for each other."""

    def leads(self, sender: str, peer: str) -> bool:
        """Whether a node that dials a peer reaches its machine."""
        ...

    def met(self, sender: str, peer: str) -> None:
        """A link is up."""
        ...
