"""Votes on proposals from this node's own observations.

Level-triggered: whatever open proposal still lacks this node's ballot gets one, also after a
restart or a lost message. The rules of judging are `cluster.roles.proposals.judge`.
Source: roles.md, "Consensus on a change" and "Policy arbitration".
"""

from collections.abc import Callable

from stationkeep.cluster.commands import CastVote, Policy
from stationkeep.cluster.roles.proposals import judge
from stationkeep.cluster.state.state import Proposal
from stationkeep.node.health.gossip import Gossip
from stationkeep.node.ports import Clock
from stationkeep.node.replica import Replica

RETRY = 1.0
"""Seconds until a vote that is not in the log yet is proposed again."""


class Voter:
    """`propose` hands a command to consensus; `policies` are those of the configuration."""

    def __init__(
        self,
        node: str,
        *,
        clock: Clock,
        replica: Replica,
        gossip: Gossip,
        policies: tuple[Policy, ...],
        propose: Callable[[CastVote], None],
    ) -> None:
        self._node, self._clock = node, clock
        self._replica, self._gossip = replica, gossip
        self._policies, self._propose = policies, propose
        self._retry_at: dict[int, float] = {}

    def turn(self) -> None:
        """Casts every vote that is owed and not under way."""
        now = self._clock.monotonic()
        owed = self._owed()
        self._retry_at = {id_: at for id_, at in self._retry_at.items() if id_ in owed}
        if not owed or now < self._may_judge_from():
            return
        for id_, proposal in owed.items():
            if now >= self._retry_at.get(id_, now):
                self._retry_at[id_] = now + RETRY
                self._propose(self._judge(proposal, now))

    def next_wakeup(self) -> float:
        """Monotonic moment of the next vote or retry; infinite when nothing is owed."""
        owed = self._owed()
        if not owed:
            return float("inf")
        return max(min(self._retry_at.get(id_, 0.0) for id_ in owed), self._may_judge_from())

    def _owed(self) -> dict[int, Proposal]:
        proposals = self._replica.state.proposals
        if not proposals:  # nearly always, and asked twice in every turn
            return {}
        return {
            id_: proposal
            for id_, proposal in sorted(proposals.items())
            if self._node in proposal.electorate and self._node not in proposal.ballots
        }

    def _may_judge_from(self) -> float:
        """Who has listened for less than one evaluation has nothing to say about others."""
        return self._gossip.listening_since + self._window()

    def _window(self) -> float:
        return self._replica.settings.evaluation_interval / 1_000

    def _judge(self, proposal: Proposal, now: float) -> CastVote:
        state = self._replica.state
        observations = self._gossip.observations(now - self._window())
        return judge(state, proposal, self._node, observations, self._policies)
