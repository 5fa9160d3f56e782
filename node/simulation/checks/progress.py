"""What must go on while a fault lasts, not only when it is over.

One member receives nothing, and all the others are well: they reach each other, one of them leads,
one of them is fit to be PRIMARY. Then a member acts as PRIMARY again within
`(failures_to_fail_primary + 1) × evaluation_interval + proposal_timeout` from when none did
(roles.md, "What must hold", 6). The lease of the last PRIMARY is over by then.
"""

from stationkeep.cluster.roles.candidates import best_candidate
from stationkeep.cluster.settings import Settings
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import HEALTHY, SimulatedNode

EVERY = 0.1
"""Simulated seconds between two looks."""


def bound(settings: Settings) -> float:
    """Seconds for which at most no member acts as PRIMARY."""
    evaluations = (settings.failures_to_fail_primary + 1) * settings.evaluation_interval
    return (evaluations + settings.proposal_timeout) / 1_000


class Progress:
    """The check of one world; call `look` after turns."""

    def __init__(self, time: Time, members: Members, links: Links) -> None:
        self._time, self._members, self._links = time, members, links
        self._due = 0.0
        self._idle: tuple[tuple[str, int], float] | None = None
        """Leader and term, and since when no member acts though one could."""
        self.demanded = 0.0
        """Longest time, in seconds, for which progress was due and had not come yet."""

    def look(self) -> None:
        """Raises `Violation` when no member has acted for too long."""
        now = self._time.now
        if now < self._due:
            return
        self._due = now + EVERY
        leader = self._leader_of_the_able()
        if leader is None or self._members.primaries:
            self._idle = None
            return
        office = (leader.name, leader.raft.term)
        if self._idle is None or self._idle[0] != office:
            self._idle = (office, now)
        idle = now - self._idle[1]
        self.demanded = max(self.demanded, idle)
        if idle > bound(leader.replica.settings):
            state = leader.replica.state
            raise Violation(
                "progress while one is deaf",
                f"nobody has acted for {idle:.1f} s, {leader.name} leads, {state.seat.holder} "
                f"holds the seat, and {best_candidate(state, state.time).node} could",
            )

    def _leader_of_the_able(self) -> SimulatedNode | None:
        """The leader of all members but the deaf one; None where progress is not due."""
        weather = self._links.air.weather
        if weather.share or weather.late or weather.bare or weather.delay + weather.jitter > 0.05:
            return None
        leader = self._members.leader()
        if leader is None or not leader.raft.is_leader:
            return None
        state = leader.replica.state
        others = [self._members[name] for name in state.members if name in self._members]
        deaf = [member for member in others if self._is_deaf(member, others)]
        able = [member for member in others if member not in deaf]
        if len(deaf) != 1 or leader in deaf or not all(self._is_well(m, able) for m in able):
            return None
        paused = state.pause is not None or state.braked or not state.settings.swarm_mode
        may = best_candidate(state, state.time).node is not None and not paused
        return leader if may else None

    def _is_deaf(self, member: SimulatedNode, others: list[SimulatedNode]) -> bool:
        directions = self._links.directions
        return all(
            directions[other.name, member.name].blocked for other in others if other is not member
        )

    def _is_well(self, member: SimulatedNode, able: list[SimulatedNode]) -> bool:
        """Nothing is wrong with its machine, nor with its ways to and from the others."""
        ways = self._links.directions
        names = [other.name for other in able if other is not member]
        out = [ways[member.name, name] for name in names]
        links = [self._links.links[member.name, name] for name in names]
        disk = member.disk
        return (
            member.runs
            and not any(way.blocked or way.standing or way.mute or way.extra for way in out)
            and not any(link.refused for link in links)
            and all(self._links.lanes.values())
            and not (disk.full or disk.delay or disk.armed)
            and member.health.risk <= HEALTHY
            and member.hooks.mode == "work"
        )
