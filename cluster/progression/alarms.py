"""The alarms of rollouts, read off the state as a whole whenever one of them has changed."""

from collections.abc import Iterator

import numpy as np

from stationkeep.cluster.alarms import (
    DEVICES_STRANDED,
    ROLLBACK_INCOMPLETE,
    ROLLOUT_FAILED,
    ROLLOUT_HELD,
    ROLLOUT_WAITING,
    SAMPLE_RATIO,
)
from stationkeep.cluster.delivery.members import running
from stationkeep.cluster.deployments.lifecycle import TaskReason
from stationkeep.cluster.progression.rollback import affected_by, outcome_of
from stationkeep.cluster.progression.variants import UNFAIR, unfairness
from stationkeep.cluster.rollouts.lifecycle import RolloutState, StageState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Step

PATIENCE = 3_600_000
"""ms for which a rollout may wait for people before somebody should know."""
_NAMES = (
    ROLLOUT_FAILED, ROLLOUT_HELD, ROLLOUT_WAITING, ROLLBACK_INCOMPLETE, DEVICES_STRANDED,
    SAMPLE_RATIO,
)  # fmt: skip


def watch(step: Step) -> None:
    """Raises and clears what the rollouts give reason for."""
    found: dict[str, str] = {}
    for rollout in step.state.rollouts.known.values():
        for name, detail in _complaints(step.state, rollout, step.now):
            found.setdefault(name, f"{rollout.name}: {detail}")
    for name in _NAMES:
        if name in found:
            step.raise_alarm(name, found[name])
        else:
            step.clear_alarm(name)


def _complaints(state: ClusterState, rollout: Rollout, now: int) -> Iterator[tuple[str, str]]:
    if rollout.strayed:
        yield from _of_strays(state, rollout)
    if rollout.rollback and rollout.state is not RolloutState.ABORTED:
        yield from _of_the_way_back(state, rollout)
    if rollout.ended:
        return
    for stage in rollout.stages:
        if stage.state is StageState.FAILED or (stage.proven and stage.is_judged):
            yield ROLLOUT_FAILED, f"stage {stage.name} failed ({stage.proven})"
        if stage.proven and stage.is_judged:
            yield ROLLOUT_HELD, f"stage {stage.name} failed, and automatic changes are paused"
        if stage.state is StageState.VALIDATING and now - stage.since >= PATIENCE:
            yield ROLLOUT_WAITING, f"stage {stage.name} waits for an answer"
    if rollout.plan.variants and unfairness(state, rollout) >= UNFAIR:
        yield SAMPLE_RATIO, "its variants cannot be compared"
    people = rollout.state in (RolloutState.AWAITING_APPROVAL, RolloutState.PAUSED)
    if people and not rollout.resumes and now - rollout.since >= PATIENCE:
        yield ROLLOUT_WAITING, f"{rollout.state.replace('_', ' ')} {rollout.reason}".strip()


def _of_strays(state: ClusterState, rollout: Rollout) -> Iterator[tuple[str, str]]:
    back = state.deployments.rosters.get(rollout.rollback)
    rows = affected_by(state, rollout).rows
    strays = len(rows if back is None else np.setdiff1d(rows, back.row))
    if strays:
        yield (
            ROLLBACK_INCOMPLETE,
            f"installed after all on {strays} of its devices: roll it back again",
        )


def _of_the_way_back(state: ClusterState, rollout: Rollout) -> Iterator[tuple[str, str]]:
    outcome = outcome_of(state, rollout)
    if rollout.state is RolloutState.ROLLED_BACK and (outcome["pending"] or outcome["failed"]):
        left = f"{outcome['pending']} devices pending, {outcome['failed']} failed"
        yield ROLLBACK_INCOMPLETE, left
    if rollout.stranded:
        stranded = still_stranded(state, rollout)
        if stranded:
            yield DEVICES_STRANDED, f"{stranded} devices cannot go back"


def still_stranded(state: ClusterState, rollout: Rollout) -> int:
    """Devices that cannot go back, and run what the rollout installed to this day."""
    roster = state.deployments.rosters.get(rollout.rollback)
    if roster is None:
        return 0
    lost = roster.reason == TaskReason.NO_PREVIOUS.code
    lost &= state.fleet.table.birth[roster.row] == roster.birth
    positions = np.flatnonzero(lost)
    runs = np.zeros(len(positions), bool)
    for artifact in rollout.plan.installed:
        runs |= running(state.fleet, roster, positions, artifact)
    return int(runs.sum())
