"""Whether a member can do its part in the cluster, however well its host is.

Two things tell, and every node judges each report by them as it hears of it:

- *Behind*: the member has not applied what was applied here a whole `primary_lease` before, and
  has said so for as long as the leader takes to renew leases. It hears no leader, or too little of
  one; a lease reaches it when it is over. Right after a burst of losses or a pause that was longer
  than that, its first report may overtake the log.
- *Fenced*: it holds the seat and does not act as PRIMARY, and has said so for longer than it takes
  the leader to renew its lease twice. Right after a time in which nobody heard it, or without a
  leader, a holder is fenced for a moment and gets its lease back; that is no inability.

One report proves nothing; `node.health.gossip` goes by most of those of an evaluation. What
follows from an inability is decided in the replicated state (`cluster.roles.health`).
Source: roles.md, "Able, not only alive".
"""

from collections import deque

from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Clock
from stationkeep.node.replica import Replica

MARKS = 64
"""Moments per lease of which it is remembered how much of the log was applied."""
RENEWALS_BEHIND, RENEWALS_IDLE = 1, 2
"""Renewals that a member is given to catch up, and a fenced holder to act again."""


class Yardstick:
    """What is expected of a member at a moment: what this node had applied a lease before."""

    def __init__(self, clock: Clock, replica: Replica) -> None:
        self._clock, self._replica = clock, replica
        self._marks: deque[tuple[float, int]] = deque(maxlen=4 * MARKS)
        replica.listen(lambda index, _entry, _applied: self._mark(index))

    def _mark(self, index: int) -> None:
        now = self._clock.monotonic()
        if not self._marks or now - self._marks[-1][0] >= self._lease / MARKS:
            self._marks.append((now, index))

    def behind(self, applied: int, moment: float) -> int:
        """By how many entries at least a member lags that has applied so much at a monotonic
        moment; 0 when it does not."""
        due = moment - self._lease
        expected = next((index for at, index in reversed(self._marks) if at <= due), 0)
        return max(0, expected - applied)

    def is_idle(self, node: str, acts_as: Role) -> bool:
        """Whether a member that acts in this role leaves a seat idle that it holds."""
        seat = self._replica.state.seat
        return seat.holder == node and seat.active and acts_as is not Role.PRIMARY

    @property
    def patience_behind(self) -> float:
        """Seconds for which a member that is heard may be behind."""
        return RENEWALS_BEHIND * self._replica.settings.lease_renewal / 1_000

    @property
    def patience_idle(self) -> float:
        """Seconds for which the holder of the seat may be idle."""
        return RENEWALS_IDLE * self._replica.settings.lease_renewal / 1_000

    @property
    def _lease(self) -> float:
        return self._replica.settings.primary_lease / 1_000


def say_unable(behind: int, acts_as: Role | None) -> str:
    """The inability in words: how far it is behind, or as what it acts in spite of its seat."""
    if behind:
        return f"does not hear the log (at least {behind:,} entries behind)"
    return f"is fenced (holds the seat and acts as {acts_as})"
