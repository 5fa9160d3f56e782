"""What the HTTP API and the metrics ask of a node.

`node.api.door.Door` answers for a running node; a second implementation, without sockets, is
`tests/node/api/fake.py`. Everything but `submit`, `barrier` and `events` answers at once, from
memory.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import msgspec

from stationkeep.cluster.commands import AnyCommand
from stationkeep.cluster.roles.transitions import Role
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state import ClusterState
from stationkeep.node.fleet.desk import DeviceDesk
from stationkeep.node.peers.figures import LinkFigures
from stationkeep.node.ports import Consensus, ProposalResult
from stationkeep.node.tracing.traceparent import Caller


class Streamed(msgspec.Struct, frozen=True):
    """One event for followers. `id` is the same on every node ("LOG_INDEX.NUMBER"), and empty
    for those that only concern this stream (`gap`, `overrun`)."""

    id: str
    kind: str
    data: Any


class Vitals(msgspec.Struct, frozen=True):
    """Figures of storage and links, for metrics; None where this node does not know.

    `rejected`: what was refused, by (link, reason): ("gossip", "malformed") and so on.
    `device_reports`: what became of the words of devices, by result.
    """

    log_entries: int | None = None
    snapshot_seconds: float | None = None
    leader_changes: int | None = None
    pending_proposals: int | None = None
    journal_failing: bool = False
    rejected: dict[tuple[str, str], int] = {}
    device_reports: dict[str, int] = {}


class Timings(msgspec.Struct, frozen=True):
    """Seconds that each commit of an own proposal, each journal sync, and the planning of each
    rebalance took."""

    commits: list[float] = []
    syncs: list[float] = []
    rebalances: list[float] = []


class TooManyFollowers(Exception):  # noqa: N818 (a refusal, not a fault)
    """As many clients follow the events as a node serves."""


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
    def settings(self) -> Settings:
        """The settings in force; before the cluster is founded, those of the configuration."""
        ...

    @property
    def consensus(self) -> Consensus: ...

    @property
    def desk(self) -> DeviceDesk:
        """Where devices report to this node."""
        ...

    def cluster_time(self) -> int:
        """Cluster milliseconds now: that of the state, or the leader's own estimate."""
        ...

    def staleness_ms(self) -> int:
        """Milliseconds since this node last knew itself up to date with a leader; 0 on a leader."""
        ...

    def connected(self) -> int:
        """Members with a connection now, this node included."""
        ...

    def links(self) -> list[LinkFigures]:
        """What each link to another member is like, as this node sees it; by peer."""
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

    async def submit(
        self,
        command: AnyCommand,
        *,
        key: str,
        actor: str,
        reason: str,
        origin: str,
        caller: Caller | None,
        timeout: float,  # noqa: ASYNC109 (the outcome is a value)
    ) -> ProposalResult:
        """Proposes a keyed command; returns within `timeout` seconds. `origin`: where it came
        from, and by which node; `caller`: the span that it came from."""
        ...

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        """`Committed` when everything committed before the call is applied here."""
        ...

    def events(self, last_id: str | None) -> AsyncGenerator[Streamed, None]:
        """Events after `last_id`, or from now on; raises `TooManyFollowers` when iterated."""
        ...

    def snapshot(self) -> Callable[[], bytes] | None:
        """Takes the state at the applied index; the function returned gives it in the snapshot
        file format, on any thread. None before there is one."""
        ...

    def vitals(self) -> Vitals:
        """Figures for the metrics."""
        ...

    def take_timings(self) -> Timings:
        """What was measured since the previous call."""
        ...
