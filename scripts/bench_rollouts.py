"""Rollouts over a fleet of a million: CPU time of each command in apply, and of the plans; and a
whole one to a hundred thousand devices of real nodes."""

from typing import Any

import numpy as np
from msgspec.structs import replace

from scripts import bench_rollout
from scripts.bench_tasks import applied, capable, report, timed
from stationkeep.cluster.commands import (
    AdvanceTime,
    CheckRollouts,
    CreateRollout,
    OpenStage,
    RollBackRollout,
    StartRollout,
)
from stationkeep.cluster.delivery.offers import plan_offers
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.deployments.lifecycle import TaskState, Word
from stationkeep.cluster.progression.advance import advance_rollouts
from stationkeep.cluster.rollouts.plan import Checks, Plan, StagePlan
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views import previews

FLEET = 1_000_000
NAME, NEW = "fw", Artifact("3.0.0")


def begun(*stages: StagePlan) -> ClusterState:
    """A fleet with a rollout that has begun, none of whose stages has opened."""
    state = capable(FLEET)
    plan = Plan(NEW, stages=stages, limits=Limits(FLEET, first=0), rest=False)
    for command in (CreateRollout(NAME, plan), StartRollout(NAME)):
        applied(state, command)
    return state


def opening(share: int, runs: int = 3) -> float:
    """The least CPU ms of opening a stage to a share (ppm) of the fleet."""
    taken = []
    for _ in range(runs):
        state = begun(StagePlan("all", share=share))
        revision = state.rollouts.known[NAME].revision
        taken.append(applied(state, OpenStage(NAME, revision, 0))[0])
    return min(taken) * 1_000


def life() -> dict[str, float]:
    """CPU ms of what a stage of half the fleet takes: offers to 8,192 devices, the first 2,000 of
    which are given twins, a check of those, and the way back of all."""
    state = begun(StagePlan("half", share=500_000, checks=Checks()))
    found = {}
    applied(state, OpenStage(NAME, state.rollouts.known[NAME].revision, 0))
    taken, offers = timed(lambda: plan_offers(state, state.time))
    found["plan offers"] = taken
    found["offer, sets"], _ = applied(state, offers[0])
    found["offer"], _ = applied(state, offers[1])
    roster = state.deployments.rosters[1]
    rows = roster.row[roster.in_state(TaskState.OFFERED)][:8_192]
    found["report"], _ = applied(state, report(state, 1, rows, Word.IN_PROGRESS))
    _succeed(state)
    found["check"] = _checked(state)
    found["again"] = _checked(state)
    found["advance"], _ = timed(lambda: advance_rollouts(state, state.time))
    done = roster.row[roster.in_state(TaskState.SUCCEEDED)[0]]
    roster.own()
    roster.state[:], roster.version[:] = TaskState.SUCCEEDED.code, 1
    deployment = state.deployments.known[1]
    deployment.tallies = roster.tally()
    state.fleet.table.kind[roster.row] = state.fleet.table.kind[done]
    found["back"], answer = applied(state, RollBackRollout(NAME))
    assert answer["devices"] == len(roster)
    return {name: value * 1_000 for name, value in found.items()}


def _succeed(state: ClusterState) -> None:
    """Those who were told have installed it."""
    roster, deployment = state.deployments.rosters[1], state.deployments.known[1]
    roster.own()
    offered = np.flatnonzero(roster.active)
    roster.state[offered] = TaskState.SUCCEEDED.code
    state.fleet.table.task[:] = 0
    deployment.tallies = roster.tally()
    kinds = state.fleet.table.kinds
    kind = kinds.all[0]
    assert kind is not None
    new = kinds.take(replace(kind, app_version=NEW.version))
    state.fleet.table.kind[roster.row[offered]] = new
    state.time += 40_000


def _checked(state: ClusterState) -> float:
    state.time += 10_000
    applied(state, AdvanceTime())
    return applied(state, CheckRollouts(state.rollouts.checks))[0]


def dry_run() -> dict[str, float]:
    """CPU ms of trying a rollout ring by ring: at most on the event loop at a time, and what its
    gates can see, on a thread."""
    state, held = capable(FLEET), []
    rollout = previews.imagined(state, NAME, Plan(NEW))
    stages, counted = previews.count_stages(state, rollout), []
    while True:
        taken, stage = timed(lambda: next(stages, None))
        held.append(taken)
        if stage is None:
            break
        counted.append(stage)
    judged = [previews.judged(stage, state.settings) for stage in counted]
    simulated, powers = timed(lambda: [previews.power_views(stage) for stage in judged])
    whole = list(zip(counted, powers, strict=True))
    shown, _ = timed(lambda: previews.preview_view(state, rollout, whole, [], state.time))
    return {"most at a time": max(*held, shown) * 1_000, "simulated": simulated * 1_000}


def run() -> dict[str, Any]:
    """All figures, the first three in CPU ms."""
    stages = {f"{share:,} members": opening(share) for share in (FLEET, FLEET // 10)}
    found = {"rollouts_open_stage_ms": stages, "rollouts_ms": life(), "dry_run_ms": dry_run()}
    return found | bench_rollout.run()
