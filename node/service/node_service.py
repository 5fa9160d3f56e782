"""What the HTTP API sees of its node: submit a command, wait for it, follow the events.

The only asynchronous face of the otherwise synchronous `NodeLoop`; it lives on the same event
loop, so that reading `service.loop.replica.state` needs no lock.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING

from stationkeep.cluster.commands import AnyCommand, Barrier, Draft
from stationkeep.cluster.state import codec
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.loop import NodeLoop
from stationkeep.node.ports import NotProposed, OutcomeUnknown, ProposalResult
from stationkeep.node.replica import StreamedEvent
from stationkeep.node.wire.traceparent import Caller

if TYPE_CHECKING:
    from stationkeep.node.tracing.request import Request
    from stationkeep.node.tracing.watching import Tracing

MAX_SUBMISSIONS = 2_000
MAX_SUBSCRIBERS = 500
BATCH = 64
"""Events handed to a subscriber before the others have their turn."""


class TooManySubscribersError(Exception):
    """There are `MAX_SUBSCRIBERS` followers of the events already."""


class NodeService:
    """One node, asynchronously. `wake` tells the loop's driver that there is work; `tracing`
    sees the orders of clients, when it is on."""

    def __init__(
        self, loop: NodeLoop, wake: Callable[[], None], tracing: "Tracing | None" = None
    ) -> None:
        self.loop = loop
        self.tracing = tracing
        self._wake = wake
        self._waiting: set[asyncio.Future[ProposalResult]] = set()
        self._followers: set[asyncio.Event] = set()
        self._closing = False
        self.draining = False
        """Set while the node stops: writes are refused, reads still answered."""
        loop.replica.listen(self._on_applied)

    @property
    def config(self) -> NodeConfig:
        return self.loop.config

    @property
    def intake(self) -> DeviceIntake:
        """Where devices report. Synchronous: what comes of a registration is heard by its
        `Listener`, in a later turn of this very event loop."""
        return self.loop.intake

    async def submit(
        self,
        command: AnyCommand,
        *,
        key: str = "",
        actor: str = "",
        reason: str = "",
        origin: str = "",
        caller: Caller | None = None,
        timeout: float = 10.0,  # noqa: ASYNC109 (part of the protocol: the outcome is a value)
    ) -> ProposalResult:
        """Proposes a command and waits until it is applied here, at most `timeout` seconds.

        With a `key` a retry is applied once. Never raises for what may happen to a proposal.
        `caller`: the span that the order came from.
        """
        draft = Draft(command, key, actor, reason, origin)
        if self.tracing is None or not key:
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

    async def barrier(self, timeout: float = 10.0) -> ProposalResult:  # noqa: ASYNC109
        """Returns once everything committed before this call is applied here."""
        return await self.submit(Barrier(), timeout=timeout)

    async def events(self, last_id: str | None = None) -> AsyncGenerator[StreamedEvent, None]:
        """Events after `last_id` (None: from now on), for as long as the caller reads.

        Followers share the replica's bounded memory of events instead of each having a queue: a
        follower so slow that its next event is forgotten gets one last event of kind `overrun`;
        one that resumes from before that memory begins with an event of kind `gap`.
        Raises `TooManySubscribersError`.
        """
        if len(self._followers) >= MAX_SUBSCRIBERS:
            raise TooManySubscribersError
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

    def effective_role(self, node: str) -> Role | None:
        """The role `node` acts in, as far as this node knows; None when not heard lately."""
        return self.loop.effective_role_of(node)

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
