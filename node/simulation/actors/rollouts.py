"""Operators of a simulated cluster who roll versions out: they lay plans down, start, approve,
pause, promote, abort, roll back, freeze; in any order, twice, and with revisions that are not the
newest any more.

Orders go through a client's call, so they are refused, lost and repeated as all orders are. Once
the cluster is well, every wait must come to its named end, while people decide what waits for them,
until every rollout is over.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from stationkeep.cluster.commands import (
    AbortRollout,
    AnyCommand,
    ApproveRollout,
    ChangeSettings,
    CreateRollout,
    LiftFreeze,
    Pause,
    PauseRollout,
    PromoteRollout,
    Resume,
    ResumeRollout,
    RetryTasks,
    RollBackRollout,
    RolloutOrder,
    SetFreeze,
    StartRollout,
    UnblockArtifact,
)
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.rollouts.lifecycle import WAITING, RolloutState, StageState
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.simulation.actors import plans
from stationkeep.node.simulation.actors.clients import Clients
from stationkeep.node.simulation.actors.devices import Devices
from stationkeep.node.simulation.agenda import Agenda
from stationkeep.node.simulation.checks.rollouts import RolloutChecks, waits_for_people
from stationkeep.node.simulation.machine.members import Members

PEOPLE = ("ada", "ben", "cyd")
STEP = 0.5
QUICK = {
    "progress_timeout": 5_000,
    "task_timeout": 10_000,
    "deployment_deadline": 10_000,
    "soak": 2_000,
}
DECISIONS = 5
"""How often people decide about one rollout after the heal; from the third time on they end it."""

Give = Callable[[random.Random, ClusterState, Rollout], AnyCommand]


def _approve(draw: random.Random, _: ClusterState, rollout: Rollout) -> AnyCommand:
    """Its start, or the stage that waits for it; now and then another plan than it has."""
    waiting = [s.name for s in rollout.stages if s.state is StageState.VALIDATING]
    digest = rollout.digest if draw.random() < 0.9 else "0" * 32
    return ApproveRollout(rollout.name, digest=digest, stage=waiting[0] if waiting else "")


def _promote(draw: random.Random, _: ClusterState, rollout: Rollout) -> AnyCommand:
    variants = [variant.name for variant in rollout.plan.variants]
    variant = draw.choice(variants) if variants and draw.random() < 0.3 else ""
    return PromoteRollout(rollout.name, variant=variant)


def _retry(draw: random.Random, state: ClusterState, rollout: Rollout) -> AnyCommand:
    numbers = [n for n in rollout.all_deployments if n in state.deployments.known]
    return RetryTasks(draw.choice(numbers) if numbers else 1)


def _unblock(draw: random.Random, _: ClusterState, rollout: Rollout) -> AnyCommand:
    artifact = draw.choice(rollout.plan.installed)
    return UnblockArtifact(artifact.component, artifact.version)


ORDERS: dict[str, Give] = {
    "start": lambda draw, _, r: StartRollout(r.name, force=draw.random() < 0.2),
    "approve": _approve,
    "pause": lambda _draw, _, r: PauseRollout(r.name),
    "interrupt": lambda draw, _, r: PauseRollout(r.name, duration=draw.choice((1_000, 5_000))),
    "resume": lambda _draw, _, r: ResumeRollout(r.name),
    "promote": _promote,
    "force": lambda _draw, _, r: PromoteRollout(r.name, force=True),
    "abort": lambda _draw, _, r: AbortRollout(r.name),
    "rollback": lambda _draw, _, r: RollBackRollout(r.name),
    "repeat": _retry,
    "unblock": _unblock,
}
"""What may be ordered of a rollout, beside laying it down."""
_GOES_ON = {
    RolloutState.DRAFT: ("start", "start"),
    RolloutState.AWAITING_APPROVAL: ("approve", "approve"),
    RolloutState.PAUSED: ("resume", "promote", "force", "repeat"),
}
FLOOD = 9
"""Rollouts that somebody begins at once: one more than one may have open."""
DESCRIBED = (
    "launch", "flood", "draft", "redraft", "freeze", "lift", "halt", "unhalt", "switch", *ORDERS,
)  # fmt: skip
"""All words of the verb `roll`: `launch` lays a plan down and starts it, `flood` many of them,
`draft` only lays it down, `redraft` writes another one in its place; `halt` and `unhalt` pause all
automatic changes and end that, `switch` turns them off or on."""


class Asked(NamedTuple):
    """How often people have decided about a rollout since the heal, and when they look again."""

    times: int
    again: float


NOT_YET = Asked(0, 0.0)


class Rollouts:
    """The rollouts of one world."""

    def __init__(
        self,
        agenda: Agenda,
        members: Members,
        clients: Clients,
        devices: Devices,
        checks: RolloutChecks,
    ) -> None:
        self._agenda, self._members, self._clients = agenda, members, clients
        self._devices, self._checks = devices, checks
        self._orders = self._laid_down = 0
        self._asked: dict[str, Asked] = {}

    # -- verbs of a script ---------------------------------------------------------------------

    def hurry(self, node: str) -> None:
        """Shortens what rollouts wait for by default: else nobody would see the end of it."""
        self._clients.give(node, ChangeSettings(dict(QUICK)))

    def roll(self, node: str, what: str) -> None:
        """Gives an order through a node, as somebody who sees that node's state."""
        draw = self._draw()
        actor = draw.choice(PEOPLE)
        for _ in range(FLOOD if what == "flood" else 1):
            self._order(draw, node, what, actor)

    def _order(self, draw: random.Random, node: str, what: str, actor: str) -> None:
        command = self._command(draw, self._members[node].replica.state, what)
        if command is None:
            return
        self._clients.give(node, command, actor)
        if draw.random() < 0.1:
            self._clients.give(node, command, draw.choice(PEOPLE))
        if what in ("launch", "flood"):
            assert isinstance(command, CreateRollout)
            start = StartRollout(command.rollout)
            self._agenda.at(
                self._agenda.time.now + draw.uniform(0.1, 1.0),
                self._clients.give, node, start, actor,
            )  # fmt: skip

    def _draw(self) -> random.Random:
        self._orders += 1
        return random.Random(f"{self._devices.seed} rollout {self._orders}")  # noqa: S311

    def _command(self, draw: random.Random, state: ClusterState, what: str) -> AnyCommand | None:
        if what in ("launch", "flood", "draft"):
            self._laid_down += 1
            return CreateRollout(f"roll-{self._laid_down}", self._plan(draw))
        if what == "freeze":
            rings = draw.choice(((), (Ring.CANARY,), (Ring.STAGE, Ring.PROD)))
            selector = draw.choice(("", "", "app=1.0.0"))
            duration = draw.choice((2_000, 5_000, 12_000))
            return SetFreeze(draw.choice(plans.FREEZES), duration, rings, selector)
        if what == "lift":
            return LiftFreeze(draw.choice(plans.FREEZES))
        if what == "halt":
            return Pause(draw.choice((1_000, 4_000, 10_000)))
        if what == "unhalt":
            return Resume()
        if what == "switch":
            return ChangeSettings({"swarm_mode": not state.settings.swarm_mode})
        known = [*state.rollouts.known.values()]
        likely = [rollout for rollout in known if not rollout.ended and draw.random() < 0.8]
        if not known:
            return None
        rollout = draw.choice(likely or known)
        if what == "redraft":
            return CreateRollout(rollout.name, self._plan(draw), replace=True)
        return _seen(draw, ORDERS[what](draw, state, rollout), rollout)

    def _plan(self, draw: random.Random) -> Plan:
        return plans.plan(draw, [d.id for d in self._devices.all if d.carrier is not None])

    def heal(self) -> None:
        """Somebody sees to it that automatic changes are on, whoever turns them off still: nothing
        would come to an end without them."""
        if not self._members.newest_state().settings.swarm_mode:
            node = self._draw().choice([*self._members])
            self._clients.give(node, ChangeSettings({"swarm_mode": True}))
        self._agenda.at(self._agenda.time.now + 1.0, self.heal)

    # -- what must come true -------------------------------------------------------------------

    def judge(self) -> None:
        """Waits until every rollout is over; what waits for people is decided by them meanwhile.
        Raises `Violation` when a wait outlasts its end."""
        if not self._laid_down:
            return
        while self._goes_on():
            self._ask_people()
            self._agenda.run(STEP)
            self._answer()
            leader = self._members.leader()
            if leader is not None:
                self._checks.in_time(leader)
        carriers = (device.carrier for device in self._devices.all)
        self._checks.settled(carrier for carrier in carriers if carrier is not None)

    def _goes_on(self) -> bool:
        """Whether anything still comes to its end by itself, or by people who may yet decide, or
        an order that was given before the heal has yet to come about."""
        state, now = self._members.newest_state(), self._agenda.time.now
        open_ones = state.rollouts.open_ones()
        asked = [self._asked.get(rollout.name, NOT_YET) for rollout in open_ones]
        may_decide = any(one.times < DECISIONS or now < one.again for one in asked)
        return may_decide or self._clients.waits or bool(self._checks.going(state))

    def _ask_people(self) -> None:
        """Somebody decides about each rollout that waits for people, and does so again a while
        later if it waits still."""
        now = self._agenda.time.now
        for rollout in self._members.newest_state().rollouts.open_ones():
            asked = self._asked.get(rollout.name, NOT_YET)
            if waits_for_people(rollout) and asked.times < DECISIONS and now >= asked.again:
                self._asked[rollout.name] = Asked(asked.times + 1, now + 2 * STEP)
                self._decide(rollout, asked.times > 1)

    def _answer(self) -> None:
        """Now and then somebody looks at a stage that waits for people, and grants it."""
        draw, state = self._draw(), self._members.newest_state()
        for rollout in state.rollouts.open_ones():
            asked = [s for s in rollout.stages if s.state is StageState.VALIDATING]
            if asked and draw.random() < 0.3:
                node = draw.choice([*state.members])
                self._clients.give(node, _approve(draw, state, rollout), draw.choice(PEOPLE))

    def _decide(self, rollout: Rollout, finally_: bool) -> None:
        """Somebody decides about a rollout that waits for people."""
        draw = self._draw()
        node = draw.choice([*self._members.newest_state().members])
        ends = ("abort",) if rollout.state in WAITING else ("abort", "rollback")
        what = draw.choice(ends if finally_ else (*ends, *_GOES_ON.get(rollout.state, ())))
        command = ORDERS[what](draw, self._members.newest_state(), rollout)
        self._clients.give(node, command, draw.choice(PEOPLE))


def _seen(draw: random.Random, command: AnyCommand, rollout: Rollout) -> AnyCommand:
    """The order with the revision that its giver has seen, or one before it, or none."""
    if not isinstance(command, RolloutOrder) or draw.random() < 0.6:
        return command
    return replace(command, revision=rollout.revision - (draw.random() < 0.2))
