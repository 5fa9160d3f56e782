"""One running node as its HTTP API and its metrics see it: `node.service.port.Service`.

The asynchronous face of the otherwise synchronous `NodeLoop`. It lives on the same event loop, so
that reading the state needs no lock.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from stationkeep.cluster.commands import Barrier, Draft
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.loop import NodeLoop
from stationkeep.node.ports import (
    Consensus,
    LinkFigures,
    Machine,
    Moment,
    NotProposed,
    OutcomeUnknown,
    ProposalResult,
)
from stationkeep.node.replica import StreamedEvent
from stationkeep.node.service import figures
from stationkeep.node.service.memory import RingMemory
from stationkeep.node.service.port import Durations, TooManyFollowers, Vitals
from stationkeep.node.webhooks.lateness import late
from stationkeep.node.wire.traceparent import Caller

if TYPE_CHECKING:
    from stationkeep.node.peers.network import PeerNetwork
    from stationkeep.node.raft import Raft
    from stationkeep.node.tracing.request import Request
    from stationkeep.node.tracing.watching import Tracing

MAX_SUBMISSIONS = 2_000
MAX_FOLLOWERS = 500
BATCH = 64
"""Events handed to a follower before the others have their turn."""


class NodeService:
    """Implements `node.service.port.Service`.

    `wake` tells the loop's driver that there is work; `tracing` sees the orders of clients, when
    it is on; `raft` and `network` are what stands behind the loop's seams, for their figures: in
    tests a node has neither.
    """

    def __init__(
        self,
        loop: NodeLoop,
        wake: Callable[[], None],
        *,
        tracing: "Tracing | None" = None,
        raft: "Raft | None" = None,
        network: "PeerNetwork | None" = None,
    ) -> None:
        self.loop = loop
        self.tracing = tracing
        self._wake, self._raft, self._network = wake, raft, network
        self._waiting: set[asyncio.Future[ProposalResult]] = set()
        self._followers: set[asyncio.Event] = set()
        self._barrier: asyncio.Task[ProposalResult] | None = None
        """Will be proposed when the event loop comes to it."""
        self._closing = False
        self.draining = False
        """Set while the node stops: writes are refused, reads still answered."""
        self._began = loop.clock.monotonic()
        self._memory = RingMemory(lambda: loop.replica.state)
        loop.replica.listen(self._on_applied)
        loop.replica.listen(self._memory.note)

    @property
    def config(self) -> NodeConfig:
        return self.loop.config

    # -- what this node knows -------------------------------------------------------------------

    @property
    def node(self) -> str:
        return self.loop.config.node

    @property
    def state(self) -> ClusterState:
        return self.loop.replica.state

    @property
    def settings(self) -> Settings:
        return self.loop.replica.settings

    @property
    def consensus(self) -> Consensus:
        return self.loop.consensus

    @property
    def intake(self) -> DeviceIntake:
        """Synchronous: what comes of a registration is heard by its `Listener`, in a later turn
        of this very event loop."""
        return self.loop.intake

    @property
    def errands(self) -> Errands:
        """Synchronous, as `intake`."""
        return self.loop.errands

    def cluster_time(self) -> int:
        replica = self.loop.replica
        return replica.cluster_time() if self.consensus.is_leader else replica.state.time

    def staleness_ms(self) -> int:
        return self.loop.staleness_ms()

    def connected(self) -> int:
        return self.loop.connected()

    def links(self) -> list[LinkFigures]:
        return [] if self._network is None else self._network.figures()

    def removed(self) -> bool:
        return self.loop.consensus.is_removed

    def effective_role(self, node: str) -> Role | None:
        return self.loop.effective_role_of(node)

    def lease_remaining(self, node: str) -> float | None:
        return self.loop.lease_remaining_of(node)

    def gate_complaint(self, rollout: str, stage: str) -> str:
        return self.loop.gatekeeper.complaint(rollout, stage)

    def late_webhooks(self) -> dict[str, int]:
        return late(self.loop.config.webhooks, self.state)

    def snapshot(self) -> Callable[[], bytes] | None:
        return None if self._raft is None else self._raft.snapshot_file()

    def machine(self) -> Machine:
        return figures.machine(self.config.data_dir, self.loop.clock.monotonic() - self._began)

    def moments(self) -> Sequence[Moment]:
        return self._memory.moments

    def vitals(self) -> Vitals:
        return figures.vitals(self.loop, self._raft, self._network)

    def take_durations(self) -> Durations:
        return figures.take_durations(self.loop, self._raft)

    # -- the log --------------------------------------------------------------------------------

    async def submit(
        self,
        draft: Draft,
        caller: Caller | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109 (the outcome is a value)
    ) -> ProposalResult:
        if self.tracing is None or not draft.key:
            return await self._submit(draft, timeout)
        request = self.tracing.request(draft, caller)
        outcome = await self._submit(draft, timeout, request)
        request.answered(outcome)
        return outcome

    async def _submit(
        self,
        draft: Draft,
        timeout: float,  # noqa: ASYNC109
        request: "Request | None" = None,
    ) -> ProposalResult:
        if self.draining:
            return NotProposed("stopping")
        if len(self._waiting) >= MAX_SUBMISSIONS:
            return NotProposed("queue_full")
        try:
            encoded = codec.encode_draft(draft)
        except codec.CodecError:
            return NotProposed("too_large")
        future: asyncio.Future[ProposalResult] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            settle = partial(_settle, future)
            done = settle if request is None else request.watch(settle)
            self.loop.consensus.propose(encoded, done, timeout, bool(draft.key))
            self._wake()
            return await future
        finally:
            self._waiting.discard(future)

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        """Those who ask in one turn of the event loop share one entry of the log, which stands
        behind everything that any of them is to see."""
        if self._barrier is None:
            self._barrier = asyncio.create_task(self._pass_barrier(timeout), name="barrier")
        return await asyncio.shield(self._barrier)  # who gives up leaves it to the others

    async def _pass_barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        self._barrier = None
        return await self._submit(Draft(Barrier()), timeout)

    # -- followers of events --------------------------------------------------------------------

    async def events(self, last_id: str | None = None) -> AsyncGenerator[StreamedEvent, None]:
        """Followers share the replica's bounded memory of events instead of each having a queue."""
        if len(self._followers) >= MAX_FOLLOWERS:
            raise TooManyFollowers
        replica, ready = self.loop.replica, asyncio.Event()
        self._followers.add(ready)
        try:
            cursor = replica.cursor_after(last_id)
            if cursor < replica.oldest_cursor:
                yield StreamedEvent(last_id or "", "gap", "events after this id are forgotten")
                cursor = replica.oldest_cursor
            while not self._closing:
                ready.clear()
                batch = replica.events_from(cursor, BATCH)
                for event in batch:
                    yield event
                cursor += len(batch)
                if cursor < replica.oldest_cursor:
                    yield StreamedEvent("", "overrun", "read too slowly")
                    return
                if not batch:
                    await ready.wait()
        finally:
            self._followers.discard(ready)

    def close(self) -> None:
        """Ends every subscription and answers what still waits; called when the node stops."""
        self._closing = True
        for ready in self._followers:
            ready.set()
        for future in tuple(self._waiting):
            _settle(future, OutcomeUnknown("the node stops"))

    def _on_applied(self, *_: object) -> None:
        for ready in self._followers:
            ready.set()


def _settle(future: asyncio.Future[ProposalResult], result: ProposalResult) -> None:
    if not future.done():
        future.set_result(result)
