"""What the HTTP API and the metrics ask of a node.

`node.service.node_service.NodeService` answers for a running node; a second implementation,
without sockets, is `tests/node/api/fake.py`. Everything but `submit`, `barrier` and `events`
answers at once, from memory.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

import msgspec

from stationkeep.cluster.commands import Draft
from stationkeep.cluster.settings import Settings
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.ports import LinkFigures, Machine, Moment, ProposalResult
from stationkeep.node.replica import StreamedEvent
from stationkeep.node.views.base import Answering
from stationkeep.node.wire.traceparent import Caller


class Vitals(msgspec.Struct, frozen=True):
    """Figures of storage and links, for metrics; None where this node does not know.

    `rejected`: what was refused, by (link, reason): ("gossip", "malformed") and so on.
    `device_reports`: what became of the words of devices, by result; `task_updates`: of those
    about tasks. `gate_questions`: tries to ask webhooks of stages, by what came of them.
    """

    log_entries: int | None = None
    snapshot_seconds: float | None = None
    leader_changes: int | None = None
    pending_proposals: int | None = None
    journal_failing: bool = False
    rejected: dict[tuple[str, str], int] = {}
    device_reports: dict[str, int] = {}
    task_updates: dict[str, int] = {}
    gate_questions: dict[str, int] = {}


class Durations(msgspec.Struct, frozen=True):
    """Seconds that each commit of an own proposal, each journal sync, the planning of each
    rebalance and each check of rollouts took."""

    commits: list[float] = []
    syncs: list[float] = []
    rebalances: list[float] = []
    checks: list[float] = []


class TooManyFollowers(Exception):  # noqa: N818 (a refusal, not a fault)
    """As many clients follow the events as a node serves."""


class Service(Answering, Protocol):
    """One running node, as its doors see it."""

    @property
    def settings(self) -> Settings:
        """The settings in force; before the cluster is founded, those of the configuration."""
        ...

    @property
    def intake(self) -> DeviceIntake:
        """Where devices report to this node."""
        ...

    @property
    def errands(self) -> Errands:
        """Where devices learn of their tasks and report on them."""
        ...

    def links(self) -> list[LinkFigures]:
        """What each link to another member is like, as this node sees it; by peer."""
        ...

    async def submit(
        self,
        draft: Draft,
        caller: Caller | None,
        timeout: float,  # noqa: ASYNC109 (the outcome is a value)
    ) -> ProposalResult:
        """Proposes a draft and waits until it is applied here, at most `timeout` seconds. With a
        key a retry is applied once. Never raises for what may happen to a proposal. `caller`: the
        span that the order came from."""
        ...

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        """`Committed` when everything committed before the call is applied here."""
        ...

    def events(self, last_id: str | None) -> AsyncGenerator[StreamedEvent, None]:
        """Events after `last_id` (None: from now on), for as long as the caller reads.

        A follower so slow that its next event is forgotten gets one last event of kind `overrun`;
        one that resumes from before what is remembered begins with an event of kind `gap`.
        Raises `TooManyFollowers` when iterated.
        """
        ...

    def snapshot(self) -> Callable[[], bytes] | None:
        """Takes the state at the applied index; the function returned gives it in the snapshot
        file format, on any thread. None before there is one."""
        ...

    def machine(self) -> Machine:
        """What is under this node."""
        ...

    def moments(self) -> Sequence[Moment]:
        """How many devices were in which ring, the oldest first, as this node remembers it."""
        ...

    def vitals(self) -> Vitals:
        """Figures for the metrics."""
        ...

    def take_durations(self) -> Durations:
        """What was measured since the previous call."""
        ...
