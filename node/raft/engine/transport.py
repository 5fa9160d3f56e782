"""PySyncObj's Transport on top of `node.ports.Network`: an outbox that waits for the disk.

What Raft wants sent is collected during a turn and leaves only after the journal's commit
(hazard S5). When the commit fails it is thrown away: nothing was promised to anyone.
"""
# ruff: noqa: N802  (the method names are PySyncObj's)

from collections.abc import Callable
from typing import Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from stationkeep.node.ports import Network


class OutboxTransport(Transport):  # type: ignore[misc]
    """Collects messages; `flush` sends, `discard` forgets."""

    def __init__(self, network: Network) -> None:
        super().__init__(None, None, [])
        self._network = network
        self.worth: Callable[[], dict[str, bool]] = dict
        """What our vote is worth (`elections.Vote`), for our answers to requests for votes."""
        self.on_request: Callable[[], bool] = lambda: False
        """Whether the leader asked for this election, for our requests for votes."""
        self._outbox: list[tuple[str, dict[str, Any]]] = []

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        """Adds to the outbox; bounded because the engine bounds what it sends in a turn."""
        message["kind"] = "raft"
        if message["type"] in {"response_vote", "pre_vote_answer"}:
            message |= self.worth()
        if message["type"] == "request_vote":
            message["transfer"] = self.on_request()
        self._outbox.append((node.id, message))
        return True

    def comfortable(self, node: Node) -> int:
        """See `node.ports.Network.comfortable`."""
        return self._network.comfortable(node.id)

    def send_first(self, peer: str, message: dict[str, Any]) -> None:
        """Adds ahead of the Raft messages of this turn, so that a follower learns the place of its
        draft in the log before it sees it committed."""
        self._outbox.insert(0, (peer, message))

    def flush(self) -> None:
        """Sends the outbox. Messages to a peer whose connection is gone or full are lost, as Raft
        expects."""
        for peer, message in self._outbox:
            self._network.send(peer, message)
        self._outbox.clear()

    def discard(self) -> None:
        self._outbox.clear()

    def deliver(self, node: Node, message: dict[str, Any]) -> None:
        """A checked message from a peer."""
        self._onMessageReceived(node, message)

    def connected(self, node: Node) -> None:
        self._onNodeConnected(node)

    def disconnected(self, node: Node) -> None:
        self._onNodeDisconnected(node)

    def addNode(self, node: Node) -> None:
        """Whom there are links with is `Raft.links`; nothing to do."""

    def dropNode(self, node: Node) -> None:
        """Whom there are links with is `Raft.links`; nothing to do."""

    def destroy(self) -> None:
        """Nothing to do: the owner of the network closes it."""
