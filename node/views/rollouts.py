"""Rollouts, freezes and blocks as JSON: what state, why, what would change it, and when it ends.

Nothing here walks devices (see `stages`). For sentences one pass goes over the decisions since the
rollout was laid down: 10,000 at most.
"""

from collections.abc import Sequence
from typing import Any

from stationkeep.cluster.delivery.tasks import Task
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.progression.explain import explain_rollout, holds_of, holds_of_all, why_of
from stationkeep.cluster.progression.rollback import outcome_of
from stationkeep.cluster.progression.sentences import because
from stationkeep.cluster.progression.steps import orders_of
from stationkeep.cluster.rollouts.lifecycle import (
    EXITS,
    ROLLOUT_STEPS,
    WAITING,
    RolloutState,
)
from stationkeep.cluster.rollouts.rollout import Freeze, Moment, Rollout
from stationkeep.cluster.sentences import sentence
from stationkeep.cluster.state.decisions import OF_ROLLOUTS, Decision
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.rollout_file.writing import plan_json
from stationkeep.node.views.base import View
from stationkeep.node.views.deployments import TaskView, task_view
from stationkeep.node.views.stages import (
    Complaint,
    ExitView,
    HeldView,
    StageDetailView,
    StageView,
    held_view,
    no_complaint,
    stage_detail_view,
    stage_view,
)

NEWEST = 10
"""Lines of the timeline that an explanation shows."""


class ApprovalView(View, frozen=True):
    """Somebody who granted the start (`stage` null), or what a stage has come to."""

    actor: str
    stage: str | None
    age_s: float


class RollbackView(View, frozen=True):
    """The way back of its devices: `back`, not yet (`pending`), `failed`, and those that have
    nothing to go back to (`stranded`). `deployment` null: no device had to."""

    deployment: int | None
    back: int
    pending: int
    failed: int
    stranded: int


class HeadView(View, frozen=True):
    """What is said of every rollout. `why`: the reason in words; `needed`: approvals before it
    begins, of which its author gives none unless `self_approval`; `updated`: devices that run what
    it installed, or did when their stage ended; `in_flight`: tasks that devices are at, of its way
    back too; `orders`: what may be ordered of it, as the paths have it; `*_s`: seconds."""

    rollout: str
    number: int
    state: str
    reason: str
    why: str
    since_s: float
    exit: ExitView | None
    held: HeldView | None
    revision: int
    digest: str
    author: str
    comment: str
    created_at: int
    age_s: float
    component: str
    versions: list[str]
    priority: int
    on_fail: str
    needed: int
    approvals: list[ApprovalView]
    self_approval: bool
    forced: bool
    variant: str | None
    members: int
    updated: int
    in_flight: int
    rollback: RollbackView | None
    orders: list[str]


class RolloutSummaryView(HeadView, frozen=True):
    """A rollout in a list."""

    stages: list[StageView]


class LaidDownView(View, frozen=True):
    """201 of `POST /v1/rollouts`: what is to be approved, or started."""

    operation: str
    rollout: str
    digest: str
    revision: int


class MomentView(View, frozen=True):
    """A line of a rollout's timeline; `stage` null: of the rollout itself; `dev, prod`: of those
    that were called off together. `decision`: the id of
    the decision, where that is remembered; the sentence is its then."""

    at_ms: int
    wall_ms: int
    stage: str | None
    state: str
    reason: str
    actor: str
    decision: int | None
    sentence: str


class RolloutView(HeadView, frozen=True):
    """`GET /v1/rollouts/NAME`. `plan`: what was asked for, with the keys of a rollout file."""

    stages: list[StageDetailView]
    plan: dict[str, Any]
    timeline: list[MomentView]


class RolloutList(View, frozen=True):
    items: list[RolloutSummaryView]
    next: str | None


class TimelineView(View, frozen=True):
    """`GET /v1/rollouts/NAME/timeline`, the oldest first."""

    rollout: str
    items: list[MomentView]


class RolloutTaskView(TaskView, frozen=True):
    """A task of a stage. `variant` null: the rollout compares none."""

    stage: str
    variant: str | None


class RolloutTaskList(View, frozen=True):
    items: list[RolloutTaskView]
    next: str | None


class RolloutExplanationView(View, frozen=True):
    """`GET /v1/rollouts/NAME/explain`: why it is where it is, what would change that, and when it
    ends by itself, as sentences; and what was decided last."""

    rollout: str
    state: str
    summary: list[str]
    timeline: list[MomentView]


class FreezeView(View, frozen=True):
    """Nothing new is installed on the devices of these rings (none: of all) that the selector
    matches. `ends_s`: seconds until it ends by itself."""

    freeze: str
    rings: list[Ring]
    selector: str
    actor: str
    reason: str
    age_s: float
    ends_s: float


class FreezeList(View, frozen=True):
    items: list[FreezeView]
    next: str | None


def rollout_summary_view(
    state: ClusterState, rollout: Rollout, now: int, complaint: Complaint = no_complaint
) -> RolloutSummaryView:
    """A rollout at cluster time `now`."""
    places = range(len(rollout.stages))
    stages = [stage_view(state, rollout, place, now, complaint) for place in places]
    return RolloutSummaryView(**_head(state, rollout, stages, now), stages=stages)


def rollout_view(
    state: ClusterState, rollout: Rollout, now: int, complaint: Complaint = no_complaint
) -> RolloutView:
    """All of a rollout at cluster time `now`."""
    told = _told(state, rollout)
    verdicts = {d.facts["stage"]: d for d in told.values() if "turned_bad" in d.facts}
    stages = [
        stage_detail_view(
            state, rollout, place, now, verdict=verdicts.get(stage.name), complaint=complaint
        )
        for place, stage in enumerate(rollout.stages)
    ]
    return RolloutView(
        **_head(state, rollout, stages, now),
        stages=stages,
        plan=plan_json(rollout.plan),
        timeline=[_moment(moment, told) for moment in rollout.timeline],
    )


def timeline_view(state: ClusterState, rollout: Rollout) -> TimelineView:
    """What became of a rollout and its stages."""
    told = _told(state, rollout)
    return TimelineView(rollout.name, [_moment(moment, told) for moment in rollout.timeline])


def rollout_task_view(
    state: ClusterState, rollout: Rollout, stage: str, task: Task, now: int
) -> RolloutTaskView:
    """A task, of a device that is still registered, at cluster time `now`."""
    shown, variants = task_view(state, task, now), rollout.plan.variants
    return RolloutTaskView(
        **{field: getattr(shown, field) for field in TaskView.__struct_fields__},
        stage=stage,
        variant=variants[task.variant].name if variants else None,
    )


def explanation_view(state: ClusterState, rollout: Rollout) -> RolloutExplanationView:
    """The story of a rollout."""
    told = _told(state, rollout)
    newest = [_moment(moment, told) for moment in rollout.timeline[-NEWEST:]]
    summary = explain_rollout(state, rollout)
    return RolloutExplanationView(rollout.name, rollout.state, summary, newest)


def freeze_view(freeze: Freeze, now: int) -> FreezeView:
    """A freeze at cluster time `now`."""
    return FreezeView(
        freeze=freeze.name,
        rings=list(freeze.rings),
        selector=freeze.selector,
        actor=freeze.actor,
        reason=freeze.reason,
        age_s=_seconds(now - freeze.at),
        ends_s=_seconds(freeze.until - now),
    )


def _head(
    state: ClusterState, rollout: Rollout, stages: Sequence[StageView], now: int
) -> dict[str, Any]:
    plan, book = rollout.plan, state.deployments
    flights = [book.known[n].in_flight for n in rollout.all_deployments if n in book.known]
    return {
        "rollout": rollout.name,
        "number": rollout.number,
        "state": rollout.state,
        "reason": rollout.reason,
        "why": why_of(state, rollout),
        "since_s": _seconds(now - rollout.since),
        "exit": _exit(state, rollout, now),
        "held": _held(state, rollout, stages, now),
        "revision": rollout.revision,
        "digest": rollout.digest,
        "author": rollout.author,
        "comment": rollout.comment,
        "created_at": rollout.wall,
        "age_s": _seconds(now - rollout.created_at),
        "component": plan.component,
        "versions": list(dict.fromkeys(artifact.version for artifact in plan.installed)),
        "priority": plan.precedence,
        "on_fail": plan.on_fail,
        "needed": plan.approvals,
        "approvals": [
            ApprovalView(approval.actor, approval.stage or None, _seconds(now - approval.at))
            for approval in rollout.approvals
        ],
        "self_approval": plan.allow_self_approval,
        "forced": rollout.forced,
        "variant": rollout.variant or None,
        "members": sum(stage.members for stage in stages),
        "updated": sum(stage.tallies[TaskState.SUCCEEDED] for stage in stages),
        "in_flight": sum(flights),
        "rollback": _rollback(state, rollout),
        "orders": _orders(rollout),
    }


def _exit(state: ClusterState, rollout: Rollout, now: int) -> ExitView | None:
    """Aborting ends with the tasks in progress; running with its last stage; a pause that has an
    end with another one, where what it installs is blocked."""
    if rollout.state is RolloutState.ABORTING:
        return ExitView(RolloutState.ABORTED, "ended", None)
    left = state.rollouts.left(rollout, now)
    if left is None:
        return None
    in_s = _seconds(left)
    if rollout.resumes and state.rollouts.in_the_way(rollout) is not None:
        return ExitView(RolloutState.PAUSED, "blocked", in_s)
    if rollout.resumes:
        return ExitView(RolloutState.RUNNING, "resume", in_s)
    cause, reason = EXITS[rollout.state]
    return ExitView(ROLLOUT_STEPS[cause].target, reason, in_s)


def _held(
    state: ClusterState, rollout: Rollout, stages: Sequence[StageView], now: int
) -> HeldView | None:
    """What holds the first of its stages that is held, or its way back; before it has begun, what
    would hold its first stage."""
    if rollout.state in WAITING:
        return held_view(holds_of(state, rollout, rollout.stages[0]), now)
    if rollout.state is RolloutState.ROLLING_BACK:
        return held_view(holds_of_all(state), now)
    return next((stage.held for stage in stages if stage.held is not None), None)


def _rollback(state: ClusterState, rollout: Rollout) -> RollbackView | None:
    """None of a rollout that was never turned back."""
    turned = rollout.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)
    if not rollout.rollback and not turned:
        return None
    outcome: dict[str, Any] = outcome_of(state, rollout)
    return RollbackView(rollout.rollback or None, **outcome)


def _orders(rollout: Rollout) -> list[str]:
    return [order.replace(" ", "") for order in orders_of(rollout)]


# What was said of it


def _told(state: ClusterState, rollout: Rollout) -> dict[tuple[int, str, str], Decision]:
    """The decisions about a rollout that are remembered, by time, stage and state."""
    told: dict[tuple[int, str, str], Decision] = {}
    for decision in reversed(state.decisions):
        facts = decision.facts
        if decision.at < rollout.created_at:
            break
        if decision.matter in OF_ROLLOUTS and facts.get("rollout") == rollout.name:
            state_then = _SAID.get(decision.matter, facts.get("state", ""))
            told.setdefault((decision.at, facts.get("stage", ""), state_then), decision)
    return told


_SAID = {"approve_rollout": "approved", "promote_rollout": "promoted"}
"""How the timeline calls what is no change of state."""


def _moment(moment: Moment, told: dict[tuple[int, str, str], Decision]) -> MomentView:
    decision = told.get((moment.at, moment.stage, moment.state))
    return MomentView(
        at_ms=moment.at,
        wall_ms=moment.wall,
        stage=moment.stage or None,
        state=moment.state,
        reason=moment.reason,
        actor=moment.actor,
        decision=None if decision is None else decision.id,
        sentence=_say(moment) if decision is None else sentence(decision),
    )


def _say(moment: Moment) -> str:
    several = "," in moment.stage
    of = f"stage{'s' * several} {moment.stage}" if moment.stage else "the rollout"
    why = f": {because(moment.reason)}" if moment.reason else ""
    return f"{of} {'are' if several else 'is'} {moment.state.replace('_', ' ')}{why}"


def _seconds(milliseconds: int) -> float:
    return max(0, milliseconds) / 1_000
