"""Operators who deploy to the devices of a simulated cluster, cancel, and retry.

The details are drawn from a source of their own: a version of one of two components, higher, lower
or with a file, or no version at all; one device at a time or all at once; a deadline that may pass
in between. Orders go through a client's call, so they are refused, lost and repeated as all orders
are. Once the cluster is well, every task must end by its own deadlines.
"""

import random

from stationkeep.cluster.commands import CancelDeployment, CreateDeployment, RetryTasks
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import (
    REQUIRE,
    Deployment,
    DeploymentState,
    Limits,
    Pace,
    Target,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Condition, HealthRule
from stationkeep.node.simulation.actors.clients import Clients
from stationkeep.node.simulation.actors.devices import Devices
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.tasks import LATE
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.scenario import Scenario

TARGETS = ("all", "few", "selected", "ready", *Ring)
"""To whom; the ready are those among all who are not too busy at that moment."""
REQUIRED = HealthRule((Condition("cpu", "<", 9_000), Condition("battery", ">", 20)))
STEP = 0.5


class Deployments:
    """The deployments of one world."""

    def __init__(
        self,
        agenda: Agenda,
        members: Members,
        clients: Clients,
        devices: Devices,
        scenario: Scenario,
    ) -> None:
        self._agenda, self._members = agenda, members
        self._clients, self._devices = clients, devices
        self._seed, self._task_timeout = scenario.seed, scenario.settings.task_timeout
        self._orders = 0

    # -- verbs of a script ---------------------------------------------------------------------

    def deploy(self, node: str, target: str) -> None:
        """Deploys to devices; to many at once, or to one after the other."""
        draw = self._draw()
        artifact = None if draw.random() < 0.25 else _artifact(draw)
        command = CreateDeployment(
            self._target(draw, target),
            artifact=artifact,
            priority=draw.choice((500, 500, 500, 900)),
            require=REQUIRED if target == "ready" else REQUIRE,
            limits=Limits(
                max_in_flight=draw.choice((1, 2, 5, 500)),
                pace=draw.choice((None, None, Pace(60, 600, 2))),
                deadline=draw.choice((5_000, 20_000, 40_000)),
                retries=draw.choice((0, 1, 2, 2)),
            ),
            allow_downgrade=draw.random() < 0.3,
        )
        self._clients.give(node, command)

    def withdraw(self, node: str) -> None:
        """Cancels some deployment that is open in this node's state."""
        known = self._members[node].replica.state.deployments.known.values()
        chosen = self._chosen([one for one in known if one.open])
        if chosen is not None:
            self._clients.give(node, CancelDeployment(chosen.number))

    def retry(self, node: str) -> None:
        """Retries the failed tasks of some deployment, open or closed."""
        known = self._members[node].replica.state.deployments.known.values()
        chosen = self._chosen([one for one in known if one.state is not DeploymentState.CLOSING])
        if chosen is not None:
            self._clients.give(node, RetryTasks(chosen.number))

    def _chosen(self, among: list[Deployment]) -> Deployment | None:
        draw = self._draw()
        return draw.choice(among) if among else None

    def _draw(self) -> random.Random:
        self._orders += 1
        return random.Random(f"{self._seed} deployment {self._orders}")  # noqa: S311

    def _target(self, draw: random.Random, target: str) -> Target:
        if target in ("all", "ready"):
            return Target(everyone=True)
        if target == "selected":
            return Target(selector=f"app={draw.choice(('1.0.0', '2.0.0'))}")
        if target == "few":
            ids = [device.id for device in self._devices.all if device.carrier is not None]
            return Target(devices=tuple(draw.sample(ids, min(len(ids), draw.randint(1, 4)))))
        return Target(ring=Ring(target))

    # -- what must come true -------------------------------------------------------------------

    def judge(self) -> None:
        """Waits until nothing is open; raises `Violation` when that takes longer than the
        deadlines allow."""
        time = self._agenda.time
        began, patience = time.now, self._longest() / 1_000
        while open_ones := self._open():
            if time.now - began > patience:
                numbers = ", ".join(str(one.number) for one in open_ones)
                said = f"deployments {numbers} are open {patience:.0f} s after the heal"
                raise Violation("every task comes to an end", said)
            self._agenda.run(STEP)
            leader = self._members.leader()
            if leader is not None and time.now - began > LATE / 1_000:
                self._devices.tasks.in_time(leader)
        self._devices.tasks.settled()

    def _longest(self) -> int:
        """Milliseconds until the last task must be over; one may begin at the last moment, and
        still has all its time."""
        state = self._members.newest_state()
        left = [one.deadline - state.time for one in self._open()]
        return max([0, *left]) + self._task_timeout + 2 * LATE

    def _open(self) -> list[Deployment]:
        return self._members.newest_state().deployments.open_ones()


def _artifact(draw: random.Random) -> Artifact:
    version = draw.choice(("0.9.0", "1.2.0", "2.0.0", "2.0.0", "2.1.0", "blue"))
    component = draw.choice(("app", "app", "os"))
    if draw.random() < 0.5:
        return Artifact(version, component)
    return Artifact(version, component, "https://files.test/it", "ab" * 32, 1_000)
