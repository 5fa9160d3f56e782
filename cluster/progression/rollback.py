"""The way back: every device of a rollout runs again what it ran before.

One deployment for all stages, whose tasks have the artifact of each device's former version as
their variant. Devices of which nothing is known that they could go back to are stranded, and named
so. Source: rollouts.md, "Rollback".
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.commands import RollBackRollout
from stationkeep.cluster.delivery.members import Members, has_capability, of_kinds, running
from stationkeep.cluster.delivery.openings import Order, enter, roster_of
from stationkeep.cluster.delivery.steps import close_if_over
from stationkeep.cluster.deployments.artifacts import MAX_ARTIFACTS, Artifact
from stationkeep.cluster.deployments.deployment import (
    MAX_VARIANTS,
    Deployment,
    Limits,
)
from stationkeep.cluster.deployments.lifecycle import TaskReason, TaskState
from stationkeep.cluster.deployments.roster import ACCEPTED
from stationkeep.cluster.deployments.versions import version_fault
from stationkeep.cluster.devices.table import MAX_DEVICES, Column
from stationkeep.cluster.progression.late import given_up, run_by
from stationkeep.cluster.progression.openings import way_back_fault
from stationkeep.cluster.progression.steps import abandon, cause_of, change, existing, keep
from stationkeep.cluster.rollouts.book import MAX_OPEN_ROLLOUTS
from stationkeep.cluster.rollouts.lifecycle import RolloutCause
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.settings import LONGEST
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ROLLBACKS, ClusterState
from stationkeep.cluster.state.step import Refused, Step

PATIENCE = 30 * LONGEST
"""ms for which a device that is away may still be told to go back."""
RETRIES = 5
TASK_TYPE = "rollback"
CAPABILITY = "rollback"
"""Of devices that can go back by themselves."""


class Affected(NamedTuple):
    """Devices that have to go back, ascending by row: numbers of the versions that they ran, in
    `Book.versions`."""

    rows: Column
    versions: Column


def turn_back(step: Step, rollout: Rollout, cause: RolloutCause, reason: str = "") -> Rollout:
    """Ends all stages, and an earlier way back, and tells every device to go back. Where there is
    no room to do so, which every stage left, the rollout is aborted instead."""
    keep(step, rollout, True)  # nothing of it makes room for its way back
    affected = affected_by(step.state, rollout)
    rollout = abandon(step, rollout)
    slot = step.state.deployments.free_slot()
    if slot is None or not step.state.deployments.has_room(len(affected.rows)):
        return change(step, rollout, RolloutCause.FAILURE_ABORTED, f"{reason or cause}:no_room")
    if not len(affected.rows):
        rollout = change(
            step, rollout, cause, reason, facts={"devices": 0, "stranded": 0}, strayed=0
        )
        return undo(step, rollout)
    deployment, stranded = _deploy(step, rollout, affected, slot)
    facts = {
        "devices": len(affected.rows), "stranded": stranded, "deployment": deployment.number,
    }  # fmt: skip
    rollout = change(
        step, rollout, cause, reason, facts=facts, rollback=deployment.number, stranded=stranded,
        strayed=0,
    )  # fmt: skip
    close_if_over(step, deployment)
    return rollout


def back_fault(state: ClusterState, rollout: Rollout, tasks: int) -> str | None:
    """Why a rollout of so many tasks cannot be taken back now. One that is over is open again by
    that."""
    book, open_ones = state.deployments, len(state.rollouts.open_ones())
    if rollout.ended and open_ones >= MAX_OPEN_ROLLOUTS:
        return f"rollout: {open_ones} are open: abort one, or wait until one is over"
    fault = way_back_fault(state, rollout, tasks)
    if fault is None and (book.free_slot() is None or not book.has_room(tasks)):
        fault = "rollout: there is no room for another deployment"
    return None if fault is None else f"{fault}: wait until one is over"


def undo(step: Step, rollout: Rollout, reason: str = "") -> Rollout:
    """Every device is back that can be, or the time for that is over."""
    outcome = outcome_of(step.state, rollout)
    left = any(count for what, count in outcome.items() if what != "back")
    counts, how = step.state.counters.rollbacks, ROLLBACKS[left]
    counts[how] = counts.get(how, 0) + 1
    return change(step, rollout, RolloutCause.UNDONE, reason, facts=outcome)


def outcome_of(state: ClusterState, rollout: Rollout) -> dict[str, object]:
    """Devices by what became of their way back."""
    deployment = state.deployments.known.get(rollout.rollback)
    if deployment is None:
        return {"back": 0, "stranded": 0, "failed": 0, "pending": 0}
    count = deployment.count
    failed = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.REJECTED)
    return {
        "back": count(TaskState.SUCCEEDED),
        "stranded": rollout.stranded,
        "failed": sum(map(count, failed)) - rollout.stranded,
        "pending": deployment.unfinished + count(TaskState.UNREACHED),
    }


def affected_by(state: ClusterState, rollout: Rollout) -> Affected:
    """Who has to go back: whoever runs what the rollout installed, also late, or may come to, as
    its device has begun and nobody knows how that ends."""
    book, fleet = state.deployments, state.fleet
    found = np.zeros(fleet.table.used, bool)
    former = np.zeros(fleet.table.used, np.uint16)
    for number in reversed(rollout.deployments):  # the newest counts
        roster = book.rosters.get(number)
        if roster is None:
            continue
        begun = roster.flags & ACCEPTED > 0
        begun |= roster.state == TaskState.SUCCEEDED.code
        there = fleet.table.birth[roster.row] == roster.birth
        late = given_up(roster, np.flatnonzero(there & ~begun))
        begun[run_by(state, book.known[number], late)] = True
        begun &= there
        open_end = roster.state == TaskState.IN_PROGRESS.code
        open_end |= roster.state == TaskState.TIMED_OUT.code
        for artifact, positions in book.by_artifact(book.known[number], np.flatnonzero(begun)):
            runs = running(fleet, roster, positions, artifact)
            mine = positions[runs | open_end[positions]]
            found[roster.row[mine]] = True
            former[roster.row[mine]] = roster.version[mine]
    rows = np.flatnonzero(found)
    return Affected(rows, former[rows])


def _deploy(step: Step, rollout: Rollout, affected: Affected, slot: int) -> tuple[Deployment, int]:
    """The deployment that takes a rollout back, and how many of its devices are stranded."""
    state, plan = step.state, rollout.plan
    artifacts, variants = _ways(state, plan, affected)
    lost = variants == _STRANDED
    states = np.where(lost, TaskState.REJECTED.code, TaskState.QUEUED.code)
    order = Order(
        task_type=TASK_TYPE,
        parameters=plan.parameters,
        artifacts=tuple(artifacts) or (None,),
        target=f"rollback of {rollout.name}",
        priority=plan.precedence + 1,
        limits=_limits(step, plan),
        allow_downgrade=True,
        require=plan.require,
        actor=rollout.author,
        comment=rollout.comment,
        rollout=rollout.name,
        undoes=tuple(rollout.deployments),
    )
    roster = roster_of(step, Members(affected.rows, states, 0))
    roster.variant[:] = np.where(lost, 0, variants)
    roster.reason[lost] = TaskReason.NO_PREVIOUS.code
    deployment = enter(step, order, roster, 0, slot)
    deployment.kept = True
    return deployment, int(lost.sum())


def _limits(step: Step, plan: Plan) -> Limits:
    """Twice as many at a time, at no pace, and for as long as a device may be away."""
    at_once = 2 * (plan.limits.max_in_flight or step.state.settings.max_in_flight)
    return Limits(min(at_once, MAX_DEVICES), None, PATIENCE, RETRIES)


_STRANDED = MAX_VARIANTS


def _ways(state: ClusterState, plan: Plan, affected: Affected) -> tuple[list[Artifact], Column]:
    """What there is to go back to, and which of it each device gets, or `_STRANDED`. The versions
    that most devices ran come first, should there be more than a deployment can tell apart."""
    able = of_kinds(state.fleet, affected.rows, lambda kind: has_capability(kind, CAPABILITY))
    pairs = affected.versions.astype(np.intp) * 2 + able
    counts = np.bincount(pairs)
    artifacts: list[Artifact] = []
    ways = np.full(len(counts), _STRANDED, np.intp)
    for pair in sorted(np.flatnonzero(counts).tolist(), key=lambda pair: (-counts[pair], pair)):
        number, can = divmod(pair, 2)
        way = _way(state, plan, state.deployments.versions[number], bool(can))
        if way is None or not _has_room(state, artifacts, way):
            continue
        if way not in artifacts:
            artifacts.append(way)
        ways[pair] = artifacts.index(way)
    return artifacts, ways[pairs]


def _has_room(state: ClusterState, artifacts: list[Artifact], way: Artifact) -> bool:
    if way in artifacts:
        return True
    new = sum(a not in state.deployments.artifacts.known.values() for a in (*artifacts, way))
    free = MAX_ARTIFACTS - len(state.deployments.artifacts.known)
    return len(artifacts) < MAX_VARIANTS and new <= free


def _way(state: ClusterState, plan: Plan, version: str, able: bool) -> Artifact | None:
    """What a device gets that ran a version: the version's name, if it can go back by itself or
    was told no more than a name before; its file, if that is still known; or what the plan has for
    such devices."""
    named = Artifact(version, plan.component) if version_fault(version) is None else None
    if named is not None:
        if able or not any(artifact.url for artifact in plan.installed):
            return named
        for known in state.deployments.artifacts.known.values():
            if known.url and (known.component, known.version) == (plan.component, version):
                return known
    return plan.fallback


# In apply


def roll_back(step: Step, command: RollBackRollout) -> dict[str, object]:
    """The operator's word that a version goes, also long after it has come to everybody."""
    rollout = existing(step, command.rollout, command.revision)
    cause = cause_of(rollout, "roll back")
    missing = [n for n in rollout.deployments if n not in step.state.deployments.rosters]
    if missing:
        what = f"of deployment {missing[0]} only the tallies are remembered"
        detail = f"rollout: {what}: roll an earlier version out instead"
        raise Refused(Reason.ROLLBACK_GONE, detail)
    affected = affected_by(step.state, rollout)
    fault = back_fault(step.state, rollout, len(affected.rows))
    if fault is not None:
        raise Refused(Reason.LIMIT, fault)
    rollout = turn_back(step, rollout, cause, "operator")
    return {
        "state": rollout.state.value,
        "devices": len(affected.rows),
        "stranded": rollout.stranded,
    }
