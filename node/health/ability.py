"""Whether a member can do its part in the cluster, however healthy its host is.

Every node judges each report that reaches it by two criteria:

- *Behind*: the member has not applied what this node had applied a whole `primary_lease` earlier,
  and its reports have shown this for as long as the leader takes to renew a lease. Little or
  nothing from the leader reaches it, so a lease would have expired on arrival. The delay is needed
  because after a burst of losses or a long pause its first report may overtake the log.
- *Fenced*: the member holds the seat and does not act as PRIMARY, and its reports have shown this
  for longer than the leader takes to renew its lease twice. The delay is needed because a holder
  is fenced for a moment, and gets its lease back, after its reports were lost for a while and
  whenever there is no leader.

One report proves nothing; `node.health.gossip` goes by the majority of those of an evaluation. The
consequences of an inability are decided in the replicated state (`cluster.roles.health`).
Source: roles.md, "Able, not only alive".
"""

from collections import deque

from stationkeep.cluster.transitions import Role
from stationkeep.node.ports import Clock
from stationkeep.node.replica import Replica

MARKS = 64
"""Moments per lease for which the applied index is remembered."""
RENEWALS_BEHIND, RENEWALS_IDLE = 1, 2
"""Lease renewals within which a member must catch up, and a fenced holder must act again."""


class Yardstick:
    """What a member is expected to have applied: what this node had applied a lease earlier."""

    def __init__(self, clock: Clock, replica: Replica) -> None:
        self._clock, self._replica = clock, replica
        self._marks: deque[tuple[float, int]] = deque(maxlen=4 * MARKS)
        replica.listen(lambda index, _entry, _applied: self._mark(index))

    def _mark(self, index: int) -> None:
        now = self._clock.monotonic()
        if not self._marks or now - self._marks[-1][0] >= self._lease / MARKS:
            self._marks.append((now, index))

    def behind(self, applied: int, moment: float) -> int:
        """The least number of entries that a member lags by if its applied index was `applied` at
        the monotonic `moment`; 0 when it does not lag."""
        due = moment - self._lease
        expected = next((index for at, index in reversed(self._marks) if at <= due), 0)
        return max(0, expected - applied)

    def is_idle(self, node: str, acts_as: Role) -> bool:
        """Whether a member holds the seat but acts in another role than PRIMARY."""
        seat = self._replica.state.seat
        return seat.holder == node and seat.active and acts_as is not Role.PRIMARY

    @property
    def patience_behind(self) -> float:
        """Seconds for which a member may be behind."""
        return RENEWALS_BEHIND * self._replica.settings.lease_renewal / 1_000

    @property
    def patience_idle(self) -> float:
        """Seconds for which the holder of the seat may be idle."""
        return RENEWALS_IDLE * self._replica.settings.lease_renewal / 1_000

    @property
    def _lease(self) -> float:
        return self._replica.settings.primary_lease / 1_000


def say_unable(behind: int, acts_as: Role | None) -> str:
    """The inability in words: how far it is behind, or how it acts although it holds the seat."""
    if behind:
        return f"does not hear the log (at least {behind:,} entries behind)"
    return f"is fenced (holds the seat and acts as {acts_as})"
