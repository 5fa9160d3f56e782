"""A node without sockets: the real state machine behind a log that commits at once.

What may go wrong with a proposal is chosen by the test (`refuse`), as is what others are heard to
be. Time stands still unless a test moves `now`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from stationkeep.cluster.apply import Applied, apply
from stationkeep.cluster.commands import (
    Acknowledge,
    AdoptPlan,
    AnnounceActions,
    AnyCommand,
    Barrier,
    CastVote,
    Draft,
    Echo,
    Measured,
    MemberSpec,
    RecordEvaluation,
)
from stationkeep.cluster.roles.evaluate import evaluate_roles
from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.events import Event
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.transitions import Role
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.ports import (
    Committed,
    Host,
    LinkFigures,
    Machine,
    Moment,
    NotProposed,
    OutcomeUnknown,
    ProposalResult,
)
from stationkeep.node.replica import Listener, StreamedEvent, snake_case
from stationkeep.node.service.memory import RingMemory
from stationkeep.node.service.port import Durations, TooManyFollowers, Vitals
from tests.founding import founding

MEMBERS = ("sat-001", "sat-002", "sat-003")


def link(peer: str, **changes: Any) -> LinkFigures:
    """A link on which one datagram of 50 is lost."""
    figures = LinkFigures(
        peer=peer,
        connected=True,
        streams=1,
        stalled=False,
        in_doubt=False,
        window_s=60.0,
        sent=400,
        heard=392,
        longest_silence_s=1.1,
        received_total=10_231,
        lost_total=209,
        duplicates_total=7_712,
        refused_total={"forged": 0, "malformed": 0, "replayed": 3, "too_many": 0},
        address="sat-002.example.net:7701",
        since_s=512.25,
    )
    return msgspec.structs.replace(figures, **changes)


class FakeConsensus:
    """The replicated log of one node that always leads, unless told otherwise."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self.is_leader = True
        self.leader: str | None = "sat-001"
        self.term = 3
        self.has_quorum = True
        self.journal_error: str | None = None
        self.is_removed = False

    @property
    def commit_index(self) -> int:
        return self._state.index

    applied_index = commit_index


class FakeNode:
    """Implements `node.service.port.Service`."""

    node = "sat-001"

    def __init__(self) -> None:
        self.state = ClusterState()
        self.consensus: Any = FakeConsensus(self.state)
        self.now = 0
        self.refuse: NotProposed | OutcomeUnknown | None = None
        self.barriers = 0
        self.acting: dict[str, Role | None] = {}
        self.leases: dict[str, float] = {}
        self.max_followers = 2
        self.followers = 0
        self.durations = Durations()
        self.dismissed = False
        self.stale = 7
        self.late: dict[str, int] = {}
        self.complaints: dict[tuple[str, str], str] = {}
        self.linked = [link(peer) for peer in MEMBERS[1:]]
        self.streamed: list[StreamedEvent] = []
        self.happened: list[Event] = []
        self.gate: asyncio.Event | None = None  # holds writes back while it is not set
        self.entered: asyncio.Queue[str] = asyncio.Queue()
        self._more = asyncio.Event()
        self._memory = RingMemory(lambda: self.state)
        self._applied: list[Listener] = [self._memory.note]
        replica: Any = self
        nobody: Any = None
        host = Host(replica, nobody, self._turn_intake_soon)
        bench = Workbench(self.node, host, self.consensus, replica, self._propose_for_intake)
        self.intake = DeviceIntake(bench)
        self.errands = Errands(bench, self.intake.connected)

    # -- what the devices' intake needs: a clock, a replica, a way to the log --------------------

    def monotonic(self) -> float:
        return self.now / 1_000

    def wall(self) -> int:
        return 1_000 + self.now

    def listen(self, listener: Listener) -> None:
        self._applied.append(listener)

    def on_restored(self, listener: Any) -> None:
        """Nothing is ever restored here."""

    def _turn_intake_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._turn_intake)

    def _turn_intake(self) -> None:
        self.intake.turn()
        self.errands.turn()
        if self.errands.next_wakeup() <= self.monotonic():
            self._turn_intake_soon()

    def _propose_for_intake(
        self, command: AnyCommand, _timeout: float, done: Callable[[ProposalResult], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        if self.refuse is not None:
            loop.call_soon(done, self.refuse)
            return
        loop.call_soon(done, self.log(Draft(command)))
        loop.call_soon(self._turn_intake)  # as a node turns when something is committed

    # -- the log --------------------------------------------------------------------------------

    def commit(self, command: AnyCommand, key: str = "", actor: str = "", reason: str = "") -> Any:
        """Appends and applies a command; returns its outcome."""
        return self.log(Draft(command, key, actor, reason)).applied.outcome

    def log(self, draft: Draft) -> Committed:
        encoded = codec.stamp(self.now, 1_000 + self.now, codec.encode_draft(draft))
        entry = codec.decode_entry(encoded)
        index = self.state.index + 1
        applied = apply(self.state, entry, index)
        self._stream(index, applied)
        for listener in self._applied:
            listener(index, entry, applied)
        return Committed(index, applied)

    def _stream(self, index: int, applied: Applied) -> None:
        self.happened += applied.events
        for n, event in enumerate(applied.events):
            kind, at, wall = snake_case(type(event).__name__), self.state.time, self.state.wall
            self.streamed.append(StreamedEvent(f"{index}.{n}", kind, "", event, at, wall))
        self._more.set()

    # -- node.service.port.Service ---------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        return self.state.settings

    def cluster_time(self) -> int:
        return max(self.now, self.state.time)

    def staleness_ms(self) -> int:
        return self.stale

    def connected(self) -> int:
        return len(self.state.members)

    def links(self) -> list[LinkFigures]:
        return self.linked

    def removed(self) -> bool:
        return self.dismissed

    def effective_role(self, node: str) -> Role | None:
        member = self.state.members.get(node)
        return self.acting.get(node, member.role if member else Role.STANDBY)

    def gate_complaint(self, rollout: str, stage: str) -> str:
        return self.complaints.get((rollout, stage), "")

    def late_webhooks(self) -> dict[str, int]:
        return self.late

    def lease_remaining(self, node: str) -> float | None:
        return self.leases.get(node)

    async def submit(
        self,
        draft: Draft,
        caller: Any,
        timeout: float,  # noqa: ASYNC109
    ) -> ProposalResult:
        if self.gate is not None:
            self.entered.put_nowait(draft.key)
            await self.gate.wait()
        return self.refuse or self.log(draft)

    async def barrier(self, timeout: float) -> ProposalResult:  # noqa: ASYNC109
        self.barriers += 1
        return self.refuse or self.log(Draft(Barrier()))

    async def events(self, last_id: str | None) -> AsyncGenerator[StreamedEvent, None]:
        if self.followers >= self.max_followers:
            raise TooManyFollowers
        self.followers += 1
        try:
            known = [event.id for event in self.streamed]
            position = known.index(last_id) + 1 if last_id else len(known)
            while True:
                self._more.clear()
                for event in self.streamed[position:]:
                    position += 1
                    yield event
                await self._more.wait()
        finally:
            self.followers -= 1

    def snapshot(self) -> Callable[[], bytes]:
        return codec.FrozenState(self.state).encode

    def machine(self) -> Machine:
        return Machine(3_661.5, "/var/lib/stationkeep", 64_000_000_000, 16_000_000_000, 90_000_000)

    def moments(self) -> Sequence[Moment]:
        return self._memory.moments

    def vitals(self) -> Vitals:
        reports = {"taken": 30, "outdated": 1}
        return Vitals(
            12, 0.1, 4, 1, False, {("gossip", "malformed"): 2}, reports, self.errands.words.results,
            {"pass": 2, "fail": 0, "none": 5},
        )  # fmt: skip

    def take_durations(self) -> Durations:
        taken, self.durations = self.durations, Durations()
        return taken

    # -- a story --------------------------------------------------------------------------------

    def found(self) -> "FakeNode":
        """A founded cluster of three that nobody has heard of yet."""
        specs = tuple(
            MemberSpec(node, f"127.0.0.1:770{n}", f"127.0.0.1:870{n}")
            for n, node in enumerate(MEMBERS, 1)
        )
        self.commit(founding("test", specs, PROFILES["demo"]))
        beacons = ("beacon", *(f"beacon-{n}" for n in range(5)))
        for node in MEMBERS:
            self.commit(AnnounceActions(node, beacons))
        return self

    def evaluate(self, **risks: float | None) -> None:
        """One evaluation; `sat_002=0.9` sets a risk, `None` a missed sample, the rest is 0.1.
        Everybody approves of what comes of it, and does as told."""
        self.now += 1_000
        round_ = self.state.evaluations + 1
        told = {node: risks.get(node.replace("-", "_"), 0.1) for node in MEMBERS}
        samples = tuple(
            Measured(node, 0 if risk is None else 5, round((1 if risk is None else risk) * 1e6))
            for node, risk in told.items()
        )
        echoes = tuple(
            Echo(node, 1, round_, self.now) for node, risk in told.items() if risk is not None
        )
        self.commit(RecordEvaluation(self.state.evaluations, samples, echoes))
        plan = evaluate_roles(self.state, self.state.time)
        if plan.differs_from(self.state):
            self.commit(AdoptPlan(self.state.revision, plan.motions, plan.held))
        for proposal in tuple(self.state.proposals.values()):
            for voter in proposal.electorate:
                self.commit(CastVote(proposal.id, voter, True, "observations_agree"))
        for action in tuple(self.state.actions.values()):
            for target in action.targets:
                self.commit(Acknowledge(action.id, target, True))

    def with_primary(self) -> "FakeNode":
        """A founded cluster in which a PRIMARY was elected."""
        self.found()
        self.evaluate()
        assert self.state.seat.holder is not None
        return self
