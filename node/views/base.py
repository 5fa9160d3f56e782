"""What all views share: the base of their shapes, and what they ask of the node that answers."""

from typing import Protocol

import msgspec

from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Consensus


class View(msgspec.Struct, frozen=True, gc=False):
    """Base of all shapes. They are made by the thousand and hold no cycles: were the garbage
    collector to follow them, it would walk the whole state with them, in the middle of a list."""


class Answering(Protocol):
    """The node that answers: the state as applied there, and what it alone knows."""

    @property
    def node(self) -> str:
        """This node's id."""
        ...

    @property
    def state(self) -> ClusterState:
        """The state as applied here; never to be written by a caller."""
        ...

    @property
    def consensus(self) -> Consensus: ...

    def cluster_time(self) -> int:
        """Cluster milliseconds now: that of the state, or the leader's own estimate."""
        ...

    def staleness_ms(self) -> int:
        """Milliseconds since this node last knew itself up to date with a leader; 0 on a leader."""
        ...

    def connected(self) -> int:
        """Members with a connection now, this node included."""
        ...

    def removed(self) -> bool:
        """Whether this node knows that it is no member any more: what it shows is old."""
        ...

    def effective_role(self, node: str) -> Role | None:
        """What a node acts as: for this node at this very instant (the lease decides, not the
        table alone), for another by what it last said; None when it was not heard lately."""
        ...

    def late_webhooks(self) -> dict[str, int]:
        """Webhooks of this node's file that have owed an acceptance for long, and for how many
        milliseconds (`node.webhooks.lateness`)."""
        ...

    def lease_remaining(self, node: str) -> float | None:
        """Seconds that a node may still act as PRIMARY, 0.0 without a lease; None: not heard."""
        ...
