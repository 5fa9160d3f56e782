"""The steps that a rollout and its stages may take: the only source of them, for apply, documents
and diagrams.

A step is a cause that meets a state. Where the table has none the cause is refused, or changes
nothing. Every state but the last ones has an end, by a deadline of its own or by what it waits for.
"""

import enum
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from stationkeep.cluster.settings import LONGEST


class RolloutState(enum.StrEnum):
    """Where a rollout stands."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    PAUSED = "paused"
    ABORTING = "aborting"
    """Nothing begins any more; what devices have begun is waited for."""
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


class StageState(enum.StrEnum):
    """Where a stage stands."""

    PENDING = "pending"
    DEPLOYING = "deploying"
    SOAKING = "soaking"
    """Every task is over, and the devices are watched."""
    VALIDATING = "validating"
    """Somebody outside is asked."""
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """Neither proven bad nor within its limits: people decide."""
    STOPPED = "stopped"
    """Its rollout ended, or was turned back, before it was judged."""


class RolloutCause(enum.StrEnum):
    """What makes a rollout take a step."""

    REQUEST = "request"
    APPROVAL = "approval"
    START = "start"
    PAUSE = "pause"
    DOUBT = "doubt"
    OBSTACLE = "obstacle"
    BLOCKED = "blocked"
    FAILURE_PAUSED = "failure_paused"
    RESUME = "resume"
    EXPIRY = "expiry"
    LAPSE = "lapse"
    CANCELLATION = "cancellation"
    ABORT = "abort"
    FAILURE_ABORTED = "failure_aborted"
    ENDED = "ended"
    ROLLBACK = "rollback"
    FAILURE = "failure"
    STRAY = "stray"
    UNDONE = "undone"
    COMPLETION = "completion"


class StageCause(enum.StrEnum):
    """What makes a stage take a step."""

    OPENING = "opening"
    EMPTY = "empty"
    OVER = "over"
    DEPLOYED = "deployed"
    SOAKED = "soaked"
    PASSED = "passed"
    ROUND = "round"
    PROMOTION = "promotion"
    FAILURE = "failure"
    DOUBT = "doubt"
    LOOK_ON = "look_on"
    AGAIN = "again"
    STOP = "stop"


State = TypeVar("State", RolloutState, StageState)


class Transition(NamedTuple, Generic[State]):
    """Where a cause leads: whoever is in one of the `origins` goes to `target`. `who` brings it
    about, and only where the `guard` holds."""

    origins: tuple[State, ...]
    target: State
    who: str
    guard: str


_R, _S = RolloutState, StageState
_GOING = (_R.RUNNING, _R.PAUSED)
_OVER = (_R.SUCCEEDED, _R.ABORTED, _R.ROLLED_BACK)
ROLLOUT_STEPS: dict[RolloutCause, Transition[RolloutState]] = {
    RolloutCause.REQUEST: Transition(
        (_R.DRAFT,), _R.AWAITING_APPROVAL, "operator", "starts it, and approvals are asked for"),
    RolloutCause.APPROVAL: Transition(
        (_R.AWAITING_APPROVAL,), _R.RUNNING, "operator", "is the last to approve that it needs"),
    RolloutCause.START: Transition(
        (_R.DRAFT,), _R.RUNNING, "operator", "starts it, and no approvals are asked for"),
    RolloutCause.PAUSE: Transition((_R.RUNNING,), _R.PAUSED, "operator", "pauses it"),
    RolloutCause.DOUBT: Transition((_R.RUNNING,), _R.PAUSED, "apply", "a stage is inconclusive"),
    RolloutCause.OBSTACLE: Transition(
        (_R.RUNNING,), _R.PAUSED, "apply", "there is no room for its next stage"),
    RolloutCause.BLOCKED: Transition(
        _GOING, _R.PAUSED, "apply",
        "another rollout of what it installs failed: at once, or when its pause ends"),
    RolloutCause.FAILURE_PAUSED: Transition(
        _GOING, _R.PAUSED, "apply", "a stage failed, and `on_fail` is pause"),
    RolloutCause.RESUME: Transition(
        (_R.PAUSED,), _R.RUNNING, "operator, apply", "resumes it, or its pause had an end"),
    RolloutCause.EXPIRY: Transition(
        (_R.DRAFT, _R.AWAITING_APPROVAL), _R.ABORTED, "apply", "nobody started or approved it"),
    RolloutCause.LAPSE: Transition(
        (_R.PAUSED,), _R.ABORTING, "apply", "nobody took it up again"),
    RolloutCause.CANCELLATION: Transition(
        (_R.DRAFT, _R.AWAITING_APPROVAL), _R.ABORTED, "operator", "aborts it"),
    RolloutCause.ABORT: Transition(
        (*_GOING, _R.ROLLING_BACK), _R.ABORTING, "operator", "aborts it"),
    RolloutCause.FAILURE_ABORTED: Transition(
        _GOING, _R.ABORTING, "apply", "a stage failed, and `on_fail` is abort"),
    RolloutCause.ENDED: Transition(
        (_R.ABORTING,), _R.ABORTED, "leader", "no task of it is in progress any more"),
    RolloutCause.ROLLBACK: Transition(
        (*_GOING, _R.ABORTING, *_OVER), _R.ROLLING_BACK, "operator",
        "rolls it back, or back again, and its rosters are kept"),
    RolloutCause.FAILURE: Transition(
        _GOING, _R.ROLLING_BACK, "apply", "a stage failed, and `on_fail` is rollback"),
    RolloutCause.STRAY: Transition(
        (_R.ROLLING_BACK, _R.ROLLED_BACK), _R.ROLLING_BACK, "apply",
        "a device whose task was over has installed it, and it is blocked"),
    RolloutCause.UNDONE: Transition(
        (_R.ROLLING_BACK,), _R.ROLLED_BACK, "leader, apply",
        "every device is back or cannot be, or its time is over"),
    RolloutCause.COMPLETION: Transition(
        (_R.RUNNING,), _R.SUCCEEDED, "apply", "its last stage has passed"),
}  # fmt: skip

_BEGUN = (_S.DEPLOYING, _S.SOAKING, _S.VALIDATING, _S.INCONCLUSIVE)
STAGE_STEPS: dict[StageCause, Transition[StageState]] = {
    StageCause.OPENING: Transition(
        (_S.PENDING,), _S.DEPLOYING, "leader", "those before it have passed or were promoted"),
    StageCause.EMPTY: Transition((_S.PENDING,), _S.PASSED, "leader", "no device is left for it"),
    StageCause.OVER: Transition(
        (_S.PENDING,), _S.PASSED, "leader", "it has followed for its time"),
    StageCause.DEPLOYED: Transition(
        (_S.DEPLOYING,), _S.SOAKING, "leader", "every task of it is over"),
    StageCause.SOAKED: Transition(
        (_S.SOAKING,), _S.VALIDATING, "leader", "its gates hold, and others are to be asked"),
    StageCause.PASSED: Transition(
        (_S.SOAKING, _S.VALIDATING), _S.PASSED, "leader", "every gate holds"),
    StageCause.ROUND: Transition(
        (_S.SOAKING, _S.VALIDATING), _S.PENDING, "leader", "every gate holds, and it follows on"),
    StageCause.PROMOTION: Transition(
        (_S.SOAKING, _S.VALIDATING, _S.INCONCLUSIVE, _S.FAILED), _S.PASSED, "operator",
        "promotes it"),
    StageCause.FAILURE: Transition(_BEGUN, _S.FAILED, "apply", "a gate is proven broken"),
    StageCause.DOUBT: Transition(
        (_S.SOAKING, _S.VALIDATING), _S.INCONCLUSIVE, "leader",
        "a gate neither holds nor is proven broken, or nobody answered"),
    StageCause.LOOK_ON: Transition(
        (_S.INCONCLUSIVE,), _S.SOAKING, "operator", "resumes the rollout"),
    StageCause.AGAIN: Transition(
        (_S.INCONCLUSIVE,), _S.DEPLOYING, "operator", "resumes the rollout, and had tasks retried"),
    StageCause.STOP: Transition(
        (_S.PENDING, *_BEGUN), _S.STOPPED, "apply", "the rollout is aborted or rolled back"),
}  # fmt: skip

DRAFT_KEPT = 30 * LONGEST
APPROVAL_WAITED, PAUSE_WAITED = 7 * LONGEST, 7 * LONGEST
"""ms for which a rollout waits for somebody."""


class Exit(NamedTuple):
    """What becomes of a rollout whose deadline passes, and the reason that it then shows."""

    cause: RolloutCause
    reason: str


EXITS: dict[RolloutState, Exit] = {
    _R.DRAFT: Exit(RolloutCause.EXPIRY, "expired"),
    _R.AWAITING_APPROVAL: Exit(RolloutCause.EXPIRY, "not_approved"),
    _R.PAUSED: Exit(RolloutCause.LAPSE, "pause_expired"),
    _R.ROLLING_BACK: Exit(RolloutCause.UNDONE, "deadline"),
}
"""Of states that have a deadline. A pause that was given an end is resumed then instead."""
GOING = (_R.RUNNING, _R.PAUSED)
"""A rollout that has begun, and is neither over nor taken back."""
ENDED = _OVER
WAITING = (_R.DRAFT, _R.AWAITING_APPROVAL)
"""It has not begun."""
JUDGED = _BEGUN
"""Its deployment is open, and a gate may fail."""


def table(steps: Mapping[Any, Transition[Any]]) -> str:
    """The steps as a table in Markdown, for the guide."""
    rows = ["| cause | from | to | by | where |", "| --- " * 5 + "|"]
    for cause, step in steps.items():
        origins = ", ".join(step.origins)
        rows.append(f"| {cause} | {origins} | {step.target} | {step.who} | {step.guard} |")
    return "\n".join(rows)


def mermaid(steps: Mapping[Any, Transition[Any]], first: str) -> str:
    """The same as a diagram: every pair of states once, with all that leads between them."""
    causes: dict[tuple[str, str], list[str]] = {}
    for cause, step in steps.items():
        for origin in step.origins:
            causes.setdefault((origin, step.target), []).append(cause)
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f"    {a} --> {b}: {', '.join(how)}" for (a, b), how in causes.items()]
    return "\n".join(lines)
