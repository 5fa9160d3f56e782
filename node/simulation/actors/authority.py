"""Certificates of a simulated cluster: who issues, renews, and replaces the CA; who is refused.

Nodes that have the CA's key renew by themselves, as `node.security.renewal` has it; else an
operator issues, whose clock is right. Handshakes are judged by `node.security.identity`.
"""

import enum
import random
from collections.abc import Callable
from itertools import permutations

from stationkeep.node.peers.link import REVOKED_SECONDS
from stationkeep.node.security.certificates import CA_DAYS
from stationkeep.node.security.identity import Door, Identity, Word
from stationkeep.node.security.renewal import LOOK_SECONDS, why_over
from stationkeep.node.simulation.actors.clients import Clients
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.linked import LinkChecks
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.clock import WALL_AT_START
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.simulation.machine.papers import (
    DAY,
    FOREIGN,
    LIFE,
    OTHER_UID,
    UID,
    Certificate,
    Impostor,
    Kept,
    Papers,
    View,
    issued,
)

TICK = 1.0
CA_ENDS = WALL_AT_START / 1_000 + CA_DAYS * DAY
STEP_SECONDS = 3.0
"""Between two looks of an operator at what is left to do."""


class Phase(enum.StrEnum):
    """How far a rotation is that an operator carries out by hand."""

    NONE = "none"
    STARTED = "started"
    SWITCHED = "switched"


class Authority:
    """The certificates of one world; there are none before `secure`."""

    def __init__(
        self,
        agenda: Agenda,
        members: Members,
        links: Links,
        clients: Clients,
        *,
        draw: random.Random,
        note: Callable[[str], None],
    ) -> None:
        """`note`: adds a line to the transcript."""
        self._agenda, self._members, self._links = agenda, members, links
        self._clients, self._draw, self._note = clients, draw, note
        self._checks = LinkChecks(agenda.time, members, links)
        self._kept: Kept | None = None
        self._phase = Phase.NONE
        self._cas, self._made = ["ca-1"], 1
        """Those that are trusted, the older one first; and how many there ever were."""
        self._genuine: dict[str, Papers] = {}
        """Of those in whose place somebody else answers."""
        self._ticks = 0
        self._revoked: dict[tuple[str, str], float] = {}
        """Ends of links on which a certificate stands that was revoked, and since when."""

    # -- what a script orders ------------------------------------------------------------------

    def secure(self, kept: str) -> None:
        """Gives every machine certificates, once; from now on links ask for them."""
        if self._kept is not None:
            return
        self._kept = Kept(kept)
        for name in self._members:
            self.equip(name)
        self._links.judge = self._judged
        self._tick()

    def equip(self, name: str) -> None:
        """An operator gives a machine all that it needs, as to a new member."""
        if self._kept is None:
            return
        self._genuine.pop(name, None)
        key = self._issuing if self._kept is Kept.EVERYWHERE else ""
        shown = self._certificate(name, self._now)
        self._members[name].papers = Papers(tuple(self._cas), key, shown)

    def reissue(self, name: str) -> None:
        """An operator gives a node another certificate, which it takes unless that is over by its
        own clock."""
        member = self._members[name]
        if member.papers.genuine:
            shown = self._certificate(name, self._now)
            if shown.facts.not_after >= _clock(member):
                member.papers.shown = shown

    def age(self, name: str, days: str) -> None:
        """A node's certificate is as old as if it ended in so many days."""
        member = self._members[name]
        if member.papers.genuine:
            ends = self._now + float(days) * DAY
            aged = member.papers.facts._replace(not_before=ends - LIFE, not_after=ends)
            member.papers.shown = Certificate(member.papers.issuer, aged)

    def impostor(self, name: str, shows: str) -> None:
        """Somebody else answers in the place of a member, until they are gone ("off")."""
        member = self._members[name]
        if shows == "off":
            if name in self._genuine:
                member.papers = self._genuine.pop(name)
                self._cut_off(name)
        elif member.papers.genuine:
            self._genuine[name] = member.papers
            member.papers = self._false(name, Impostor(shows))
            self._cut_off(name)

    def revoke(self, through: str, name: str) -> None:
        """An operator has the certificate revoked that a node shows now."""
        papers = self._members[name].papers
        if papers.shown is not None:
            self._clients.revoke(through, papers.facts.serial)

    def rotate(self) -> None:
        """An operator tries the next step of a rotation, by hand: they ask before whether all
        members follow, as `cluster.ca_rotation` would, and bring the files to machines that are
        up."""
        if self._kept is None:
            return
        if self._phase is Phase.NONE:
            self._made += 1
            self._cas.append(f"ca-{self._made}")
            self._phase = Phase.STARTED
        elif self._phase is Phase.STARTED:
            if self._all(lambda papers: set(self._cas) <= set(papers.trusts)):
                self._phase = Phase.SWITCHED
        elif self._all(lambda papers: papers.issuer == self._issuing):
            del self._cas[0]
            self._phase = Phase.NONE
        self._note(f"the rotation is {self._phase}")
        for member in self._members.values():
            if member.up and member.papers.genuine:
                self._bring(member)

    def heal(self) -> None:
        """Impostors go, clocks are set, an operator issues where nobody else can, and ends what
        was begun."""
        if self._kept is None:
            return
        for name, member in self._members.items():
            self.impostor(name, "off")
            member.clock.wall_offset = 0
            if self._kept is Kept.APART:
                self.reissue(name)
        self._finish()

    def _finish(self) -> None:
        """People go on until nothing is left to do by hand: a node whose certificate was revoked
        while it was away learns that from nobody."""
        revoked = self._members.newest_state().revoked
        for member in self._members.values():
            if member.up:
                self._bring(member)
                serial = member.papers.facts.serial
                if serial in revoked and serial not in member.replica.state.revoked:
                    self.reissue(member.name)
        if self._phase is not Phase.NONE:
            self.rotate()
        self._agenda.at(self._agenda.time.now + STEP_SECONDS, self._finish)

    # -- issuing -------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return WALL_AT_START / 1_000 + self._agenda.time.now

    @property
    def _issuing(self) -> str:
        return self._cas[-1 if self._phase is Phase.SWITCHED else 0]

    def _certificate(self, name: str, now: float) -> Certificate:
        return issued(self._issuing, Identity(UID, "node", name), now, self._serial())

    def _serial(self) -> str:
        return f"{self._draw.getrandbits(64) | 1:x}"

    def _false(self, name: str, shows: Impostor) -> Papers:
        other = min(each for each in self._members if each != name)
        identity = {
            Impostor.OTHER_CLUSTER: Identity(OTHER_UID, "node", name),
            Impostor.OTHER_NODE: Identity(UID, "node", other),
            Impostor.DEVICE: Identity(UID, "device", name),
        }.get(shows, Identity(UID, "node", name))
        issuer = FOREIGN if shows is Impostor.FOREIGN else self._issuing
        certificate = issued(issuer, identity, self._now, self._serial())
        return Papers((), "", None if shows is Impostor.NOTHING else certificate, impostor=True)

    def _bring(self, member: SimulatedNode) -> None:
        papers = member.papers
        papers.trusts = tuple(self._cas)
        if self._kept is Kept.EVERYWHERE:
            papers.key = self._issuing
        elif papers.issuer != self._issuing:
            self.reissue(member.name)

    def _all(self, follows: Callable[[Papers], object]) -> bool:
        """Whether all members answer, and follow."""
        members = [self._members[name] for name in self._members.newest_state().members]
        return bool(members) and all(
            member.runs and member.papers.genuine and follows(member.papers) for member in members
        )

    def look(self, member: SimulatedNode) -> None:
        """A node renews its certificate if that is due, as at its start and every few seconds."""
        papers = member.papers
        if not papers.key:
            return
        now, revoked = _clock(member), member.replica.state.revoked
        stale = papers.issuer != papers.key
        if stale or why_over(papers.facts, CA_ENDS, now, revoked) is not None:
            identity = Identity(UID, "node", member.name)
            papers.shown = issued(papers.key, identity, now, self._serial())

    def _tick(self) -> None:
        now = self._agenda.time.now
        self._agenda.at(now + TICK, self._tick)
        self._ticks += 1
        if self._ticks % int(LOOK_SECONDS / TICK) == 0:
            for member in self._members.values():
                if member.runs:
                    self.look(member)
        for ends in permutations(self._members, 2):
            self._mind_revoked(*ends)
        self._checks.look()

    # -- links ---------------------------------------------------------------------------------

    def _judged(self, sender: str, peer: str) -> tuple[str, tuple[str, ...]]:
        """Why a handshake fails, or ""; and the serial numbers on which the link stands."""
        dialler, acceptor = self._members[sender], self._members[peer]
        word = self._word(dialler, acceptor, peer)
        link = self._links.links[sender, peer]
        if word and word != link.refused:
            self._note(f"{sender} does not reach {peer}: {word}")
        if word:
            return word, ()
        self._checks.greeted(dialler, acceptor)
        return "", tuple(each.papers.facts.serial for each in (dialler, acceptor))

    def mistaken(self, sender: str, other: str, peer: str) -> None:
        """Somebody dials a peer where another member is by now. (Without certificates their hellos
        tell.)"""
        dialler, acceptor = self._members[sender], self._members[other]
        genuine = dialler.papers.genuine and acceptor.papers.genuine
        if genuine and not self._word(dialler, acceptor, peer):
            self._checks.mistaken(sender, other, peer)

    def _word(self, dialler: SimulatedNode, acceptor: SimulatedNode, peer: str) -> str:
        ours, theirs = _view(dialler), _view(acceptor)
        word = ours.refuses(theirs, Door.DIALLED, {peer})
        word = word or theirs.refuses(ours, Door.ACCEPTED, self._known(acceptor))
        if word or acceptor.papers.impostor:
            return word or ""
        shown = dialler.papers.shown and dialler.papers.facts.identity
        # Its hello says its own name (`node.peers.streams`).
        return Word.WRONG_NODE if shown and shown.name != dialler.name else ""

    def _known(self, member: SimulatedNode) -> set[str]:
        """Whose dials it accepts: whom it only has heard of, it reaches first itself."""
        heard = {name for name in member.links or () if self._links.links[member.name, name].up}
        return member.wants_links() | heard

    def _cut_off(self, name: str) -> None:
        for other in sorted(self._members.keys() - {name}):
            self._links.cut(name, other)

    def _mind_revoked(self, name: str, other: str) -> None:
        """As `node.peers.link` does: a link ends a while after its certificate was revoked."""
        member = self._members[name]
        ways = (self._links.links[name, other], self._links.links[other, name])
        serials = {serial for way in ways if way.up for serial in way.serials}
        if not member.runs or serials.isdisjoint(member.replica.state.revoked):
            self._revoked.pop((name, other), None)
            return
        since = self._revoked.setdefault((name, other), self._agenda.time.now)
        if self._agenda.time.now - since >= REVOKED_SECONDS:
            del self._revoked[name, other]
            self._links.cut(name, other)

    def missing(self) -> str:
        """What is not well yet, once everything is healed."""
        if self._kept is None:
            return ""
        if self._phase is not Phase.NONE:
            return f"the rotation is {self._phase}"
        return self._checks.missing()


def _clock(member: SimulatedNode) -> float:
    return member.clock.wall() / 1_000


def _view(member: SimulatedNode) -> View:
    return View(member.papers, _clock(member), member.replica.state.revoked)
