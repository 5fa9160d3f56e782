"""A second, dumb implementation of the rules of rollouts, to compare `cluster.progression` with.

Written from the words of node/guide/reference/rollouts.md, with plain objects. Shares nothing with
`cluster`. What becomes of tasks it is told (tests/delivery_model.py has the rules of that), and who
is drawn into a share is judged, not predicted. Health is not modelled. Clarity is its only virtue.
Times are ms, those of profile demo.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

SETTLE, SOAK, DEADLINE = 2_000, 5_000, 300_000
WEEK = 7 * 24 * 3_600_000
GOING = ("running", "paused")
JUDGED = ("deploying", "soaking", "validating", "inconclusive")
OVER = ("succeeded", "aborted", "rolled_back")


class Task(NamedTuple):
    """What a task has come to; `since`: when, `begun`: whether its device ever said so."""

    state: str
    since: int
    begun: bool


Tasks = Mapping[str, Task]
"""By device."""


@dataclass(eq=False)
class Stage:
    """One stage, with its members once it has opened."""

    name: str
    share: float = 1
    state: str = "pending"
    reason: str = ""
    members: frozenset[str] = frozenset()
    until: int = 0
    promoted: bool = False
    proven: bool = False


@dataclass(eq=False)
class Rollout:
    """One rollout."""

    name: str
    stages: list[Stage]
    max_failures: float = 0.05
    on_fail: str = "rollback"
    approvals: int = 0
    state: str = "draft"
    reason: str = ""
    until: int = 0
    resumes: bool = False
    granted: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)
    """Who has to go back."""

    @property
    def over(self) -> bool:
        return self.state in OVER

    def becomes(self, state: str, reason: str = "", until: int = 0) -> None:
        self.state, self.reason, self.until, self.resumes = state, reason, until, False

    def touched(self) -> set[str]:
        return {device for stage in self.stages for device in stage.members}


@dataclass
class World:
    """The cluster as far as rollouts are concerned."""

    now: int = 0
    held: bool = False
    """Automatic changes are paused."""
    frozen: int = 0
    """Everything is, until then."""
    blocked: bool = False
    """The version was proven bad."""

    # -- orders: whether they are taken ---------------------------------------------------------

    def start(self, rollout: Rollout) -> bool:
        if rollout.state != "draft" or self.blocked:
            return False
        if rollout.approvals:
            rollout.becomes("awaiting_approval", until=self.now + WEEK)
        else:
            rollout.becomes("running")
        return True

    def approve(self, rollout: Rollout, actor: str) -> bool:
        if rollout.state != "awaiting_approval" or actor == "ann" or actor in rollout.granted:
            return False
        if len(rollout.granted) + 1 >= rollout.approvals and self.blocked:
            return False
        rollout.granted.add(actor)
        if len(rollout.granted) >= rollout.approvals:
            rollout.becomes("running")
        return True

    def pause(self, rollout: Rollout, duration: int) -> bool:
        if rollout.state != "running":
            return False
        rollout.becomes("paused", "operator", self.now + (duration or WEEK))
        rollout.resumes = duration > 0
        return True

    def resume(self, rollout: Rollout, tasks: Mapping[str, Tasks]) -> bool:
        failed = any(stage.state == "failed" for stage in rollout.stages)
        if rollout.state != "paused" or failed or self.blocked:
            return False
        self._go_on(rollout, tasks)
        return True

    def _go_on(self, rollout: Rollout, tasks: Mapping[str, Tasks]) -> None:
        for stage in rollout.stages:
            if stage.state == "inconclusive":
                again = unfinished(tasks[stage.name])
                stage.state, stage.reason = "deploying" if again else "soaking", ""
                stage.until = self.now + SOAK
        rollout.becomes("running")

    def promote(self, rollout: Rollout, force: bool, tasks: Mapping[str, Tasks]) -> bool:
        if rollout.state not in GOING:
            return False
        for stage in rollout.stages:
            deploys = stage.state == "deploying" and not stage.promoted
            if deploys or stage.state == "failed":
                if not force:
                    return False
            elif stage.state not in ("soaking", "validating", "inconclusive"):
                continue
            if self.blocked and not force:
                return False
            if deploys:
                stage.promoted = True
            else:
                stage.state, stage.reason = "passed", "operator"
            if rollout.state == "paused":
                self._go_on(rollout, tasks)
            self._complete(rollout)
            return True
        return False

    def abort(self, rollout: Rollout) -> bool:
        if rollout.state in ("draft", "awaiting_approval"):
            rollout.becomes("aborted", "operator")
        elif rollout.state in (*GOING, "rolling_back"):
            rollout.becomes("aborting", "operator")
        else:
            return False
        self._stop(rollout)
        return True

    def roll_back(self, rollout: Rollout, affected: set[str]) -> bool:
        if rollout.state not in (*GOING, "aborting", *OVER):
            return False
        self._turn_back(rollout, "operator", affected)
        return True

    def _turn_back(self, rollout: Rollout, reason: str, affected: set[str]) -> None:
        self._stop(rollout)
        rollout.updated = affected
        if affected:
            rollout.becomes("rolling_back", reason, self.now + DEADLINE)
        else:
            rollout.becomes("rolled_back")

    def _stop(self, rollout: Rollout) -> None:
        for stage in rollout.stages:
            if stage.state in ("pending", *JUDGED):
                stage.state, stage.reason = "stopped", ""

    def _complete(self, rollout: Rollout) -> None:
        if all(stage.state == "passed" for stage in rollout.stages):
            rollout.becomes("succeeded")

    # -- time -----------------------------------------------------------------------------------

    def pass_to(
        self, now: int, rollouts: list[Rollout], tasks: dict[str, dict[str, Tasks]]
    ) -> None:
        """What is over by then; no deadline comes nearer while automatic changes are paused."""
        passed, self.now = now - self.now, now
        if self.frozen <= now:
            self.frozen = 0
        for rollout in rollouts:
            if self.held and rollout.until and not rollout.resumes:
                rollout.until += passed
            if not rollout.until or rollout.until > now:
                continue
            if rollout.state in ("draft", "awaiting_approval"):
                why = "expired" if rollout.state == "draft" else "not_approved"
                self._stop(rollout)
                rollout.becomes("aborted", why)
            elif rollout.state == "rolling_back":
                rollout.becomes("rolled_back", "deadline")
            elif rollout.resumes:
                self._go_on(rollout, tasks[rollout.name])
            else:
                self._stop(rollout)
                rollout.becomes("aborting", "pause_expired")

    # -- the leader -----------------------------------------------------------------------------

    def check(self, rollout: Rollout, tasks: Mapping[str, Tasks], affected: set[str]) -> bool:
        """Looks at what is judged; whether a stage was proven bad and something follows."""
        for stage in rollout.stages:
            if stage.state not in JUDGED:
                continue
            stage.proven = stage.proven or evidence(rollout, tasks[stage.name]) >= 20
            if stage.proven and not self.held:
                self._fail(rollout, stage, affected)
                return True
        return False

    def _fail(self, rollout: Rollout, stage: Stage, affected: set[str]) -> None:
        stage.state, stage.reason = "failed", "failures"
        self.blocked = True
        reason = f"{stage.name}:failures"
        match rollout.on_fail:
            case "pause":
                rollout.becomes("paused", f"failed:{reason}", self.now + WEEK)
            case "abort":
                self._stop(rollout)
                rollout.becomes("aborting", reason)
            case "rollback":
                self._turn_back(rollout, reason, affected)

    def advance(self, rollout: Rollout, tasks: Mapping[str, Tasks], back: Tasks) -> bool:
        """One step that is due, if there is one."""
        everything = {**{f"{s}/{d}": t for s, of in tasks.items() for d, t in of.items()}, **back}
        if rollout.state == "aborting" and not unfinished(everything):
            rollout.becomes("aborted", rollout.reason)
            return True
        if rollout.state == "rolling_back" and not unfinished(back):
            rollout.becomes("rolled_back")
            return True
        if rollout.state != "running" or self.held:
            return False
        for stage in rollout.stages:
            mine = tasks.get(stage.name, {})
            if stage.state == "deploying" and not unfinished(mine):
                newest = [task.since for task in mine.values() if task.state == "succeeded"]
                stage.state = "soaking"
                stage.until = max(self.now, max(newest) + SETTLE + SOAK if newest else 0)
                return True
            if stage.state == "soaking" and stage.until <= self.now:
                self._conclude(rollout, stage, mine)
                return True
        return False

    def _conclude(self, rollout: Rollout, stage: Stage, tasks: Tasks) -> None:
        count = Counter(task.state for task in tasks.values())
        failed = count["failed"] + count["rejected"] + count["timed_out"]
        finished = failed + count["succeeded"]
        due = len(tasks) - count["canceled"]
        if failed > rollout.max_failures * finished:
            stage.reason = "failures"
        elif finished + count["already_installed"] < 0.5 * due:
            stage.reason = "coverage"
        else:
            stage.state, stage.reason = "passed", ""
            self._complete(rollout)
            return
        stage.state = "inconclusive"
        rollout.becomes("paused", f"inconclusive:{stage.name}:{stage.reason}", self.now + WEEK)

    def opening(self, rollout: Rollout) -> Stage | None:
        """The stage that opens now."""
        if rollout.state != "running" or self.held or self.frozen:
            return None
        for stage in rollout.stages:
            if stage.state == "pending":
                return stage
            if stage.state != "passed" and not stage.promoted:
                return None
        return None

    def open(self, rollout: Rollout, stage: Stage, members: set[str], able: set[str]) -> str:
        """Takes a stage's members; what is wrong with them."""
        before = rollout.touched()
        if not members <= able - before:
            return "members that are none"
        if members | (before & able) != able and stage.share == 1:
            return "not all are members"
        if len(members) > ceil(stage.share * len(able)):
            return "too many members"
        stage.members = frozenset(members)
        stage.state, stage.reason = ("deploying", "") if members else ("passed", "empty")
        self._complete(rollout)
        return ""


def unfinished(tasks: Tasks) -> bool:
    return any(task.state in ("queued", "offered", "in_progress") for task in tasks.values())


def evidence(rollout: Rollout, tasks: Tasks) -> float:
    """That more devices fail than may: a mean of 63 likelihood ratios."""
    failed = sum(task.state in ("failed", "rejected", "timed_out") for task in tasks.values())
    others = sum(
        task.state in ("succeeded", "in_progress") or (task.state == "queued" and task.begun)
        for task in tasks.values()
    )
    most = rollout.max_failures
    rates = [most + n * (1 - most) / 64 for n in range(1, 64)]
    return sum((p / most) ** failed * ((1 - p) / (1 - most)) ** others for p in rates) / 63
