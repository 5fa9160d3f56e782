"""A device of a simulated cluster, and its connections.

It is what an agent is: one connection at a time, to whichever node answers; numbered words (some
agents do not number theirs); another node when this one is silent. Connections are of two kinds
when they end: the node learns of it, or keeps a dead one until it hears better.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.devices.status import Reading
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal
from stationkeep.node.fleet.task_words import TaskAnswer
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.promises import Acknowledged
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.wire.tasks import TaskPayload, TaskUpdatePayload

if TYPE_CHECKING:
    from stationkeep.node.simulation.actors.devices import Devices

PATIENCE = 12.0
"""Seconds for which a device waits for the answer to its registration."""
SILENCE = 2.0
"""Seconds after which a device takes a node that does not answer for dead."""
LATENCY = 0.002
"""Seconds that a word about a task is under way."""


class Line:
    """`Listener`: one connection between a device and a life of a node."""

    def __init__(self, device: "Device", member: SimulatedNode) -> None:
        self._device, self.member, self.life = device, member, member.life
        self.opened_at = 0.0
        self.is_registered = False
        self.is_over = False
        """Whether the node has said its last word on it, and hears none."""

    @property
    def is_dead(self) -> bool:
        """Whether the node's process is another one now, or none."""
        return not self.member.up or self.member.life != self.life

    def leave(self) -> None:
        """The device has heard what it asked, and is no longer connected."""
        if self.is_registered and not self.is_dead:
            self.member.loop.intake.leave(self._device.id, self)

    def registered(self, assignment: Assignment) -> None:
        self.is_registered = True
        self._device.registered(self, assignment)

    def refused(self, refusal: IntakeRefusal) -> None:
        self._end()

    def assigned(self, assignment: Assignment) -> None:
        self._device.told(self, assignment)

    def task_sent(self, task: TaskPayload) -> None:
        self._device.sent(self, lambda carrier: carrier.told(task))

    def task_canceled(self, task_id: str, reason: str) -> None:
        self._device.sent(self, lambda carrier: carrier.told_to_cancel(task_id))

    def lied_to(self, lie: Callable[[Carrier], None]) -> None:
        """The node sends what is in no log."""
        if self._device.carrier is not None:
            self._device.carrier.misled = True
        self._device.sent(self, lie)

    def superseded(self) -> None:
        self._end()

    def _end(self) -> None:
        self.is_over = True
        self._device.lost(self)

    def removed(self) -> None:
        self._device.removed()
        self._end()


class Device:
    """One device and its agent. `numbers`: whether the agent numbers its words; `polls`: whether it
    asks again and again instead of holding a connection."""

    def __init__(
        self, id_: str, fleet: "Devices", draw: random.Random, numbers: bool, polls: bool
    ) -> None:
        self.id, self._fleet, self._draw = id_, fleet, draw
        self.numbers, self.polls = numbers, polls
        self.session, self.sequence = 1, 0
        self.ill = False
        self.line: Line | None = None
        self.newest: Assignment | None = None
        self.acknowledged: Acknowledged | None = None
        self.births: set[int] = set()
        """As whom nodes have registered it: as another one since each removal."""
        self.statuses: dict[int, list[int]] = {}
        """Session → sequences of the statuses that a node took in it; of agents that number."""
        self.carrier: Carrier | None = None
        """What carries out its tasks, if it can."""
        self._silent_since: float | None = None
        self._next = draw.randrange(64)

    # -- on its own initiative -----------------------------------------------------------------

    def tick(self) -> None:
        """Says what is due: a registration, a status, a heartbeat."""
        line = self.line
        if self.carrier is not None and self.carrier.bricked:
            self.hang_up(noticed=False)
        elif line is None:
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
        self._register(line)

    def _register(self, line: Line) -> None:
        line.opened_at = self._fleet.now
        session, sequence = self._number()
        registration = Registration(
            self.id,
            os_version=f"Android {13 + len(self.id) % 2}",
            session=session,
            sequence=sequence,
            reading=self._reading(),
        )
        if self.carrier is not None:
            registration = self.carrier.described(registration)
            self._fleet.tasks.reported(registration)
        line.member.loop.intake.register(registration, line)

    def _gives_up(self, line: Line) -> bool:
        now = self._fleet.now
        if line.member.runs:
            self._silent_since = None
            return not line.is_registered and now - line.opened_at > PATIENCE
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since > SILENCE

    def _speak(self, line: Line) -> None:
        intake = line.member.loop.intake
        if self.polls and intake.unable():  # the REST interface answers 503
            self.lost(line)
            return
        session, sequence = self._number()
        if self._draw.random() < 0.3:
            refusal = intake.heartbeat(self.id, session, sequence)
        else:
            refusal = intake.report(self.id, session, sequence, self._reading())
            if refusal is None:
                self.statuses.setdefault(session, []).append(sequence)
        if refusal is not None:
            self.lost(line)
        elif self.carrier is not None:
            if self.polls:
                self._poll(line)
            self.carrier.tick()

    def _poll(self, line: Line) -> None:
        assignment = line.member.loop.intake.assignment(self.id)
        if isinstance(assignment, Assignment):
            self.told(line, assignment)
        task = line.member.loop.errands.task(self.id)
        if isinstance(task, TaskPayload):
            self.sent(line, lambda carrier: carrier.told(task))

    def _number(self) -> tuple[int, int]:
        if not self.numbers:
            return 0, 0
        self.sequence += 1
        return self.session, self.sequence

    def _reading(self) -> Reading:
        harmed = self.carrier is not None and self.carrier.is_harmed
        cpu = 9_500 if self.ill or harmed else self._draw.choice((2_000, 2_000, 3_000))
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
        if self.carrier is not None:
            self.carrier.restarted()

    # -- carriers.Speaker ----------------------------------------------------------------------

    def say(self, update: TaskUpdatePayload, after: float) -> None:
        line = self.line
        if line is not None and line.is_registered:
            self._fleet.later(
                after, self._fleet.when_running, line, lambda: self._say(line, update)
            )

    def _say(self, line: Line, update: TaskUpdatePayload) -> None:
        """On its way it may have been overtaken by the end of the connection, at either side."""
        if line.is_over:
            return
        words = line.member.loop.errands.words
        words.say(self.id, update, lambda answer: self._answered(line, answer))

    def _answered(self, line: Line, answer: TaskAnswer | None) -> None:
        if answer is not None:
            self._fleet.tasks.answered(line.member, self.births, answer)
            self.sent(line, lambda carrier: carrier.answered(answer))

    def renew(self) -> None:
        """Registers again, on the connection that it has."""
        line = self.line
        if line is not None and line.is_registered:
            line.is_registered = False
            self._fleet.when_running(line, lambda: self._renew(line))

    def _renew(self, line: Line) -> None:
        if line is self.line:
            self._register(line)

    # -- what it hears -------------------------------------------------------------------------

    def registered(self, line: Line, assignment: Assignment) -> None:
        if line is self.line:
            self.births.add(self._fleet.promised(self, line.member))
            self.told(line, assignment)
            if self.carrier is not None:
                self.sent(line, Carrier.served)
        if self.polls:
            self._fleet.later(LATENCY, line.leave)

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

    def sent(self, line: Line, hear: Callable[[Carrier], None]) -> None:
        """Something about tasks is on its way to the device; it hears it if the line still is."""
        if self.carrier is None:
            raise Violation("only the capable are told", f"{self.id} is sent a word about a task")
        carrier = self.carrier
        self._fleet.later(LATENCY, lambda: hear(carrier) if line is self.line else None)

    def removed(self) -> None:
        """A node says that an operator removed the device; it registers again."""
        if not self._fleet.was_removed(self):
            raise Violation("nobody is forgotten", f"{self.id} was removed; nobody ordered it")

    def lost(self, line: Line) -> None:
        """Nothing more will be said on a line."""
        if line is self.line:
            self.line = None
