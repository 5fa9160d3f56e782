"""The PRIMARY lease: when this node may act, by its own clock.

Safety argument. The lease runs `primary_lease` from the moment this node *sent* a report that a
committed command echoes. Apply reckons the same lease from when the leader *received* it, which
is later, plus 5 % for clocks of different speed; a successor takes the seat only after that end
or after this node's acknowledged demotion. Hence the two never overlap, whoever is partitioned,
paused or slow. Source: roles.md, "Leases and handover".
"""

from collections import OrderedDict

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import Entry
from stationkeep.cluster.state.events import LeasesEchoed
from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Clock
from stationkeep.node.replica import Replica

MAX_SENT = 1_024
"""Own reports whose sending time is remembered; an older one is worth no lease any more."""


class Lease:
    """This node's lease and the role it may act in. Nothing is cached: every question is
    answered for the instant at which it is asked."""

    def __init__(self, node: str, clock: Clock, replica: Replica) -> None:
        self._node = node
        self._clock, self._replica = clock, replica
        self._sent: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._until = float("-inf")
        replica.listen(self._on_applied)

    def sent(self, boot: int, seq: int, moment: float) -> None:
        """Notes that a report of this process is about to leave at `moment` (monotonic s)."""
        self._sent[boot, seq] = moment
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)

    def _on_applied(self, _index: int, _entry: Entry | None, applied: Applied) -> None:
        for event in applied.events:
            if isinstance(event, LeasesEchoed):
                for node, boot, seq in event.echoes:
                    if node == self._node:
                        self._grant(boot, seq)

    def _grant(self, boot: int, seq: int) -> None:
        moment = self._sent.get((boot, seq))
        if moment is not None:
            length = self._replica.settings.primary_lease / 1_000
            self._until = max(self._until, moment + length)

    def remaining(self) -> float:
        """Seconds that the lease still holds; 0 when it has lapsed."""
        return max(0.0, self._until - self._clock.monotonic())

    @property
    def until(self) -> float:
        """Monotonic moment at which the lease lapses, or lapsed."""
        return self._until

    @property
    def is_fenced(self) -> bool:
        """Holds an active seat but no lease: must not act."""
        seat = self._replica.state.seat
        return seat.holder == self._node and seat.active and self.remaining() == 0

    def effective_role(self) -> Role:
        """The role this node acts in at this instant.

        PRIMARY only with an active seat and a valid lease; without the lease SAFE_MODE. A holder
        that still waits for its predecessor acts as BACKUP. Before the node belongs to a founded
        cluster: STANDBY.
        """
        state = self._replica.state
        member = state.members.get(self._node)
        if member is None:
            return Role.STANDBY
        if state.seat.holder != self._node:
            return Role.SAFE_MODE if member.role is Role.PRIMARY else member.role
        if not state.seat.active:
            return Role.BACKUP
        return Role.PRIMARY if self.remaining() > 0 else Role.SAFE_MODE
