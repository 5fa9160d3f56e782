"""What all views share: their base class, and what they need to know from the answering node."""

from typing import Protocol

import msgspec

from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Consensus


class View(msgspec.Struct, frozen=True, gc=False):
    """Base of all shapes. They are created by the thousand and contain no cycles. If the garbage
    collector tracked them, creating a list would trigger collections of the whole state."""


class Answering(Protocol):
    """The node that answers a request: its applied state, and what it alone knows."""

    @property
    def node(self) -> str:
        """This node's id."""
        ...

    @property
    def state(self) -> ClusterState:
        """The state as applied here; callers must not modify it."""
        ...

    @property
    def consensus(self) -> Consensus: ...

    def cluster_time(self) -> int:
        """Cluster time in ms: the state's, or on the leader its current estimate."""
        ...

    def staleness_ms(self) -> int:
        """Milliseconds since this node last knew itself up to date with a leader; 0 on a leader."""
        ...

    def connected(self) -> int:
        """Connected members, including this node."""
        ...

    def removed(self) -> bool:
        """Whether this node knows that it was removed from the cluster: its state is outdated."""
        ...

    def effective_role(self, node: str) -> Role | None:
        """The role that a node acts in. For this node it is exact (it depends on the lease, not
        only on the role table); for another it is what its newest report says, or None if there is
        no recent one."""
        ...

    def late_webhooks(self) -> dict[str, int]:
        """Webhooks in this node's file that are late, and by how many milliseconds
        (`node.webhooks.lateness`)."""
        ...

    def gate_complaint(self, rollout: str, stage: str) -> str:
        """Why the webhook of a stage has not answered yet, on the node that leads and asks it:
        `webhook answered 503`; "" elsewhere, and where nothing is wrong."""
        ...

    def lease_remaining(self, node: str) -> float | None:
        """Seconds that a node may still act as PRIMARY, 0.0 without a lease; None if it has not
        reported recently."""
        ...
