"""A small cluster in virtual time: real `NodeLoop`s on a simulated network and a shared log.

Deliberately dumb: the log is one list, appended by whoever is declared leader; a node sees an
entry once a message could have carried it. It stands in for Raft (which has its own tests and,
later, its own simulator) so that everything above the log can be tested in milliseconds.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.settings import PROFILES, Settings
from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.config.webhooks import WebhookConfig
from stationkeep.node.duty import Workbench, proposing
from stationkeep.node.fleet.gatekeeper import Asker
from stationkeep.node.health.measurement import Measurement
from stationkeep.node.health.self_checks import ClockWatch
from stationkeep.node.hooks.runner import Hook, HookResult
from stationkeep.node.loop import NodeLoop
from stationkeep.node.ports import Committed, Host, NotProposed, OutcomeUnknown, Watch
from stationkeep.node.replica import Replica
from stationkeep.node.webhooks.sending import Poster


class ManualClock:
    """A clock that stands still until told; `rate` and `offset` tell it from the world's."""

    def __init__(self, rate: float = 1.0, offset: float = 100.0) -> None:
        self.now = 0.0
        self.rate, self.offset = rate, offset
        self.epoch = 1_700_000_000_000
        """Unix ms on the wall when time began."""

    def monotonic(self) -> float:
        return self.offset + self.now * self.rate

    def wall(self) -> int:
        return self.epoch + int(self.now * 1_000)

    def to_world(self, moment: float) -> float:
        return (moment - self.offset) / self.rate


class Health:
    """A node's health, set by the test."""

    def __init__(self) -> None:
        self.risk = 0.1

    def measure(self) -> Measurement:
        return Measurement(self.risk, f"risk {self.risk}", {"risk": self.risk})


class Ram:
    """`Memory` that survives a simulated restart."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def load(self) -> bytes | None:
        return self.content

    def save(self, content: bytes) -> None:
        self.content = content


class HeldHook:
    """`Hook` of the simulated hooks: gone as soon as it is cancelled, unless they linger."""

    def __init__(self, hooks: "Hooks", command: str) -> None:
        self._hooks, self._command = hooks, command
        self._cancelled = False

    @property
    def is_gone(self) -> bool:
        return self._cancelled and not self._hooks.linger

    def cancel(self) -> None:
        self._cancelled = True
        self._hooks.cancelled.append(self._command)


class Hooks:
    """Hooks that end at once unless `hold` is set; every start is noted. While `linger` is set
    what was cancelled is killed but not gone. `waiting` keeps the `done` of cancelled ones."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, str]]] = []
        self.timeouts: list[float] = []
        self.cancelled: list[str] = []
        self.result = HookResult(True)
        self.results: dict[str, HookResult] = {}
        """Where a command's result differs from `result`."""
        self.hold = False
        self.linger = False
        self.waiting: list[Callable[[HookResult], None]] = []
        self.leftover: Hook | None = None
        """What the next life of the node finds running."""

    def kill_leftovers(self) -> Hook | None:
        return self.leftover

    def start(self, command: str, env: Any, timeout: float, done: Any) -> HeldHook:
        self.started.append((command, dict(env)))
        self.timeouts.append(timeout)
        if self.hold:
            self.waiting.append(done)
        else:
            done(self.results.get(command, self.result))
        return HeldHook(self, command)


class Wire:
    """`Network` of one node."""

    def __init__(self, world: "World", node: str) -> None:
        self._world, self._node = world, node

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        return self._world.send(
            self._node, peer, lambda: self._world.deliver(self._node, peer, message)
        )

    def connected(self, peer: str) -> bool:
        return not self._world.is_cut(self._node, peer)

    def subscribe(self, *_: Any) -> None:
        raise AssertionError("the world delivers by itself")


class SharedLog:
    """`Consensus` of one node on the world's single list of entries."""

    def __init__(self, world: "World", node: str, replica: Replica) -> None:
        self.world, self._node, self._replica = world, node, replica
        self.applied_index = 0
        self.commit_index = 0
        self.journal_error: str | None = None
        self.is_removed = False
        self._pending: dict[int, tuple[Callable[[Any], None], float, int]] = {}
        """By token: whom to tell, until when, and in which term it was proposed."""
        self._office = 0

    @property
    def is_leader(self) -> bool:
        return self.world.leader == self._node and self._office == self.world.term

    @property
    def leader(self) -> str | None:
        leader = self.world.leader
        if leader is None or (leader != self._node and self.world.is_cut(leader, self._node)):
            return None
        return leader

    @property
    def term(self) -> int:
        return self.world.term

    @property
    def has_quorum(self) -> bool:
        return self.world.reaches_majority(self._node)

    def propose(
        self, draft: bytes, done: Callable[[Any], None], timeout: float, retry: bool = False
    ) -> None:
        leader = self.leader
        if leader is None:
            done(NotProposed("no_leader"))
            return
        token = next(self.world.tokens)
        self._pending[token] = (done, self.world.now + timeout, self.world.term)
        if leader == self._node:
            self.world.at(self.world.now, lambda: self.world.append(leader, draft, token))
        else:
            self.world.send(self._node, leader, lambda: self.world.append(leader, draft, token))

    def learn(self, index: int) -> None:
        self.commit_index = max(self.commit_index, index)

    def turn(self) -> None:
        if self.world.leader == self._node:
            self.learn(len(self.world.log))
        while self.applied_index < self.commit_index:
            entry, token = self.world.log[self.applied_index]
            self.applied_index += 1
            applied = self._replica.apply(entry, self.applied_index)
            if token in self._pending:
                self._pending.pop(token)[0](Committed(self.applied_index, applied))
        if self.world.leader == self._node and self._office != self.world.term:
            self._office = self.world.term
            self._replica.took_office()
        for token, (done, deadline, term) in list(self._pending.items()):
            lost = term != self.world.term
            if lost or self.world.now >= deadline:
                del self._pending[token]
                done(OutcomeUnknown("leader_lost" if lost else "deadline"))

    def next_wakeup(self) -> float:
        clock = self.world.clocks[self._node]
        return clock.monotonic() + 0.5

    def transfer_leadership(self) -> bool:
        return False


class World:
    """`names` nodes; time moves with `run`."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        settings: Settings | None = None,
        seed: int = 0,
        hooks: HookConfig | None = None,
        drift: float = 0.0,
        webhooks: tuple[WebhookConfig, ...] = (),
        poster: Poster | None = None,
        asker: Asker | None = None,
        watcher: Callable[[str, ManualClock, Replica, "SharedLog"], Watch] | None = None,
    ) -> None:
        """`watcher` makes what sees the proposals of a node, at each of its starts."""
        self.names = [f"sat-{n:03}" for n in range(1, nodes + 1)]
        self.settings = settings or PROFILES["demo"]
        self.random = random.Random(seed)
        self.now = 0.0
        self.tokens = itertools.count()
        self.log: list[tuple[bytes, int]] = []
        self.leader: str | None = self.names[-1]
        self.term = 1
        self.loss = 0.0
        self.delay = (0.001, 0.01)
        self.cuts: set[tuple[str, str]] = set()
        self.down: set[str] = set()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._wakeups: dict[str, float] = {}
        self._hook_config = hooks or HookConfig()
        self._webhooks, self._poster, self._asker = webhooks, poster, asker
        self._watcher = watcher
        self._boots = dict.fromkeys(self.names, 0)
        self.memories = {name: Ram() for name in self.names}
        self.health = {name: Health() for name in self.names}
        self.hooks = {name: Hooks() for name in self.names}
        self.clocks = {
            name: ManualClock(1 + self.random.uniform(-drift, drift), self.random.uniform(0, 1e6))
            for name in self.names
        }
        self.loops: dict[str, NodeLoop] = {}
        self.on_step: Callable[[], None] = self.check_primaries
        for name in self.names:
            self.start(name)
        self._heartbeat()

    # -- nodes ----------------------------------------------------------------------------------

    def start(self, name: str) -> NodeLoop:
        """Starts a node with an empty replica, as after kill -9; the log replays into it."""
        self._boots[name] += 1
        self.down.discard(name)
        clock = self.clocks[name]
        clock.now = self.now
        replica = Replica(clock, self.settings)
        consensus = SharedLog(self, name, replica)
        watch = self._watcher(name, clock, replica, consensus) if self._watcher else None
        host = Host(clock, Wire(self, name), submit=self.submit)
        loop = NodeLoop(
            self.config(name),
            self._boots[name],
            Workbench(name, host, consensus, replica, proposing(consensus, watch)),
            source=self.health[name],
            leaps=ClockWatch(clock),
            hooks=self.hooks[name],
            memory=self.memories[name],
            poster=self._poster,
            asker=self._asker,
        )
        self.loops[name] = loop
        self._wakeups[name] = self.now
        return loop

    def submit(self, work: Callable[[], None]) -> None:
        """Work that takes long is done at once."""
        work()

    def config(self, name: str) -> NodeConfig:
        members = tuple(MemberSpec(n, f"{n}:1", f"{n}:2") for n in self.names)
        return NodeConfig(
            node=name, cluster="test", data_dir=Path(), raft="", http="", members=members,
            settings=self.settings, hooks=self._hook_config, webhooks=self._webhooks,
        )  # fmt: skip

    def kill(self, name: str) -> None:
        self.down.add(name)

    def elect(self, name: str | None) -> None:
        """Declares a Raft leader (or none)."""
        self.leader = name
        self.term += 1

    # -- network --------------------------------------------------------------------------------

    def is_cut(self, a: str, b: str) -> bool:
        return (a, b) in self.cuts or a in self.down or b in self.down

    def partition(self, *names: str) -> None:
        """Cuts `names` off from the rest, both ways."""
        others = set(self.names) - set(names)
        self.cuts |= {(a, b) for a in names for b in others}
        self.cuts |= {(b, a) for a in names for b in others}

    def heal(self) -> None:
        self.cuts.clear()

    def reaches_majority(self, name: str) -> bool:
        reached = sum(not self.is_cut(name, n) or n == name for n in self.names)
        return name not in self.down and reached * 2 > len(self.names)

    def send(self, origin: str, target: str, arrive: Callable[[], None]) -> bool:
        if self.is_cut(origin, target):
            return False
        if self.random.random() >= self.loss:
            self.at(self.now + self.random.uniform(*self.delay), arrive)
        return True

    def deliver(self, origin: str, target: str, message: dict[str, Any]) -> None:
        if not self.is_cut(origin, target):
            self.loops[target].on_message(origin, message)

    def append(self, leader: str, draft: bytes, token: int) -> None:
        if leader != self.leader or not self.reaches_majority(leader):
            return
        if not self.loops[leader].consensus.is_leader:
            return
        self.log.append((self.loops[leader].replica.stamp(draft), token))
        self._wakeups[leader] = self.now
        self.replicate()

    def replicate(self) -> None:
        """Tells every node that the leader reaches how long the log is."""
        leader = self.leader
        if leader is None or leader in self.down:
            return
        length = len(self.log)
        for name in self.names:
            if name != leader and not self.is_cut(leader, name):
                self.at(self.now + self.random.uniform(*self.delay), self._teller(name, length))

    def _teller(self, name: str, length: int) -> Callable[[], None]:
        loop = self.loops[name]

        def tell() -> None:
            if self.loops[name] is loop and not self.is_cut(name, name):
                loop.consensus.learn(length)  # type: ignore[attr-defined]
                self._wakeups[name] = self.now

        return tell

    def _heartbeat(self) -> None:
        self.replicate()
        self.at(self.now + 0.1, self._heartbeat)

    # -- time -----------------------------------------------------------------------------------

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (moment, next(self.tokens), action))

    def run(self, seconds: float) -> None:
        """Lets `seconds` pass."""
        end = self.now + seconds
        while True:
            live = {n: at for n, at in self._wakeups.items() if n not in self.down}
            name = min(live, key=lambda n: (live[n], n), default="")
            wakeup = live[name] if name else float("inf")
            arrival = self._queue[0][0] if self._queue else float("inf")
            if min(wakeup, arrival) > end:
                break
            self._advance(max(self.now, min(wakeup, arrival)))
            if arrival <= wakeup:
                heapq.heappop(self._queue)[2]()
            else:
                self._turn(name)
            self.on_step()
        self._advance(end)
        self.on_step()

    def run_until(self, condition: Callable[[], bool], limit: float) -> float:
        """Runs in small steps until `condition`; the seconds it took. Fails at `limit`."""
        began = self.now
        while not condition():
            assert self.now - began < limit, f"not within {limit} s"
            self.run(0.02)
        return self.now - began

    def _advance(self, moment: float) -> None:
        self.now = moment
        for clock in self.clocks.values():
            clock.now = moment

    def _turn(self, name: str) -> None:
        loop = self.loops[name]
        loop.turn()
        wanted = self.clocks[name].to_world(loop.next_wakeup())
        self._wakeups[name] = max(wanted, self.now + 0.0005)

    # -- what is so -----------------------------------------------------------------------------

    def acting_primaries(self) -> list[str]:
        """Nodes that believe in their seat at this instant; a stopped one no longer acts."""
        return [
            name
            for name, loop in self.loops.items()
            if name not in self.down and loop.lease.effective_role() is Role.PRIMARY
        ]

    def check_primaries(self) -> None:
        """Invariant 1, at every step."""
        acting = self.acting_primaries()
        assert len(acting) <= 1, f"{acting} act as PRIMARY at {self.now:.3f} s"

    @property
    def primary(self) -> str | None:
        acting = self.acting_primaries()
        return acting[0] if acting else None
