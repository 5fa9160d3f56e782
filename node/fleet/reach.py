"""Whether what devices say at this node comes into the log. While it does not they would be offline
for the others and never hear of a new ring: another node serves them better."""

from stationkeep.node.duty import Workbench

UNHEARD, LEADERLESS = 6.0, 10.0
"""Seconds for which what was said need not come into the log: for a command that is lost
(`report_outbox.TIMEOUT`) and repeated; and at the most while all look for a leader, when no other
node is better."""
LOST_TOUCH = "this node has lost touch with the cluster"
REMOVED = "this node was removed from the cluster; another one serves devices"


class Reach:
    """Of one node. `since`: the monotonic moment since which something waits for the log; infinite
    when nothing does."""

    def __init__(self, bench: Workbench) -> None:
        self._clock = bench.host.clock
        self._consensus, self._replica = bench.consensus, bench.replica
        self._leader, self._led_since = bench.consensus.leader, float("-inf")

    def turn(self) -> None:
        """Notes who leads."""
        if self._consensus.leader != self._leader:
            self._leader, self._led_since = self._consensus.leader, self._clock.monotonic()

    def unable(self, since: float) -> str:
        """Why this node can serve no device now; empty when it can."""
        if self._consensus.is_removed:
            return REMOVED
        return LOST_TOUCH if self._clock.monotonic() >= self.lost_at(since) else ""

    def lost_at(self, since: float) -> float:
        """Monotonic moment from which it cannot. What is left of `device_offline_after` is the
        devices', to be taken in elsewhere."""
        if self._consensus.is_removed:
            return float("-inf")
        if self._leader is None and self._consensus.has_quorum:
            return since + LEADERLESS
        patience = max(UNHEARD, self._replica.settings.device_offline_after / 2_000)
        return max(since + patience, min(self._led_since, since + LEADERLESS) + UNHEARD)
