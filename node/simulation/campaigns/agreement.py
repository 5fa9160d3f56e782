"""What `stationkeep plan` promises, counted in whole simulated clusters.

`cluster.odds` computes how often losses alone make a healthy node look failed; `odds.trial` counts
the same with a real state machine and everything else simulated. Here only the machines are
simulated: loops, gossip in its own time, evaluations through the log, proposals, votes, leases and
hooks are real. Only reports are lost, as in plan's two models: those of each link independently, or
all of a sender's at once. The log loses nothing, as plan assumes too.

What is computed is an *alarm*: a node that the leader watches reaches its role's trigger. Whether a
change follows is decided by the voters, so there can only be fewer changes than alarms.
"""

import random

import msgspec

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Entry
from stationkeep.cluster.odds import Loss, Model
from stationkeep.cluster.odds.loss import BAD, GOOD
from stationkeep.cluster.odds.trial import HALF_WIDTH, Estimate
from stationkeep.cluster.roles.health import trigger_length
from stationkeep.cluster.state.events import RoleChanged, SamplesRecorded
from stationkeep.cluster.transitions import Role, Rule
from stationkeep.node.simulation.actions import perform
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.campaigns.campaign import quiet
from stationkeep.node.simulation.links.connection import Message
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

SETTLING = 30.0
"""Simulated seconds before anything is lost, in which the cluster is founded and roles are
given."""
NEVER_PRIMARY = 0
"""The priority that keeps the leader out of the seat: it always hears itself (`cluster.odds`)."""


class AlarmCount(msgspec.Struct):
    """For one trigger: samples in which it could have been reached, and how often it was."""

    samples: int = 0
    alarms: int = 0

    def seconds(self, interval: float) -> Estimate:
        """Expected seconds to an alarm, with a 99.9 % interval. Alarms are rare, so their number
        has a Poisson distribution, and its square root a standard deviation of 1/2."""
        time, root = self.samples * interval, self.alarms**0.5
        fewest, most = max(root - HALF_WIDTH / 2, 0.0) ** 2, (root + HALF_WIDTH / 2) ** 2
        mean, high = (time / n if n else float("inf") for n in (self.alarms, fewest))
        return Estimate(mean, time / most, high, self.alarms)


class LossyReports:
    """Replaces `Links.send`: loses reports as a model says, and nothing else."""

    def __init__(
        self, links: Links, time: Time, loss: Loss, model: Model, draw: random.Random
    ) -> None:
        self._deliver, self._time = links.send, time
        self._loss, self._model, self._draw = loss, model, draw
        self._channels: dict[tuple[str, str], tuple[int, float]] = {}
        """Newest state of each channel, and when it was drawn."""

    def send(self, sender: str, peer: str, message: Message, after: float = 0.0) -> bool:
        """As `Links.send`."""
        if message["kind"] == "gossip" and not self._passes(sender, peer):
            return True
        return self._deliver(sender, peer, message, after)

    def _passes(self, sender: str, peer: str) -> bool:
        key = (sender, "" if self._model is Model.UPLINK else peer)
        now = self._time.now
        state, at = self._channels.get(key, (GOOD, float("-inf")))
        if now != at:  # else it is the same report, for another peer
            lost = self._draw.random() < float(self._loss.transition(now - at)[state, BAD])
            state = BAD if lost else GOOD
            self._channels[key] = (state, now)
        return state == GOOD


class Observer:
    """Counts alarms as the evaluations are applied, and what they led to."""

    def __init__(self, world: World, leader: str) -> None:
        self._leader = leader
        self._replica = world.members[leader].replica
        self.counts = {Rule.PRIMARY_FAILED: AlarmCount(), Rule.ISOLATE: AlarmCount()}
        self.changes = dict.fromkeys(self.counts, 0)
        """Times that a healthy node lost its role by this rule."""
        self._armed: dict[str, Role] = {}
        """Nodes with a good sample since their last alarm → their role at that time."""
        self._replica.listen(self._on_applied)

    def _on_applied(self, _index: int, _entry: Entry | None, applied: Applied) -> None:
        for event in applied.events:
            if isinstance(event, SamplesRecorded):
                self._count()
            elif isinstance(event, RoleChanged) and event.rule in self.changes:
                self.changes[event.rule] += event.target is not Role.PRIMARY

    def _count(self) -> None:
        state = self._replica.state
        for node, member in state.members.items():
            length = trigger_length(member.role, state.settings)
            if node == self._leader or length is None:
                self._armed.pop(node, None)
                continue
            rule = Rule.PRIMARY_FAILED if member.role is Role.PRIMARY else Rule.ISOLATE
            if self._armed.get(node) is member.role:
                self.counts[rule].samples += 1
                if member.run >= length:
                    self.counts[rule].alarms += 1
                    del self._armed[node]
            elif member.run == 0:
                self._armed[node] = member.role


def observe(
    loss: Loss, model: Model, *, nodes: int, hours: float, seed: int, profile: str = "demo"
) -> Observer:
    """Runs a cluster of healthy nodes for some simulated hours under a loss of reports."""
    with quiet():
        world = World(Scenario(seed=seed, nodes=nodes, profile=profile, compact_entries=8_192))
        world.run(SETTLING / 2)
        leader = world.members.leader()
        assert leader is not None, "a cluster at peace elects one"
        if leader.is_primary():
            perform(world, Action(0.0, "order", (leader.name, "switchover")))
        world.run(SETTLING / 4)
        perform(world, Action(0.0, "write", (leader.name, leader.name, str(NEVER_PRIMARY))))
        world.run(SETTLING / 4)
        draw = random.Random(f"{seed} reports")  # noqa: S311
        lossy = LossyReports(world.links, world.time, loss, model, draw)
        world.links.send = lossy.send  # type: ignore[method-assign]
        observer = Observer(world, leader.name)
        world.run(hours * 3_600)
        assert len(world.leader_changes) == 1, "the log loses nothing"
    return observer
