"""What the HTTP API and the metrics ask of a node; implemented by `node.service.NodeService`.

A second implementation exists: `tests/node/api/fake.py`, a node without sockets.
Everything but `submit` and `barrier` answers at once, from memory.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from cluster.apply import Applied
from cluster.commands import AnyCommand
from cluster.roles.transitions import Role
from cluster.state import ClusterState
from node.ports import Consensus, ProposalResult


class Heard(msgspec.Struct, frozen=True):
    """What a node last said of itself, `age` seconds ago; `lease` seconds left at that time."""

    role: Role
    epoch: int
    lease: float
    age: float


class Service(Protocol):
    """One running node, as its doors see it."""

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

    def connected(self) -> tuple[str, ...]:
        """Members with a connection now, this node included."""
        ...

    def effective_role(self) -> Role:
        """What this node acts as at this instant: the lease decides, not the table alone."""
        ...

    def lease_remaining(self) -> float:
        """Seconds that this node may still act as PRIMARY; 0.0 without a lease."""
        ...

    def heard(self, node: str) -> Heard | None:
        """The newest report of a member (also of this node), or None when there is none."""
        ...

    async def submit(
        self, command: AnyCommand, *, key: str, actor: str, reason: str, timeout: float
    ) -> ProposalResult:
        """Proposes a keyed command; returns within `timeout` seconds."""
        ...

    async def barrier(self, timeout: float) -> ProposalResult:
        """`Committed` when everything committed before the call is applied here."""
        ...

    def snapshot(self) -> bytes:
        """The state in the snapshot file format, at the applied index."""
        ...

    def on_applied(self, callback: Callable[[int, Applied], None]) -> None:
        """Calls back after each applied entry, in order, with its log index."""
        ...
