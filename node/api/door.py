"""A running node as its doors see it: `node.api.port.Service` over `NodeService`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from cluster.commands import AnyCommand
from cluster.events import Decided, LeasesEchoed
from cluster.roles.transitions import Role
from cluster.state import ClusterState
from node.api.port import Streamed, TooManyFollowers, Vitals
from node.api.records import decision_view
from node.ports import Consensus, ProposalResult
from node.replica import StreamedEvent
from node.service import NodeService, TooManySubscribersError


class Door:
    """Implements `node.api.port.Service`."""

    def __init__(self, service: NodeService) -> None:
        self._service, self._loop = service, service.loop
        self._leader: str | None = None
        self._leader_changes = 0
        self._loop.replica.listen(self._note_leader)

    @property
    def node(self) -> str:
        return self._loop.config.node

    @property
    def state(self) -> ClusterState:
        return self._loop.replica.state

    @property
    def consensus(self) -> Consensus:
        return self._loop.consensus

    def cluster_time(self) -> int:
        replica = self._loop.replica
        return replica.cluster_time() if self.consensus.is_leader else replica.state.time

    def staleness_ms(self) -> int:
        return self._loop.staleness_ms()

    def connected(self) -> int:
        return self._loop.connected()

    def effective_role(self, node: str) -> Role | None:
        role = self._loop.effective_role_of(node)
        # The last word of a node that has lost the seat meanwhile says nothing about now.
        overtaken = role is Role.PRIMARY and self.state.seat.holder != node
        return None if overtaken else role

    def lease_remaining(self, node: str) -> float | None:
        return self._loop.lease_remaining_of(node)

    async def submit(
        self,
        command: AnyCommand,
        *,
        key: str,
        actor: str,
        reason: str,
        timeout: float,  # noqa: ASYNC109
    ) -> ProposalResult:
        return await self._service.submit(
            command, key=key, actor=actor, reason=reason, timeout=timeout
        )

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        return await self._service.barrier(timeout)

    async def events(self, last_id: str | None) -> AsyncGenerator[Streamed, None]:
        try:
            async with aclosing(self._service.events(last_id)) as events:
                async for event in events:
                    # Echoes come several times a second and concern only the lease's holder.
                    if not isinstance(event.event, LeasesEchoed):
                        yield streamed(event)
        except TooManySubscribersError as error:
            raise TooManyFollowers from error

    def snapshot(self) -> bytes:
        return self._loop.replica.snapshot()

    def vitals(self) -> Vitals:
        gossip = self._loop.gossip
        rejected = {("gossip", "malformed"): gossip.malformed}
        return Vitals(
            leader_changes=self._leader_changes,
            rejected={**rejected, ("gossip", "outdated"): gossip.outdated},
        )

    def _note_leader(self, *_: object) -> None:
        leader = self.consensus.leader
        if leader is not None and leader != self._leader:
            self._leader_changes += self._leader is not None
            self._leader = leader


def streamed(event: StreamedEvent) -> Streamed:
    """An event as clients see it: its log index and times beside what happened."""
    if event.event is None:
        return Streamed(event.id, event.kind, {"detail": event.detail})
    what: dict[str, Any] = (
        msgspec.to_builtins(decision_view(event.event.decision))
        if isinstance(event.event, Decided)
        else msgspec.structs.asdict(event.event)
    )
    index = int(event.id.partition(".")[0])
    when = {"index": index, "at_ms": event.at, "wall_ms": event.wall}
    return Streamed(event.id, event.kind, {**when, **what})
