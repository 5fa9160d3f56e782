"""What devices were promised, checked against every node while a world runs.

A device whose registration was acknowledged keeps its row and birth, on every node that has applied
that much; one revision of a device's assignment is one ring, from whichever node; the log counts no
status twice; and a replica's counts match its devices.
"""

from bisect import bisect_right
from typing import Protocol

import msgspec
import numpy as np

from stationkeep.cluster.apply import Applied, Done
from stationkeep.cluster.commands import Entry, RemoveDevice, ReportDevices
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.node.fleet.replies import Assignment
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine.node import SimulatedNode


class Acknowledged(msgspec.Struct, frozen=True):
    """What a device was promised: its row, and the log index by which every node knows it."""

    row: int
    birth: int
    index: int


class Promised(Protocol):
    """A device and what it was promised. `numbers`: whether it numbers its messages."""

    id: str
    numbers: bool
    acknowledged: Acknowledged | None
    statuses: dict[int, list[int]]
    """Session → sequences of the statuses that a node accepted; of agents that number theirs."""


class Promises:
    """Of all devices of one world, by id."""

    def __init__(self) -> None:
        self.devices: dict[str, Promised] = {}
        self._rings: dict[tuple[str, int], str] = {}
        self._judged = 0
        self.removed: dict[str, int] = {}
        """Device → index of its newest removal, which ends whatever it was promised before."""
        self._counted: dict[tuple[str, int], tuple[int, int]] = {}
        """Device and session → newest sequence that the log counted, and how many statuses."""

    def registered(self, device: Promised, member: SimulatedNode) -> int:
        """A registration is acknowledged by a node; the device's birth, as the node knows it."""
        state = member.replica.state
        row = state.fleet.row(device.id)
        if row is None:
            raise Violation("acknowledged is applied", f"{member.name} has no {device.id}")
        birth = int(state.fleet.table.birth[row])
        known = device.acknowledged
        if state.index < self.removed.get(device.id, 0):
            return birth  # of a node that is behind
        if known is None:
            device.acknowledged = Acknowledged(row, birth, state.index)
        elif (known.row, known.birth) != (row, birth):
            raise Violation("a registration is kept", f"{device.id} has another row or birth")
        return birth

    def said(self, member: SimulatedNode, assignment: Assignment) -> None:
        """A node sends an assignment; its revision means the same ring everywhere and for ever."""
        key = (assignment.device, assignment.revision)
        known = self._rings.setdefault(key, assignment.ring)
        if known != assignment.ring:
            raise Violation(
                "one revision, one ring",
                f"revision {assignment.revision} of {assignment.device} was {known}, "
                f"{member.name} says {assignment.ring}",
            )

    def watch(self, member: SimulatedNode) -> None:
        """A process of this member has started: checks what it applies."""

        def applied(index: int, entry: Entry | None, what: Applied) -> None:
            if index > self._judged and entry is not None and self.devices:
                self._judged = index
                command = entry.draft.command
                if isinstance(command, ReportDevices) and isinstance(what.outcome, Done):
                    self._count_once(member, command)
                elif isinstance(command, RemoveDevice) and isinstance(what.outcome, Done):
                    self.devices[command.device].acknowledged = None
                    self.removed[command.device] = index

        member.replica.listen(applied)

    def _count_once(self, member: SimulatedNode, command: ReportDevices) -> None:
        """A command may not count more statuses of a session, together with those that the log
        has counted already, than were sent up to the sequence that it names."""
        fleet = member.replica.state.fleet
        columns = (command.rows, command.births, command.sessions, command.sequences)
        rows = zip(*(np.frombuffer(c, "<u4").tolist() for c in columns), strict=True)
        for (row, birth, session, sequence), count in zip(rows, command.counts, strict=True):
            if fleet.table.birth[row] != birth:
                continue
            device = self.devices[fleet.id(row)]
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

    def all_kept(self, member: SimulatedNode) -> None:
        """No acknowledged registration is lost on a node that has applied it."""
        state = member.replica.state
        for device in self.devices.values():
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

    def counts(self, member: SimulatedNode) -> None:
        """The counts of a replica match its devices, counted one by one."""
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
