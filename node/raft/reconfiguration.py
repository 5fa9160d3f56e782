"""Changes of members and of the leader: what the leader does, and what a node records of itself.

The leader goes one step of membership at a time towards the members that the state names (hazard
S9). It hands over on request, and before it is removed itself (dissertation, 3.10).
"""

from collections.abc import Callable

import structlog

from stationkeep.node.ports import Network, StateMachine
from stationkeep.node.raft.engine import membership
from stationkeep.node.raft.engine.engine import Engine

REMOVED = "this node does not vote, lead or campaign any more; stop it"

log = structlog.get_logger("node.raft")


class Reconfiguration:
    """Membership and handover on one node. What the leader does is called within the tick."""

    def __init__(
        self,
        *,
        engine: Engine,
        network: Network,
        machine: StateMachine,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._engine, self._network, self._machine = engine, network, machine
        self._monotonic, self._wake = monotonic, wake
        self._transfer_until = 0.0

    # -- who leads -----------------------------------------------------------------------------

    @property
    def transferring(self) -> bool:
        return self._monotonic() < self._transfer_until

    def transfer(self) -> bool:
        """See `Raft.transfer_leadership`."""
        node_id = self._engine.node_id
        voters = self._engine.configuration().voters
        peers = [p for p in voters if p != node_id and self._network.connected(p)]
        if not self._engine._isLeader() or not any(map(self._engine.match_of, peers)):
            return False
        self._transfer_until = self._monotonic() + self._engine.timings.election_max
        self._wake()
        return True

    def offer(self) -> None:
        """The library refuses until the best follower has the whole log; asked every turn."""
        if self.transferring:
            self._engine.transferLeadership()

    def led_anew(self) -> None:
        """There is another leader or another term: the handover is over."""
        self._transfer_until = 0.0

    # -- who belongs ---------------------------------------------------------------------------

    def admit(self) -> None:
        """Voters that have another journal than the configuration knows count again once this
        entry is committed by those that it does know (S5)."""
        engine = self._engine
        if not engine._isLeader():
            return
        admission = membership.admission(engine.configuration(), engine.births)
        if admission is not None:
            engine.append_configuration(admission, b"")
            log.info("raft_journals", births=admission.births)

    def step(self) -> None:
        """One step from the configuration in force to the members that the state names (S9)."""
        wanted = self._machine.members()
        engine = self._engine
        if wanted is None or not engine.may_reconfigure():
            return
        present = engine.configuration()
        step = membership.next_step(
            present, wanted, engine.node_id, engine.caught_up, engine.births
        )
        if step is not None:
            body = self._machine.configured(step.voters, step.learners)
            engine.append_configuration(step, body)
            log.info("raft_members", voters=step.voters, learners=step.learners)
        elif engine.node_id not in wanted:
            self.transfer()

    def apply(self, entry: bytes, index: int) -> None:
        """Applies a committed configuration to the state, and logs what this node has become."""
        members, body = membership.decode(entry)
        if not body:  # a journal was admitted; nobody came or went
            return
        self._machine.apply(body, index)
        if self._engine.node_id in members.removed:
            log.warning("removed_from_cluster", action=REMOVED, members=members.voters)
        else:
            log.info("members", voters=members.voters, learners=members.learners)

    def told_removed(self, by: str, index: int) -> None:
        """A member says that by the configuration at `index` this node was removed."""
        known = self._engine.is_dismissed()
        self._engine.dismiss(index)
        if self._engine.is_dismissed() and not known:
            log.warning("removed_from_cluster", by=by, index=index, action=REMOVED)
