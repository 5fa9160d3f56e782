"""What must hold of rollouts, seen from outside all nodes: who is told when, and what every device
runs in the end.

No device is told of a stage before those before it have passed or were promoted; no two rollouts
that nothing says the order of tell one device; what makes every device ill does not pass by itself;
nobody is told outside of a window, or before a task of higher priority, and nothing goes on while
automatic changes are paused; no wait outlasts its end for long; whoever was to go back runs what it
ran before. What one state must be in itself is `cluster.progression.invariants`, which `checks`
looks at after every entry.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np

from stationkeep.cluster.apply import Applied, Done
from stationkeep.cluster.commands import (
    AdvanceRollout,
    AnyCommand,
    CheckRollouts,
    Entry,
    OfferTasks,
    OpenStage,
    PromoteRollout,
    RecordGate,
)
from stationkeep.cluster.delivery.members import version_of
from stationkeep.cluster.delivery.offers import Hold, hold_of
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import STATES, TaskState
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.rollouts.gates import Gate
from stationkeep.cluster.rollouts.lifecycle import GOING, WAITING, RolloutState, StageState
from stationkeep.cluster.rollouts.plan import FOLLOW
from stationkeep.cluster.rollouts.rollout import Rollout, Stage, tally_of
from stationkeep.cluster.state.events import Event, RolloutChanged, StageChanged, TasksChanged
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.agent.tasks.book import Book
from stationkeep.node.fleet.windows import plan_with_window
from stationkeep.node.simulation.agenda import Time
from stationkeep.node.simulation.checks.checks import Violation
from stationkeep.node.simulation.checks.tasks import LATE
from stationkeep.node.simulation.machine.members import Members
from stationkeep.node.simulation.machine.node import SimulatedNode
from stationkeep.node.system.zones import is_open, zone_or_utc

HARMFUL = ("2.6.6", "3.6.6")
"""Versions that make every device ill which runs them."""
BY_ITSELF = (AdvanceRollout, CheckRollouts, OpenStage, OfferTasks, RecordGate)
"""What the leader orders, and nobody else."""
STILL = ("aborted", "rolled_back")
"""What may become of a rollout while automatic changes are paused, as nothing follows from it."""


class Carrier(Protocol):
    """A device that carries out tasks. `changed_at`: when somebody, and no task, last changed what
    it runs (s); `misled`: whether a node has ever lied to it."""

    book: Book
    changed_at: float
    misled: bool


class Told(NamedTuple):
    """A device was told something by a rollout for the first time: what it ran then, and when
    (s)."""

    version: str
    at: float


class RolloutChecks:
    """Of one world. `note`: has a line added to the transcript."""

    def __init__(self, members: Members, time: Time, note: Callable[[str], None]) -> None:
        self._members, self._time, self._note = members, time, note
        self._judged = 0
        self._gone_on: set[tuple[str, str]] = set()
        """Rollout and stage: it has passed, or was promoted."""
        self._newest: dict[tuple[str, int], int] = {}
        """Component and birth → the deployment that told the device last."""
        self._installed: dict[tuple[str, int, str], int] = {}
        """Component, birth and version → the deployment by which the device came to run it last."""
        self._waits: dict[str, tuple[int, int]] = {}
        """Rollout → its revision, and the cluster time since when nothing has held it up."""
        self.told: dict[tuple[str, int], Told] = {}
        """By rollout and birth of the device."""
        self.begun: set[str] = set()
        """Rollouts that have begun; `ended`: those that were over once → how, the last time."""
        self.ended: dict[str, RolloutState] = {}
        self.timeline: list[tuple[float, str, str]] = []
        """Time, rollout, and its state from then on."""
        self.judged = self.stopped = 0
        """Stages of versions that do no harm of which health was asked, and that passed or failed;
        those of them that were stopped for it."""

    def watch(self, member: SimulatedNode) -> None:
        """A process of this member has started: what it applies is looked at."""

        def applied(index: int, entry: Entry | None, what: Applied) -> None:
            if index <= self._judged:
                return
            self._judged = index
            state = member.replica.state
            if entry is not None and isinstance(what.outcome, Done):
                self._promoted(state, entry)
                _is_let(state, entry, what)
                _keeps_time(state, what)
                _is_in_its_window(state, entry, what)
                _goes_first(state, what)
            for event in what.events:
                if isinstance(event, RolloutChanged):
                    self._changed(state, event)
                elif isinstance(event, TasksChanged):
                    self._offered(state, event)

        member.replica.listen(applied)

    # -- the log -------------------------------------------------------------------------------

    def _changed(self, state: ClusterState, event: RolloutChanged) -> None:
        stage = event.stage if isinstance(event, StageChanged) else ""
        what = f"{event.rollout} {stage}".strip()
        self._note(f"{what} is {event.state} {event.reason}".rstrip())
        if not stage:
            self.timeline.append((self._time.now, event.rollout, event.state))
        rollout = state.rollouts.known.get(event.rollout)
        if rollout is None:
            return
        place = rollout.stage(stage)
        if place is not None:
            self._concluded(rollout, rollout.stages[place])
        elif rollout.state is RolloutState.RUNNING:
            self.begun.add(rollout.name)
        elif rollout.ended:
            self.ended[rollout.name] = rollout.state

    def _concluded(self, rollout: Rollout, stage: Stage) -> None:
        """A stage is in another state."""
        if stage.state is StageState.PASSED:
            self._gone_on.add((rollout.name, stage.name))
            _is_harmless(rollout, stage)
        over = stage.state in (StageState.PASSED, StageState.FAILED)
        if over and stage.checks.health and not _harmful(rollout):
            self.judged += 1
            self.stopped += stage.reason == Gate.HEALTH

    def _promoted(self, state: ClusterState, entry: Entry) -> None:
        """A stage that still deploys may be promoted, and is not in another state by that."""
        command = entry.draft.command
        if isinstance(command, PromoteRollout):
            rollout = state.rollouts.known[command.rollout]
            promoted = (stage.name for stage in rollout.stages if stage.promoted)
            self._gone_on.update((rollout.name, name) for name in promoted)

    def _offered(self, state: ClusterState, event: TasksChanged) -> None:
        deployment = state.deployments.known[event.deployment]
        artifacts = state.deployments.artifacts
        component = artifacts[deployment.artifact].component if deployment.artifact else ""
        self._succeeded(state, event, component)
        rows, births = _told(event)
        if not len(rows):
            return
        rollout = state.rollouts.known.get(deployment.rollout)
        if rollout is not None and not deployment.undoes:
            self._is_its_turn(rollout, deployment)
        for row, birth in zip(rows.tolist(), births.tolist(), strict=True):
            self._newest[component, birth] = deployment.number
            if rollout is not None and not deployment.undoes:
                self._is_alone(state, rollout, birth)
                artifact = rollout.plan.installed[0]
                table = state.fleet.table
                version = version_of(table.kinds[int(table.kind[row])], artifact)
                self.told.setdefault((rollout.name, birth), Told(version, self._time.now))

    def _succeeded(self, state: ClusterState, event: TasksChanged, component: str) -> None:
        table = state.fleet.table
        rows, births = _in_state(event, TaskState.SUCCEEDED)
        for row, birth in zip(rows.tolist(), births.tolist(), strict=True):
            kind = table.kinds[int(table.kind[row])]
            runs = kind.os_version if component == "os" else kind.app_version
            self._installed[component, birth, runs] = event.deployment

    def _is_its_turn(self, rollout: Rollout, deployment: Deployment) -> None:
        for stage in rollout.stages:
            if deployment.number in (stage.deployment, *stage.rounds):
                return
            if (rollout.name, stage.name) not in self._gone_on:
                said = f"{deployment.target} goes on while {stage.name} is {stage.state}"
                raise Violation("stages come one after the other", said)

    def _is_alone(self, state: ClusterState, rollout: Rollout, birth: int) -> None:
        plan = rollout.plan
        for other in state.rollouts.open_ones():
            equal = other.plan.precedence == plan.precedence
            equal &= other.plan.component == plan.component
            begun = other.state not in WAITING and other.name != rollout.name
            if equal and begun and (other.name, birth) in self.told:
                said = f"{rollout.name} and {other.name} tell birth {birth}"
                raise Violation("equal rollouts share no device", said)

    # -- waiting -------------------------------------------------------------------------------

    def going(self, state: ClusterState) -> list[str]:
        """What goes on, and does not wait for people."""
        rollouts = [r.name for r in state.rollouts.open_ones() if not waits_for_people(r)]
        ways_back = [d.target for d in state.deployments.open_ones() if d.undoes and d.unfinished]
        return rollouts + ways_back

    def in_time(self, member: SimulatedNode) -> None:
        """Every wait has come to its end, by the clock of a leader."""
        state, now = member.replica.state, member.replica.cluster_time()
        for rollout in state.rollouts.open_ones():
            if waits_for_people(rollout):
                self._waits.pop(rollout.name, None)
                continue
            revision, since = self._waits.get(rollout.name, (-1, now))
            if revision != rollout.revision or _is_held(state, rollout):
                revision, since = rollout.revision, now
            self._waits[rollout.name] = revision, since
            end = max(since, _latest(state, rollout, since)) + LATE
            if now > end:
                stages = [stage.state.value for stage in rollout.stages]
                said = f"{rollout.name} is {rollout.state} {stages} since {since}, now {now}"
                raise Violation("every wait has its exit", said)

    # -- the end -------------------------------------------------------------------------------

    def settled(self, carriers: Iterable[Carrier]) -> None:
        """Every rollout is over, and whoever was to go back has."""
        state = self._members.newest_state()
        going = [rollout.name for rollout in state.rollouts.open_ones()]
        if going:
            raise Violation("every rollout ends", f"{going} go on")
        known = state.rollouts.known.values()
        back = [rollout for rollout in known if rollout.state is RolloutState.ROLLED_BACK]
        for carrier in carriers:
            row = state.fleet.table.rows.get(carrier.book.device)
            if row is not None and not carrier.misled:
                for rollout in back:
                    self._is_back(state, rollout, carrier, row)

    def _is_back(self, state: ClusterState, rollout: Rollout, carrier: Carrier, row: int) -> None:
        """Devices that somebody else has had since, or had run that version, or that changed by
        themselves, go nowhere; the way back may fail, and may be none; and it is known of those who
        have strayed."""
        birth = int(state.fleet.table.birth[row])
        told, component = self.told.get((rollout.name, birth)), rollout.plan.component
        newest = self._newest.get((component, birth), 0)
        if told is None or newest not in rollout.all_deployments:
            return
        runs, back = carrier.book.version(component), state.deployments.known.get(rollout.rollback)
        installed = {artifact.version for artifact in rollout.plan.installed}
        changed = rollout.strayed or carrier.changed_at >= told.at
        changed |= self._installed.get((component, birth, runs), newest) not in (
            rollout.all_deployments
        )
        if changed or runs == told.version or runs not in installed:
            return
        came_to = None if back is None else _came_to(state, back, row, birth)
        if came_to in (None, TaskState.SUCCEEDED, TaskState.ALREADY_INSTALLED):
            said = (
                f"{carrier.book.device} runs {runs}, it ran {told.version!r}, and came to {came_to}"
            )
            raise Violation("whoever goes back is back", f"{said} by {rollout.name}")


def _told(event: TasksChanged) -> tuple[Column, Column]:
    """The devices that are told something, by row and by birth."""
    return _in_state(event, TaskState.OFFERED)


def _in_state(event: TasksChanged, state: TaskState) -> tuple[Column, Column]:
    """The devices whose tasks are in this state from now on, by row and by birth."""
    chosen = np.frombuffer(event.targets, "u1") == state.code
    rows, births = (np.frombuffer(column, "<u4") for column in (event.rows, event.births))
    return rows[chosen], births[chosen]


def _is_let(state: ClusterState, entry: Entry, what: Applied) -> None:
    """While automatic changes are paused nobody is told anything, and no rollout goes on."""
    command = entry.draft.command
    if not isinstance(command, BY_ITSELF) or hold_of(state) in (None, Hold.STORM):
        return
    for event in what.events:
        if _goes_on(command, event):
            said = f"{command} has {event} while {hold_of(state)}"
            raise Violation("nothing goes on while paused", said)


def _keeps_time(state: ClusterState, what: Applied) -> None:
    """Nobody becomes unreached while automatic changes, or the rollout, are paused: it was not
    offered to him."""
    for event in what.events:
        if not isinstance(event, TasksChanged):
            continue
        rollout = state.rollouts.known.get(state.deployments.known[event.deployment].rollout)
        if rollout is None or rollout.state not in GOING:
            continue
        paused = hold_of(state) not in (None, Hold.STORM) or rollout.state is RolloutState.PAUSED
        lost = np.frombuffer(event.targets, "u1") == TaskState.UNREACHED.code
        if paused and lost.any():
            said = f"{int(lost.sum())} devices of {rollout.name} were not reached"
            raise Violation("a pause takes nobody's time away", said)


def _goes_on(command: AnyCommand, event: Event) -> bool:
    """Whether this has come about by an order of the leader, and not by its time alone."""
    if isinstance(event, TasksChanged):
        return len(_told(event)[0]) > 0
    if isinstance(command, CheckRollouts):
        return isinstance(event, StageChanged) and event.state == StageState.FAILED
    if not isinstance(event, RolloutChanged) or event.rollout != getattr(command, "rollout", ""):
        return False
    return event.state not in STILL


def _is_in_its_window(state: ClusterState, entry: Entry, what: Applied) -> None:
    """Whoever is offered a task is in the window of its rollout, by the clock of the leader; it may
    have closed while the offer was under way."""
    for event in what.events:
        if not isinstance(event, TasksChanged):
            continue
        plan = plan_with_window(state, state.deployments.known[event.deployment])
        if plan is None:
            continue
        table = state.fleet.table
        for row in _told(event)[0].tolist():
            zone = zone_or_utc(plan.zone_of(table.kinds[int(table.kind[row])]))
            if not any(is_open(plan.hours, zone, entry.wall - late) for late in (0, LATE)):
                said = f"{table.ids[row]} is told at {entry.wall}, {plan.hours_in_words}"
                raise Violation("devices are told in their windows", said)


def _goes_first(state: ClusterState, what: Applied) -> None:
    """Nobody is told who has a queued task of higher priority that nothing holds."""
    for event in what.events:
        if not isinstance(event, TasksChanged):
            continue
        deployment, (rows, births) = state.deployments.known[event.deployment], _told(event)
        if not len(rows):
            continue
        for other in state.deployments.open_ones():
            if other.priority <= deployment.priority or other.held:
                continue
            roster = state.deployments.rosters[other.number]
            places = roster.find(rows, births)
            waits = (places >= 0) & (roster.state[places] == TaskState.QUEUED.code)
            if waits.any():
                said = f"rows {rows[waits]} are told of {deployment.target} before {other.target}"
                raise Violation("the higher priority goes first", said)


def waits_for_people(rollout: Rollout) -> bool:
    """Whether nothing becomes of it in the time of a simulation unless somebody orders it."""
    paused = rollout.state is RolloutState.PAUSED and not rollout.resumes
    return rollout.state in WAITING or paused


def _is_harmless(rollout: Rollout, stage: Stage) -> None:
    """Of a stage that has passed: by an order, or without harm."""
    everything = len(_harmful(rollout)) == len(rollout.plan.installed)
    if everything and stage.checks.health and stage.reason != "operator":
        succeeded = tally_of(stage.tallies).succeeded
        if succeeded:
            said = f"{stage.name} of {rollout.name} with {succeeded} ill devices"
            raise Violation("what makes all ill does not pass", said)


def _harmful(rollout: Rollout) -> list[str]:
    """The versions that it installs and that do harm."""
    return [one.version for one in rollout.plan.installed if one.version in HARMFUL]


def _is_held(state: ClusterState, rollout: Rollout) -> bool:
    """Whether something keeps it from going on that ends by itself, and is no wait of its own."""
    if hold_of(state) is not None:
        return True
    known, place = state.deployments.known, rollout.next_stage
    if any(stage.is_judged and known[stage.deployment].held for stage in rollout.stages):
        return True
    if rollout.state is not RolloutState.RUNNING or place is None:
        return False
    ring = rollout.stages[place].plan.ring
    return state.rollouts.freeze_over(ring, rollout.plan) is not None


def _latest(state: ClusterState, rollout: Rollout, since: int) -> int:
    """When it must have taken its next step: the latest moment, cluster ms."""
    if rollout.state is RolloutState.ABORTING:
        return since + state.settings.task_timeout
    if rollout.state is not RolloutState.RUNNING:
        return rollout.deadline or 0
    return max((_latest_of(state, rollout, stage) for stage in rollout.stages), default=0)


def _latest_of(state: ClusterState, rollout: Rollout, stage: Stage) -> int:
    settings = state.settings
    match stage.state:
        case StageState.DEPLOYING:
            deployment = state.deployments.known[stage.deployment]
            return deployment.deadline + settings.task_timeout
        case StageState.SOAKING | StageState.VALIDATING:
            return (stage.deadline or 0) + settings.deployment_deadline
        case StageState.PENDING if stage.name == FOLLOW:
            return rollout.follows_until or 0
    return 0


def _came_to(state: ClusterState, back: Deployment, row: int, birth: int) -> TaskState | None:
    """Where the task of a device stands that has it go back."""
    roster = state.deployments.rosters.get(back.number)
    if roster is None:
        return TaskState.UNREACHED
    place = int(roster.find(np.array([row], "<u4"), np.array([birth], "<u4"))[0])
    return None if place < 0 else STATES[int(roster.state[place])]
