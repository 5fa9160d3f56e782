"""Deployments to a fleet of a million: CPU time of each command in apply, and of the plans; and
one to ten thousand devices that are connected to real nodes."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from scripts import bench_deployment
from scripts.bench_fleet import populated
from stationkeep.cluster.apply import Done, apply
from stationkeep.cluster.commands import (
    CancelDeployment,
    CreateDeployment,
    Draft,
    ReportTasks,
)
from stationkeep.cluster.delivery.expiries import plan_expiries
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits, Target
from stationkeep.cluster.deployments.lifecycle import Phase, TaskReason, TaskState, Word
from stationkeep.cluster.deployments.roster import COLUMNS
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import Kind
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState

FLEET = 1_000_000
NEW = Artifact("3.0.0")


def capable(count: int) -> ClusterState:
    """A fleet as `bench_fleet` has it, every device of which carries out tasks."""
    state = populated(count)
    kinds = state.fleet.table.kinds
    for number, kind in enumerate(kinds.all):
        assert kind is not None
        kinds.all[number] = Kind(
            kind.os_version, kind.app_version, (("deployment", "true"),), kind.labels
        )
    return state


def applied(state: ClusterState, command: Any) -> tuple[float, dict[str, Any]]:
    """CPU seconds to decode and apply an entry of this command, and its result."""
    entry = codec.stamp(state.time, 0, codec.encode_draft(Draft(command)))
    began = time.process_time()
    outcome = apply(state, codec.decode_entry(entry), state.index + 1).outcome
    taken = time.process_time() - began
    assert isinstance(outcome, Done), outcome
    return taken, outcome.result


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what came of it."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def report(state: ClusterState, number: int, rows: Any, word: Word) -> ReportTasks:
    """One word of all these devices about their tasks."""
    table, count = state.fleet.table, len(rows)

    def same(value: int) -> bytes:
        return np.full(count, value, np.uint8).tobytes()

    return ReportTasks(
        "sat-001",
        rows.astype("<u4").tobytes(),
        table.birth[rows].astype("<u4").tobytes(),
        np.full(count, number, "<u4").tobytes(),
        same(1),
        same(word.code),
        same(Phase.INSTALLING.code),
        same(40),
        same(TaskReason.INSTALL.code if word is Word.FAILED else 0),
    )


def opening(target: Target, runs: int = 5) -> float:
    """The least ms to open a deployment of this target, canceled after each run."""
    taken = []
    state = capable(FLEET)
    for _ in range(runs):
        took, result = applied(state, CreateDeployment(target, artifact=NEW))
        taken.append(took)
        applied(state, CancelDeployment(result["deployment"]))
    return min(taken) * 1e3


def life(deployment_of: int = FLEET) -> dict[str, float]:
    """ms of each command in the life of a deployment of everyone, 8,192 tasks at a time."""
    state = capable(deployment_of)
    limits = Limits(max_in_flight=deployment_of, retries=2)
    took, result = applied(
        state, CreateDeployment(Target(everyone=True), artifact=NEW, limits=limits)
    )
    figures = {"members": float(result["members"]), "create_ms": took * 1e3}
    number = result["deployment"]
    roster = state.deployments.rosters[number]
    offers, words = [], {word: [] for word in Word}  # type: ignore[var-annotated]
    plans = []
    for turn in range(6):
        state.time += 1_000
        took, plan = timed(lambda: plan_offers(state, state.time))
        plans.append(took)
        for command in plan:
            took, _ = applied(state, command)
            offers.append(took)
            rows = roster.row[np.frombuffer(command.positions, "<u4")].astype(np.intp)
            word = (Word.IN_PROGRESS, Word.FAILED, Word.POSTPONED)[turn % 3]
            took, answer = applied(state, report(state, number, rows, word))
            assert answer["taken"] == len(rows)
            words[word].append(took)
    figures["plan_offers_ms"] = min(plans) * 1e3
    figures["offer_8192_ms"] = float(np.median(offers)) * 1e3
    for word in (Word.IN_PROGRESS, Word.FAILED, Word.POSTPONED):
        figures[f"report_{word}_8192_ms"] = float(np.median(words[word])) * 1e3
    figures |= _expiring(state)
    took, _ = applied(state, CancelDeployment(number))
    figures["cancel_ms"] = took * 1e3
    return figures


def _expiring(state: ClusterState) -> dict[str, float]:
    state.time += 3_600_000
    took, plan = timed(lambda: plan_expiries(state, state.time))
    each = [applied(state, command)[0] for command in plan]
    (deployment,) = state.deployments.open_ones()
    idle, _ = timed(lambda: plan_expiries(state, state.time))
    assert deployment.count(TaskState.QUEUED)
    return {
        "plan_expiries_ms": took * 1e3,
        "expire_8192_ms": float(np.median(each)) * 1e3,
        "plan_nothing_ms": idle * 1e3,
    }


def steady() -> dict[str, float]:
    """ms of a plan of a deployment to everyone that has room for one task at a time."""
    state = capable(FLEET)
    applied(state, CreateDeployment(Target(everyone=True), artifact=NEW, limits=Limits(1)))
    took = [timed(lambda: plan_offers(state, state.time))[0] for _ in range(10)]
    return {"plan_one_ms": min(took) * 1e3}


def snapshot() -> dict[str, float]:
    """ms that the loop stands still for a snapshot with a whole fleet's roster, and bytes."""
    state = capable(FLEET)
    bare = len(codec.encode_snapshot(state))
    applied(state, CreateDeployment(Target(everyone=True), artifact=NEW))
    took, frozen = timed(lambda: codec.FrozenState(state))
    whole = len(frozen.encode())
    (command,) = plan_offers(state, state.time)
    after, _ = applied(state, command)
    return {
        "freeze_ms": took * 1e3,
        "bytes_a_task": (whole - bare) / FLEET,
        "column_bytes_a_task": float(sum(np.dtype(d).itemsize for d in COLUMNS.values())),
        "first_change_after_ms": after * 1e3,
    }


def memory() -> dict[str, float]:
    """Bytes a task, by what is allocated."""
    state = capable(FLEET)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    applied(state, CreateDeployment(Target(everyone=True), artifact=NEW))
    whole = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"bytes_a_task": whole / FLEET}


def run() -> dict[str, dict[str, float]]:
    """All of them."""
    openings = {
        "everyone_ms": opening(Target(everyone=True)),
        "ring_ms": opening(Target(Ring.PROD)),
        "selector_ms": opening(Target(selector="channel=stable, model in (Pixel 8, Pixel 9)")),
    }
    return {
        "tasks_open": openings,
        "tasks_life": life(),
        "tasks_steady": steady(),
        "tasks_snapshot": snapshot(),
        "tasks_memory": memory(),
        **bench_deployment.run(),
    }


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(run())).decode())
