"""The devices connected to this node, and what each was told.

Level-triggered: `compare` sets what they were told against what the log says, for all of them in
a few passes, and does not ask what happened; `tell` says it, to so many a turn. Devices that are
connected elsewhere cost nothing.
"""

from collections import deque
from itertools import islice

import numpy as np

from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.moves import REASONS
from stationkeep.cluster.devices.rings import RINGS
from stationkeep.node.fleet.replies import Assignment, IntakeRefusal, Listener
from stationkeep.node.fleet.status_buffer import Rows, StatusBuffer, births_in, order_of, orders
from stationkeep.node.replica import Replica

TELLS_PER_TURN = 256
"""Devices told in one turn; when thousands move at once, the loop must not be held up."""


class ConnectedDevices:
    """Listeners by row. Keeps the columns `connected`, `revision` and `queued` of `buffer`."""

    def __init__(self, replica: Replica, buffer: StatusBuffer) -> None:
        self._replica, self._buffer = replica, buffer
        self._listeners: dict[int, Listener] = {}
        self._outdated: deque[int] = deque()  # rows, each at most once: `buffer.queued`
        self.admitted: dict[int, None] = {}
        """Rows admitted since `errands` last looked, of devices that are still connected."""

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def waits(self) -> bool:
        """Whether somebody is still to be told something."""
        return bool(self._outdated)

    def admit(self, row: int, listener: Listener) -> None:
        """A device is registered on this connection; one that it had before is over."""
        former = self._listeners.get(row)
        if former is not None and former is not listener:
            former.superseded()
        self._listeners[row] = listener
        self._buffer.connected[row] = True
        self._buffer.revision[row] = self._fleet.table.revision[row]
        self.admitted[row] = None
        listener.registered(self.assignment(row))

    def leave(self, row: int, listener: Listener) -> None:
        """A connection is gone, unless another one took its place before."""
        if self._listeners.get(row) is listener:
            self._dismiss(row)

    def listener(self, row: int) -> Listener | None:
        """The connection of the device in a row."""
        return self._listeners.get(row)

    def among(self, rows: Rows) -> Rows:
        """Those of these rows whose devices are connected here."""
        rows = rows[rows < self._buffer.capacity]
        here: Rows = rows[self._buffer.connected[rows]]
        return here

    def compare(self) -> None:
        """Queues whoever is to be told something: removed, talking elsewhere now, or assigned
        anew since it was told."""
        buffer, table = self._buffer, self._fleet.table
        rows = np.flatnonzero(buffer.connected & ~buffer.queued)
        there = births_in(table, rows) == buffer.birth[rows]
        here = rows[there]
        beaten = orders(table.session[here], table.sequence[here]) > buffer.order[here]
        there[there] = ~beaten & (buffer.revision[here] == table.revision[here])
        waiting = rows[~there]
        buffer.queued[waiting] = True
        self._outdated.extend(waiting.tolist())

    def tell(self) -> None:
        """Tells a bounded number what is so by now; the others in the next turns."""
        for _ in range(min(len(self._outdated), TELLS_PER_TURN)):
            row = self._outdated.popleft()
            self._buffer.queued[row] = False
            if row in self._listeners:
                self._tell(row)

    def _tell(self, row: int) -> None:
        buffer, table = self._buffer, self._fleet.table
        if births_in(table, row) != buffer.birth[row]:
            self._dismiss(row).removed()
        elif order_of(int(table.session[row]), int(table.sequence[row])) > buffer.order[row]:
            self._dismiss(row).superseded()
        elif buffer.revision[row] != table.revision[row]:
            buffer.revision[row] = table.revision[row]
            self._listeners[row].assigned(self.assignment(row))

    def evict(self, rows: Rows) -> None:
        """These rows have other tenants now; whoever was connected there was removed."""
        for row in rows[self._buffer.connected[rows]].tolist():
            self._dismiss(row).removed()

    def send_away(self, refusal: IntakeRefusal) -> None:
        """Dismisses a bounded number, who are told why; the others in the next turns."""
        for row in list(islice(self._listeners, TELLS_PER_TURN)):
            self._dismiss(row).refused(refusal)

    def assignment(self, row: int) -> Assignment:
        """The assignment of a row in use, as the log says it here."""
        fleet, state = self._fleet, self._replica.state
        since = int(fleet.table.ring_since[row])
        return Assignment(
            device=fleet.id(row),
            ring=RINGS[fleet.table.ring[row]],
            reason=REASONS[fleet.table.reason[row]],
            at=state.wall - (state.time - since),
            revision=int(fleet.table.revision[row]),
        )

    @property
    def _fleet(self) -> Fleet:
        return self._replica.state.fleet

    def _dismiss(self, row: int) -> Listener:
        self._buffer.connected[row] = False
        self.admitted.pop(row, None)
        return self._listeners.pop(row)
