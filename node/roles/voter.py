"""Votes on proposals from this node's own observations.

Level-triggered: whatever open proposal still lacks this node's ballot gets one, also after a
restart or a lost message. The rules of judging are `cluster.roles.proposals.judge`.
Source: roles.md, "Consensus on a change" and "Policy arbitration".
"""

from stationkeep.cluster.commands import CastVote, Policy
from stationkeep.cluster.roles.proposals import judge
from stationkeep.cluster.state.state import Proposal
from stationkeep.node.duty import NEVER, Owed, Workbench
from stationkeep.node.health.gossip import Gossip


class Voter:
    """`policies` are those of the configuration."""

    def __init__(self, bench: Workbench, gossip: Gossip, policies: tuple[Policy, ...]) -> None:
        self._node, self._clock, self._replica = bench.node, bench.host.clock, bench.replica
        self._gossip, self._policies = gossip, policies
        self._votes = Owed(bench)

    def turn(self) -> None:
        """Casts every vote that is owed and not under way."""
        now = self._clock.monotonic()
        owed = self._owed()
        self._votes.keep(owed)
        if not owed or now < self._may_judge_from():
            return
        for id_, proposal in owed.items():
            if self._votes.is_due(id_):
                self._votes.propose(id_, self._judge(proposal, now))

    def next_wakeup(self) -> float:
        """Monotonic moment of the next vote or retry; infinite when nothing is owed."""
        owed = self._owed()
        if not owed:
            return NEVER
        return max(min(self._votes.due(id_) for id_ in owed), self._may_judge_from())

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
