"""Is what `cluster.odds` assumes of a sample true of the nodes that take it? Real `Gossip`s on
links that lose reports, against the computed chance of a missed sample.

The computation is cautious in two ways (m reports and no more, relays as late as can be), so
nodes must miss no more often; and not much less, or the figures would say nothing.
"""

import random
from typing import Any

import pytest

from stationkeep.cluster.odds import Loss, Model
from stationkeep.cluster.odds.forecast import watch
from stationkeep.cluster.odds.trial import estimate
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.transitions import Role
from stationkeep.node.health.gossip import Gossip, RoleStatus
from stationkeep.node.replica import Replica
from tests.node.world import Health, ManualClock

DEMO = PROFILES["demo"]
EVALUATIONS = 1_500


class Post:
    """Delivers at once what the dice do not take."""

    def __init__(self, nodes: "Nodes", name: str) -> None:
        self._nodes, self._name = nodes, name

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        if self._nodes.dice.random() >= self._nodes.loss:
            self._nodes.gossips[peer].receive(self._name, message)
        return True

    def connected(self, peer: str) -> bool:
        return True

    def subscribe(self, *_: Any) -> None: ...


class Nodes:
    """So many nodes of profile demo, on one clock, begun at random moments."""

    def __init__(self, count: int, loss: float, seed: int) -> None:
        self.loss, self.dice, self.clock = loss, random.Random(seed), ManualClock()
        names = [f"n{i}" for i in range(count)]
        self.gossips: dict[str, Gossip] = {}
        for name in names:
            self.clock.now = self.dice.random() * DEMO.report_interval / 1_000
            self.gossips[name] = Gossip(
                name, 1, peers=tuple(n for n in names if n != name), clock=self.clock,
                network=Post(self, name), replica=Replica(self.clock, DEMO), source=Health(),
                role_status=lambda: RoleStatus(Role.STANDBY, 0, 0), sent=lambda *_: None,
            )  # fmt: skip

    def run_to(self, moment: float) -> None:
        while True:
            due = min(self.gossips.values(), key=lambda gossip: gossip.next_wakeup())
            if due.next_wakeup() > moment:
                break
            self.clock.now = self.clock.to_world(due.next_wakeup()) + 1e-9
            due.turn()
        self.clock.now = self.clock.to_world(moment)


@pytest.mark.parametrize(("nodes", "loss"), [(3, 0.6), (3, 0.8), (5, 0.8)])
def test_nodes_miss_samples_about_as_often_as_computed_and_not_more(
    nodes: int, loss: float
) -> None:
    world = Nodes(nodes, loss, seed=nodes)
    leader, interval = world.gossips["n0"], DEMO.evaluation_interval / 1_000
    missed, since = [], world.clock.monotonic() + 1.0
    world.run_to(since)
    for _ in range(EVALUATIONS):
        world.run_to(since + interval)
        sample = next(s for s in leader.samples(since) if s.node == "n1")
        missed.append(float(sample.reports == 0))
        since += interval
    computed = watch(DEMO, Loss(loss), nodes, Model.LINKS).miss
    found = estimate(missed)
    assert found.low <= computed
    assert found.high >= computed / 3
