"""Rollouts driven by hand: a leader that does its duties, devices that obey, fail or fall ill."""

from typing import Any

from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    AbortRollout,
    ApproveRollout,
    CreateRollout,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RollBackRollout,
    StartRollout,
)
from stationkeep.cluster.delivery.tasks import task_of_device
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState, Word
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.progression.advance import advance_rollouts
from stationkeep.cluster.rollouts.plan import Plan, StagePlan
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.settings import PROFILES, Settings, merge
from tests.cluster.delivery.deliveries import DeliveryDriver
from tests.cluster.fleet.fleets import GOOD

CALM = merge(PROFILES["demo"], {"redistribution": "off", "rebalance_interval": 10_000})
V1, V2 = Artifact("1.0.0"), Artifact("2.0.0")
NAME = "fw"
ILL = Reading(battery=90, charging=False, cpu=9_900, memory=3_000, disk=4_000)


class RolloutDriver(DeliveryDriver):
    """A fleet whose devices carry out what they are told at once, and a leader that looks every
    second. `failing`, `sickening`, `deaf`: rows of devices that say that it failed, that turn ill
    with what they installed, and that hear of nothing; `away`: those that are offline."""

    def __init__(self, settings: Settings = CALM) -> None:
        super().__init__(settings)
        self.failing: set[int] = set()
        self.sickening: set[int] = set()
        self.deaf: set[int] = set()
        self.away: set[int] = set()
        self.ill: set[int] = set()
        self.bad_version = "2.0.0"

    @classmethod
    def with_crowd(cls, count: int, **more: Any) -> "RolloutDriver":
        made = cls()
        made.crowd(count, **more)
        made.rest(20_000)
        return made

    # Orders

    def lay_down(self, plan: Plan | None = None, name: str = NAME, actor: str = "ann") -> Rollout:
        command = CreateRollout(name, plan or Plan(V2))
        self.done(command, actor=actor, key=f"key-{len(self.log)}")
        return self.rollout(name)

    def begin(self, plan: Plan | None = None, name: str = NAME, **more: Any) -> Rollout:
        """A rollout that must be taken, and begins."""
        self.lay_down(plan, name)
        self.order(StartRollout(name, **more))
        return self.rollout(name)

    def order(self, command: Any, actor: str = "ann") -> dict[str, Any]:
        return self.done(command, actor=actor, key=f"key-{len(self.log)}")

    def pause(self, duration: int = 0) -> None:
        self.order(PauseRollout(NAME, duration=duration))

    def resume(self) -> None:
        self.order(ResumeRollout(NAME))

    def promote(self, **more: Any) -> None:
        self.order(PromoteRollout(NAME, **more))

    def abort(self) -> None:
        self.order(AbortRollout(NAME))

    def roll_back(self) -> None:
        self.order(RollBackRollout(NAME))

    def approve(self, actor: str, stage: str = "", digest: str = "") -> None:
        seen = digest or self.rollout().digest
        self.order(ApproveRollout(NAME, digest=seen, stage=stage), actor)

    # Time

    def lead(self, seconds: int = 1) -> None:
        """The leader's duties, second by second, and what devices make of them."""
        for _ in range(seconds):
            self.clock += 1_000
            self.hear()
            self.expire()
            self.advance()
            self.offer()
            self.obey()

    def advance(self) -> int:
        """Whatever is due of rollouts; how many commands that took. A check may have changed one
        of which more was due."""
        plan = advance_rollouts(self.state, self.clock)
        for command in plan:
            outcome = self.do(command).outcome
            assert isinstance(outcome, Done) or outcome.reason == "stale_revision", outcome
        return len(plan)

    def hear(self) -> None:
        """Devices report how they are, those that are away excepted."""
        there = [row for row in self.rows if row not in self.away]
        if there:
            self.report({row: ILL if row in self.ill else GOOD for row in there}, 2)
        self.silence()

    def obey(self) -> None:
        """Devices that were told something do it."""
        for row in self.rows:
            task = task_of_device(self.state, row)
            if task is None or row in self.deaf | self.away or task.state is not TaskState.OFFERED:
                continue
            deployment = self.state.deployments.known[task.deployment]
            artifact = self.state.deployments.artifact_of(deployment, task.variant)
            assert artifact is not None
            self.say(Word.IN_PROGRESS, row, deployment=task.deployment)
            if row in self.failing and not deployment.undoes:
                self.say(
                    Word.FAILED, row, deployment=task.deployment, reason=TaskReason.OTHER,
                    detail="no space left",
                )  # fmt: skip
            else:
                self.install(row, artifact.version)

    def install(self, row: int, version: str) -> None:
        """The device runs a version now, and is as it makes it."""
        self.run(version, row)
        if row in self.sickening and version == self.bad_version:
            self.ill.add(row)
        else:
            self.ill.discard(row)

    def run_as(self, capabilities: dict[str, str]) -> None:
        """Every device says anew what it can do."""
        for row in self.rows:
            version = self.fleet.spec(row).app_version
            self.run(version, row, capabilities=capabilities)

    def until(self, state: str, seconds: int = 200, name: str = NAME) -> None:
        """Leads until the rollout is in a state."""
        for _ in range(seconds):
            if self.rollout(name).state == state:
                return
            self.lead()
        found = self.rollout(name)
        raise AssertionError(f"{found.state} ({found.reason}), not {state}")

    def until_stage(self, name: str, state: str, seconds: int = 100) -> None:
        """Leads until a stage is in a state."""
        for _ in range(seconds):
            if self.stage(name).state == state:
                return
            self.lead()
        raise AssertionError(f"{name} is {self.stage(name).state}, not {state}")

    # Looking

    def rollout(self, name: str = NAME) -> Rollout:
        return self.state.rollouts.known[name]

    def stage(self, name: str, rollout: str = NAME) -> Stage:
        found = self.rollout(rollout)
        place = found.stage(name)
        assert place is not None
        return found.stages[place]

    def stages(self, name: str = NAME) -> str:
        """The states of all stages at a glance: `PASSED` is P, the others by their first two."""
        return " ".join(stage.state[:4] for stage in self.rollout(name).stages)

    def runs(self, version: str) -> list[int]:
        """Rows of the devices that run a version."""
        return [row for row in self.rows if self.fleet.spec(row).app_version == version]

    def in_ring(self, ring: Ring) -> list[int]:
        return [row for row in self.rows if RINGS[self.fleet.table.ring[row]] is ring]

    def sentences(self, *matters: str) -> list[str]:
        """What was decided, in words."""
        chosen = [d for d in self.state.decisions if d.matter in matters]
        return [sentence(decision) for decision in chosen]


def one_stage(**more: Any) -> tuple[StagePlan, ...]:
    """A single stage of all devices."""
    return (StagePlan("all", **more),)
