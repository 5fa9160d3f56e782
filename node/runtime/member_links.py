"""Links to the members that the state names, as it changes."""

import structlog

from stationkeep.cluster.commands import MemberSpec
from stationkeep.node.peers.network import PeerNetwork
from stationkeep.node.raft import Journal, Raft
from stationkeep.node.replica import Replica

log = structlog.get_logger("node")


class MemberLinks:
    """Keeps the network's peers; before the founding they are those of the file, `members`."""

    def __init__(
        self,
        network: PeerNetwork,
        raft: Raft,
        journal: Journal,
        replica: Replica,
        members: tuple[MemberSpec, ...],
    ) -> None:
        self._network, self._raft = network, raft
        self._journal, self._replica = journal, replica
        self._members = members
        self._links: dict[str, str] = {}

    def follow(self) -> None:
        """Links to the members of the state, and to those to whom Raft still has to tell
        something. Also once this node was removed: it may be taken in again."""
        state = self._replica.state
        if not state.founded:
            return
        if self._journal.uid != state.uid:
            self._journal.belongs_to(state.uid)
            self._network.know(state.uid)
        known = self._network.peers
        wanted = {name: known[name] for name in self._raft.links if name in known}
        wanted |= {member.id: member.raft for member in state.members.values()}
        if wanted != self._links:
            self._links = wanted
            self._network.set_peers(wanted, self._raft.applied_index)
            self._note_moves()

    def _note_moves(self) -> None:
        """A member's address is what it joined with. One that was changed in a file changes
        nothing, which its author should know."""
        for member in self._members:
            known = self._replica.state.members.get(member.id)
            if known is not None and (known.raft, known.http) != (member.raft, member.http):
                log.warning(
                    "address_ignored",
                    member=member.id,
                    file=f"{member.raft} {member.http}",
                    cluster=f"{known.raft} {known.http}",
                    action="members keep the addresses that they joined with: let it leave, "
                    "and join under the new ones (stationkeep nodes leave, nodes join)",
                )
