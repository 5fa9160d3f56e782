"""A network that notes what happens, for tests of links on real sockets."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from stationkeep.node.peers.network import PeerNetwork


class Station:
    """A network that notes what happens, and lets a test wait for it."""

    def __init__(self, name: str, peers: dict[str, str], cluster: str = "c", **more: Any) -> None:
        listen = peers.get(name, "127.0.0.1:0")
        self.network = PeerNetwork(
            node_id=name, cluster=cluster, listen=listen, peers=peers, **more
        )
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.links: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.network.subscribe(
            lambda p, m: self._note(self.messages, (p, m)),
            lambda p: self._note(self.links, ("up", p)),
            lambda p: self._note(self.links, ("down", p)),
        )

    def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def addresses(*names: str) -> dict[str, str]:
    return {n: f"127.0.0.1:{p}" for n, p in zip(names, free_ports(len(names)), strict=True)}
