"""Tells the cluster where this node is reached, when its file says something else than the state.

A node that comes back under other addresses says so once it hears a leader, and goes on saying it
until the state agrees. After that an operator's order stands (`nodes move`): the file is asked
again at the next start.
"""

from stationkeep.cluster.commands import MemberSpec, MoveMember
from stationkeep.cluster.levels import SINCE
from stationkeep.node.duty import NEVER, Owed, Workbench
from stationkeep.node.health.gossip import Gossip

_KEY = "move"


class Mover:
    """`own`: this node as its file has it; None if it is not there."""

    def __init__(self, bench: Workbench, own: MemberSpec | None, gossip: Gossip) -> None:
        self._bench, self._own, self._gossip = bench, own, gossip
        self._words = Owed(bench)

    def turn(self) -> None:
        """Says where this node is, as long as that is owed."""
        if self._is_owed() and self._words.is_due(_KEY):
            assert self._own is not None
            self._words.propose(_KEY, MoveMember(self._own))

    def next_wakeup(self) -> float:
        """Monotonic moment of the next word; infinite when none is owed."""
        return self._words.due(_KEY) if self._is_owed() else NEVER

    def _is_owed(self) -> bool:
        state, own = self._bench.replica.state, self._own
        if own is None or not state.founded or self._bench.consensus.leader is None:
            return False
        member = state.members.get(own.id)
        if member is None or state.level < SINCE[MoveMember]:
            return False
        if (member.raft, member.http) != (own.raft, own.http):
            return True
        if self._is_current():
            self._own = None  # agreed
        return False

    def _is_current(self) -> bool:
        """Whether the state is as new as the leader has said that its own is. After a start the log
        is replayed from the past, in which this node may have been where its file has it again."""
        consensus = self._bench.consensus
        if consensus.leader == self._bench.node:
            return consensus.is_leader
        heard = self._gossip.last_report(consensus.leader or "")
        return heard is not None and self._bench.replica.state.index >= heard[0].applied
