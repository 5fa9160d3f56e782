"""A simulated node: the real parts of `node.runtime.node`, on a simulated machine."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from stationkeep.cluster.alarms import CLOCK_JUMP
from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state import codec
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.duty import Workbench, proposing
from stationkeep.node.health.measurement import Measurement
from stationkeep.node.health.self_checks import ClockWatch, SelfChecked
from stationkeep.node.hooks.runner import HookResult
from stationkeep.node.loop import NodeLoop
from stationkeep.node.ports import Host, ProposalResult
from stationkeep.node.raft import Journal, Raft, SnapshotStore, Timings
from stationkeep.node.raft.engine.membership import Configuration
from stationkeep.node.replica import Replica
from stationkeep.node.simulation.machine.clock import SimulatedClock
from stationkeep.node.simulation.machine.disk import SimulatedDisk, SimulatedFiles, SimulatedMemory
from stationkeep.node.simulation.machine.papers import Papers
from stationkeep.node.simulation.machine.socket import Socket
from stationkeep.node.simulation.scenario import Scenario

HEALTHY = 0.1
HOOKS = HookConfig(
    roles={role: f"simulated {role}" for role in Role},
    actions={"refocus": "simulated refocus"},
    timeout=2.0,
)


class SimulatedHealth:
    """`HealthSource`: whatever the script says."""

    def __init__(self) -> None:
        self.risk = HEALTHY

    def measure(self) -> Measurement:
        return Measurement(self.risk, "simulated", {"risk": self.risk})


class SimulatedHooks:
    """`HookRunner`: its hooks succeed or fail after a while; hanging ones end at their timeout."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], draw: random.Random):
        self._later, self._draw = later, draw
        self.mode = "work"

    def start(
        self,
        command: str,
        env: Mapping[str, str],
        timeout: float,
        done: Callable[[HookResult], None],
    ) -> "SimulatedHook":
        hook = SimulatedHook()
        result, after = HookResult(True), 0.01 + 0.2 * self._draw.random()
        if self.mode == "fail":
            result = HookResult(False, "exit status 1")
        elif self.mode == "hang":
            result, after = HookResult(False, f"timed out after {timeout:g} s"), timeout
        self._later(after, lambda: hook.end(lambda: done(result)))
        return hook

    def kill_leftovers(self) -> None:
        """Nothing outlives a simulated process."""


ANSWERS = (
    (200, b'{"verdict": "pass"}', ""),
    (200, b'{"verdict": "pass", "detail": "9 of 9"}', ""),
    (200, b'{"verdict": "fail", "detail": "3 of 9"}', ""),
    (200, b'{"verdict": "perhaps"}', ""),
    (200, b"\xff", ""),
    (503, b"", ""),
)
NEVER = 10.0
"""Seconds after which a webhook that has not answered never will."""


class SimulatedAsker:
    """`Asker`: a webhook that passes a stage, fails it, answers nonsense, or not at all."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], draw: random.Random):
        self._later, self._draw = later, draw

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes,
        done: Callable[[int, bytes, str], None],
    ) -> None:
        if self._draw.random() < 0.1:
            self._later(NEVER, lambda: done(0, b"", "no answer"))
            return
        answer = self._draw.choice(ANSWERS)
        self._later(0.01 + 0.5 * self._draw.random(), lambda: done(*answer))


class SimulatedHook:
    """`Hook`: gone as soon as it has ended or was cancelled."""

    def __init__(self) -> None:
        self.is_gone = False

    def cancel(self) -> None:
        self.is_gone = True

    def end(self, tell: Callable[[], None]) -> None:
        """Ends it; calls `tell` unless it was cancelled before."""
        if not self.is_gone:
            self.is_gone = True
            tell()


class WatchedRaft(Raft):
    """Counts proposals and their answers: each must get exactly one, in time. Also shows what only
    checks need to know of the engine."""

    def watch(self) -> None:
        """Begins to count."""
        self.unanswered: dict[int, float] = {}
        """Number of the proposal → monotonic moment at which it must be answered."""
        self.answered_twice = 0
        self._asked = 0

    def propose(
        self,
        draft: bytes,
        done: Callable[[ProposalResult], None],
        timeout: float,
        retry: bool = False,
    ) -> None:
        self._asked += 1
        number = self._asked
        self.unanswered[number] = self._clock.monotonic() + timeout

        def answered(result: ProposalResult) -> None:
            if self.unanswered.pop(number, None) is None:
                self.answered_twice += 1
            done(result)

        super().propose(draft, answered, timeout, retry)

    @property
    def leads(self) -> bool:
        """Whether the engine leads, also before it has committed an entry of its term."""
        return bool(self._engine._isLeader())

    @property
    def last_index(self) -> int:
        """Index of the last entry in its log."""
        return self._engine.last_index()

    @property
    def configurations(self) -> list[tuple[int, Configuration]]:
        """The newest applied configuration, and those behind it in the log; each with the term of
        its entry."""
        return [(one.term, one.configuration) for one in self._engine._standings]


class Skipping(Replica):
    """What a release without levels does: refuses what it does not know, and goes on."""

    def check(self, entry: bytes) -> None:
        """Lets everything into the log."""

    def apply(self, entry: bytes, index: int) -> Applied:
        try:
            codec.check_level(entry, self.highest)
        except codec.TooNew:
            entry = b""
        return super().apply(entry, index)


class SimulatedNode:
    """A node of the world. Its machine outlives crashes; `life` counts starts of its process."""

    def __init__(
        self,
        name: str,
        names: list[str],
        settings: Settings,
        clock: SimulatedClock,
        disk: SimulatedDisk,
        *,
        draw: random.Random,
    ) -> None:
        self.name, self.clock, self.disk, self.draw = name, clock, disk, draw
        self.health = SimulatedHealth()
        self.up = self.paused = False
        self.refused = ""
        """Why the process refused to start, if it did."""
        self.highest = HIGHEST
        """The highest level of the release that its next process runs."""
        self.papers = Papers()
        self.is_node = True
        """Whether there is a node on it: not before it is taken in, if it comes by a word."""
        self.joining = False
        """Whether it is no founder: its configuration file says `join`."""
        self.links: set[str] | None = None
        """Peers that it keeps connections with; None: those that its configuration file names."""
        self.life = 0
        self.busy_until = 0.0
        """True time until which its disk blocks it."""
        self.agenda_at = float("inf")
        """True time of its earliest turn on the agenda."""
        self.seen_commit = 0
        self.seen_leader: tuple[int, str | None] = (0, None)
        self.shown = ""
        self.configuration = Configuration(tuple(names))
        """The configuration in its log after its last turn."""
        self.raft: WatchedRaft
        self.loop: NodeLoop
        self.replica: Replica
        self.journal: Journal
        self.hooks: SimulatedHooks
        self._settings: Settings | None = None
        self._compact = 0
        self._rejoins = False
        specs = tuple(MemberSpec(n, f"{n}:7701", f"{n}:8701") for n in names)
        self.config = NodeConfig(
            node=name,
            cluster="simulated",
            data_dir=Path(name),
            raft="",
            http="",
            members=specs,
            settings=settings,
            hooks=HOOKS,
        )

    def boot(
        self,
        socket: Socket,
        scenario: Scenario,
        wake: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        """Starts a process from its disk; raises what makes that impossible."""
        self.life += 1
        self.hooks = SimulatedHooks(later, self.draw)
        kind = Skipping if "levels" in scenario.guards_off else Replica
        self.replica = kind(self.clock, self.config.settings, self.highest)
        self._compact = scenario.compact_entries
        self.journal = Journal(
            Path(self.name),
            cluster="simulated",
            node=self.name,
            birth=lambda: self.draw.randrange(1, 2**52),
            storage=self.disk,
        )
        if self._rejoins:
            self.journal.replaces_a_lost_one()
        host = Host(
            self.clock,
            socket,
            wake,
            submit=lambda work: later(0.2 * self.draw.random(), work),
            draw=self.draw.random,
        )
        self.raft = WatchedRaft(
            node_id=self.name,
            members=[member.id for member in self.config.members],
            joining=self.joining,
            host=host,
            machine=self.replica,
            journal=self.journal,
            snapshots=SnapshotStore(
                Path(self.name),
                cluster="simulated",
                encode_state=self.replica.snapshot,
                files=SimulatedFiles(self.disk),
                submit=host.submit,
                chunk_bytes=scenario.chunk_bytes,
            ),
            timings=self._timings(),
            guards=scenario.guards,
        )
        boot = self.journal.next_boot(self.clock.wall() // 1_000)
        self._rejoins = False
        self.raft.limit_batches(scenario.batch_entries)
        self.raft.watch()
        leaps = ClockWatch(self.clock)
        self.loop = NodeLoop(
            self.config,
            boot,
            Workbench(self.name, host, self.raft, self.replica, proposing(self.raft)),
            source=SelfChecked(self.health, {CLOCK_JUMP: leaps}),
            leaps=leaps,
            hooks=self.hooks,
            memory=SimulatedMemory(self.disk),
            asker=SimulatedAsker(later, self.draw),
        )
        self.up, self.paused, self.refused = True, False, ""
        self.seen_commit = 0
        self.configuration = self.raft.configuration
        self.links = None
        self._settings = None

    def turn(self) -> None:
        """One turn of the loop, as `node.runtime.driver` gives it."""
        self.loop.turn()
        if self.disk.replaced and self.journal.settled:
            self.disk.replaced.clear()
        if self.replica.settings is not self._settings:
            self._settings = self.replica.settings
            self.raft.configure(self._timings())

    def replace_disk(self, rejoins: bool) -> None:
        """Gives it an empty disk while it is down; `rejoins`: by `node rejoin`."""
        self.disk.erase()
        self._rejoins = rejoins

    @property
    def is_trusted_unheard(self) -> bool:
        """Whether its vote counts for no better reason than that it never heard of a log."""
        return not self.life or (self.journal.trusted and not self.journal.settled)

    def _timings(self) -> Timings:
        return Timings.of(self.replica.settings, compact_entries=self._compact)

    def wants_links(self) -> set[str]:
        """Peers that it should keep connections with, as `node.runtime.member_links` decides."""
        state = self.replica.state
        if not state.founded:
            return set(self.config.peers)
        return (self.raft.links | state.members.keys()) - {self.name}

    @property
    def runs(self) -> bool:
        """Its process exists and is not stopped."""
        return self.up and not self.paused

    def acts_as(self) -> Role | None:
        """The role it acts in at this instant; None when it does not act at all."""
        return self.loop.lease.effective_role() if self.up else None

    def is_primary(self) -> bool:
        """Whether it believes at this instant that it may act as PRIMARY."""
        return (
            self.up
            and self.replica.state.seat.holder == self.name
            and self.loop.lease.effective_role() is Role.PRIMARY
        )
