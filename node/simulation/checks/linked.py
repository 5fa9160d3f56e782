"""What must hold of links that ask for certificates, without asking `node.security.identity`.

Nobody is linked but members of this cluster, each as itself, at most seven days beyond the dates of
what it shows. And whoever is none of that is linked soon, when nothing else is in the way: neither
a date, nor a clock, nor the replacement of a CA takes the quorum away.
"""

from itertools import permutations

from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.links.dialling import HELLO_SECONDS
from stationkeep.node.simulation.links.link import BACKOFF_LAST
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.simulation.machine.papers import DAY
from stationkeep.node.version import RELEASED

DAYS = 7
"""For which members accept each other's certificates beyond their dates (guide/certificates.md)."""
LINKED = 2 * HELLO_SECONDS + 2 * BACKOFF_LAST
"""Seconds within which a peer is reached: by the dial after the one that is under way."""
REVOKED = 17.0
"""Seconds for which a link stands at most on a certificate that was revoked."""


class LinkChecks:
    """The checks of one world; call `look` about once a second."""

    def __init__(self, time: Time, members: Members, links: Links) -> None:
        self._time, self._members, self._links = time, members, links
        self._free: dict[tuple[str, str], float] = {}
        """Dialler and peer that nothing keeps apart, and since when they are not linked."""
        self._revoked: dict[tuple[str, str], float] = {}

    def greeted(self, dialler: SimulatedNode, acceptor: SimulatedNode) -> None:
        """A stream was established."""
        for one, other in ((dialler, acceptor), (acceptor, dialler)):
            if one.papers.impostor:
                raise Violation(
                    "only members are linked", f"{other.name} takes somebody else for {one.name}"
                )
            days = _days_off(one, other)
            if days > DAYS:
                raise Violation(
                    "nobody is linked long after",
                    f"{other.name} accepts {one.name}, {days:.0f} days off its dates",
                )

    @staticmethod
    def mistaken(dialler: str, other: str, peer: str) -> None:
        raise Violation("only members are linked", f"{dialler} takes {other} for {peer}")

    def look(self) -> None:
        """Raises `Violation` when two have been apart, or together, for too long."""
        for pair in permutations(self._members, 2):
            self._look_apart(pair)
            self._look_revoked(pair)

    def _look_apart(self, pair: tuple[str, str]) -> None:
        if self._links.links[pair].up or not self._is_free(*pair):
            self._free.pop(pair, None)
            return
        waited = self._time.now - self._free.setdefault(pair, self._time.now)
        if waited > LINKED:
            raise Violation(
                "members reach each other",
                f"{pair[0]} has not reached {pair[1]} for {waited:.0f} s, though nothing but "
                f"{self._links.links[pair].refused or 'time'} is in the way",
            )

    def _is_free(self, name: str, peer: str) -> bool:
        """Whether a member is in nobody's way to another one."""
        ways = [self._links.directions[name, peer], self._links.directions[peer, name]]
        weather = self._links.air.weather
        if (
            weather.share
            or weather.bare
            or any(way.blocked or way.standing or way.dark for way in ways)
        ):
            return False
        ends = [self._members[name], self._members[peer]]
        if not all(end.runs for end in ends):
            return False
        hints = self._links.hints
        known = hints is None or hints.leads(name, peer) or self._links.links[peer, name].up
        return known and all(
            other.name in one.wants_links()
            and one.papers.genuine
            and one.papers.facts.serial not in other.replica.state.revoked
            and _days_off(one, other) <= DAYS
            for one, other in permutations(ends)
        )

    def _look_revoked(self, pair: tuple[str, str]) -> None:
        link, member = self._links.links[pair], self._members[pair[0]]
        known = member.replica.state.revoked if member.runs else ()
        if not link.up or not any(serial in known for serial in link.serials):
            self._revoked.pop(pair, None)
            return
        stood = self._time.now - self._revoked.setdefault(pair, self._time.now)
        if stood > REVOKED:
            raise Violation(
                "what is revoked opens nothing",
                f"{pair[0]} has reached {pair[1]} for {stood:.0f} s",
            )

    def missing(self) -> str:
        """Which member's certificate is not good for everybody, strictly; or who is not linked."""
        wanted = self._members.newest_state().members
        for name in wanted:
            member = self._members[name]
            if _days_off(member, member) > 0:
                return f"the certificate of {name} is off its dates"
        return ""


def _days_off(one: SimulatedNode, other: SimulatedNode) -> float:
    """Days by which the certificate of one is off its dates by the clock of another; 0 by a clock
    that is known to be wrong."""
    now, facts = other.clock.wall() / 1_000, one.papers.facts
    if now < RELEASED:
        return 0.0
    return max(facts.not_before - now, now - facts.not_after, 0.0) / DAY
