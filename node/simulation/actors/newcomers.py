"""Machines that come into a simulated cluster by an invitation, and the doors at which they ask.

A door does what `node.api.resources.joining` does: it asks the state whether the invitation takes
anybody in, has the log take the newcomer in, and answers once that is committed. Answers are lost
as their nodes die. A machine asks again, with the key that it drew first, until it is told; then it
is a node. Not all machines are so patient: some ask once and are never seen again.
"""

import random
from collections.abc import Callable
from functools import partial

import msgspec

from stationkeep.cluster.access import HASH_BYTES
from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import AcceptInvitation, Draft, Invite
from stationkeep.cluster.invitations import check_takes
from stationkeep.cluster.levels import LOWEST
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.step import Refused
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.simulation.actors.clients import PATIENCE, PAUSE, TIMEOUT, Clients
from stationkeep.node.simulation.actors.operators import Operators
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode

LIFETIME = 60_000
"""Milliseconds for which an invitation is good."""
ANSWER = 0.3
"""Seconds that an answer takes at most."""
STRANGE = 12
"""Nodes in a row that know no such invitation, after which a machine gives up."""
TIDY_SECONDS = 2.0
"""Between two looks of an operator for members that were never seen."""


class Guest(msgspec.Struct, eq=False):
    """A machine at a door. `key`: what it has drawn; `seen`: whether it is ever seen again."""

    name: str
    key: bytes
    word: str
    seen: bool
    until: float
    told: bool = False
    """Whether it knows that it was taken in, or that it never will be."""
    strange: int = 0
    life: int = 0
    """How often people had it begin to ask; an earlier one asks no more."""


class Newcomers:
    """The newcomers of one world. `admitted` makes a node of a machine that was taken in."""

    def __init__(
        self,
        agenda: Agenda,
        members: Members,
        clients: Clients,
        operators: Operators,
        *,
        draw: random.Random,
        equip: Callable[[str], None],
    ) -> None:
        """`equip`: gives a machine that is taken in its certificate."""
        self._agenda, self._time, self._members = agenda, agenda.time, members
        self._clients, self._operators = clients, operators
        self._draw, self._equip = draw, equip
        self._word = ""
        """The invitation that was made last."""
        self._guests: dict[tuple[str, bytes], Guest] = {}
        """By id and key, of those with their first try behind them."""
        self._told: dict[tuple[str, str], bytes] = {}
        """Invitation and id → the key of the machine that was told that it was taken in."""

    def invite(self, through: str, uses: str) -> None:
        """An operator has a word made, through a node."""
        self._word = f"{self._draw.getrandbits(40):010x}"[:8]
        secret = self._draw.randbytes(HASH_BYTES)
        self._clients.give(through, Invite(self._word, secret, int(float(uses)), LIFETIME))

    def come(self, name: str, through: str) -> None:
        """A machine asks with the newest word; one that has asked before goes on with its key."""
        member, mine = self._members[name], self._asking(name)
        if mine is not None:
            self._begin(mine, through)
        elif self._word and not member.up and self._operators.is_free(name):
            member.replace_disk(rejoins=False)
            member.is_node = False
            self._ask_first(name, through, seen=True)

    def double(self, name: str, through: str) -> None:
        """Another machine asks with the same word to be let in under the same id. What becomes of
        it is not told here."""
        if self._word:
            self._ask_first(name, through, seen=False)

    def heal(self) -> None:
        """People have those begin again who were not told, and remove members that nobody ever
        saw."""
        for guest in list(self._guests.values()):
            if guest.seen and not guest.told:
                self._begin(guest, min(self._members))
        self._tidy()

    def missing(self) -> str:
        """Who was not told yet."""
        waiting = [g.name for g in self._guests.values() if g.seen and not g.told]
        return f"{waiting[0]} waits at a door" if waiting else ""

    def _tidy(self) -> None:
        leader = self._members.leader()
        for name in self._members.newest_state().members:
            ghost = not self._members[name].is_node and self._asking(name) is None
            if ghost and leader is not None:
                self._clients.leave(leader.name, name)
        self._agenda.at(self._time.now + TIDY_SECONDS, self._tidy)

    # -- at a door -----------------------------------------------------------------------------

    def _asking(self, name: str) -> Guest | None:
        """The machine that will be this node, if it waits to be told."""
        for guest in self._guests.values():
            if guest.name == name and guest.seen and not guest.told:
                return guest
        return None

    def _ask_first(self, name: str, through: str, *, seen: bool) -> None:
        guest = Guest(name, self._draw.randbytes(HASH_BYTES), self._word, seen, 0.0)
        self._guests[name, guest.key] = guest
        self._begin(guest, through)

    def _begin(self, guest: Guest, through: str) -> None:
        guest.life += 1
        guest.until = self._time.now + (PATIENCE if guest.seen else 0.0)
        self._ask(guest, guest.life, through)

    def _ask(self, guest: Guest, life: int, through: str) -> None:
        if guest.told or guest.life != life:
            return
        door = self._members[through]
        again = partial(self._later, guest, life, through)
        if not door.runs:
            again()
            return
        found = door.replica.state.invitations.get(guest.word)
        if found is None:
            guest.strange += 1
            guest.told = guest.strange >= STRANGE
            again()
            return
        guest.strange = 0
        try:
            check_takes(found, guest.name, guest.key, door.replica.state.wall)
        except Refused:
            guest.told = True
            return
        own = self._members[guest.name].config.own
        assert own is not None
        command = AcceptInvitation(
            guest.word, own, guest.key, LOWEST, self._members[guest.name].highest
        )
        draft = codec.encode_draft(Draft(command, actor=found.actor))
        answered = partial(self._answered, guest, life, door, door.life)
        door.raft.propose(draft, answered, TIMEOUT)
        self._agenda.at(self._time.now + TIMEOUT + PAUSE, again)  # unless it is told before

    def _later(self, guest: Guest, life: int, through: str) -> None:
        """Asks another node, if it still has patience."""
        if guest.told or self._time.now >= guest.until:
            return
        names = sorted(self._members)
        after = names[(names.index(through) + 1) % len(names)]
        self._agenda.at(self._time.now + PAUSE, self._ask, guest, life, after)

    def _answered(
        self, guest: Guest, life: int, door: SimulatedNode, doors: int, result: ProposalResult
    ) -> None:
        """The door knows what came of it, and says so if it lives; the answer takes a while."""
        if isinstance(result, Committed):
            outcome = result.applied.outcome
            refused = None if isinstance(outcome, Done) else outcome.reason
            after = self._time.now + ANSWER * self._draw.random()
            self._agenda.at(after, self._tell, guest, life, door, doors, refused)

    def _tell(
        self, guest: Guest, life: int, door: SimulatedNode, doors: int, refused: str | None
    ) -> None:
        if guest.told or guest.life != life or not door.runs or door.life != doors:
            return
        guest.told = True
        if refused is None:
            self._check(guest)
            if guest.seen:
                self._equip(guest.name)
                self._operators.admit(guest.name)

    def _check(self, guest: Guest) -> None:
        """By one word one machine is taken in under an id. (In how many, an invariant checks.)"""
        key = self._told.setdefault((guest.word, guest.name), guest.key)
        if key != guest.key:
            raise Violation("a member once", f"a word took in two machines as {guest.name}")
