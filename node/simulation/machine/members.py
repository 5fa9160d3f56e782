"""All simulated nodes of a world."""

from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.simulation.machine.node import SimulatedNode


class Members(dict[str, SimulatedNode]):
    """Machines in operation, by name: the founders, and those that were asked to join."""

    def leader(self) -> SimulatedNode | None:
        """The leader; if several nodes believe they lead, that of the newest term."""
        leading = [member for member in self.values() if member.up and member.raft.is_leader]
        return max(leading, key=lambda member: member.raft.term, default=None)

    @property
    def primaries(self) -> list[str]:
        """Names of the nodes that act as PRIMARY now."""
        return [member.name for member in self.values() if member.is_primary()]

    def newest_state(self) -> ClusterState:
        """The newest state of all nodes that ever ran, also those that are down."""
        states = (member.replica.state for member in self.values() if member.life)
        return max(states, key=lambda state: state.index)
