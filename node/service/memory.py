"""What a node remembers for pictures of the past: how many devices were in which ring.

It is this node's own, held in memory alone and not replicated: a node that has just begun remembers
what its log tells it anew. Whoever needs more has metrics.
"""

from collections import deque
from collections.abc import Callable

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Entry
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.ports import Moment

EVERY = 60_000
"""Milliseconds of cluster time between two moments that are remembered."""
MAX_MOMENTS = 24 * 60
"""The newest that are kept: a day."""


class RingMemory:
    """Remembers the rings, as entries are applied; see `node.replica.Listener`."""

    def __init__(self, state: Callable[[], ClusterState]) -> None:
        self._state = state
        self.moments: deque[Moment] = deque(maxlen=MAX_MOMENTS)

    def note(self, _index: int, _entry: Entry | None, _applied: Applied) -> None:
        """An entry was applied: time may have come to remember."""
        state = self._state()
        if self.moments and state.time < self.moments[-1].at + EVERY:
            return
        counts = state.fleet.counts()
        self.moments.append(
            Moment(
                state.time,
                state.wall,
                tuple(counts[ring].total for ring in RINGS),
                sum(ring.unhealthy for ring in counts.values()),
                sum(ring.offline for ring in counts.values()),
            )
        )
