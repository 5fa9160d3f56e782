"""What becomes of rollouts and freezes when their time is over, at the same entry on every
replica."""

from stationkeep.cluster.progression.alarms import watch
from stationkeep.cluster.progression.freezes import end_freezes
from stationkeep.cluster.progression.orders import resume
from stationkeep.cluster.progression.rollback import undo
from stationkeep.cluster.progression.steps import abandon, change
from stationkeep.cluster.rollouts.lifecycle import EXITS, RolloutCause
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.step import Step


def expire_rollouts(step: Step) -> None:
    """Lets every rollout leave its state whose time in it is over."""
    due = step.state.rollouts.next_due
    if due is None or due > step.now:
        return
    end_freezes(step)
    for rollout in step.state.rollouts.open_ones():
        due = step.state.rollouts.due(rollout)
        if due is not None and due <= step.now:
            _expire(step, rollout)
    watch(step)


def _expire(step: Step, rollout: Rollout) -> None:
    cause, reason = EXITS[rollout.state]
    block = step.state.rollouts.in_the_way(rollout) if rollout.resumes else None
    if block is not None:
        change(step, rollout, RolloutCause.BLOCKED, f"blocked:{block.rollout}")
    elif rollout.resumes:
        resume(step, rollout)
    elif cause is RolloutCause.UNDONE:
        undo(step, rollout, reason)
    else:
        change(step, abandon(step, rollout), cause, reason)
