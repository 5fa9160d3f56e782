"""A running node as its doors see it: `node.service.port.Service` over `NodeService`."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

import msgspec

from stationkeep.cluster.commands import AnyCommand
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.events import AnyEvent, Decided, LeasesEchoed
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.ports import Consensus, LinkFigures, ProposalResult
from stationkeep.node.replica import StreamedEvent
from stationkeep.node.service.node_service import NodeService, TooManySubscribersError
from stationkeep.node.service.port import Streamed, Timings, TooManyFollowers, Vitals
from stationkeep.node.views import fleet_events
from stationkeep.node.views.records import decision_view
from stationkeep.node.webhooks.lateness import late
from stationkeep.node.wire.traceparent import Caller

MAX_REASONS = 32
"""Distinct reasons of refused messages that become label values; the rest are "other"."""


@runtime_checkable
class Stored(Protocol):
    """What `node.raft.Raft` offers beyond `Consensus`, and a simulated one does not."""

    leader_changes: int
    rejected: dict[str, int]
    journal_error: str | None

    @property
    def log_entries(self) -> int: ...

    @property
    def pending_proposals(self) -> int: ...

    @property
    def snapshot_seconds(self) -> float: ...

    @property
    def standing(self) -> str: ...

    def snapshot_file(self) -> Callable[[], bytes] | None: ...

    def drain_commit_seconds(self) -> list[float]: ...

    def drain_sync_seconds(self) -> list[float]: ...


@runtime_checkable
class Wired(Protocol):
    """What `PeerNetwork` offers beyond `Network`, and a simulated one does not."""

    rejected: dict[str, int]

    def figures(self) -> list[LinkFigures]: ...


class Door:
    """Implements `node.service.port.Service`."""

    def __init__(self, service: NodeService) -> None:
        self._service, self._loop = service, service.loop
        consensus = service.loop.consensus
        self._stored = consensus if isinstance(consensus, Stored) else None
        network = service.loop.network
        self._wired = network if isinstance(network, Wired) else None

    @property
    def node(self) -> str:
        return self._loop.config.node

    @property
    def state(self) -> ClusterState:
        return self._loop.replica.state

    @property
    def settings(self) -> Settings:
        return self._loop.replica.settings

    @property
    def consensus(self) -> Consensus:
        return self._loop.consensus

    @property
    def intake(self) -> DeviceIntake:
        return self._loop.intake

    def cluster_time(self) -> int:
        replica = self._loop.replica
        return replica.cluster_time() if self.consensus.is_leader else replica.state.time

    def staleness_ms(self) -> int:
        return self._loop.staleness_ms()

    def connected(self) -> int:
        return self._loop.connected()

    def links(self) -> list[LinkFigures]:
        return [] if self._wired is None else self._wired.figures()

    def removed(self) -> bool:
        return self._stored is not None and self._stored.standing == "removed"

    def effective_role(self, node: str) -> Role | None:
        role = self._loop.effective_role_of(node)
        # The last word of a node that has lost the seat meanwhile says nothing about now.
        overtaken = role is Role.PRIMARY and self.state.seat.holder != node
        return None if overtaken else role

    def late_webhooks(self) -> dict[str, int]:
        return late(self._loop.config.webhooks, self.state)

    def lease_remaining(self, node: str) -> float | None:
        return self._loop.lease_remaining_of(node)

    async def submit(
        self,
        command: AnyCommand,
        *,
        key: str,
        actor: str,
        reason: str,
        origin: str,
        caller: Caller | None,
        timeout: float,  # noqa: ASYNC109
    ) -> ProposalResult:
        return await self._service.submit(
            command,
            key=key,
            actor=actor,
            reason=reason,
            origin=origin,
            caller=caller,
            timeout=timeout,
        )

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        return await self._service.barrier(timeout)

    async def events(self, last_id: str | None) -> AsyncGenerator[Streamed, None]:
        try:
            async with aclosing(self._service.events(last_id)) as events:
                async for event in events:
                    # Echoes come several times a second and concern only the lease's holder.
                    if not isinstance(event.event, LeasesEchoed):
                        yield streamed(event, self.state.fleet)
        except TooManySubscribersError as error:
            raise TooManyFollowers from error

    def snapshot(self) -> Callable[[], bytes] | None:
        return self._stored.snapshot_file() if self._stored else None

    def vitals(self) -> Vitals:
        rejected = {
            ("gossip", "malformed"): self._loop.gossip.malformed,
            ("gossip", "outdated"): self._loop.gossip.outdated,
            ("gossip", "implausible"): self._loop.gossip.implausible.total,
        }
        if self._wired is not None:
            rejected |= _bounded("connection", self._wired.rejected)
        reports = dict(self.intake.results)
        stored = self._stored
        if stored is None:
            return Vitals(rejected=rejected, device_reports=reports)
        return Vitals(
            log_entries=stored.log_entries,
            snapshot_seconds=stored.snapshot_seconds,
            leader_changes=stored.leader_changes,
            pending_proposals=stored.pending_proposals,
            journal_failing=stored.journal_error is not None,
            rejected=rejected | _bounded("raft", stored.rejected),
            device_reports=reports,
        )

    def take_timings(self) -> Timings:
        plans = self._loop.rebalancer.drain_seconds()
        stored = self._stored
        if stored is None:
            return Timings(rebalances=plans)
        return Timings(stored.drain_commit_seconds(), stored.drain_sync_seconds(), plans)


def _bounded(link: str, reasons: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Label values are for ever: a reason beyond the first `MAX_REASONS` is "other"."""
    counted: dict[tuple[str, str], int] = {}
    for position, (reason, number) in enumerate(reasons.items()):
        label = (link, reason if position < MAX_REASONS else "other")
        counted[label] = counted.get(label, 0) + number
    return counted


def streamed(event: StreamedEvent, fleet: Fleet) -> Streamed:
    """An event as clients see it: its log index and times beside what happened."""
    if event.event is None:
        return Streamed(event.id, event.kind, {"detail": event.detail})
    index = int(event.id.partition(".")[0])
    when = {"index": index, "at_ms": event.at, "wall_ms": event.wall}
    return Streamed(event.id, event.kind, {**when, **_told(event.event, fleet)})


def _told(event: AnyEvent, fleet: Fleet) -> dict[str, Any]:
    if isinstance(event, Decided):
        decided: dict[str, Any] = msgspec.to_builtins(decision_view(event.decision))
        return decided
    return fleet_events.told(event, fleet) or msgspec.structs.asdict(event)
