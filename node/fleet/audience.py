"""The devices connected to this node, and what each was told.

Level-triggered: `compare` sets what they were told against what the log says, for all of them in
a few passes, and does not ask what happened. Devices that are connected elsewhere cost nothing.
"""

from collections import deque
from itertools import islice

import numpy as np

from cluster.fleet.fleet import Fleet
from cluster.fleet.moves import REASONS
from cluster.fleet.rings import RINGS
from node.fleet.answers import Assignment, DeskRefusal, Listener
from node.fleet.heard import Heard, births_in, orders
from node.replica import Replica

TELLS_PER_TURN = 256
"""Devices told in one turn; when thousands move at once, the loop must not be held up."""


class Audience:
    """Listeners by row. `heard`: whose columns `connected`, `told` and `queued` are kept here."""

    def __init__(self, replica: Replica, heard: Heard) -> None:
        self._replica, self._heard = replica, heard
        self._listeners: dict[int, Listener] = {}
        self._untold: deque[int] = deque()  # rows, each at most once: `heard.queued`

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def waits(self) -> bool:
        """Whether somebody is still to be told something."""
        return bool(self._untold)

    def admit(self, row: int, listener: Listener) -> None:
        """A device is registered on this connection; one that it had before is over."""
        former = self._listeners.get(row)
        if former is not None and former is not listener:
            former.superseded()
        self._listeners[row] = listener
        self._heard.connected[row] = True
        self._heard.told[row] = self._fleet.table.revision[row]
        listener.registered(self.assignment(row))

    def leave(self, row: int, listener: Listener) -> None:
        """A connection is gone, unless another one took its place before."""
        if self._listeners.get(row) is listener:
            self._dismiss(row)

    def compare(self) -> None:
        """Dismisses devices that were removed or talk elsewhere now; queues the others whose
        assignment is a newer one than they were told."""
        heard, table = self._heard, self._fleet.table
        rows = np.flatnonzero(heard.connected)
        kept = births_in(table, rows) == heard.birth[rows]
        for row in rows[~kept].tolist():
            self._dismiss(row).removed()
        rows = rows[kept]
        beaten = orders(table.session[rows], table.sequence[rows]) > heard.order[rows]
        for row in rows[beaten].tolist():
            self._dismiss(row).superseded()
        rows = rows[~beaten]
        rows = rows[(heard.told[rows] != table.revision[rows]) & ~heard.queued[rows]]
        heard.queued[rows] = True
        self._untold.extend(rows.tolist())

    def tell(self) -> None:
        """Tells a bounded number what `compare` has queued; the others in the next turns."""
        heard = self._heard
        for _ in range(min(len(self._untold), TELLS_PER_TURN)):
            row = self._untold.popleft()
            heard.queued[row] = False
            listener = self._listeners.get(row)
            if listener is None or births_in(self._fleet.table, row) != heard.birth[row]:
                continue  # gone; or removed, which the next comparison says
            revision = self._fleet.table.revision[row]
            if heard.told[row] != revision:
                heard.told[row] = revision
                listener.assigned(self.assignment(row))

    def send_away(self, refusal: DeskRefusal) -> None:
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
        self._heard.connected[row] = False
        return self._listeners.pop(row)
