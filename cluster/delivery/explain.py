"""Why a device is where it is, and what becomes of its tasks: read off the state."""

from collections.abc import Iterator

from msgspec.structs import replace

from stationkeep.cluster.delivery.expiries import time_left
from stationkeep.cluster.delivery.offers import Hold, hold_of
from stationkeep.cluster.delivery.tasks import Delay, Standing, Task, standing, tasks_of
from stationkeep.cluster.deployments.lifecycle import UNFINISHED, TaskReason, TaskState
from stationkeep.cluster.fleet.explain import DeviceExplanation
from stationkeep.cluster.fleet.explain import explain_device as explain_ring
from stationkeep.cluster.settings import format_duration
from stationkeep.cluster.state.state import ClusterState

HOLDS: dict[Hold, str] = {
    Hold.CLUSTER_PAUSED: "automatic changes are paused",
    Hold.SWARM_OFF: "automatic changes are switched off (swarm_mode)",
    Hold.STORM: "the storm brake is on",
}
REASONS: dict[TaskReason, str] = {
    TaskReason.POSTPONED: "the device put it off",
    TaskReason.RETRY: "the attempt before failed",
    TaskReason.UNANSWERED: "the device did not answer the offer",
}


def explain_device(state: ClusterState, row: int) -> DeviceExplanation:
    """The story of the device in a row, its unfinished tasks with it; the row must be in use."""
    told = explain_ring(state, row)
    tasks = [task for task in tasks_of(state, row) if task.state in UNFINISHED]
    if not tasks:
        return told
    lines = [line for task in tasks for line in _say_task(state, told.device, task)]
    return replace(told, summary=[*told.summary, *lines])


def _say_task(state: ClusterState, device: str, task: Task) -> Iterator[str]:
    name = f"its task {task.deployment}/{device}/{task.attempt}"
    deployment = state.deployments.known[task.deployment]
    artifact = state.deployments.artifact_of(deployment, task.variant)
    what = f"{artifact.component} {artifact.version}" if artifact else deployment.task_type
    since = _span(state.time - task.since)
    match task.state:
        case TaskState.QUEUED:
            yield f"{name} ({what}) waits: {say_standing(state, task)}"
        case TaskState.OFFERED:
            yield f"{name} ({what}) was offered {since} ago and is not answered yet"
        case _:
            canceled = ", and was told to cancel" if task.told_to_cancel else ""
            yield f"{name} ({what}) is {task.phase}, {task.progress} %, for {since}{canceled}"
    if task.state is not TaskState.QUEUED:
        yield "no check moves it meanwhile, and no other task is offered to it"


def say_standing(state: ClusterState, task: Task) -> str:
    """Why a queued task waits, in words."""
    found = standing(state, task, state.time)
    hold = hold_of(state)
    if found.delay is Delay.HELD and hold is not None:
        return HOLDS[hold]
    if found.delay is Delay.NOT_BEFORE and task.due is not None:
        why = REASONS.get(task.reason, "it is not yet time")
        return f"{why}, the next offer is in {_span(task.due - state.time)}"
    return _say(state, task, found)


def _say(state: ClusterState, task: Task, found: Standing) -> str:
    deployment = state.deployments.known[task.deployment]
    match found.delay:
        case Delay.DEADLINE:
            return "the time of its deployment is over"
        case Delay.OFFLINE:
            left = _span(time_left(state, deployment, state.time))
            return f"the device is offline; for another {left}"
        case Delay.NOT_ANSWERING:
            return "the device left too many offers unanswered, and must register anew"
        case Delay.BUSY:
            return f"deployment {found.deployment} has the device"
        case Delay.REQUIRE:
            rule = deployment.require
            return f"its newest status does not meet {rule}"
        case Delay.PRIORITY:
            return f"deployment {found.deployment} goes before, by its priority"
        case Delay.ROLLOUT:
            return f"rollout {deployment.rollout} has nothing offered ({deployment.held})"
        case Delay.FROZEN:
            ends = max(freeze.until for freeze in state.rollouts.freezes.values())
            return f"a freeze lies on the device; for another {_span(ends - state.time)} at most"
        case Delay.FIRST:
            first = deployment.limits.first
            return f"one device at a time is told until {first} have succeeded and are well"
        case Delay.MAX_IN_FLIGHT:
            return f"{deployment.in_flight} tasks are in flight (max_in_flight)"
        case Delay.PACE:
            return f"the pace is {deployment.rate} a minute"
    rollout = state.rollouts.known.get(deployment.rollout)
    if rollout is None or deployment.undoes or not rollout.plan.hours:
        return "it is offered next"
    return f"it is offered next in its window: {rollout.plan.hours_in_words}"


def _span(milliseconds: int) -> str:
    return format_duration(-(-max(0, milliseconds) // 1_000) * 1_000)
