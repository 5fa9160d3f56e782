"""All devices of a simulated cluster: they register, report, fall ill, lose their node, move on.

Checked all the time: what they were promised (`promises`, `tasks`), and that no assignment is taken
back. Checked within `HEARING` seconds after the heal: every device is connected, to one node and no
other, knows its newest assignment, is online, and is counted in its ring.
"""

import random
from collections.abc import Callable
from typing import Any

from stationkeep.cluster.commands import AnyCommand, AssignRing, Draft, RemoveDevice
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.state import codec
from stationkeep.node.fleet.replies import Assignment
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.actors.device import Device, Line
from stationkeep.node.simulation.actors.windows import PERIOD, Window
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.promises import Promises
from stationkeep.node.simulation.checks.tasks import TaskChecks
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.simulation.scenario import Scenario

MAX_DEVICES = 10_000
BACKOFF = (0.1, 1.0)
HEARING = 40.0
"""Seconds within which, once the cluster is well, every device knows its newest assignment: its
own patience with a bad node, twice the patience of the intake with the log, and a flush."""
STEP = 0.1
BY_HAND = ("1.0.0", "2.0.0", "2.1.0", "")
"""Versions that people install by hand."""


class Devices:
    """All devices of one world; none until a script's `devices`."""

    def __init__(
        self, agenda: Agenda, members: Members, scenario: Scenario, draw: random.Random
    ) -> None:
        self._agenda, self._members, self._draw = agenda, members, draw
        self.seed = scenario.seed
        self._interval = scenario.settings.device_status_interval / 1_000
        self.all: list[Device] = []
        self.tasks = TaskChecks(members)
        self._orders = 0
        self._promises = Promises()

    # -- what devices need to know of their world ----------------------------------------------

    @property
    def now(self) -> float:
        return self._agenda.time.now

    def node(self, number: int) -> SimulatedNode:
        return self._members[[*self._members][number % len(self._members)]]

    def later(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        """Calls `do` that much later, whatever happens meanwhile."""
        self._agenda.at(self.now + seconds, do, *arguments)

    def when_running(self, line: Line, do: Callable[[], None]) -> None:
        """Calls `do` when the node of a line next runs; never if its process is another one by
        then."""
        if line.is_dead:
            return
        if line.member.runs:
            do()
        else:
            self._agenda.at(self.now + STEP, self.when_running, line, do)

    def _belonging(self) -> list[SimulatedNode]:
        """The nodes that belong to the cluster, according to the newest state of any node."""
        belong = self._members.newest_state().members
        return [member for name, member in self._members.items() if name in belong]

    # -- verbs of a script ---------------------------------------------------------------------

    def add(self, count: str) -> None:
        """Adds devices, within a second."""
        self._add(int(float(count)))

    def add_carriers(self, count: str, polls: bool = False) -> None:
        """Adds devices that can carry out tasks."""
        for device in self._add(int(float(count)), polls):
            draw = random.Random(f"{self.seed} carrier {device.id}")  # noqa: S311
            device.carrier = Carrier(self._agenda, device, draw)

    def add_pollers(self, count: str) -> None:
        """Adds devices that can carry out tasks, and ask for them."""
        self.add_carriers(count, polls=True)

    def _add(self, count: int, polls: bool = False) -> list[Device]:
        known = len(self.all)
        for number in range(known, min(MAX_DEVICES, known + count)):
            draw = random.Random(f"{self.seed} device {number}")  # noqa: S311
            device = Device(f"device-{number:03}", self, draw, number % 4 != 3, polls)
            self.all.append(device)
            self._promises.devices[device.id] = device
            self._agenda.at(self.now + draw.random(), self._tick, device)
        self._agenda.at(self.now + 1.0, self._look)
        return self.all[known:]

    def fall_ill(self, share: str, seconds: str) -> None:
        """Makes a share of them unhealthy for a while."""
        chosen = [device for device in self.all if self._draw.random() < float(share)]
        for device in chosen:
            device.ill = True
        self._agenda.at(self.now + float(seconds), self._recover, chosen)

    def roam(self, share: str) -> None:
        """Has a share of them change networks: they leave their nodes for others."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.hang_up(noticed=self._draw.random() < 0.5)

    def renew(self, share: str) -> None:
        """Restarts the agents of a share of them."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.restart()

    def bound(self, share: str) -> None:
        """Lets a share of them begin to install in their own windows only."""
        for device in self.all:
            if device.carrier is not None and self._draw.random() < float(share):
                device.carrier.window = Window(self._draw.uniform(0.0, PERIOD))

    def enable(self, share: str) -> None:
        """Lets a share of them go back to a former version by themselves."""
        for device in self.all:
            if device.carrier is not None and self._draw.random() < float(share):
                device.carrier.reversible = True
                device.renew()

    def tamper(self, share: str) -> None:
        """Has somebody install a version by hand on a share of them."""
        for device in self.all:
            if device.carrier is not None and self._draw.random() < float(share):
                device.carrier.tamper(self._draw.choice(BY_HAND))

    def pin(self, node: str, ring: str) -> None:
        """Pins some device for a while, as an operator through a node."""
        if self.all and self._members[node].runs:
            device = self._draw.choice(self.all).id
            duration = self._draw.choice((0, 2_000))
            self._order(node, "pin", AssignRing(device, Ring(ring), duration))

    def remove(self, node: str) -> None:
        """Removes some device, as an operator through a node."""
        if self.all and self._members[node].runs:
            self._order(node, "remove", RemoveDevice(self._draw.choice(self.all).id))

    def _order(self, node: str, what: str, command: AnyCommand) -> None:
        """Proposes it once; ignores the outcome."""
        self._orders += 1
        draft = codec.encode_draft(Draft(command, f"{what}-{self._orders}", "client"))
        self._members[node].raft.propose(draft, lambda _: None, 5.0, retry=True)

    # -- time ----------------------------------------------------------------------------------

    def _tick(self, device: Device) -> None:
        device.tick()
        pause = self._interval if device.line is not None else self._draw.uniform(*BACKOFF)
        self._agenda.at(self.now + pause * (0.9 + 0.1 * self._draw.random()), self._tick, device)

    def _recover(self, devices: list[Device]) -> None:
        for device in devices:
            device.ill = False

    def heal(self) -> None:
        """Ends the faults of devices."""
        self._recover(self.all)
        for device in self.all:
            if device.carrier is not None:
                device.carrier.heal()

    def born(self, member: SimulatedNode) -> None:
        """A process of this member has started."""
        self._promises.watch(member)
        self.tasks.watch(member)

    def promised(self, device: Device, member: SimulatedNode) -> int:
        """A registration is acknowledged by a node; the birth that the device has there."""
        return self._promises.registered(device, member)

    def was_removed(self, device: Device) -> bool:
        """Whether the log has the order to remove it."""
        return device.id in self._promises.removed

    def said(self, member: SimulatedNode, assignment: Assignment) -> None:
        """A node sends an assignment."""
        self._promises.said(member, assignment)

    def _look(self) -> None:
        """No acknowledged registration is lost on any node that has applied it."""
        for member in self._members.values():
            if member.up:
                self._promises.all_kept(member)
        self._agenda.at(self.now + 1.0, self._look)

    # -- what must come true -------------------------------------------------------------------

    def judge(self) -> float:
        """Waits until every device knows its newest assignment; returns the seconds. Raises
        `Violation` when that takes too long, or when a node counts otherwise."""
        if not self.all:
            return 0.0
        began = self.now
        wanted = self._revisions()
        while missing := self._missing(wanted):
            if self.now - began > HEARING:
                raise Violation("every device hears", f"{missing}, {HEARING:g} s after the heal")
            self._agenda.run(STEP)
        for member in self._belonging():
            self._promises.all_kept(member)
            self._promises.counts(member)
        return self.now - began

    def _revisions(self) -> dict[str, int]:
        """Revision of each device's newest assignment, as the leader has them now."""
        leader = self._members.leader()
        if leader is None:
            return {}
        fleet = leader.replica.state.fleet
        rows = ((device.id, fleet.row(device.id)) for device in self.all)
        return {id_: int(fleet.table.revision[row]) for id_, row in rows if row is not None}

    def _missing(self, wanted: dict[str, int]) -> str:
        """What is not well yet; empty when everything is."""
        leader = self._members.leader()
        if leader is None:
            return "nobody leads"
        table = leader.replica.state.fleet.table
        for device in self.all:
            newest, line = device.newest, device.line
            row = table.rows.get(device.id)
            if line is None or not line.is_registered or newest is None or row is None:
                return f"{device.id} is not registered"
            if newest.revision < wanted.get(device.id, 0):
                return f"{device.id} knows revision {newest.revision} of {wanted[device.id]}"
            if not table.online[row]:
                return f"{device.id} is offline"
        return self._sessions()

    def _sessions(self) -> str:
        """No node keeps a session that is not the device's own."""
        kept = sum(len(member.loop.intake.connected) for member in self._belonging())
        wanted = sum(not device.polls for device in self.all)
        return f"{kept} sessions of {wanted} devices" * (kept != wanted)
