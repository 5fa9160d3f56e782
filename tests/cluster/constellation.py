"""Voters around the pure core, in virtual time: a network that loses reports, and many clocks.

The log is given (a committed entry is applied by the leader at once and by the others whenever
their delay lets them); everything that roles.md says about observation, leases and votes is
modelled here from its words and not from `node`:

- each node reports every report_interval to each peer over a link that may lose it, with what it
  last heard of every other node;
- the leader's sample is the median of the distinct reports heard since the last evaluation,
  directly or through a peer; a voter judges on what it heard itself;
- each node counts its lease on its own clock from when it sent the report that was echoed.

After every entry the named invariants are checked (by `Driver`), and whenever a node learns
something, that no two are effectively PRIMARY.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from stationkeep.cluster.commands import (
    Acknowledge,
    AdvanceTime,
    Command,
    Echo,
    Measured,
    Observation,
    RecordEvaluation,
    RenewLeases,
)
from stationkeep.cluster.deadlines import next_due
from stationkeep.cluster.roles.actions import pending_for
from stationkeep.cluster.roles.health import median
from stationkeep.cluster.roles.proposals import judge
from stationkeep.cluster.settings import PPM, Settings
from stationkeep.cluster.state.events import LeasesEchoed
from stationkeep.cluster.transitions import Role
from tests.cluster.driver import Driver, settled

Loss = Callable[[str, str, int], bool]
"""Whether a report from one node to another at this moment (ms) is lost."""

LATENCY = 20
ELECTION = 700  # ms without a leader


def no_loss(_from: str, _to: str, _now: int) -> bool:
    return False


def independent(rate: float, seed: int) -> Loss:
    """Every report is lost with this probability, whatever happened before."""
    dice = random.Random(seed)
    return lambda _from, _to, _now: dice.random() < rate


def bursty(rate: float, mean_burst: float, seed: int) -> Loss:
    """Gilbert-Elliott: each link is either good or loses everything; ms a burst lasts on average,
    and the share of time in bursts."""
    dice = random.Random(seed)
    mean_good = mean_burst * (1 - rate) / rate
    links: dict[tuple[str, str], tuple[bool, float]] = {}

    def lost(source: str, target: str, now: int) -> bool:
        bad, until = links.get((source, target), (dice.random() < rate, 0.0))
        while until <= now:
            bad = not bad
            until += dice.expovariate(1 / (mean_burst if bad else mean_good))
        links[source, target] = bad, until
        return bad

    return lost


@dataclass
class View:
    """What one log entry tells a node: its index, who may act as PRIMARY, what was echoed."""

    index: int
    acting: str | None
    echoes: tuple[tuple[str, int, int], ...]
    lease: int


@dataclass
class Node:
    """One node: its clock, what it sent and heard, how far it has applied the log."""

    id: str
    rate: float = 1.0  # its clock's seconds per second of the world
    delay: int = 0  # ms until it applies a committed entry
    risk: float = 0.1
    up: bool = True
    reachable: bool = True
    boot: int = 1
    seq: int = 0
    sent: dict[tuple[int, int], float] = field(default_factory=dict)
    direct: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # (heard at, ppm)
    known: dict[str, dict[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    newest: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)  # boot seq ppm at
    learned: dict[str, int] = field(default_factory=dict)  # when `newest` was learned
    backlog: list[View] = field(default_factory=list)
    applied: int = 0
    acting: str | None = None
    lease_until: float = 0.0  # on its own clock

    def clock(self, now: int) -> float:
        return now * self.rate

    def learn(self, node: str, mark: tuple[int, int], ppm: int, heard_at: int, now: int) -> None:
        """Takes in a report heard of, directly or not."""
        self.known.setdefault(node, {}).setdefault(mark, (heard_at, ppm))
        if mark > self.newest.get(node, (0, 0))[:2]:
            self.newest[node] = (*mark, ppm, heard_at)
            self.learned[node] = now


class Constellation:
    """Nodes, links, one log, and the world's clock in ms; settled at the start."""

    def __init__(self, nodes: int, settings: Settings, loss: Loss = no_loss, seed: int = 0) -> None:
        self.dice = random.Random(seed)
        self.driver: Driver = settled(nodes, settings)
        self.settings = settings
        self.loss = loss
        self.now = 0
        self.counter = itertools.count()
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.nodes = {node: Node(node, boot=9) for node in self.driver.ids}
        self.leader: str | None = None
        self.opened: dict[tuple[str, object], int] = {}
        self.started = len(self.driver.state.role_changes)
        self.handled: set[tuple[str, str, object]] = set()
        self.acted: list[tuple[int, str]] = []  # (since, who) became effectively PRIMARY
        self.longest = dict.fromkeys(self.nodes, 0)  # longest unhealthy run of each
        for node in self.nodes.values():
            node.acting = self.driver.state.seat.holder
            self.after(self.dice.randrange(settings.report_interval), self.report, node)
        self.elect(self.driver.ids[-1])

    # Time

    def after(self, delay: float, action: Callable[..., None], *arguments: object) -> None:
        moment = self.now + max(0, round(delay))
        heapq.heappush(self.agenda, (moment, next(self.counter), lambda: action(*arguments)))

    def run(self, duration: int) -> None:
        """Lets this many ms pass."""
        end = self.now + duration
        while self.agenda and self.agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self.agenda)
            action()
        self.now = end

    # The observation network

    def report(self, node: Node) -> None:
        """A node tells every peer how it is and what it heard of the others."""
        self.after(self.settings.report_interval / node.rate, self.report, node)
        if not node.up:
            return
        node.seq += 1
        mark = (node.boot, node.seq)
        node.sent[mark] = node.clock(self.now)
        node.sent = dict(list(node.sent.items())[-64:])
        ppm = round(node.risk * PPM)
        self.hear(node, node.id, mark, ppm, ())
        heard = tuple(
            (other, (boot, seq), ppm_, self.now - at)
            for other, (boot, seq, ppm_, at) in node.newest.items()
            if other != node.id
        )
        for peer in self.nodes.values():
            if peer is not node and not self.loss(node.id, peer.id, self.now):
                self.after(LATENCY, self.deliver, node, peer, mark, ppm, heard)

    def deliver(
        self,
        node: Node,
        peer: Node,
        mark: tuple[int, int],
        ppm: int,
        heard: tuple[tuple[str, tuple[int, int], int, int], ...],
    ) -> None:
        if node.reachable and peer.reachable and peer.up:
            self.hear(peer, node.id, mark, ppm, heard)

    def hear(
        self,
        node: Node,
        source: str,
        mark: tuple[int, int],
        ppm: int,
        heard: tuple[tuple[str, tuple[int, int], int, int], ...],
    ) -> None:
        horizon = self.now - self.settings.evaluation_interval
        recent = [report for report in node.direct.get(source, []) if report[0] > horizon]
        node.direct[source] = [*recent, (self.now, ppm)]
        node.learn(source, mark, ppm, self.now, self.now)
        for other, other_mark, other_ppm, age in heard:
            if other != node.id:
                node.learn(other, other_mark, other_ppm, self.now - age, self.now)

    # The leader

    def elect(self, node: str) -> None:
        """Takes office: cluster time goes on from here, leases are renewed at once."""
        leader = self.nodes[node]
        self.leader = node
        self.office = self.now
        self.anchor = (self.driver.state.time, leader.clock(self.now))
        self.evaluated = self.now
        self.apply_backlog(leader, everything=True)
        self.renew(node, self.office)
        self.after(self.settings.evaluation_interval, self.evaluate, node, self.office)

    def depose(self) -> None:
        """Nobody leads for a while, then the first who can."""
        self.leader = None
        self.after(ELECTION, self.succeed)

    def succeed(self) -> None:
        able = [n.id for n in self.nodes.values() if n.up and n.reachable]
        if self.leader is None and able:
            self.elect(self.dice.choice(able))

    def in_office(self, node: str, since: int) -> bool:
        return self.leader == node and self.office == since

    def stamp(self, at: int | None = None) -> int:
        """The leader's cluster time at a moment of the world, never before it took office."""
        assert self.leader is not None
        clock = self.nodes[self.leader].clock(self.now if at is None else at)
        return self.anchor[0] + max(0, int(clock - self.anchor[1]))

    def commit(self, command: Command) -> None:
        """An entry: stamped, applied here, on its way to the others."""
        self.driver.clock = max(self.driver.state.time, self.stamp())
        self.driver.do(command)
        state, index = self.driver.state, len(self.driver.log)
        for key in [("p", p) for p in state.proposals] + [("a", a) for a in state.actions]:
            self.opened.setdefault(key, index)
        echoes = [e.echoes for e in self.driver.events if isinstance(e, LeasesEchoed)]
        acting = state.seat.holder if state.seat.active else None
        view = View(index, acting, sum(echoes, ()), state.settings.primary_lease)
        for node in self.nodes.values():
            node.backlog.append(view)
            wait = 0 if node.id == self.leader else node.delay
            self.after(wait, self.apply_backlog, node)
        due = next_due(state)
        if due is not None:
            self.after(max(1, due - self.driver.clock), self.advance, self.leader, self.office, due)

    def advance(self, leader: str, since: int, due: int) -> None:
        if self.in_office(leader, since) and next_due(self.driver.state) == due:
            self.commit(AdvanceTime())

    def echoes(self) -> tuple[Echo, ...]:
        assert self.leader is not None
        leader = self.nodes[self.leader]
        return tuple(
            Echo(node, boot, seq, self.stamp(leader.learned[node]))
            for node, (boot, seq, _, _) in leader.newest.items()
        )

    def renew(self, leader: str, since: int) -> None:
        if self.in_office(leader, since):
            self.after(self.settings.lease_renewal, self.renew, leader, since)
            self.commit(RenewLeases(self.echoes()))

    def evaluate(self, leader: str, since: int) -> None:
        """One evaluation of a leader that has been listening for a whole interval."""
        if not self.in_office(leader, since):
            return
        self.after(self.settings.evaluation_interval, self.evaluate, leader, since)
        samples = tuple(self.measure(self.nodes[leader], node) for node in self.nodes)
        self.evaluated = self.now
        state = self.driver.state
        self.commit(RecordEvaluation(state.evaluations, samples, self.echoes()))
        for member in state.members.values():
            self.longest[member.id] = max(self.longest[member.id], member.run)
        plan = self.driver.plan()
        if plan.differs_from(state):
            from stationkeep.cluster.commands import AdoptPlan

            self.commit(AdoptPlan(state.revision, plan.motions, plan.held))

    def measure(self, leader: Node, node: str) -> Measured:
        reports = leader.known.get(node, {})
        fresh = [ppm for heard_at, ppm in reports.values() if heard_at > self.evaluated]
        leader.known[node] = {m: r for m, r in reports.items() if r[0] > self.evaluated}
        return Measured(node, len(fresh), median(fresh) if fresh else 0)

    # The nodes

    def apply_backlog(self, node: Node, everything: bool = False) -> None:
        """Applies the log as far as this node has it, and does what follows from it."""
        if not node.up or not (node.reachable or everything) or not node.backlog:
            return
        pending = node.backlog if everything else node.backlog[:1]
        node.backlog = node.backlog[len(pending) :]
        for view in pending:
            node.applied = view.index
            node.acting = view.acting
            for name, boot, seq in view.echoes:
                if name == node.id and (boot, seq) in node.sent:
                    over = node.sent[boot, seq] + view.lease
                    node.lease_until = max(node.lease_until, over)
        self.watch()
        self.after(50 + self.dice.randrange(150), self.act, node)

    def act(self, node: Node) -> None:
        """Votes and acknowledges, once each, what it has applied."""
        if not node.up or not node.reachable or self.leader is None:
            return
        state = self.driver.state
        for proposal in list(state.proposals.values()):
            mine = node.id in proposal.electorate and node.id not in proposal.ballots
            if mine and self.opened["p", proposal.id] <= node.applied:
                vote = judge(state, proposal, node.id, self.observations(node))
                self.commit(vote)
        for action in pending_for(state, node.id):
            promoted = any(c.node == node.id and c.target is Role.PRIMARY for c in action.changes)
            known = self.opened["a", action.id] <= node.applied
            if known and (not promoted or self.is_effective(node)):
                self.commit(Acknowledge(action.id, node.id, True))

    def observations(self, node: Node) -> dict[str, Observation]:
        horizon = self.now - self.settings.evaluation_interval
        seen = {}
        for source, reports in node.direct.items():
            risks = [ppm for at, ppm in reports if at > horizon]
            if risks:
                seen[source] = Observation(source, len(risks), median(risks))
        return seen

    def is_effective(self, node: Node) -> bool:
        """Acts as PRIMARY at this instant, as far as it can know."""
        return node.up and node.acting == node.id and node.clock(self.now) < node.lease_until

    def watch(self) -> None:
        """Never two: checked whenever a node has learned something; time alone only ends leases."""
        effective = [node.id for node in self.nodes.values() if self.is_effective(node)]
        assert len(effective) <= 1, f"{effective} are effectively PRIMARY at {self.now} ms"
        if effective and (not self.acted or self.acted[-1][1] != effective[0]):
            self.acted.append((self.now, effective[0]))

    # Faults

    def kill(self, name: str) -> None:
        """Loses everything but its disk."""
        node = self.nodes[name]
        node.up = False
        node.sent, node.direct, node.known, node.newest, node.learned = {}, {}, {}, {}, {}
        node.lease_until = 0.0
        if self.leader == name:
            self.depose()

    def revive(self, name: str) -> None:
        node = self.nodes[name]
        if not node.up:
            node.up = True
            node.boot += 1
            node.seq = 0
            self.after(node.delay, self.catch_up, node)
        self.succeed()

    def cut(self, name: str) -> None:
        """Neither reports nor entries reach it or leave it; it goes on believing what it knew."""
        self.nodes[name].reachable = False
        if self.leader == name:
            self.depose()

    def heal(self, name: str) -> None:
        node = self.nodes[name]
        node.reachable = True
        self.after(node.delay, self.catch_up, node)
        self.succeed()

    def catch_up(self, node: Node) -> None:
        if node.reachable:
            self.apply_backlog(node, everything=True)

    @property
    def changes(self) -> int:
        """Role changes since the start."""
        return len(self.driver.state.role_changes) - self.started

    @property
    def holder(self) -> str | None:
        return self.driver.state.seat.holder

    @property
    def effective(self) -> str | None:
        return next((n.id for n in self.nodes.values() if self.is_effective(n)), None)
