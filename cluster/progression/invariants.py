"""What must hold of rollouts in every state. `cluster.invariants` checks it with the rest.

Source: rollouts.md, "What must hold".
"""

import numpy as np

from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.progression.holds import PAUSES
from stationkeep.cluster.progression.openings import MAX_ROLLOUT_SLOTS, MAX_ROLLOUT_TASKS
from stationkeep.cluster.rollouts.book import (
    MAX_BLOCKS,
    MAX_ENDED_ROLLOUTS,
    MAX_FREEZES,
    MAX_OPEN_ROLLOUTS,
)
from stationkeep.cluster.rollouts.lifecycle import EXITS, GOING, RolloutState, StageState
from stationkeep.cluster.rollouts.rollout import MAX_TIMELINE, NO_TALLIES, Rollout, tally_of
from stationkeep.cluster.rollouts.twins import MAX_SETS
from stationkeep.cluster.state.state import ClusterState


def each_device_once(state: ClusterState) -> str | None:
    """No device is in two rosters of one rollout, but of whom one did not reach it."""
    for rollout in state.rollouts.open_ones():
        kept = [state.deployments.rosters.get(number) for number in rollout.deployments]
        pairs = [_told(roster) for roster in kept if roster is not None]
        whole = np.concatenate(pairs) if pairs else np.zeros(0)
        if len(np.unique(whole)) < len(whole):
            return f"a device is in two stages of {rollout.name}"
    return None


def _told(roster: Roster) -> Column:
    """The devices of a roster that were not unreached, rows and births in one number."""
    told = roster.state != TaskState.UNREACHED.code
    pairs: Column = roster.row[told].astype(np.int64) << 32 | roster.birth[told]
    return pairs


def stages_in_order(state: ClusterState) -> str | None:
    """No stage opens before those before it have passed or were promoted; all have passed of a
    rollout that has succeeded, and nothing is judged of one that does not go on."""
    for rollout in state.rollouts.known.values():
        before = True
        for stage in rollout.stages:
            if stage.state not in (StageState.PENDING, StageState.STOPPED) and not before:
                return f"stage {stage.name} of {rollout.name} is {stage.state} too early"
            before = before and (stage.state is StageState.PASSED or stage.promoted)
            if stage.is_judged and rollout.state not in GOING:
                return f"stage {stage.name} of {rollout.name} is judged while {rollout.state}"
        passed = all(stage.state is StageState.PASSED for stage in rollout.stages)
        if rollout.state is RolloutState.SUCCEEDED and not passed:
            return f"{rollout.name} has succeeded before all its stages"
    return None


def deployments_belong(state: ClusterState) -> str | None:
    """A deployment stands open exactly while a stage is judged by it, and is kept exactly while
    its rollout is not over."""
    judged = {
        stage.deployment: rollout.name
        for rollout in state.rollouts.open_ones()
        for stage in rollout.stages
        if stage.is_judged
    }
    for number, deployment in state.deployments.known.items():
        if deployment.standing is not (judged.get(number) == deployment.rollout != ""):
            return f"deployment {number} stands {deployment.standing} for {deployment.rollout!r}"
        rollout = state.rollouts.known.get(deployment.rollout)
        if deployment.kept is not (rollout is not None and not rollout.ended):
            return f"deployment {number} is kept {deployment.kept} for {deployment.rollout!r}"
    lost = [number for number in judged if number not in state.deployments.known]
    return f"stages are judged by {lost}, which are gone" if lost else None


def holds_hold(state: ClusterState) -> str | None:
    """Nothing is offered of a rollout that is paused, or that a freeze lies on, or while automatic
    changes are paused; what is held is held for a reason."""
    if (state.rollouts.stopped_at is not None) is not is_held(state):
        return f"deadlines stand still since {state.rollouts.stopped_at}"
    freezes = {f"freeze:{name}" for name in state.rollouts.freezes}
    for rollout in state.rollouts.open_ones():
        for stage in rollout.stages:
            if not stage.is_judged:
                continue
            paused = rollout.state is RolloutState.PAUSED or is_held(state)
            frozen = state.rollouts.freeze_over(stage.plan.ring, rollout.plan) is not None
            held = state.deployments.known[stage.deployment].held
            waits = held.startswith("preempted:") or held in freezes
            if (held in PAUSES) is not paused or bool(held) is not (paused or frozen or waits):
                return f"stage {stage.name} of {rollout.name} is held {held!r}"
    return None


def nothing_blocked_runs(state: ClusterState) -> str | None:
    """Nothing is rolled out that a gate was proven broken with, but by force."""
    for rollout in state.rollouts.open_ones():
        block = state.rollouts.in_the_way(rollout)
        if rollout.state is RolloutState.RUNNING and block is not None:
            return f"{rollout.name} rolls out {block.artifact.version}, which is blocked"
    return None


def every_state_ends(state: ClusterState) -> str | None:
    """Whatever waits for people or time has an end, which is not past; and nothing goes on that
    waits for neither."""
    for rollout in state.rollouts.open_ones():
        if (rollout.deadline is not None) is not (rollout.state in EXITS):
            return f"{rollout.name} is {rollout.state} until {rollout.deadline}"
        failed = any(stage.state is StageState.FAILED for stage in rollout.stages)
        if failed and rollout.state is RolloutState.RUNNING:
            return f"{rollout.name} goes on behind a stage that failed"
        due = state.rollouts.due(rollout)
        if due is not None and due <= state.time:
            return f"{rollout.name} is {rollout.state} since {rollout.since}, past its time"
        for stage in rollout.stages:
            waits = stage.state in (StageState.SOAKING, StageState.VALIDATING)
            if waits is not (stage.deadline is not None):
                return f"stage {stage.name} is {stage.state} until {stage.deadline}"
    late = [freeze.name for freeze in state.rollouts.freezes.values() if freeze.until <= state.time]
    return f"freezes {late} are past their time" if late else None


def twins_are_told_apart(state: ClusterState) -> str | None:
    """Each device is a twin in one set at a time, of nobody that it is itself; sets are of stages
    that are judged, and each of another device."""
    serving = [twins.serving() for twins in state.rollouts.twins.values()]
    whole = np.concatenate(serving) if serving else np.zeros(0)
    if len(np.unique(whole)) < len(whole):
        return "a device is a twin twice"
    for (name, stage), twins in state.rollouts.twins.items():
        rollout = state.rollouts.known.get(name)
        place = None if rollout is None else rollout.stage(stage)
        if rollout is None or place is None or not rollout.stages[place].is_judged:
            return f"there are twins of {name} and {stage}, which is not judged"
        if len(np.unique(twins.position)) < len(twins):
            return f"a device has two sets in stage {stage} of {name}"
        if (twins.risk & twins.bad).any():
            return f"a device of stage {stage} of {name} is bad and at risk still"
    return None


def figures_add_up(state: ClusterState) -> str | None:
    """What gates count is every member once, and of a stage that is over what is noted of it; those
    that had the version, or were canceled, are in no ratio."""
    for rollout in state.rollouts.known.values():
        for stage in rollout.stages:
            tally = tally_of(stage.tallies)
            if tally.members != sum(stage.tallies):
                return f"stage {stage.name} of {rollout.name} counts {tally}"
            over = stage.rounds or (stage.deployment and not stage.is_judged)
            if bool(over) is not (stage.tallies != NO_TALLIES):
                return f"stage {stage.name} of {rollout.name} is {stage.state} with {tally}"
    return None


def within_limits(state: ClusterState) -> str | None:
    """Everything that grows has its limit, and there is room to take back whatever goes on."""
    book, deployments = state.rollouts, state.deployments
    open_ones = book.open_ones()
    parts = [d for d in deployments.known.values() if d.rollout and (d.slot or d.kept)]
    sizes = {
        "open": (len(open_ones), MAX_OPEN_ROLLOUTS),
        "ended": (len(book) - len(open_ones), MAX_ENDED_ROLLOUTS),
        "freezes": (len(book.freezes), MAX_FREEZES),
        "blocks": (len(book.blocks), MAX_BLOCKS),
        "timeline": (max((len(r.timeline) for r in book.known.values()), default=0), MAX_TIMELINE),
        "sets": (max(map(len, book.twins.values()), default=0), MAX_SETS),
        "slots": (sum(bool(d.slot) for d in parts) + _ways_back(open_ones), MAX_ROLLOUT_SLOTS),
        "tasks": (_tasks(parts, {r.name for r in open_ones if not r.rollback}), MAX_ROLLOUT_TASKS),
    }
    over = [f"{name} {size} > {limit}" for name, (size, limit) in sizes.items() if size > limit]
    return ", ".join(over) or None


def _ways_back(rollouts: list[Rollout]) -> int:
    """Slots that taking back what has opened may need."""
    return sum(bool(r.deployments) and not r.rollback for r in rollouts)


def _tasks(parts: list[Deployment], not_undone: set[str]) -> int:
    """Tasks, and as many more as taking them back may need."""
    return sum(d.members * (2 if d.rollout in not_undone else 1) for d in parts)


INVARIANTS = (
    each_device_once,
    stages_in_order,
    deployments_belong,
    holds_hold,
    nothing_blocked_runs,
    every_state_ends,
    twins_are_told_apart,
    figures_add_up,
    within_limits,
)
