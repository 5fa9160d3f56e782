"""The network as one simulated node sees it."""

from collections.abc import Callable
from typing import Any

from stationkeep.node.simulation.links.connection import Message
from stationkeep.node.simulation.links.network import Links


class Socket:
    """`node.ports.Network` of one simulated node, for one life of its process."""

    def __init__(
        self,
        links: Links,
        node: str,
        before: Callable[[str, Message], float],
    ) -> None:
        """`before` is called with each message; it returns in how many seconds that leaves."""
        self._links, self._node, self._before = links, node, before

    def send(self, peer: str, message: Message) -> bool:
        after = self._before(peer, message)
        return self._links.send(self._node, peer, message, after)

    def connected(self, peer: str) -> bool:
        return self._links.links[self._node, peer].up

    def comfortable(self, peer: str) -> int:
        return self._links.comfortable(self._node, peer)

    def subscribe(self, *_: Any) -> None:
        raise AssertionError("the world delivers by itself")
