"""A rollout and its stages: how far each has come, and why it is where it is.

All of them are records that never change; whoever changes one puts another in its place
(`progression.steps`), so that a snapshot holds them as they were while the state goes on. Times in
cluster ms, `wall` in Unix ms for display. Source: rollouts.md, "Rollouts" and
"Stages".
"""

import msgspec

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.lifecycle import STATES, UNFINISHED, TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.rollouts.gates import Gate, Judgement, Observed, Tally, Verdict, Watched
from stationkeep.cluster.rollouts.lifecycle import (
    ENDED,
    JUDGED,
    RolloutState,
    StageState,
)
from stationkeep.cluster.rollouts.plan import FOLLOW, Checks, Plan, StagePlan

MAX_ROUNDS = 64
"""In which a rollout follows: none begins sooner than that part of the whole time after another."""
MAX_TIMELINE = 200
"""Steps of a rollout and its stages that it remembers, the newest."""
NO_TALLIES = (0,) * len(STATES)


class Moment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a rollout's timeline: what became of it, or of one of its stages ("": of the
    rollout; `dev, prod`: of those, which were called off together), why, and by whom."""

    at: int
    wall: int
    stage: str
    state: str
    reason: str
    actor: str


class Approval(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who granted it, and when. `stage` "": its start."""

    actor: str
    at: int
    stage: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a webhook answered."""

    passed: bool
    detail: str
    at: int


class Stage(msgspec.Struct, frozen=True):
    """One stage. `plan` has everything that it inherits."""

    plan: StagePlan
    state: StageState = StageState.PENDING
    reason: str = ""
    """The gate or the word that brought it here."""
    since: int = 0
    deadline: int | None = None
    """SOAKING: when its soak is over; VALIDATING: when nobody is waited for any longer."""
    watched_until: int = 0
    """Until when its devices are watched at least, after their own soaks: it was looked on."""
    deployment: int = 0
    """Its number, once the stage has opened."""
    rounds: tuple[int, ...] = ()
    """Numbers of its earlier deployments, where it follows round by round."""
    tallies: tuple[int, ...] = NO_TALLIES
    """Tasks by the code of their state, when the stage ended; of all rounds."""
    promoted: bool = False
    """The next stage may open before this one has passed."""
    judged: tuple[Judgement, ...] = ()
    """Its gates at the newest check."""
    proven: str = ""
    """The gate that was first proven broken; that is final."""
    answer: Answer | None = None
    """Of its webhook."""
    watched: Watched = Watched()
    """When it ended, as the next two; until then its twins have them."""
    looks: tuple[tuple[int, int, int, int], ...] = ()
    """The table of twins: (twins, bad, updated, count)."""
    series: tuple[tuple[int, int], ...] = ()
    arms: tuple[Observed, ...] = ()
    """The same by variant, if it has any."""

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def checks(self) -> Checks:
        """What is asked before it has passed."""
        assert self.plan.checks is not None, "a plan's stages have inherited theirs"
        return self.plan.checks

    @property
    def is_judged(self) -> bool:
        """Whether it has opened and is not over."""
        return self.state in JUDGED

    @property
    def doubtful(self) -> Gate | None:
        """The first gate that does not hold, by the newest check."""
        return next((j.gate for j in self.judged if j.verdict is not Verdict.PASSED), None)


class Rollout(msgspec.Struct, frozen=True):
    """One rollout. `digest`: of its plan. `revision` rises with each of its steps."""

    name: str
    plan: Plan
    digest: str
    author: str
    comment: str
    created_at: int
    wall: int
    salt: int
    """u64; by which its devices draw lots."""
    stages: tuple[Stage, ...]
    number: int
    """The how manieth it is."""
    state: RolloutState = RolloutState.DRAFT
    reason: str = ""
    since: int = 0
    deadline: int | None = None
    """When it leaves its state by itself, as `lifecycle.EXITS` has it."""
    resumes: bool = False
    """A pause that ends by going on."""
    revision: int = 0
    forced: bool = False
    """Started although its artifact is blocked."""
    approvals: tuple[Approval, ...] = ()
    rollback: int = 0
    """Number of the deployment that takes it back, if it needs one."""
    stranded: int = 0
    """Devices of which nothing is known that they could go back to."""
    strayed: int = 0
    """Devices that have installed it after it was taken back from all others, and were not told to
    go back yet."""
    variant: str = ""
    """The one that was promoted: later stages get it alone."""
    timeline: tuple[Moment, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def deployments(self) -> list[int]:
        """Numbers of those of its stages, the newest first."""
        numbers = [n for stage in self.stages for n in (*stage.rounds, stage.deployment) if n]
        return sorted(numbers, reverse=True)

    @property
    def all_deployments(self) -> list[int]:
        """The same, and that of its way back."""
        return [*self.deployments, *([self.rollback] if self.rollback else [])]

    def stage(self, name: str) -> int | None:
        """The place of a stage."""
        return next((n for n, stage in enumerate(self.stages) if stage.name == name), None)

    def is_granted(self, stage: Stage) -> bool:
        """Whether everybody outside who is to be asked about a stage has said yes."""
        webhook = stage.checks.webhook
        answered = not webhook or (stage.answer is not None and stage.answer.passed)
        return answered and self._is_approved(stage)

    def needs_approval(self, stage: Stage) -> bool:
        """Whether people are asked about a stage now, and have not all granted it."""
        return stage.state is StageState.VALIDATING and not self._is_approved(stage)

    def _is_approved(self, stage: Stage) -> bool:
        granted = sum(approval.stage == stage.name for approval in self.approvals)
        return granted >= stage.checks.approvals

    @property
    def follows_until(self) -> int | None:
        """When whoever comes later comes too late; None before all other stages have passed."""
        *others, last = self.stages
        passed = all(stage.state is StageState.PASSED for stage in others)
        if last.name != FOLLOW or not passed:
            return None
        return max(stage.since for stage in others) + self.plan.follow

    @property
    def next_stage(self) -> int | None:
        """The place of the stage that opens next; None while one before it must pass first, and
        when all have opened."""
        for place, stage in enumerate(self.stages):
            if stage.state is StageState.PENDING:
                return place
            if stage.state is not StageState.PASSED and not stage.promoted:
                return None
        return None


def with_stage(rollout: Rollout, place: int, stage: Stage) -> Rollout:
    """A rollout with another stage in this place."""
    stages = (*rollout.stages[:place], stage, *rollout.stages[place + 1 :])
    return msgspec.structs.replace(rollout, stages=stages)


class Freeze(msgspec.Struct, frozen=True, array_like=True):
    """Nothing new is installed on these devices until then: those of the rings, or all (none
    given), that the selector matches."""

    name: str
    until: int
    rings: tuple[Ring, ...] = ()
    selector: str = ""
    actor: str = ""
    reason: str = ""
    at: int = 0


class Block(msgspec.Struct, frozen=True, array_like=True):
    """An artifact that a gate was proven broken with."""

    artifact: Artifact
    rollout: str
    stage: str
    gate: str
    at: int


def same_artifact(one: Artifact, other: Artifact) -> bool:
    """Whether two are one file under one name, whatever else is said of them."""
    name, others = (one.component, one.version), (other.component, other.version)
    return name == others and one.sha256 == other.sha256


def tally_of(tallies: tuple[int, ...] | list[int], begun: int = 0) -> Tally:
    """What gates count, from the tasks by the code of their state. `begun`: how many of the queued
    have begun once, and wait for another attempt."""

    def count(state: TaskState) -> int:
        return tallies[state.code]

    return Tally(
        already=count(TaskState.ALREADY_INSTALLED),
        canceled=count(TaskState.CANCELED),
        succeeded=count(TaskState.SUCCEEDED),
        failed=count(TaskState.FAILED) + count(TaskState.REJECTED) + count(TaskState.TIMED_OUT),
        begun=count(TaskState.IN_PROGRESS) + begun,
        waiting=count(TaskState.QUEUED) + count(TaskState.OFFERED) - begun,
        unreached=count(TaskState.UNREACHED),
    )


def unfinished(tallies: tuple[int, ...] | list[int]) -> int:
    """Tasks that may still come to anything."""
    return sum(tallies[state.code] for state in UNFINISHED)
