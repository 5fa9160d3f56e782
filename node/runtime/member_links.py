"""Links to the members that the state names, as it changes."""

from stationkeep.node.peers.network import PeerNetwork
from stationkeep.node.raft import Journal, Raft
from stationkeep.node.replica import Replica


class MemberLinks:
    """Keeps the network's peers; before the founding they are those of the file."""

    def __init__(
        self,
        network: PeerNetwork,
        raft: Raft,
        journal: Journal,
        replica: Replica,
    ) -> None:
        self._network, self._raft = network, raft
        self._journal, self._replica = journal, replica
        self._links: dict[str, str] = {}

    def follow(self) -> None:
        """Links to the members of the state, and to those to whom Raft still has to tell
        something, unless it is in foreign hands. Also once this node was removed: it may be taken
        in again."""
        state = self._replica.state
        if not state.founded:
            return
        if self._journal.uid != state.uid:
            self._journal.belongs_to(state.uid)
            self._network.know(state.uid)
        known = self._network.peers
        told = (name for name in self._raft.links if name not in state.exposed)
        wanted = {name: known[name] for name in told if name in known}
        wanted |= {member.id: member.raft for member in state.members.values()}
        if wanted != self._links:
            self._links = wanted
            self._network.set_peers(wanted, self._raft.applied_index)
