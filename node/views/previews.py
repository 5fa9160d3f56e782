"""What a rollout would do if it began now: whom each stage reaches, for how long at least, what
stands in its way, and what its gates can see.

Counting walks the devices in scope once for each stage and each other rollout (10 to 30 ms for a
million), so it is done one by one, and the event loop has its turn in between. What gates can see
is simulated, for up to a second or two: with nothing but numbers, on any thread.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.delivery.members import INCAPABLE, beginnings
from stationkeep.cluster.delivery.offers import lies_on, salt_of
from stationkeep.cluster.deployments.deployment import Limits
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.odds.gates import MOST_SETS, Judged, powers
from stationkeep.cluster.progression.members import in_scope, members_of
from stationkeep.cluster.progression.orders import start_faults
from stationkeep.cluster.progression.steps import standing
from stationkeep.cluster.rollouts.lifecycle import WAITING
from stationkeep.cluster.rollouts.plan import FOLLOW, REST, Checks, Plan, StagePlan
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.settings import PPM, Settings
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.system.zones import opening
from stationkeep.node.views.base import View

MINUTE = 60_000
_EVERYBODY = StagePlan("everybody")


class PowerView(View, frozen=True):
    """Of rollouts in which the version makes a share of the devices `ill`: how many the health gate
    stops, and leaves in doubt. All 0..1."""

    ill: float
    stopped: float
    doubted: float


class StagePreviewView(View, frozen=True):
    """A stage if it opened now; `members` null: nobody can say yet. `already`: have the version,
    `newer`: one that is newer; `first`: told one at a time; `at_least_s`: if installing took no
    time. `power`: of its health gate, by the share that is made ill."""

    name: str
    ring: Ring | None
    members: int | None
    already: int
    newer: int
    offline: int
    first: int
    soak_s: float
    at_least_s: float
    gates: list[str]
    power: list[PowerView]
    note: str


class OverlapView(View, frozen=True):
    """A rollout that has begun, and is about some of the same devices."""

    rollout: str
    state: str
    priority: int
    devices: int
    sentence: str


class FrozenView(View, frozen=True):
    """A freeze that lies on devices in scope, and holds this rollout."""

    freeze: str
    ends_s: float
    devices: int


class WindowView(View, frozen=True):
    """When devices are told, by the clock of a zone, or their own (`device`). `opens_s`: until it
    is open for the first of them; null: nobody can say."""

    hours: str
    timezone: str
    opens_s: float | None


class PreviewView(View, frozen=True):
    """`POST /v1/rollouts:validate`: a rollout that was not laid down. `devices`: there are,
    `scope`: that it is about, `incapable`: of those, that cannot carry out tasks. `window` null: at
    any time. `refusals`: why it could not be started now."""

    rollout: str
    component: str
    versions: list[str]
    digest: str
    devices: int
    scope: int
    incapable: int
    stages: list[StagePreviewView]
    overlaps: list[OverlapView]
    freezes: list[FrozenView]
    window: WindowView | None
    refusals: list[str]


class Counted(NamedTuple):
    """A stage in devices. `queued`: that get the version; `twins`: others, well and in scope."""

    plan: StagePlan
    members: int
    already: int
    newer: int
    queued: int
    offline: int
    twins: int


def imagined(state: ClusterState, name: str, plan: Plan) -> Rollout:
    """The rollout of this plan as it would be laid down; the same devices come to its stages."""
    stages = (*plan.all_stages(), _EVERYBODY)
    return Rollout(
        name=name,
        plan=plan,
        digest=plan.digest,
        author="",
        comment="",
        created_at=state.time,
        wall=0,
        salt=salt_of(state.cluster_id, name),
        stages=tuple(Stage(stage) for stage in stages),
        number=0,
    )


def count_stages(state: ClusterState, rollout: Rollout) -> Iterator[Counted]:
    """The stages of an imagined rollout, one by one; the state may change between two."""
    used = state.fleet.table.used
    taken, peers = np.zeros(used, bool), _peers(state, rollout)
    for place, stage in enumerate(rollout.stages[:-1]):
        if stage.name == FOLLOW:
            yield Counted(stage.plan, 0, 0, 0, 0, 0, 0)
            continue
        found = members_of(state, rollout, place)
        there = found.rows < used  # who came since
        rows, states = found.rows[there], found.states[there]
        new = ~taken[rows]
        rows, states = rows[new], states[new]
        taken[rows] = True
        queued = rows[states == TaskState.QUEUED.code]
        yield Counted(
            plan=stage.plan,
            members=len(rows),
            already=int((states == TaskState.ALREADY_INSTALLED.code).sum()),
            newer=int((states == TaskState.CANCELED.code).sum()),
            queued=len(queued),
            offline=int((~state.fleet.table.online[queued]).sum()),
            twins=int((peers & ~taken).sum()),
        )


def _peers(state: ClusterState, rollout: Rollout) -> Column:
    """By row, who may serve as a twin until it is told something itself: controls always."""
    table = state.fleet.table
    everybody = members_of(state, rollout, len(rollout.stages) - 1)
    peers = np.zeros(table.used, bool)
    peers[everybody.rows[everybody.states == TaskState.QUEUED.code]] = True
    if any(artifact is None for artifact in rollout.plan.artifacts):
        rows = np.flatnonzero(in_scope(state.fleet, rollout.plan))
        others = rows[beginnings(state.fleet, rows, None, True) != INCAPABLE]
        peers[np.setdiff1d(others, everybody.rows, assume_unique=True)] = True
    well: Column = table.online[: table.used] & table.healthy[: table.used]
    return peers & well


def judged(counted: Counted, settings: Settings) -> Judged | None:
    """A stage as its health gate sees it; None if nobody looks, or nobody is there."""
    checks = _checks(counted.plan)
    if not checks.health or not counted.queued:
        return None
    looking, told = settings.looking, tellings(counted.queued, counted.plan.limits, settings)
    return Judged(
        members=counted.queued,
        twins=counted.twins,
        looks=max(1, _soak(counted.plan, settings) // looking),
        unseen=settings.settling // looking,
        tellings=told[:MOST_SETS] // looking,
        gates=checks.gates,
    )


def tellings(count: int, limits: Limits, settings: Settings) -> Column:
    """ms after a stage opened at which its devices are told, if installing took no time."""
    first = min(count, limits.first or 0)
    trial = np.arange(first) * settings.settling
    begin, left = first * settings.settling, count - first
    if limits.pace is None:
        return np.concatenate([trial, np.full(left, begin)])
    parts, rate = [trial], limits.pace.start
    while left > 0:
        grows = rate < limits.pace.most and limits.pace.factor > 1
        some = min(left, rate) if grows else left
        parts.append(begin + np.arange(some) * MINUTE // rate)
        begin, left = begin + MINUTE, left - some
        rate = min(limits.pace.most, rate * limits.pace.factor)
    return np.concatenate(parts)


def power_views(stage: Judged | None) -> list[PowerView]:
    """What a health gate can see. Takes a tenth of a second, and no state."""
    return [] if stage is None else [PowerView(*power) for power in powers(stage)]


def preview_view(
    state: ClusterState,
    rollout: Rollout,
    stages: Iterable[tuple[Counted, list[PowerView]]],
    overlaps: list[OverlapView],
    now: int,
) -> PreviewView:
    """All of it, of an imagined rollout."""
    plan, fleet = rollout.plan, state.fleet
    rows = np.flatnonzero(in_scope(fleet, plan))
    capable = beginnings(fleet, rows, None, True) != INCAPABLE
    return PreviewView(
        rollout=rollout.name,
        component=plan.component,
        versions=list(dict.fromkeys(artifact.version for artifact in plan.installed)),
        digest=plan.digest,
        devices=len(fleet),
        scope=len(rows),
        incapable=len(rows) - int(capable.sum()),
        stages=[_stage_view(stage, power, state.settings) for stage, power in stages],
        overlaps=overlaps,
        freezes=list(_freezes(state, rollout, rows, now)),
        window=_window(state, plan, rows, now),
        refusals=[
            f"{reason}: {detail}"
            for reason, detail in (*_taken(state, rollout), *start_faults(state, rollout))
        ],
    )


def _taken(state: ClusterState, rollout: Rollout) -> Iterator[tuple[Reason, str]]:
    """The rollout that has its name already; one that waits may be laid down anew."""
    known = state.rollouts.known.get(rollout.name)
    if known is not None and known.state not in WAITING:
        yield Reason.DUPLICATE, f"rollout: {standing(known)}: create it under another name"


def _stage_view(counted: Counted, power: list[PowerView], settings: Settings) -> StagePreviewView:
    plan, soak = counted.plan, _soak(counted.plan, settings)
    told = tellings(counted.queued, plan.limits, settings)
    least = int(told[-1]) + settings.settling + soak if len(told) else 0
    later = plan.name == FOLLOW
    return StagePreviewView(
        name=plan.name,
        ring=plan.ring,
        members=None if later else counted.members,
        already=counted.already,
        newer=counted.newer,
        offline=counted.offline,
        first=min(counted.queued, plan.limits.first or 0),
        soak_s=soak / 1_000,
        at_least_s=least / 1_000,
        gates=list(_gates(_checks(plan))),
        power=power,
        note=_note(counted),
    )


def _gates(checks: Checks) -> Iterator[str]:
    gates = checks.gates
    yield f"failures ≤ {_percent(gates.max_failures)}"
    if gates.min_coverage:
        yield f"coverage ≥ {_percent(gates.min_coverage)}"
    if checks.health:
        yield f"health, bad ≤ {_percent(gates.max_bad)}"
    if checks.webhook:
        yield "webhook"
    if checks.approvals:
        yield f"{checks.approvals} approval{'s' * (checks.approvals > 1)}"


def _note(counted: Counted) -> str:
    """What is worth knowing of a stage beforehand."""
    if counted.plan.name == FOLLOW:
        return "whoever comes later"
    if counted.plan.name == REST and not counted.members:
        return "whoever is in scope and in no stage by then"
    if not counted.queued:
        return "nobody gets the version: it passes at once"
    if _checks(counted.plan).health and not counted.twins:
        most = _percent(_checks(counted.plan).gates.max_bad)
        return f"no twins are left to compare with: only bad ≤ {most} judges; a control keeps some"
    return ""


def overlap_view(state: ClusterState, rollout: Rollout, other: Rollout) -> OverlapView | None:
    """What a rollout that has begun has in common with an imagined one; None: nothing."""
    if other.name == rollout.name or other.state in WAITING:
        return None
    mine, its = rollout.plan.precedence, other.plan.precedence
    both = int((in_scope(state.fleet, rollout.plan) & in_scope(state.fleet, other.plan)).sum())
    if not both:
        return None
    if its == mine:
        order = "goes beside it, whoever comes first"
    else:
        order = "goes before it" if its > mine else "waits for it"
    said = f"{other.name} ({other.state}, priority {its}) {order} on {both:,} devices"
    return OverlapView(other.name, other.state, its, both, said)


def _freezes(state: ClusterState, rollout: Rollout, rows: Column, now: int) -> Iterator[FrozenView]:
    for freeze in state.rollouts.freezes.values():
        count = int(lies_on(state, freeze, rows).sum())
        if count and freeze.name not in rollout.plan.overrides:
            yield FrozenView(freeze.name, max(0, freeze.until - now) / 1_000, count)


def _window(state: ClusterState, plan: Plan, rows: Column, now: int) -> WindowView | None:
    """By the clock that the leader has written into the log."""
    if not plan.hours:
        return None
    table, wall = state.fleet.table, state.wall + now - state.time
    numbers = np.unique(table.kind[rows]).tolist()
    opens = opening(plan.hours, {plan.zone_of(table.kinds[n]) for n in numbers} or {""}, wall)
    opens_s = None if opens is None else max(0, opens - wall) / 1_000
    return WindowView(plan.hours, plan.timezone, opens_s)


def _checks(stage: StagePlan) -> Checks:
    assert stage.checks is not None, "the stages of a rollout are whole"
    return stage.checks


def _soak(stage: StagePlan, settings: Settings) -> int:
    return max(settings.soak if stage.soak is None else stage.soak, settings.looking)


def _percent(ppm: int) -> str:
    return f"{100 * ppm / PPM:g}%"
