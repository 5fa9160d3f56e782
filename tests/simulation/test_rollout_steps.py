"""The leader crashes right at a step of a rollout, in virtual time: once at each step that a run
takes in which nothing happens. The rollout ends as in that run.

Devices do what they are told, so that nothing is left to chance but time.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import (
    AbortRollout,
    AnyCommand,
    ApproveRollout,
    CreateRollout,
    Entry,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RollBackRollout,
    StartRollout,
)
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.rollouts.gates import Gates
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan
from stationkeep.cluster.state.events import RolloutChanged, StageChanged
from stationkeep.node.agent.tasks.book import Job, Phase
from stationkeep.node.agent.tasks.machine import Confirmed, Done, Result
from stationkeep.node.simulation import actions
from stationkeep.node.simulation.actors.carriers import Carrier
from stationkeep.node.simulation.campaigns.campaign import quiet
from stationkeep.node.simulation.checks.rollouts import RolloutChecks
from stationkeep.node.simulation.machine.disk import Crash
from stationkeep.node.simulation.machine.node import SimulatedAsker, SimulatedNode
from stationkeep.node.simulation.scenario import Action, Scenario
from stationkeep.node.simulation.world import World

NAME, FORMER = "it", Artifact("1.0.0")
SOME, ALL = StagePlan("some", share=500_000, soak=500), StagePlan("all", soak=500)
PLAN = Plan(
    Artifact("3.0.0"),
    stages=(SOME, ALL),
    checks=Checks(health=False),
    limits=Limits(max_in_flight=500, first=0),
    rest=False,
    fallback=FORMER,
)
ASKED = replace(SOME, checks=Checks(health=False, webhook="https://gate.test/ask", approvals=1))
UNSEEN = replace(SOME, checks=Checks(Gates(min_devices=1_000)))
BEGIN, SOON, DOWN, LONGEST = 4.0, 0.5, 3.0, 60.0
"""Seconds until it is laid down, until an order follows a step, for which a crashed node is away,
and after which it is over."""


class Course(NamedTuple):
    """A plan, the step that is its last, what the webhook says, and what is ordered one after the
    other, each as soon as a step was taken."""

    plan: Plan
    last: str
    verdict: bytes
    orders: tuple[tuple[str, AnyCommand], ...]


def _courses() -> dict[str, Course]:
    forward = replace(PLAN, stages=(ASKED, ALL), approvals=1)
    start = ("draft", StartRollout(NAME))
    return {
        "there and back": Course(forward, "rolled_back", b'{"verdict": "pass"}', (
            start,
            ("awaiting_approval", ApproveRollout(NAME, digest=forward.digest)),
            ("some:validating", ApproveRollout(NAME, digest=forward.digest, stage="some")),
            ("all:deploying", PauseRollout(NAME)),
            ("paused", ResumeRollout(NAME)),
            ("succeeded", RollBackRollout(NAME)),
        )),
        "stopped": Course(
            replace(PLAN, stages=(ASKED, ALL)), "rolled_back", b'{"verdict": "fail"}', (start,)
        ),
        "halfway": Course(replace(PLAN, stages=(UNSEEN, ALL)), "aborted", b"", (
            start,
            ("paused", ResumeRollout(NAME)),
            ("paused", PromoteRollout(NAME)),
            ("all:soaking", AbortRollout(NAME)),
        )),
    }  # fmt: skip


COURSES = _courses()


class End(NamedTuple):
    """How it ended: the timeline without its times, and what everybody runs."""

    timeline: list[tuple[str, str, str, str]]
    tallies: list[tuple[int, ...]]
    approvals: list[tuple[str, str]]
    versions: list[str]
    installed: list[str]
    """Tasks of which an installation came to its end."""


class Played:
    """One run. The leader crashes at the `fatal`th step (0: at none): if that is odd as it applies
    it, which nobody else has yet, else after the turn in which it has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, fatal: int) -> None:
        plan, last, verdict, orders = COURSES[name]
        self._orders, self._fatal = deque(orders), fatal
        self.steps: list[str] = []
        self.installed: list[str] = []
        self._judged = 0
        watch = RolloutChecks.watch

        def watched(checks: RolloutChecks, member: SimulatedNode) -> None:
            watch(checks, member)
            member.replica.listen(lambda *applied: self._applied(member, *applied))

        monkeypatch.setattr(RolloutChecks, "watch", watched)
        monkeypatch.setattr(Carrier, "_result", lambda _, job: self._succeeds(job))
        monkeypatch.setattr(Carrier, "_renewed", lambda carrier, _: carrier._speaker.renew())
        monkeypatch.setattr(SimulatedAsker, "ask", _answering(verdict))
        script = (Action(0.0, "carriers", ("6",)), Action(0.5, "hurry", ("sat-001",)))
        with quiet():
            self.world = World(Scenario(seed=1, nodes=3, duration=BEGIN, script=script))
            actions.play(self.world)
            self._order(CreateRollout(NAME, plan), actor="ada")
            while self.world.time.now < LONGEST and self.steps[-1:] != [last]:
                self.world.run(0.5)
            self.world.converge()

    def _applied(
        self, member: SimulatedNode, index: int, _entry: Entry | None, what: Applied
    ) -> None:
        """By whoever is the first to apply an entry: mostly the leader."""
        if index <= self._judged:
            return
        self._judged = index
        fatal = False
        for event in what.events:
            if isinstance(event, RolloutChanged):
                stage = f"{event.stage}:" if isinstance(event, StageChanged) else ""
                self.steps.append(f"{stage}{event.state}")
                fatal |= len(self.steps) == self._fatal
                if self._orders and self._orders[0][0] == self.steps[-1]:
                    self._order(self._orders.popleft()[1])
        if fatal:
            self._crash(member)

    def _crash(self, member: SimulatedNode) -> None:
        leader = self.world.members.leader() or member
        now = self.world.time.now
        self.world.at(now + DOWN, actions.perform, self.world, Action(0, "start", (leader.name,)))
        if leader is member and self._fatal % 2:
            raise Crash("a step of a rollout")
        self.world.at(now, self.world.end, leader, False)

    def _order(self, command: AnyCommand, actor: str = "ben") -> None:
        world = self.world
        world.at(world.time.now + SOON, world.clients.give, "sat-002", command, actor)

    def _succeeds(self, job: Job) -> Result:
        if job.phase is Phase.INSTALLING:
            self.installed.append(job.task.task_id)
        return Confirmed(job.version) if job.phase is Phase.CONFIRMING else Done()

    @property
    def end(self) -> End:
        (rollout,) = self.world.members.newest_state().rollouts.known.values()
        carriers = [d.carrier for d in self.world.devices.all if d.carrier is not None]
        return End(
            [(m.stage, m.state, m.reason, m.actor) for m in rollout.timeline],
            [stage.tallies for stage in rollout.stages],
            [(approval.actor, approval.stage) for approval in rollout.approvals],
            [carrier.book.version("app") for carrier in carriers],
            sorted(self.installed),
        )


def _answering(verdict: bytes) -> Callable[..., None]:
    def ask(asker: SimulatedAsker, *asked: Any) -> None:
        asker._later(0.3, lambda: asked[-1](200, verdict, ""))

    return ask


@pytest.mark.parametrize("course", COURSES)
def test_a_leader_that_crashes_at_a_step_changes_nothing_about_the_end(
    monkeypatch: pytest.MonkeyPatch, course: str
) -> None:
    def played(fatal: int) -> Played:
        with monkeypatch.context() as patch:
            return Played(patch, course, fatal)

    undisturbed = played(0)
    assert len(undisturbed.steps) > 8
    for number, step in enumerate(undisturbed.steps, 1):
        found = played(number)
        assert len(found.world.leader_changes) > len(undisturbed.world.leader_changes), step
        assert (step, found.end) == (step, undisturbed.end)
