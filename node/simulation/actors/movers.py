"""Machines of a simulated cluster that are elsewhere now, while others have old hints of where.


Nothing is known of addresses before the first machine moves: until then who is dialled is reached.
From then on each process has the real `node.peers.whereabouts`, with its file, the state, and what
peers tell whenever a link comes up or their list changes.
"""

from collections.abc import Callable

import msgspec

from stationkeep.cluster.commands import MemberSpec, MoveMember
from stationkeep.cluster.levels import SINCE
from stationkeep.node.peers.dialling import MAX_DIALS
from stationkeep.node.peers.whereabouts import Address, Whereabouts
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.system.addresses import split_address


class Movers:
    """The addresses of one world. `mistaken` is told who dials, who answers, and who is meant."""

    def __init__(
        self, time: Time, members: Members, links: Links, mistaken: Callable[[str, str, str], None]
    ) -> None:
        self._time, self._members, self._links, self._mistaken = time, members, links, mistaken
        self._where: dict[str, Whereabouts] = {}
        """What each process knows; empty before the first move."""
        self._lists: dict[str, dict[str, str]] = {}
        """Of each process, the addresses of those whom it wanted to reach when it looked last."""
        self._used: list[tuple[str, MemberSpec]] = []
        """Addresses that are free, and whose they were."""
        self._moves = 0
        self.misled = False
        """Whether operators gave a member an address that is not its own."""

    @property
    def active(self) -> bool:
        return self._moves > 0

    # -- what a script orders ------------------------------------------------------------------

    def move(self, name: str, to: str) -> None:
        """A machine is elsewhere from now on, where nobody was or ("used") another one was; its
        file says so."""
        if not self.active:
            self._links.hints = self
        self._moves += 1
        member = self._members[name]
        old = _own(member)
        found = next((one for one in self._used if one[0] != name), None)
        if to == "used" and found is not None:
            self._used = []  # of two who take each other's, the state could have neither
            spec = MemberSpec(name, found[1].raft, found[1].http)
        else:
            self._used.append((name, old))
            host = f"{name}-{self._moves}"
            spec = MemberSpec(name, f"{host}:7701", f"{host}:8701")
        self._write(member, {name: spec})
        for other in sorted(self._members.keys() - {name}):
            self._links.cut(name, other)

    def heal(self) -> None:
        """People write into all files where everybody is; they count from the next start on."""
        specs = {name: _own(member) for name, member in self._members.items()}
        for member in self._members.values():
            self._write(member, specs)

    @staticmethod
    def _write(member: SimulatedNode, specs: dict[str, MemberSpec]) -> None:
        members = tuple(specs.get(spec.id, spec) for spec in member.config.members)
        member.config = msgspec.structs.replace(member.config, members=members)

    # -- what a process knows ------------------------------------------------------------------

    def born(self, member: SimulatedNode) -> None:
        """A process starts: it knows what its file says."""
        self._where.pop(member.name, None)
        self._lists.pop(member.name, None)

    def look(self, member: SimulatedNode) -> None:
        """After a turn: follows the addresses in the state, as `node.runtime.member_links` does."""
        state = member.replica.state
        if not state.founded:
            return
        where = self._of(member.name)
        known = where.peers
        listed = {name: known[name] for name in member.raft.links if name in known}
        listed |= {each.id: each.raft for each in state.members.values()}
        if listed == self._lists.get(member.name):
            return
        self._lists[member.name] = listed
        changes = where.replace(listed, member.raft.applied_index)
        for peer in changes.gone:
            if peer in self._members:
                self._links.cut(member.name, peer)
        for peer in listed:
            if peer != member.name and peer in self._members:
                self._tell(member.name, peer)

    def _of(self, name: str) -> Whereabouts:
        if name not in self._where:
            specs = self._members[name].config.members
            self._where[name] = Whereabouts(name, {spec.id: spec.raft for spec in specs})
        return self._where[name]

    def _tell(self, teller: str, peer: str) -> None:
        table = self._of(teller).table
        if table is not None and self._links.links[teller, peer].up and self._members[peer].runs:
            self._of(peer).hear(teller, table, self._time.now)

    # -- node.simulation.links.network.Hints ---------------------------------------------------

    def leads(self, sender: str, peer: str) -> bool:
        """Whether any hint of a node leads to a peer. Whoever else is there must not do."""
        there = {_address(member): name for name, member in self._members.items()}
        ways = self._of(sender).ways_to(peer)[:MAX_DIALS]
        found = [there[way] for way in ways if way in there]
        for other in found:
            if other != peer and self._members[other].runs:
                self._mistaken(sender, other, peer)
        return peer in found

    def met(self, sender: str, peer: str) -> None:
        """A link is up."""
        self._of(sender).met(peer)
        self._tell(sender, peer)

    def missing(self) -> str:
        """Who is not where the cluster has it, once all is over."""
        state = self._members.newest_state()
        if not self.active or self.misled or state.level < SINCE[MoveMember]:
            return ""
        for member in state.members.values():
            if member.raft != _own(self._members[member.id]).raft:
                return f"{member.id} is not at {member.raft}"
        return ""


def _own(member: SimulatedNode) -> MemberSpec:
    own = member.config.own
    assert own is not None, "each machine's file lists it"
    return own


def _address(member: SimulatedNode) -> Address:
    return split_address(_own(member).raft)
