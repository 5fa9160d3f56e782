"""Operators of a simulated cluster: they add and remove machines.

As people do, they look before they act: nobody lets a cluster shrink below three, and a machine
gets an empty disk only when it is in no configuration any more. Their orders go through a client's
call, so they are refused, lost and repeated as all orders are.
"""

from collections.abc import Callable

from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.checking.linearizability import Operation
from stationkeep.node.simulation.actors.clients import Clients
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode

FEWEST = 3
"""Members that stay: two survive no lost disk."""


class Operators:
    """The operators of one world."""

    def __init__(
        self,
        time: Time,
        members: Members,
        clients: Clients,
        links: Links,
        *,
        start: Callable[[SimulatedNode], None],
        reconfigured: Callable[[], None],
    ) -> None:
        """`start` boots a machine; `reconfigured` is called when a node's configuration has
        changed."""
        self._time, self._members, self._clients, self._links = time, members, clients, links
        self._start, self._reconfigured = start, reconfigured
        self._founders = list(members)
        self.moving = False
        """Whether any machine was asked to join or leave yet; before that nothing here costs
        time."""
        self.leaving: set[str] = set()
        """Members that were asked to leave, and not to join since."""
        self._leaves: list[Operation] = []

    def join(self, name: str, through: str) -> None:
        """Boots a machine as a newcomer, unless it runs, and asks a node to take it in."""
        member = self._members[name]
        self.moving = True
        self.leaving.discard(name)
        if not member.up and self.is_free(name):
            member.disk.erase()
            self._boot(member)
        self._clients.join(through, name)

    def admit(self, name: str) -> None:
        """Boots a machine that has been taken in, unless somebody was quicker."""
        self.moving = True
        self.leaving.discard(name)
        if not self._members[name].up:
            self._boot(self._members[name])

    def _boot(self, member: SimulatedNode) -> None:
        member.is_node = member.joining = True  # a founder that left is none any more
        self._start(member)

    def leave(self, name: str, through: str) -> None:
        """Asks a node to remove a member; its process runs on, as an operator may forget it."""
        under_way = sum(order.returned > self._time.now for order in self._leaves)
        if self._voters() - under_way > FEWEST:
            self.moving = True
            self.leaving.add(name)
            self._leaves.append(self._clients.leave(through, name))

    def members(self) -> set[str]:
        """Members of the cluster, according to the newest state of any running process."""
        newest = self._newest()
        return set(self._founders if newest is None else newest.members)

    def _voters(self) -> int:
        newest = self._newest()
        if newest is None:
            return len(self._founders)
        return sum(not member.learner for member in newest.members.values())

    def _newest(self) -> ClusterState | None:
        states = [m.replica.state for m in self._members.values() if m.up]
        founded = [state for state in states if state.founded]
        return max(founded, key=lambda state: state.index, default=None)

    def look(self, member: SimulatedNode) -> None:
        """Called after a turn: follows changes of a node's configuration and of its links."""
        if member.raft.configuration is not member.configuration:
            member.configuration = member.raft.configuration
            self._reconfigured()
        links = member.wants_links()
        links |= self._told(member)
        if links != member.links:
            member.links = links
            self._links.follow(member.name, links)

    def _told(self, member: SimulatedNode) -> set[str]:
        """Nodes that it learns of from others: whichever keeps a connection with it and has applied
        more sends it all addresses (`node.peers.network`, messages of kind "peers")."""
        told: set[str] = set()
        for other in self._members.values():
            reaches = other.up and other.links and member.name in other.links
            if reaches and other.raft.applied_index > member.raft.applied_index:
                told |= {other.name, *(other.links or ())}
        return told - {member.name}

    def is_free(self, name: str) -> bool:
        """Whether it is in no configuration and no state that any other node has, or had last."""
        others = [m for m in self._members.values() if m.name != name and m.life]
        listed = any(name in m.raft.configuration.members for m in others)
        return not listed and name not in self.members()
