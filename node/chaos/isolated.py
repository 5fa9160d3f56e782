"""A constellation in its own network namespace, where packets can be lost."""

import os
from pathlib import Path
from typing import Any

from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.chaos.namespace import SPARED, Namespace, Rules, closed, cut
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import NodeRecord

PORTS = 21_000
"""First Raft port; the namespace has no other users."""


class Isolated(Constellation):
    """A context manager; within it, `network.impose` sets what is lost.

    Its own requests to the nodes, and those of its watch, are not affected.
    """

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, caller=SPARED)
        self.local = _Grouped(data_dir)
        self.network = Namespace()
        self.ports: dict[str, int] = {}

    def __enter__(self) -> "Isolated":
        self.network.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.network.__exit__()

    def up(
        self, nodes: int = 5, profile: str = "demo", lowest_port: int | None = PORTS, **plan: Any
    ) -> None:
        first = PORTS if lowest_port is None else lowest_port
        self.ports = {f"sat-{n + 1:03d}": first + n for n in range(nodes)}
        self.network.tell_apart(self.ports.values())
        super().up(nodes, profile, first, **plan)

    def cut(self, sender: str, receiver: str) -> Rules:
        """Everything that one member sends to another is lost, but not the other way round."""
        return cut(self.ports[sender], self.ports[receiver])

    def muted(self, node: str) -> Rules:
        """Everything that a member sends is lost."""
        return [rule for other in self._others(node) for rule in self.cut(node, other)]

    def deafened(self, node: str) -> Rules:
        """Everything that is sent to a member is lost."""
        return [rule for other in self._others(node) for rule in self.cut(other, node)]

    def closed(self, node: str) -> Rules:
        """Nobody can dial a member; connections that it dials itself work."""
        return closed(self.ports[node])

    def _others(self, node: str) -> list[str]:
        return [other for other in self.ports if other != node]


class _Grouped(LocalCluster):
    """Runs each node in the Unix group whose number is its Raft port: `Namespace.tell_apart`."""

    def _spawn_node(self, record: NodeRecord) -> None:
        group = os.getegid()
        os.setegid(int(record.raft.rpartition(":")[2]))
        try:
            super()._spawn_node(record)
        finally:
            os.setegid(group)
