"""A simulated cluster: the turns of its nodes, and the life and death of their processes."""

import random
from collections.abc import Callable
from typing import Any

from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.state.codec import TooNew
from stationkeep.node.raft import CorruptSnapshot, JournalError
from stationkeep.node.simulation.actors.authority import Authority
from stationkeep.node.simulation.actors.clients import Clients
from stationkeep.node.simulation.actors.deceivers import Deceivers
from stationkeep.node.simulation.actors.deployments import Deployments
from stationkeep.node.simulation.actors.devices import Devices
from stationkeep.node.simulation.actors.liars import Liars
from stationkeep.node.simulation.actors.movers import Movers
from stationkeep.node.simulation.actors.newcomers import Newcomers
from stationkeep.node.simulation.actors.operators import Operators
from stationkeep.node.simulation.actors.rollouts import Rollouts
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.checks import Checks
from stationkeep.node.simulation.checks.convergence import Convergence
from stationkeep.node.simulation.checks.progress import Progress
from stationkeep.node.simulation.checks.rollouts import RolloutChecks
from stationkeep.node.simulation.checks.trouble import Trouble
from stationkeep.node.simulation.faults.disturbances import Disturbances
from stationkeep.node.simulation.links.connection import Message
from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.machine.clock import SimulatedClock
from stationkeep.node.simulation.machine.disk import Crash, SimulatedDisk
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import HEALTHY, SimulatedNode
from stationkeep.node.simulation.machine.socket import Socket
from stationkeep.node.simulation.scenario import Scenario

TURN = 0.0005
"""Least seconds between two turns of one node: work takes time."""
MAX_NOTES = 200_000
INFINITY = float("inf")
STOPPING = 0.5
"""Seconds from an order to stop until the process ends; leadership is handed over meanwhile."""


class World:
    """One run: a cluster and all that acts on it; `actions` has what may happen to it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.agenda = Agenda()
        self.time, self.at, self.run = self.agenda.time, self.agenda.at, self.agenda.run
        self.names = scenario.names
        """Machines in operation: the founders, and spare machines once they were asked to join."""
        self.guards = scenario.guards
        self.notes: list[str] = []
        self.timeline: list[tuple[float, str, str]] = []
        """Time, node, and what it is from then on: a role, "down" or "paused"."""
        self.undecided = 0
        self.healed = False
        self.leader_changes: list[tuple[float, str, int]] = []
        self.unneeded_elections = 0
        self.trouble = Trouble(self.time)
        self.members = Members()
        self._parties: dict[str, Any] = {name: _Party(self, name) for name in self.names}
        self.links = Links(self.time, self.at, self._draws("network"), self._parties, self.names)
        self.disturbances = Disturbances(self.links, self.names)
        for name in self.names:
            self.members[name] = self._member(name)
        self.checks = Checks(self.members, self.time, self.trouble, durable=self.guards.s5)
        self.clients = Clients(
            self.time, self.at, self.members, self.checks, "s10" not in scenario.guards_off
        )
        self.authority = Authority(
            self.agenda, self.members, self.links, self.clients,
            draw=self._draws("certificates"), note=self.note,
        )  # fmt: skip
        self.devices = Devices(self.agenda, self.members, scenario, self._draws("devices"))
        self.liars = Liars(self.agenda, self.members, scenario.seed)
        self.deceivers = Deceivers(self.members, self.devices, scenario.seed)
        self.deployments = Deployments(
            self.agenda, self.members, self.clients, self.devices, scenario
        )
        self.rollout_checks = RolloutChecks(self.members, self.time, self.note)
        self.rollouts = Rollouts(
            self.agenda,
            self.members,
            self.clients,
            self.devices,
            self.rollout_checks,
        )
        self.operators = Operators(
            self.time,
            self.members,
            self.clients,
            self.links,
            start=self.start,
            reconfigured=self.note_troubles,
        )
        self.movers = Movers(self.time, self.members, self.links, self.authority.mistaken)
        self.newcomers = Newcomers(
            self.agenda, self.members, self.clients, self.operators,
            draw=self._draws("newcomers"), equip=self.authority.equip,
        )  # fmt: skip
        self.progress = Progress(self.time, self.members, self.links)
        for name in self.names:
            self.start(self.members[name])

    def _draws(self, purpose: str) -> random.Random:
        """A source for each purpose, so that one more draw for one changes nothing for another."""
        return random.Random(f"{self.scenario.seed} {purpose}")  # noqa: S311

    def _member(self, name: str) -> SimulatedNode:
        known = self.scenario.names
        draw = self._draws(name)
        clock = SimulatedClock(self.time, offset=draw.uniform(0, 1e5))
        disk = SimulatedDisk(name, lambda seconds: self._stall(name, seconds), self.time)
        settings = self.scenario.settings
        if name not in known:
            known.append(name)
        member = SimulatedNode(name, known, settings, clock, disk, draw=draw)
        member.highest = self.scenario.level
        disk.written = lambda what, removed: self.checks.stored(member, what, removed)
        return member

    def provide(self, name: str) -> None:
        """Puts a spare machine into operation."""
        if name not in self.members:
            self._parties[name] = _Party(self, name)
            self.links.add(name)
            self.members[name] = self._member(name)
            self.members[name].joining = True
            self.members[name].is_node = False
            self.authority.equip(name)

    def note(self, what: str) -> None:
        """Adds a line to the transcript."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"T+{self.time.now:.3f} {what}")

    # -- turns ---------------------------------------------------------------------------------

    def wake(self, member: SimulatedNode, moment: float) -> None:
        """Plans its next turn for `moment` at the latest."""
        if moment < member.agenda_at:
            member.agenda_at = moment
            self.at(moment, self._turn, member, moment)

    def _turn(self, member: SimulatedNode, moment: float) -> None:
        if member.agenda_at != moment:
            return  # another one took its place
        member.agenda_at = INFINITY
        if not member.runs:
            return
        now = self.time.now
        if member.busy_until > now:
            self.wake(member, member.busy_until)
            return
        try:
            member.turn()
            self.checks.after_turn(member)
            self.progress.look()
            wanted = member.clock.true(member.loop.next_wakeup())
        except Crash as crash:
            self._crashed(member, crash)
            return
        except TooNew as error:
            self.note(f"{member.name} stops: {error}")
            self.end(member, silently=False)
            return
        self._look(member)
        self.wake(member, max(wanted, now + TURN))

    def _crashed(self, member: SimulatedNode, crash: Crash) -> None:
        self.note(f"{member.name} crashes at {crash.point}")
        self.end(member, silently=True)

    def _stall(self, name: str, seconds: float) -> None:
        member = self.members[name]
        member.busy_until = max(member.busy_until, self.time.now) + seconds

    def _look(self, member: SimulatedNode) -> None:
        """Notes what has changed about a member since its last turn."""
        raft = member.raft
        if self.movers.active:
            self.movers.look(member)
        if self.operators.moving:
            self.operators.look(member)
        if raft.is_leader and member.seen_leader != (raft.term, member.name):
            member.seen_leader = (raft.term, member.name)
            self._count_election(member)
            self.note(f"{member.name} leads term {raft.term}")
        role = member.acts_as()
        self._show(member, role.value if role is not None else "down")

    def _count_election(self, member: SimulatedNode) -> None:
        """Counts the election as unneeded if nothing was wrong with the leader before."""
        now, before = self.time.now, self.leader_changes
        lately = now - 3 * self.scenario.settings.election_timeout_max / 1_000
        if before:
            needed = self.trouble.was(before[-1][1], lately, now)
            self.unneeded_elections += not needed
        before.append((now, member.name, member.raft.term))

    def note_troubles(self) -> None:
        """Notes which nodes are in trouble from now on: not running, unhealthy, leaving, cut off
        from a majority of the voters in its configuration, with a full or slow disk."""
        limit = self.scenario.settings.unhealthy_above / 1_000_000
        for name, member in self.members.items():
            voters = member.configuration.voters
            reached = sum(name == n or self.links.is_open(name, n) for n in voters)
            self.trouble.connected(name, 2 * reached > len(voters))
            self.trouble.note(
                name,
                not member.runs
                or member.health.risk > limit
                or name in self.operators.leaving
                or 2 * reached <= len(voters)
                or member.disk.full
                or member.disk.delay > 0,
            )

    def _show(self, member: SimulatedNode, what: str) -> None:
        if what in ("down", "paused"):
            self.note_troubles()
        if what != member.shown:
            member.shown = what
            self.timeline.append((self.time.now, member.name, what))
            self.note(f"{member.name} is {what}")

    # -- life of a process ---------------------------------------------------------------------

    def start(self, member: SimulatedNode) -> None:
        """Starts its process."""
        socket = Socket(self.links, member.name, lambda peer, m: self._sends(member, peer, m))

        def wake() -> None:
            self.wake(member, max(self.time.now, member.busy_until))

        life = member.life + 1

        def later(seconds: float, work: Callable[[], None]) -> None:
            def due() -> None:
                if member.life != life or not member.up:
                    return
                try:
                    work()
                except Crash as crash:
                    self._crashed(member, crash)
                    return
                except TooNew:
                    pass  # its next turn stops it
                wake()

            self.at(self.time.now + seconds, due)

        try:
            member.boot(socket, self.scenario, wake, later)
        except Crash as crash:
            self._crashed(member, crash)
            return
        except TooNew as error:
            self.note(f"{member.name} does not start: {error}")
            return
        except (JournalError, CorruptSnapshot) as error:
            member.refused = str(error)
            self.note(f"{member.name} does not start: {type(error).__name__}")
            return
        self.authority.look(member)
        self.movers.born(member)
        self.checks.born(member)
        self.devices.born(member)
        self.rollout_checks.watch(member)
        self.liars.born(member)
        self.note_troubles()
        self.note(f"{member.name} starts")
        self.links.join(member.name)
        wake()

    def end(self, member: SimulatedNode, silently: bool) -> None:
        """Ends its process; `silently`: peers do not notice, as when power is lost."""
        member.up = member.paused = False
        member.disk.armed = None
        member.agenda_at = INFINITY
        self.links.leave(member.name, silently)
        self._show(member, "down")

    def stop(self, member: SimulatedNode) -> None:
        """Stops its process gracefully: leadership is handed over, and pending data is written."""
        self.trouble.moment(member.name)
        member.raft.transfer_leadership()
        self.at(self.time.now + STOPPING, self._stopped, member, member.life)

    def _stopped(self, member: SimulatedNode, life: int) -> None:
        if member.up and member.life == life and not self.healed:
            try:
                member.raft.close()
            except Crash as crash:
                self._crashed(member, crash)
                return
            self.end(member, silently=False)

    def pause(self, member: SimulatedNode, seconds: float) -> None:
        """Suspends its process for a while."""
        member.paused = True
        self._show(member, "paused")
        self.at(self.time.now + seconds, self._resume, member, member.life)

    def _resume(self, member: SimulatedNode, life: int) -> None:
        if member.paused and member.life == life:
            member.paused = False
            self.note_troubles()
            self.wake(member, self.time.now)
            for peer in self.names:
                if peer != member.name:
                    self.links.dial(member.name, peer)

    def _sends(self, member: SimulatedNode, peer: str, message: Message) -> float:
        self.checks.sends(member.name, peer, message)
        if member.disk.armed is not None:
            member.disk.reach("outbox.between")
        return max(0.0, member.busy_until - self.time.now)

    # -- the end -------------------------------------------------------------------------------

    def heal(self) -> None:
        """Ends every fault."""
        self.note("> heal")
        self.healed = True
        self.disturbances.heal()
        self.movers.heal()
        for member in self.members.values():
            member.disk.full, member.disk.delay, member.disk.armed = False, 0.0, None
            member.health.risk = HEALTHY
            member.highest = HIGHEST
            if member.up and (member.replica.highest < HIGHEST or self.movers.active):
                self.end(member, silently=False)  # to be upgraded, or to read its file anew
            if member.up:
                member.hooks.mode = "work"
                self._resume(member, member.life)
        for member in self.members.values():
            if member.is_node and not member.up:
                self.start(member)
            if member.refused:  # its disk is damaged: it comes back with an empty one
                member.replace_disk(rejoins=False)
                self.start(member)
        self.authority.heal()
        self.note_troubles()

    def converge(self) -> float:
        """Heals, and waits until everything is well again; returns how many seconds that took.
        Then judges the clients' histories. Raises `Violation`, also when it takes too long."""
        self.heal()
        self.devices.heal()
        self.liars.heal()
        self.rollouts.heal()
        self.newcomers.heal()
        more = (self.authority.missing, self.newcomers.missing, self.movers.missing)
        settings = self.scenario.settings
        took = Convergence(self.agenda, self.members, self.links, settings, more).wait()
        self.devices.judge()
        self.rollouts.judge()
        self.deployments.judge()
        self.checks.settled()
        self.undecided = self.clients.judge()
        return took


class _Party:
    """A member as the network sees it."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name

    def accepts(self) -> bool:
        return self._world.members[self._name].runs

    def deliver(self, sender: str, message: Message) -> None:
        member = self._world.members[self._name]
        if not member.up:
            return
        if message["kind"] == "gossip":
            member.loop.on_message(sender, message)
        else:
            member.raft.receive(sender, message)

    def on_connected(self, peer: str) -> None:
        member = self._world.members[self._name]
        if member.up:
            member.raft.connected(peer)

    def on_disconnected(self, peer: str) -> None:
        member = self._world.members[self._name]
        if member.up:
            member.raft.disconnected(peer)
