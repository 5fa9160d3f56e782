"""Why a rollout is where it is, what would change that, and when it ends by itself: read off the
state."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from stationkeep.cluster.delivery.expiries import time_left
from stationkeep.cluster.delivery.explain import HOLDS
from stationkeep.cluster.delivery.offers import Hold, all_holds
from stationkeep.cluster.delivery.orders import retryable
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.progression.holds import PAUSED, PAUSES, frozen_by, preempted_by
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


def why_of(state: ClusterState, rollout: Rollout) -> str:
    """The reason for its state, in words; "": none."""
    if rollout.reason == "operator":
        did = {RolloutState.PAUSED: "paused", RolloutState.ABORTING: "aborted"}
        did |= {RolloutState.ABORTED: "aborted"}
        orders = (m for m in reversed(rollout.timeline) if m.reason == "operator" and not m.stage)
        who = next((moment.actor for moment in orders if moment.actor), "")
        return f"an operator {did.get(rollout.state, 'ordered')} it" + f" ({who})" * bool(who)
    blocked = rollout.state is RolloutState.PAUSED and rollout.reason.startswith("blocked:")
    freed = blocked and state.rollouts.in_the_way(rollout) is None
    return because(rollout.reason) + ", and is unblocked by now" * freed


class Held(NamedTuple):
    """One thing that holds a rollout back: `says` what, and `when` it ends, which is as soon as the
    clock of the cluster shows `until`; None: nobody can say."""

    reason: str
    says: str
    when: str
    until: int | None = None


def holds_of(state: ClusterState, rollout: Rollout, stage: Stage) -> list[Held]:
    """Everything that keeps a stage from opening, from being offered to anybody, or from passing:
    `cluster_paused`, `swarm_off`, `storm`, `paused`, `freeze:NAME`, `preempted:NAME`, and, beside
    those, `unanswered`. None: nothing holds it."""
    found = holds_of_all(state)
    if stage.state is StageState.VALIDATING:
        found = [hold for hold in found if hold.reason in PAUSES]
    if rollout.state is RolloutState.PAUSED:
        goes_on = rollout.resumes and state.rollouts.in_the_way(rollout) is None
        until = rollout.deadline if goes_on else None
        found.append(Held(PAUSED, "the rollout is paused", "somebody resumes it", until))
    if stage.state in (StageState.PENDING, StageState.DEPLOYING):
        found += _what_goes_before(state, rollout, stage)
    if found and stage.state is StageState.VALIDATING and not rollout.is_granted(stage):
        asked = f"stage {stage.name} waits for {' and '.join(_asked(rollout, stage))}"
        found.append(Held("unanswered", asked, "whoever is asked has said yes"))
    return found


def holds_of_all(state: ClusterState) -> list[Held]:
    """What holds every rollout back, and every way back."""
    pause = None if state.pause is None else state.pause.until
    untils = {Hold.CLUSTER_PAUSED: pause}
    return [Held(h.value, HOLDS[h], _ENDS[h], untils.get(h)) for h in all_holds(state)]


_ENDS = {
    Hold.CLUSTER_PAUSED: "automatic changes are resumed",
    Hold.SWARM_OFF: "somebody switches them on (stationkeep config set swarm_mode=on)",
    Hold.STORM: "the storm is over, or somebody releases the brake",
}


def _what_goes_before(state: ClusterState, rollout: Rollout, stage: Stage) -> Iterator[Held]:
    deployment = state.deployments.known[stage.deployment] if stage.is_judged else None
    freeze = state.rollouts.freeze_over(stage.plan.ring, rollout.plan)
    if freeze is None and deployment is not None:
        freeze = frozen_by(state, deployment)
    if freeze is not None:
        name = freeze.name
        ends = f"freeze {name} ends"
        yield Held(f"freeze:{name}", f"freeze {name} lies on it", ends, freeze.until)
    other = None if deployment is None else preempted_by(state, deployment)
    if other is not None:
        name = other.rollout or f"deployment {other.number}"
        before = f"{name} goes before on all devices that are left"
        reason = f"preempted:{other.rollout or other.number}"
        yield Held(reason, before, f"{name} leaves it a device")


def _asked(rollout: Rollout, stage: Stage) -> Iterator[str]:
    """Whose answer a stage waits for."""
    granted = sum(approval.stage == stage.name for approval in rollout.approvals)
    missing = stage.checks.approvals - granted
    if missing > 0:
        yield f"{missing} approval{'s' * (missing > 1)}"
    if stage.checks.webhook and stage.answer is None:
        yield f"the answer of {stage.checks.webhook}"


def say_holds(holds: list[Held]) -> str:
    """`automatic changes are paused, and freeze xmas lies on it`."""
    *others, last = (hold.says for hold in holds)
    return f"{', '.join(others)}, and {last}" if others else last


def say_when(holds: list[Held]) -> str:
    """What has to happen before it goes on, beside what ends by itself: `somebody resumes it`."""
    return " and ".join(hold.when for hold in holds if hold.until is None)


def ends_at(holds: list[Held]) -> int | None:
    """Cluster ms by which all that is over whose end is known."""
    return max((hold.until for hold in holds if hold.until is not None), default=None)


def _lasts(state: ClusterState, holds: list[Held]) -> str:
    """For how long at most, or until what."""
    when, end = say_when(holds), ends_at(holds)
    return f"until {when}" if when or end is None else f"for {_span(end - state.time)} at most"


def _goes_on(state: ClusterState, holds: list[Held]) -> str:
    """When nothing holds it any more."""
    end, when = ends_at(holds), say_when(holds)
    left = "" if end is None else _span(end - state.time)
    if not when:
        return f"it goes on in {left} at the latest"
    rest = f" and the rest is over, in {left} at the latest" if left else ""
    return f"it goes on when {when}{rest}"


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
        holds = holds_of(state, rollout, rollout.stages[place])
        wait = f"waits: {say_holds(holds)}; {_goes_on(state, holds)}" if holds else "opens next"
        lines.append(f"stage {rollout.stages[place].name} {wait}")
    may = orders_of(rollout)
    return [*lines, f"you may order: {', '.join(may)}"] if may else lines


def _say_state(state: ClusterState, rollout: Rollout) -> Iterator[str]:
    since = _span(state.time - rollout.since)
    why = f": {why_of(state, rollout)}" if rollout.reason else ""
    yield f"{rollout.name} is {rollout.state.replace('_', ' ')} for {since}{why}"
    if rollout.state is RolloutState.AWAITING_APPROVAL:
        granted = sum(not approval.stage for approval in rollout.approvals)
        others = f", of others than {rollout.author or 'nobody named'}, who wrote it"
        whose = "" if rollout.plan.allow_self_approval else others
        yield f"{granted} of {rollout.plan.approvals} approvals are granted{whose}"
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
        pauses = [hold for hold in holds_of_all(state) if hold.reason in PAUSES]
        stops = (
            "" if rollout.deadline is None or rollout.resumes else ", and that time stands still"
        )
        yield f"nothing happens by itself{stops}: {say_holds(pauses)}, {_lasts(state, pauses)}"


def _say_stage(state: ClusterState, rollout: Rollout, stage: Stage) -> Iterator[str]:
    since = _span(state.time - stage.since)
    why = f" ({stage.reason})" if stage.reason else ""
    yield f"stage {stage.name} is {stage.state}{why} for {since}"
    judged = judgements(state, rollout, stage) if stage.is_judged else stage.judged
    yield from (say_gate(gate_facts(judgement)) for judgement in judged)
    if stage.state is StageState.DEPLOYING:
        yield from _say_deploying(state, rollout, stage)
    if stage.state is StageState.INCONCLUSIVE:
        again = len(retryable(state, state.deployments.known[stage.deployment]))
        if again:
            yield f"retry gives {again:,} of its tasks another attempt, when it is resumed"
    if stage.state is StageState.SOAKING:
        yield _say_soaking(state, rollout, stage)
    if stage.state is StageState.VALIDATING:
        yield _say_validating(state, rollout, stage)


def _say_soaking(state: ClusterState, rollout: Rollout, stage: Stage) -> str:
    left = max(0, (stage.deadline or 0) - state.time)
    holds = holds_of(state, rollout, stage)
    if not holds:
        return f"it is judged in {_span(left)}"
    soak = f"for another {_span(left)}" if left else "for its whole soak by now"
    return f"it is watched {soak}, and judged afterwards: {say_holds(holds)}"


def _say_validating(state: ClusterState, rollout: Rollout, stage: Stage) -> str:
    waits = f"it waits for {' and '.join(_asked(rollout, stage)) or 'its verdict'}"
    holds = [one for one in holds_of(state, rollout, stage) if one.reason != "unanswered"]
    if holds:
        return f"{waits}, without a deadline for now: {say_holds(holds)}"
    return f"{waits}; inconclusive in {_span((stage.deadline or 0) - state.time)}"


def _say_deploying(state: ClusterState, rollout: Rollout, stage: Stage) -> Iterator[str]:
    deployment = state.deployments.known[stage.deployment]
    holds = holds_of(state, rollout, stage)
    if holds:
        yield f"nothing is offered: {say_holds(holds)}; {_goes_on(state, holds)}"
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
    left = _span(time_left(state, deployment, state.time))
    if deployment.held:
        yield f"whoever waits has another {left} as soon as it goes on, and is unreached then"
    else:
        yield f"whoever still waits in {left} is unreached"


def _span(milliseconds: int) -> str:
    """`6d23h`, `4m58s`: the largest units, two at most."""
    left, said = -(-max(0, milliseconds) // 1_000), []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        said += [f"{count}{unit}"] if count else []
    return "".join(said[:2]) or "0s"
