"""What must come true once every fault is over, and within what time.

Liveness, bounded: one leader whom all follow, everybody at the end of its log, linked with all
others, one effective PRIMARY, nothing queued, every proposal answered by its deadline.
"""

from collections.abc import Callable, Sequence
from itertools import permutations

from stationkeep.cluster.settings import Settings
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.links.connection import USER_TIMEOUT
from stationkeep.node.simulation.links.dialling import HELLO_SECONDS
from stationkeep.node.simulation.links.link import BACKOFF_LAST
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode

STEP = 0.05
GRACE = 1.0
"""Seconds beyond its deadline at which a proposal without answer counts as forgotten."""


def bound(settings: Settings) -> float:
    """Seconds within which a healed cluster must be well again.

    Dead connections that are not noticed yet, ten elections (each may split), then the worst case
    for the seat: all in SAFE_MODE, cool-down and hold, evaluations, a vote.
    """
    links = USER_TIMEOUT + HELLO_SECONDS + 2 * BACKOFF_LAST
    elections = 10 * settings.election_timeout_max
    seat = (
        2 * settings.hysteresis_window
        + settings.promotion_hold
        + 8 * settings.evaluation_interval
        + settings.proposal_timeout
        + settings.action_deadline
    )
    return links + (elections + seat) / 1_000


class Convergence:
    """Waits until a healed cluster is well."""

    def __init__(
        self,
        agenda: Agenda,
        members: Members,
        links: Links,
        settings: Settings,
        more: Sequence[Callable[[], str]],
    ) -> None:
        """`more`: say what else is not well yet."""
        self._agenda, self._members, self._links = agenda, members, links
        self._bound, self._more = bound(settings), more

    def wait(self) -> float:
        """Seconds it took; raises `Violation` when the bound passes."""
        time = self._agenda.time
        began = time.now
        while missing := self.missing():
            if time.now >= began + self._bound:
                raise Violation("liveness", f"{missing}, {self._bound:.0f} s after the heal")
            self._agenda.run(STEP)
        return time.now - began

    def missing(self) -> str:
        """What is not well yet; empty when everything is."""
        members = self._members
        for member in members.values():
            if member.is_node and not member.up:
                return f"{member.name} is down ({member.refused or 'crashed'})"
        leader = members.leader()
        if leader is None:
            return "nobody leads"
        last = leader.raft.last_index
        wanted, present = leader.replica.state.members, leader.raft.configuration
        if {*present.voters} != wanted.keys() or present.learners:
            return f"voters: {present.voters}, learners: {present.learners}, not {[*wanted]}"
        for member in (members[name] for name in wanted):
            raft = member.raft
            if raft.leader != leader.name or raft.term != leader.raft.term:
                return f"{member.name} follows {raft.leader} in term {raft.term}"
            if raft.applied_index != last:
                return f"{member.name} has applied {raft.applied_index} of {last}"
            late = self._late(member)
            if late:
                return late
        if len(members.primaries) != 1:
            return f"PRIMARYs: {members.primaries}"
        for name, other in permutations(wanted, 2):
            link = self._links.links[name, other]
            if not link.up:
                return f"{name} has not reached {other} {link.refused}"
        return next(filter(None, (say() for say in self._more)), "")

    @staticmethod
    def _late(member: SimulatedNode) -> str:
        now = member.clock.monotonic()
        for number, deadline in member.raft.unanswered.items():
            if now > deadline + GRACE:
                return f"proposal {number} of {member.name} was never answered"
        return ""
