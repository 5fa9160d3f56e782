"""Nodes of a simulated cluster that say of tasks what no device has said.

What a node puts into the log nobody can compare with what its devices said. So whatever it says
must do no harm beyond the tasks that it is about: an old word once more, late, or through another
node; a word about a task that is not there, not that device's, or not so far; a word that is none.
Every check goes on to hold, and once nobody lies every task comes to its end.
"""

import random
from collections import deque

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Draft, Entry, ReportTasks, TaskNote
from stationkeep.cluster.deployments.lifecycle import PHASES, SAID_BY_DEVICES, WORDS
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode

MEMORY = 64
"""Commands that may be said again."""
DELAY = 8.0
"""Seconds by which a lie may be late."""
MOST = 6
"""Words of one invention."""


class Liars:
    """Of one world."""

    def __init__(self, agenda: Agenda, members: Members, seed: int) -> None:
        self._agenda, self._members, self._seed = agenda, members, seed
        self._heard: deque[ReportTasks] = deque(maxlen=MEMORY)
        self._heard_to = self._lies = 0
        self._healed = False

    def born(self, member: SimulatedNode) -> None:
        """A process of this member has started: what it applies may be said again."""

        def applied(index: int, entry: Entry | None, _: Applied) -> None:
            if entry is not None and index > self._heard_to:
                self._heard_to = index
                if isinstance(entry.draft.command, ReportTasks):
                    self._heard.append(entry.draft.command)

        member.replica.listen(applied)

    def lie(self, node: str) -> None:
        """Has a node say something, now or later."""
        member = self._members[node]
        if not member.runs:
            return
        self._lies += 1
        draw = random.Random(f"{self._seed} lie {self._lies}")  # noqa: S311
        if self._heard and draw.random() < 0.4:
            command = replace(draw.choice(self._heard), node=node)
        else:
            command = _invented(node, member.replica.state, draw)
        late = draw.choice((0.0, 0.0, draw.uniform(0, DELAY)))
        self._agenda.at(self._agenda.time.now + late, self._say, member, command)

    def heal(self) -> None:
        """Nobody lies any more."""
        self._healed = True

    def _say(self, member: SimulatedNode, command: ReportTasks) -> None:
        if member.runs and not self._healed:
            draft = codec.encode_draft(Draft(command))
            member.raft.propose(draft, lambda _: None, 5.0)


def _invented(node: str, state: ClusterState, draw: random.Random) -> ReportTasks:
    """Words about tasks that there are or nearly are; now and then some that no table knows."""
    rosters = state.deployments.rosters
    meant: dict[int, tuple[int, int, int]] = {}
    for _ in range(draw.randint(1, MOST)):
        number = draw.choice((*rosters, 1_000_000))
        if number not in rosters:
            meant[draw.randrange(20)] = number, draw.randrange(20), 1
            continue
        roster = rosters[number]
        at = draw.randrange(len(roster))
        birth, attempt = int(roster.birth[at]), int(roster.attempt[at])
        strange = draw.random() < 0.2
        near = draw.choice((0, 0, 0, -1, 1))
        meant[int(roster.row[at])] = number, birth + strange, max(0, attempt + near)
    words = len(WORDS) + (draw.random() < 0.1)
    count = len(meant)
    numbers, births, attempts = zip(*(meant[row] for row in sorted(meant)), strict=True)
    return ReportTasks(
        node,
        rows=np.array(sorted(meant), "<u4").tobytes(),
        births=np.array(births, "<u4").tobytes(),
        deployments=np.array(numbers, "<u4").tobytes(),
        attempts=bytes(attempts),
        words=bytes(draw.randrange(words) for _ in range(count)),
        phases=bytes(draw.randrange(len(PHASES)) for _ in range(count)),
        progress=bytes(draw.randrange(101) for _ in range(count)),
        reasons=bytes(draw.randrange(len(SAID_BY_DEVICES)) for _ in range(count)),
        notes=(TaskNote(0, "it is invented", draw.choice((0, 1, 3_600))),),
    )
