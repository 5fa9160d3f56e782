"""What comes next of each rollout: asked by the leader, who proposes it, and by apply, which looks
again.

`advance_rollouts` is pure. Its commands carry no judgement: that the time of something has come,
and not what it has come to. Source: rollouts.md, "Stages".
"""

import enum
from typing import NamedTuple

from stationkeep.cluster.alarms import DEVICES_STRANDED, ROLLBACK_INCOMPLETE
from stationkeep.cluster.commands import AdvanceRollout, CheckRollouts, OpenStage
from stationkeep.cluster.delivery.offers import hold_of
from stationkeep.cluster.progression.members import members_of
from stationkeep.cluster.rollouts.lifecycle import RolloutState, StageState
from stationkeep.cluster.rollouts.plan import FOLLOW
from stationkeep.cluster.rollouts.rollout import MAX_ROUNDS, Rollout, Stage, unfinished
from stationkeep.cluster.state.state import ClusterState

Command = AdvanceRollout | CheckRollouts | OpenStage


class Due(enum.StrEnum):
    """What a rollout waited for, and what has come about."""

    DEPLOYED = "deployed"
    """Every task of a stage is over."""
    SOAKED = "soaked"
    """The soak of a stage is over."""
    ANSWERED = "answered"
    """Everybody who was asked about a stage has said yes."""
    UNANSWERED = "unanswered"
    """Who was asked about a stage has not answered in time."""
    FOLLOWED = "followed"
    """Nobody who comes now gets it any more."""
    ENDED = "ended"
    """No task is in progress any more of a rollout that is aborted."""
    UNDONE = "undone"
    """Every device is back that can be."""


class Next(NamedTuple):
    """What is due, and at the place of which stage (-1: none)."""

    due: Due
    stage: int


def due_of(state: ClusterState, rollout: Rollout, now: int) -> Next | None:
    """What is due of a rollout at a cluster time."""
    match rollout.state:
        case RolloutState.RUNNING if not is_held(state):
            found = (_due_of_stage(state, rollout, stage, now) for stage in rollout.stages)
            return next((Next(due, n) for n, due in enumerate(found) if due is not None), None)
        case RolloutState.ABORTING if not _unfinished(state, rollout.all_deployments):
            return Next(Due.ENDED, -1)
        case RolloutState.ROLLING_BACK if not _unfinished(state, [rollout.rollback]):
            return Next(Due.UNDONE, -1)
    return None


def is_held(state: ClusterState) -> bool:
    """Whether nothing happens by itself, protection included. A storm holds back what begins, and
    not what protects."""
    return state.pause is not None or not state.settings.swarm_mode


def _due_of_stage(state: ClusterState, rollout: Rollout, stage: Stage, now: int) -> Due | None:
    """A storm is waited for before a soak is judged: but not for ever, as it may be the version
    that makes it."""
    end = stage.deadline or 0
    if state.fleet.braked and stage.state is StageState.SOAKING:
        end += state.settings.deployment_deadline
    over = stage.deadline is not None and end <= now
    match stage.state:
        case StageState.PENDING if stage.name == FOLLOW:
            until = rollout.follows_until
            return Due.FOLLOWED if until is not None and until <= now else None
        case StageState.DEPLOYING if not _unfinished(state, [stage.deployment]):
            return Due.DEPLOYED
        case StageState.SOAKING if over:
            return Due.SOAKED
        case StageState.VALIDATING if rollout.is_granted(stage):
            return Due.ANSWERED
        case StageState.VALIDATING if over:
            return Due.UNANSWERED
    return None


def _unfinished(state: ClusterState, numbers: list[int]) -> int:
    """Tasks of these deployments that are not over."""
    known = state.deployments.known
    return sum(unfinished(known[number].tallies) for number in numbers if number in known)


def opening(state: ClusterState, rollout: Rollout) -> int | None:
    """The place of a stage that may open now."""
    place = rollout.next_stage
    if rollout.state is not RolloutState.RUNNING or place is None or hold_of(state) is not None:
        return None
    stage = rollout.stages[place]
    if state.rollouts.freeze_over(stage.plan.ring, rollout.plan) is not None:
        return None
    return place if stage.name != FOLLOW or _has_newcomers(state, rollout, place) else None


def _has_newcomers(state: ClusterState, rollout: Rollout, place: int) -> bool:
    """Whether it is time for another round, and somebody is there for it."""
    stage = rollout.stages[place]
    if stage.deployment and state.time - stage.since < rollout.plan.follow // MAX_ROUNDS:
        return False
    return len(members_of(state, rollout, place).rows) > 0


def advance_rollouts(state: ClusterState, now: int) -> list[Command]:
    """What the leader is to propose at cluster time `now`: one thing of a rollout at most."""
    if not state.founded:
        return []
    plan: list[Command] = []
    looks = now - state.rollouts.checked_at >= state.settings.looking and _worth_a_look(state)
    if looks:
        plan.append(CheckRollouts(state.rollouts.checks))
    for rollout in state.rollouts.open_ones():
        found = due_of(state, rollout, now)
        if found is not None:
            plan.append(AdvanceRollout(rollout.name, rollout.revision, found.due))
        elif looks or rollout.follows_until is None:  # newcomers are not looked for all the time
            place = opening(state, rollout)
            if place is not None:
                plan.append(OpenStage(rollout.name, rollout.revision, place))
    return plan


def is_going(state: ClusterState) -> bool:
    """Whether anything may ever be due of rollouts as they are; cheap, as it is asked in every
    turn."""
    return state.rollouts.any_open or _is_owed(state)


def _worth_a_look(state: ClusterState) -> bool:
    """Whether anything is judged or waited for, or an alarm tells of devices that are not back."""
    open_ones = state.rollouts.open_ones()
    return _is_owed(state) or any(one.state is not RolloutState.DRAFT for one in open_ones)


def _is_owed(state: ClusterState) -> bool:
    """Whether an alarm tells of devices that are not back, which ends when they are."""
    return ROLLBACK_INCOMPLETE in state.alarms or DEVICES_STRANDED in state.alarms
