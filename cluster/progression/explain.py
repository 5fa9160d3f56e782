"""Why a rollout is where it is, what would change that, and when it ends by itself: read off the
state."""

from collections.abc import Iterator

import msgspec
import numpy as np

from stationkeep.cluster.delivery.explain import HOLDS
from stationkeep.cluster.delivery.offers import Hold, hold_of
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.progression.looks import judgements
from stationkeep.cluster.progression.sentences import because, say_gate
from stationkeep.cluster.progression.steps import gate_facts, orders_of
from stationkeep.cluster.rollouts.lifecycle import (
    ENDED,
    RolloutState,
    StageState,
)
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.state.state import ClusterState


class Waiting(msgspec.Struct, frozen=True):
    """What a stage that deploys waits for, in devices: those offline, those whose newest status
    does not meet what is required, and those that another task has."""

    offline: int = 0
    below_require: int = 0
    busy: int = 0


def held_by(state: ClusterState, rollout: Rollout, stage: Stage) -> str:
    """Why nothing is offered of a stage, or why it does not open: `cluster_paused`, `swarm_off`,
    `storm`, `paused`, `freeze:NAME` or `preempted:NAME`; "": nothing holds it."""
    hold = hold_of(state)
    if hold is not None:
        return hold.value
    if stage.is_judged:
        return state.deployments.known[stage.deployment].held
    freeze = state.rollouts.freeze_over(stage.plan.ring, rollout.plan)
    return f"freeze:{freeze.name}" if freeze is not None else ""


def waiting_for(state: ClusterState, deployment: Deployment) -> Waiting:
    """What keeps the devices of a deployment whose tasks are queued."""
    fleet, roster = state.fleet, state.deployments.rosters[deployment.number]
    rows = roster.row[roster.in_state(TaskState.QUEUED)]
    online = fleet.table.online[rows]
    busy = online & (fleet.table.task[rows] > 0)
    short = np.zeros(len(rows), bool)
    if deployment.require is not None:
        short = online & ~busy & ~fleet.meeting(deployment.require, rows)
    return Waiting(int((~online).sum()), int(short.sum()), int(busy.sum()))


def explain_rollout(state: ClusterState, rollout: Rollout) -> list[str]:
    """Lines of English, each of which stands for itself."""
    lines = [*_say_state(state, rollout)]
    for stage in rollout.stages:
        if stage.is_judged or stage.state is StageState.FAILED:
            lines += _say_stage(state, rollout, stage)
    place = rollout.next_stage
    if place is not None and rollout.state is RolloutState.RUNNING:
        held = held_by(state, rollout, rollout.stages[place])
        wait = f"waits: {say_hold(state, held)}" if held else "opens next"
        lines.append(f"stage {rollout.stages[place].name} {wait}")
    may = orders_of(rollout)
    return [*lines, f"you may order: {', '.join(may)}"] if may else lines


def _say_state(state: ClusterState, rollout: Rollout) -> Iterator[str]:
    since = _span(state.time - rollout.since)
    why = f": {because(rollout.reason)}" if rollout.reason else ""
    yield f"{rollout.name} is {rollout.state.replace('_', ' ')} for {since}{why}"
    if rollout.state is RolloutState.AWAITING_APPROVAL:
        granted = sum(not approval.stage for approval in rollout.approvals)
        yield f"{granted} of {rollout.plan.approvals} approvals are granted"
    left = state.rollouts.left(rollout, state.time)
    if left is not None:
        blocked = rollout.resumes and state.rollouts.in_the_way(rollout) is not None
        goes_on = "stays paused, as what it installs is blocked," if blocked else "goes on"
        becomes = {
            RolloutState.PAUSED: goes_on if rollout.resumes else "is aborted",
            RolloutState.ROLLING_BACK: "counts as rolled back, whoever is not back yet",
        }.get(rollout.state, "is aborted")
        yield f"if nothing happens it {becomes} in {_span(left)}"
    if is_held(state) and rollout.state not in ENDED:
        yield f"nothing happens by itself, as {HOLDS[hold_of(state) or Hold.SWARM_OFF]}"


def _say_stage(state: ClusterState, rollout: Rollout, stage: Stage) -> Iterator[str]:
    since = _span(state.time - stage.since)
    why = f" ({stage.reason})" if stage.reason else ""
    yield f"stage {stage.name} is {stage.state}{why} for {since}"
    judged = judgements(state, rollout, stage) if stage.is_judged else stage.judged
    yield from (say_gate(gate_facts(judgement)) for judgement in judged)
    if stage.state is StageState.DEPLOYING:
        yield from _say_deploying(state, rollout, stage)
    if stage.state is StageState.SOAKING:
        yield f"it is judged in {_span((stage.deadline or 0) - state.time)}"
    if stage.state is StageState.VALIDATING:
        asked = [f"{stage.checks.approvals} approvals"] * (stage.checks.approvals > 0)
        asked += [f"the answer of {stage.checks.webhook}"] * (bool(stage.checks.webhook))
        end = _span((stage.deadline or 0) - state.time)
        yield f"it waits for {' and '.join(asked)}; inconclusive in {end}"


def _say_deploying(state: ClusterState, rollout: Rollout, stage: Stage) -> Iterator[str]:
    deployment = state.deployments.known[stage.deployment]
    held = held_by(state, rollout, stage)
    if held:
        yield f"nothing is offered: {say_hold(state, held)}"
    elif deployment.on_trial:
        first = deployment.limits.first
        yield f"one device at a time is told until {first} have succeeded and are well"
    if rollout.plan.hours:
        yield f"devices are told in its window alone: {rollout.plan.hours_in_words}"
    waiting = msgspec.structs.asdict(waiting_for(state, deployment))
    named = {"offline": "offline", "below_require": "below what is required", "busy": "busy"}
    told = [f"{count:,} {named[what]}" for what, count in waiting.items() if count]
    if told:
        yield f"of the devices that wait {', '.join(told)}"
    yield f"whoever still waits in {_span(deployment.left(state.time))} is unreached"


def say_hold(state: ClusterState, held: str) -> str:
    """Why nothing is offered, as `held_by` has it, in words."""
    match held.split(":"):
        case ["freeze", name]:
            freeze = state.rollouts.freezes[name]
            return f"freeze {name} lies on it, for another {_span(freeze.until - state.time)}"
        case ["preempted", name]:
            return f"{name} goes before on all devices that are left"
        case ["paused"]:
            return "the rollout is paused"
    return HOLDS[Hold(held)]


def _span(milliseconds: int) -> str:
    """`6d23h`, `4m58s`: the largest units, two at most."""
    left, said = -(-max(0, milliseconds) // 1_000), []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        said += [f"{count}{unit}"] if count else []
    return "".join(said[:2]) or "0s"
