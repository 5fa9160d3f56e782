"""One node, without its sockets: what it does with each message and each turn of its loop.

Order of effects within a turn, and why:

1. Consensus: messages taken in, ticked, journal committed and synced, *then* sent, applied,
   acknowledged. Everything below sees only what is committed.
2. Gossip: the own report goes out. Its time is noted before it leaves: leases count from there.
3. Leader: evaluates, plans, renews leases, moves time; only proposes.
4. Voter: ballots for proposals that step 1 brought; mover: where this node is reached, if the
   state says something else; witness: who used which token; they only propose.
5. Enactor: compares what should be with what is; starts and kills hooks, proposes
   acknowledgements.
6. Rebalancer, conductor and gatekeeper (the leader's), intake and errands: which devices are
   silent, which move, which rollouts go on, which tasks are offered and who is asked about a stage;
   what devices said is proposed, and they are sent what step 1 brought.
7. Webhooks (the leader's): what was decided is sent to those who want to know.

What 3 to 7 propose enters the log in the next turn, which consensus then wants at once.
Nothing here is asynchronous, sleeps or reads a clock of its own: a simulator drives the same
code in virtual time, by `on_message`, `turn` and `next_wakeup`.
"""

from typing import Any, Protocol

from stationkeep.cluster.transitions import Role
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.duty import Workbench
from stationkeep.node.fleet.conductor import Conductor
from stationkeep.node.fleet.errands import Errands
from stationkeep.node.fleet.gatekeeper import Asker, Gatekeeper
from stationkeep.node.fleet.intake import DeviceIntake
from stationkeep.node.fleet.rebalancer import Rebalancer
from stationkeep.node.health.gossip import Gossip, RoleStatus
from stationkeep.node.health.measurement import HealthSource
from stationkeep.node.health.reports import Report
from stationkeep.node.health.self_checks import Watch
from stationkeep.node.hooks.runner import HookRunner
from stationkeep.node.ports import Memory
from stationkeep.node.roles.enactor import Enactor
from stationkeep.node.roles.leader_duties import Leader
from stationkeep.node.roles.lease import Lease
from stationkeep.node.roles.mover import Mover
from stationkeep.node.roles.voter import Voter
from stationkeep.node.roles.witness import Witness
from stationkeep.node.webhooks.sending import Poster, Webhooks


class Part(Protocol):
    """What has its place in a turn."""

    def turn(self) -> None:
        """Does what is due."""
        ...

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` has something to do though nothing arrives."""
        ...


class NodeLoop:
    """Composes the parts of a node around its replica and its consensus.

    `boot`: incarnation of this node, higher at each start. The caller routes messages: those of
    kind "gossip" to `on_message`, the others to consensus. `source`: how this node is; `leaps`:
    what is wrong with its clock, which the `source` asks at every report; `hooks` and `memory`:
    what runs the operators' commands, and remembers that across a restart; `poster` sends the
    webhooks, where there are any; `asker` asks those of rollouts.
    """

    def __init__(
        self,
        config: NodeConfig,
        boot: int,
        bench: Workbench,
        *,
        source: HealthSource,
        leaps: Watch,
        hooks: HookRunner,
        memory: Memory,
        poster: Poster | None = None,
        asker: Asker | None = None,
    ) -> None:
        self.config, self.boot = config, boot
        self.clock, self.network = bench.host.clock, bench.host.network
        self.consensus, self.replica = bench.consensus, bench.replica
        self.lease = Lease(config.node, self.clock, self.replica)
        self.gossip = Gossip(
            config.node,
            boot,
            peers=config.peers,
            clock=self.clock,
            network=self.network,
            replica=self.replica,
            source=source,
            role_status=self._role_status,
            sent=self.lease.sent,
        )
        self.leader = Leader(bench, config, self.gossip)
        self.voter = Voter(bench, self.gossip, config.policies)
        self.mover = Mover(bench, config.own, self.gossip)
        self.witness = Witness(bench)
        self.enactor = Enactor(bench, config.hooks, self.lease, hooks, memory)
        self.rebalancer = Rebalancer(bench)
        self.conductor = Conductor(bench, leaps)
        self.gatekeeper = Gatekeeper(bench, config.webhooks, asker)
        self.intake = DeviceIntake(bench)
        self.errands = Errands(bench, self.intake.connected)
        self.webhooks = Webhooks(bench, config.webhooks, poster)
        self._parts: tuple[Part, ...] = (
            self.gossip,
            self.leader,
            self.voter,
            self.mover,
            self.witness,
            self.enactor,
            self.rebalancer,
            self.conductor,
            self.gatekeeper,
            self.intake,
            self.errands,
            self.webhooks,
        )
        self._current_at = self.clock.monotonic()
        self.peers = config.peers
        self._known = {config.node, *config.peers}
        self._follow_members()

    def on_message(self, peer: str, message: dict[str, Any]) -> None:
        """Takes in a message of gossip; needs no turn, since nothing waits for a report."""
        self.gossip.receive(peer, message)

    def turn(self) -> None:
        """Does everything that is due; see the order above."""
        self.consensus.turn()
        self._follow_members()
        for part in self._parts:
            part.turn()
        self._note_freshness()

    def next_wakeup(self) -> float:
        """Monotonic moment at which `turn` is due though nothing arrives."""
        moments = [part.next_wakeup() for part in self._parts]
        return min(self.consensus.next_wakeup(), *moments)

    # -- what this node knows, for its doors ----------------------------------------------------

    def effective_role_of(self, node: str) -> Role | None:
        """The role a node acts in: this one's for the very instant, another's by its last report.
        None when that is older than heartbeat_timeout or than the lease it named, and when it said
        PRIMARY of a node that has lost the seat since."""
        if node == self.config.node:
            return self.lease.effective_role()
        lately = self._lately(node)
        if lately is None:
            return None
        report, age = lately
        holds = self.replica.state.seat.holder == node and age * 1_000 <= report.lease_ms
        return None if report.role is Role.PRIMARY and not holds else report.role

    def lease_remaining_of(self, node: str) -> float | None:
        """Seconds for which a node's lease still holds; None when it was not heard lately."""
        if node == self.config.node:
            return self.lease.remaining()
        lately = self._lately(node)
        return None if lately is None else max(0.0, lately[0].lease_ms / 1_000 - lately[1])

    def connected(self) -> int:
        """Members with a connection now, this node included."""
        return 1 + sum(self.network.connected(peer) for peer in self.peers)

    def staleness_ms(self) -> int:
        """Milliseconds since this node last had applied all that it knew to be committed while
        in touch with a leader; 0 on the leader itself."""
        if self.consensus.is_leader:
            return 0
        return max(0, int((self.clock.monotonic() - self._current_at) * 1_000))

    def _lately(self, node: str) -> tuple[Report, float] | None:
        found = self.gossip.last_report(node)
        if found is None or found[1] * 1_000 > self.replica.settings.heartbeat_timeout:
            return None
        return found

    def _follow_members(self) -> None:
        """The others, by the state; before the founding, by the configuration."""
        state = self.replica.state
        if state.founded and state.members.keys() != self._known:
            self.peers = tuple(name for name in state.members if name != self.config.node)
            self._known = {self.config.node, *self.peers}
            self.gossip.follow(self.peers)

    def _note_freshness(self) -> None:
        leader = self.consensus.leader
        in_touch = leader is not None and (
            leader == self.config.node or self.network.connected(leader)
        )
        if in_touch and self.consensus.applied_index >= self.consensus.commit_index:
            self._current_at = self.clock.monotonic()

    def _role_status(self) -> RoleStatus:
        return RoleStatus(
            self.lease.effective_role(),
            self.replica.state.seat.epoch,
            int(self.lease.remaining() * 1_000),
            self._fault(),
        )

    def _fault(self) -> str:
        """What only this node knows of why it cannot do its part; the rest is judged by those who
        hear it (`node.health.ability`)."""
        return "the disk refuses the journal" if self.consensus.journal_error is not None else ""
