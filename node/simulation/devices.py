"""Devices of a simulated cluster: they register, report, fall ill, lose their node, move on.

Each is what an agent is: one connection at a time, to whichever node answers; numbered words
(some agents do not number theirs); another node when this one is silent. Connections are of two
kinds when they end: the node learns of it, or keeps a dead one until it hears better.

What is checked all the time: who was acknowledged keeps its row and birth on every node; an
assignment (device and revision) is one ring, whoever says it; no device is told an older one than
before; and the log counts no status twice. What is checked after the heal, within `HEARING`
seconds: every device is connected, to one node and no other, knows the newest assignment, is
online and is counted where it stands.
"""

import random
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cluster import codec
from cluster.apply import Applied, Done
from cluster.commands import AssignRing, Draft, Entry, Registration, ReportDevices
from cluster.fleet.rings import RINGS, Ring
from cluster.fleet.status import Reading
from node.fleet.answers import Assignment, DeskRefusal
from node.simulation.checks import Violation
from node.simulation.member import Member

if TYPE_CHECKING:
    from node.simulation.world import World

MAX_DEVICES = 10_000
PATIENCE = 12.0
"""Seconds for which a device waits for the answer to its registration."""
SILENCE = 2.0
"""Seconds after which a device takes a node that does not answer for dead."""
BACKOFF = (0.1, 1.0)
HEARING = 40.0
"""Seconds after the cluster is well within which every device knows its newest assignment: its
own patience with a node that was not, twice the desk's with the log, and a flush."""
STEP = 0.1
VERBS = frozenset({"devices", "ill", "roam", "renew", "pin"})
"""What a script may say of devices."""


class Acknowledged(msgspec.Struct, frozen=True):
    """What a device was promised: its row, and the log index by which every node knows it."""

    row: int
    birth: int
    index: int


class Line:
    """`Listener`: one connection between a device and a life of a node."""

    def __init__(self, device: "Device", member: Member) -> None:
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

    def refused(self, refusal: DeskRefusal) -> None:
        self._device.lost(self)

    def assigned(self, assignment: Assignment) -> None:
        self._device.told(self, assignment)

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
        member.loop.desk.register(registration, line)

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
        desk = line.member.loop.desk
        if self._draw.random() < 0.3:
            refusal = desk.heartbeat(self.id, session, sequence)
        else:
            refusal = desk.report(self.id, session, sequence, self._reading())
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
            self._fleet.when_running(line, lambda: line.member.loop.desk.leave(self.id, line))

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

    def __init__(self, world: "World", draw: random.Random) -> None:
        self._world, self._draw = world, draw
        self._names = world.names
        self.all: list[Device] = []
        self._rings: dict[tuple[str, int], str] = {}
        self._orders = 0
        self._by_id: dict[str, Device] = {}
        self._judged = 0
        self._counted: dict[tuple[str, int], tuple[int, int]] = {}
        """Device and session → newest sequence that the log counted, and how many statuses."""

    # -- what devices need to know of their world ----------------------------------------------

    @property
    def now(self) -> float:
        return self._world.time.now

    def node(self, number: int) -> Member:
        return self._world.members[self._names[number % len(self._names)]]

    def when_running(self, line: Line, do: Callable[[], None]) -> None:
        """Does it when the node of a line next runs; not in another life of it."""
        if line.is_dead:
            return
        if line.member.runs:
            do()
        else:
            self._world.at(self.now + STEP, self.when_running, line, do)

    def _members(self) -> list[Member]:
        """The nodes that belong to the cluster, by the newest state that anyone has."""
        members = self._world.members
        newest = max((m.replica.state for m in members.values()), key=lambda s: s.index)
        return [member for name, member in members.items() if name in newest.members]

    # -- verbs of a script ---------------------------------------------------------------------

    def perform(self, verb: str, *words: str | None) -> None:
        """Does an action of a script now."""
        getattr(self, "_do_" + verb)(*words)

    def _do_devices(self, count: str) -> None:
        """So many devices more, within a second."""
        for number in range(len(self.all), min(MAX_DEVICES, len(self.all) + int(float(count)))):
            draw = random.Random(f"{self._world.scenario.seed} device {number}")  # noqa: S311
            device = Device(f"device-{number:03}", self, draw, numbers=number % 4 != 3)
            self.all.append(device)
            self._by_id[device.id] = device
            self._world.at(self.now + draw.random(), self._tick, device)
        self._world.at(self.now + 1.0, self._look)

    def _do_ill(self, share: str, seconds: str) -> None:
        """A share of them is unhealthy for a while."""
        chosen = [device for device in self.all if self._draw.random() < float(share)]
        for device in chosen:
            device.ill = True
        self._world.at(self.now + float(seconds), self._recover, chosen)

    def _do_roam(self, share: str) -> None:
        """A share of them changes networks: they leave their nodes for others."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.hang_up(noticed=self._draw.random() < 0.5)

    def _do_renew(self, share: str) -> None:
        """The agents of a share of them start anew."""
        for device in self.all:
            if self._draw.random() < float(share):
                device.restart()

    def _do_pin(self, node: str, ring: str) -> None:
        """An operator pins some device for a while, through a node; once, whatever comes of it."""
        member = self._world.members[node]
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
        interval = self._world.scenario.settings.device_status_interval / 1_000
        pause = interval if device.line is not None else self._draw.uniform(*BACKOFF)
        self._world.at(self.now + pause * (0.9 + 0.1 * self._draw.random()), self._tick, device)

    def _recover(self, devices: list[Device]) -> None:
        for device in devices:
            device.ill = False

    def heal(self) -> None:
        """Every fault is over, theirs as well."""
        self._recover(self.all)

    # -- what must hold all the time -----------------------------------------------------------

    def promised(self, device: Device, member: Member) -> None:
        """A registration is acknowledged by a node."""
        state = member.replica.state
        row = state.fleet.row(device.id)
        if row is None:
            raise Violation("acknowledged is applied", f"{member.name} has no {device.id}")
        birth = int(state.fleet.table.birth[row])
        known = device.acknowledged
        if known is None:
            device.acknowledged = Acknowledged(row, birth, state.index)
        elif (known.row, known.birth) != (row, birth):
            raise Violation("a registration is kept", f"{device.id} has another row or birth")

    def said(self, member: Member, assignment: Assignment) -> None:
        """A node tells an assignment; its revision is the same ring everywhere and for ever."""
        key = (assignment.device, assignment.revision)
        known = self._rings.setdefault(key, assignment.ring)
        if known != assignment.ring:
            raise Violation(
                "one revision, one ring",
                f"revision {assignment.revision} of {assignment.device} was {known}, "
                f"{member.name} says {assignment.ring}",
            )

    def born(self, member: Member) -> None:
        """A process of this member has started."""

        def applied(index: int, entry: Entry | None, what: Applied) -> None:
            if index > self._judged and entry is not None and self.all:
                self._judged = index
                command = entry.draft.command
                if isinstance(command, ReportDevices) and isinstance(what.outcome, Done):
                    self._count_once(member, command)

        member.replica.listen(applied)

    def _count_once(self, member: Member, command: ReportDevices) -> None:
        """A command may not count more statuses of a session than there were, up to the sequence
        that it names, beyond those that the log has counted already."""
        fleet = member.replica.state.fleet
        columns = (command.rows, command.births, command.sessions, command.sequences)
        rows = zip(*(np.frombuffer(c, "<u4").tolist() for c in columns), strict=True)
        for (row, birth, session, sequence), count in zip(rows, command.counts, strict=True):
            if fleet.table.birth[row] != birth:
                continue
            device = self._by_id[fleet.id(row)]
            newest, counted = self._counted.get((device.id, session), (0, 0))
            if not device.numbers or sequence <= newest or not count:
                continue
            self._counted[device.id, session] = sequence, counted + count
            there = bisect_right(device.statuses.get(session, []), sequence)
            if counted + count > there:
                raise Violation(
                    "a status counts once",
                    f"{counted + count} statuses of {device.id} are counted up to {session}, "
                    f"{sequence}; it sent {there}",
                )

    def _look(self) -> None:
        """No acknowledged registration is lost on any node that has applied it."""
        for member in self._world.members.values():
            if member.up:
                self._all_kept(member)
        self._world.at(self.now + 1.0, self._look)

    def _all_kept(self, member: Member) -> None:
        state = member.replica.state
        for device in self.all:
            known = device.acknowledged
            if known is None or known.index > state.index:
                continue
            row = state.fleet.row(device.id)
            if row != known.row or state.fleet.table.birth[row] != known.birth:
                raise Violation(
                    "no registration is lost",
                    f"{device.id} had row {known.row} at index {known.index}; {member.name} has "
                    f"row {row} at index {state.index}",
                )

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
            self._world.run(STEP)
        for member in self._members():
            self._all_kept(member)
            self._counts(member)
        return self.now - began

    def _revisions(self) -> dict[str, int]:
        """The newest assignments, as the leader has them now."""
        leader = self._world.leader()
        if leader is None:
            return {}
        fleet = leader.replica.state.fleet
        rows = ((device.id, fleet.row(device.id)) for device in self.all)
        return {id_: int(fleet.table.revision[row]) for id_, row in rows if row is not None}

    def _missing(self, wanted: dict[str, int]) -> str:
        """What is not well yet; empty when everything is."""
        leader = self._world.leader()
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
        kept = sum(member.loop.desk.connections for member in self._members())
        return f"{kept} sessions of {len(self.all)} devices" * (kept != len(self.all))

    def _counts(self, member: Member) -> None:
        """What a replica counts is what its devices are, one by one."""
        fleet = member.replica.state.fleet
        found = {ring: [0, 0, 0, 0, 0] for ring in RINGS}
        for row in fleet.table.rows.values():
            device = fleet.device(row)
            figures = (
                1,
                device.online and device.healthy,
                device.online and not device.healthy,
                not device.online,
                device.pinned is not None,
            )
            mine = found[device.ring]
            found[device.ring] = [a + b for a, b in zip(mine, figures, strict=True)]
        for ring, counts in fleet.counts().items():
            said = [counts.total, counts.healthy, counts.unhealthy, counts.offline, counts.pinned]
            if said != found[ring]:
                raise Violation(
                    "counts agree",
                    f"{member.name} counts {said} in {ring}, there are {found[ring]}",
                )
