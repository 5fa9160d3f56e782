"""Devices of a simulated cluster: they register, report, fall ill, lose their node, move on.

Each is what an agent is: one connection at a time, to whichever node answers; numbered words
(some agents do not number theirs); another node when this one is silent. Connections are of two
kinds when they end: the node learns of it, or keeps a dead one until it hears better.

What they were promised is checked all the time (`promises`), and that no assignment is taken
back. What is checked after the heal, within `HEARING` seconds: every device is connected, to one
node and no other, knows the newest assignment, is online and is counted where it stands.
"""

import random
from collections.abc import Callable

from stationkeep.cluster.commands import AssignRing, Draft, Registration
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.state import codec
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.promises import Acknowledged, Promises
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.simulation.scenario import Scenario
from stationkeep.node.wire.tasks import TaskPayload

MAX_DEVICES = 10_000
PATIENCE = 12.0
"""Seconds for which a device waits for the answer to its registration."""
SILENCE = 2.0
"""Seconds after which a device takes a node that does not answer for dead."""
BACKOFF = (0.1, 1.0)
HEARING = 40.0
"""Seconds after the cluster is well within which every device knows its newest assignment: its
own patience with a node that was not, twice the intake's with the log, and a flush."""
STEP = 0.1


class Line:
    """`Listener`: one connection between a device and a life of a node."""

    def __init__(self, device: "Device", member: SimulatedNode) -> None:
        self._device, self.member, self.life = device, member, member.life
        self.opened_at = 0.0
        self.is_registered = False

    @property
    def is_dead(self) -> bool:
        """Whether the node's process is another one now, or none."""
        return not self.member.up or self.member.life != self.life

    def registered(self, assignment: Assignment) -> None:
        self.is_registered = True
        self._device.registered(self, assignment)

    def refused(self, refusal: IntakeRefusal) -> None:
        self._device.lost(self)

    def assigned(self, assignment: Assignment) -> None:
        self._device.told(self, assignment)

    def task_sent(self, task: TaskPayload) -> None:
        """It has nothing to install."""

    def task_canceled(self, task_id: str, reason: str) -> None:
        """It had begun nothing."""

    def superseded(self) -> None:
        self._device.lost(self)

    def removed(self) -> None:
        raise Violation("nobody is forgotten", f"{self._device.id} was removed; nobody ordered it")


class Device:
    """One device and its agent. `numbers`: whether the agent numbers its words."""

    def __init__(self, id_: str, fleet: "Devices", draw: random.Random, numbers: bool) -> None:
        self.id, self._fleet, self._draw, self.numbers = id_, fleet, draw, numbers
        self.session, self.sequence = 1, 0
        self.ill = False
        self.line: Line | None = None
        self.newest: Assignment | None = None
        self.acknowledged: Acknowledged | None = None
        self.statuses: dict[int, list[int]] = {}
        """Session → sequences of the statuses that a node took in it; of agents that number."""
        self._silent_since: float | None = None
        self._next = draw.randrange(64)

    # -- on its own initiative -----------------------------------------------------------------

    def tick(self) -> None:
        """Says what is due: a registration, a status, a heartbeat."""
        line = self.line
        if line is None:
            self._connect()
        elif line.is_dead or self._gives_up(line):
            self.hang_up(noticed=not line.is_dead and self._draw.random() < 0.5)
        elif line.is_registered and line.member.runs:
            self._speak(line)

    def _connect(self) -> None:
        member = self._fleet.node(self._next)
        self._next += 1
        if not member.runs:
            return
        line = self.line = Line(self, member)
        line.opened_at = self._fleet.now
        session, sequence = self._number()
        registration = Registration(
            self.id,
            os_version=f"Android {13 + len(self.id) % 2}",
            session=session,
            sequence=sequence,
            reading=self._reading(),
        )
        member.loop.intake.register(registration, line)

    def _gives_up(self, line: Line) -> bool:
        now = self._fleet.now
        if line.member.runs:
            self._silent_since = None
            return not line.is_registered and now - line.opened_at > PATIENCE
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since > SILENCE

    def _speak(self, line: Line) -> None:
        session, sequence = self._number()
        intake = line.member.loop.intake
        if self._draw.random() < 0.3:
            refusal = intake.heartbeat(self.id, session, sequence)
        else:
            refusal = intake.report(self.id, session, sequence, self._reading())
            if refusal is None:
                self.statuses.setdefault(session, []).append(sequence)
        if refusal is not None:
            self.lost(line)

    def _number(self) -> tuple[int, int]:
        if not self.numbers:
            return 0, 0
        self.sequence += 1
        return self.session, self.sequence

    def _reading(self) -> Reading:
        cpu = 9_500 if self.ill else self._draw.choice((2_000, 2_000, 3_000))
        metrics = {"temperature": self._draw.randrange(60_000)} if self._draw.random() < 0.2 else {}
        return Reading(80, False, cpu, 4_000, 5_000, metrics)

    def hang_up(self, noticed: bool) -> None:
        """Leaves its node; `noticed`: the node learns of it."""
        line, self.line = self.line, None
        self._silent_since = None
        if noticed and line is not None:
            self._fleet.when_running(line, lambda: line.member.loop.intake.leave(self.id, line))

    def restart(self) -> None:
        """Its agent starts anew."""
        self.hang_up(noticed=self._draw.random() < 0.5)
        self.session, self.sequence = self.session + 1, 0

    # -- what it hears -------------------------------------------------------------------------

    def registered(self, line: Line, assignment: Assignment) -> None:
        if line is self.line:
            self._fleet.promised(self, line.member)
            self.told(line, assignment)

    def told(self, line: Line, assignment: Assignment) -> None:
        self._fleet.said(line.member, assignment)
        if line is not self.line:
            return
        newest = self.newest
        if newest is not None and assignment.revision < newest.revision:
            raise Violation(
                "no assignment is taken back",
                f"{self.id} was told {newest.ring} (revision {newest.revision}), now "
                f"{assignment.ring} (revision {assignment.revision}) by {line.member.name}",
            )
        self.newest = assignment

    def lost(self, line: Line) -> None:
        """Nothing more will be said on a line."""
        if line is self.line:
            self.line = None


class Devices:
    """All devices of one world; none until a script's `devices`."""

    def __init__(
        self, agenda: Agenda, members: Members, scenario: Scenario, draw: random.Random
    ) -> None:
        self._agenda, self._members, self._draw = agenda, members, draw
        self._seed = scenario.seed
        self._interval = scenario.settings.device_status_interval / 1_000
        self.all: list[Device] = []
        self._orders = 0
        self._promises = Promises()

    # -- what devices need to know of their world ----------------------------------------------

    @property
    def now(self) -> float:
        return self._agenda.time.now

    def node(self, number: int) -> SimulatedNode:
        return self._members[[*self._members][number % len(self._members)]]

    def when_running(self, line: Line, do: Callable[[], None]) -> None:
        """Does it when the node of a line next runs; not in another life of it."""
        if line.is_dead:
            return
        if line.member.runs:
            do()
        else:
            self._agenda.at(self.now + STEP, self.when_running, line, do)

    def _belonging(self) -> list[SimulatedNode]:
        """The nodes that belong to the cluster, by the newest state that anyone has."""
        belong = self._members.newest_state().members
        return [member for name, member in self._members.items() if name in belong]

    # -- verbs of a script ---------------------------------------------------------------------

    def add(self, count: str) -> None:
        """So many devices more, within a second."""
        for number in range(len(self.all), min(MAX_DEVICES, len(self.all) + int(float(count)))):
            draw = random.Random(f"{self._seed} device {number}")  # noqa: S311
            device = Device(f"device-{number:03}", self, draw, numbers=number % 4 != 3)
            self.all.append(device)
            self._promises.devices[device.id] = device
            self._agenda.at(self.now + draw.random(), self._tick, device)
        self._agenda.at(self.now + 1.0, self._look)

    def fall_ill(self, share: str, seconds: str) -> None:
        """A share of them is unhealthy for a while."""
        chosen = [device for device in self.all if self._draw.random() < float(share)]
        for device in chosen:
            device.ill = True
        self._agenda.at(self.now + float(seconds), self._recover, chosen)

    def roam(self, share: str) -> None:
        """A share of them changes networks: they leave their nodes for others."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.hang_up(noticed=self._draw.random() < 0.5)

    def renew(self, share: str) -> None:
        """The agents of a share of them start anew."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.restart()

    def pin(self, node: str, ring: str) -> None:
        """An operator pins some device for a while, through a node; once, whatever comes of it."""
        member = self._members[node]
        if not self.all or not member.runs:
            return
        self._orders += 1
        device = self._draw.choice(self.all).id
        command = AssignRing(device, Ring(ring), self._draw.choice((0, 2_000)))
        draft = codec.encode_draft(Draft(command, f"pin-{self._orders}", "client"))
        member.raft.propose(draft, lambda _: None, 5.0, retry=True)

    # -- time ----------------------------------------------------------------------------------

    def _tick(self, device: Device) -> None:
        device.tick()
        pause = self._interval if device.line is not None else self._draw.uniform(*BACKOFF)
        self._agenda.at(self.now + pause * (0.9 + 0.1 * self._draw.random()), self._tick, device)

    def _recover(self, devices: list[Device]) -> None:
        for device in devices:
            device.ill = False

    def heal(self) -> None:
        """Every fault is over, theirs as well."""
        self._recover(self.all)

    def born(self, member: SimulatedNode) -> None:
        """A process of this member has started."""
        self._promises.watch(member)

    def promised(self, device: Device, member: SimulatedNode) -> None:
        """A registration is acknowledged by a node."""
        self._promises.registered(device, member)

    def said(self, member: SimulatedNode, assignment: Assignment) -> None:
        """A node tells an assignment."""
        self._promises.said(member, assignment)

    def _look(self) -> None:
        """No acknowledged registration is lost on any node that has applied it."""
        for member in self._members.values():
            if member.up:
                self._promises.all_kept(member)
        self._agenda.at(self.now + 1.0, self._look)

    # -- what must come true -------------------------------------------------------------------

    def judge(self) -> float:
        """Seconds until every device knows its newest assignment; raises `Violation` when that
        takes longer than it may, or is not what everybody counts."""
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
        """The newest assignments, as the leader has them now."""
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
        """Nobody keeps a session that is not the device's own."""
        kept = sum(len(member.loop.intake.connected) for member in self._belonging())
        return f"{kept} sessions of {len(self.all)} devices" * (kept != len(self.all))
