"""What came of each variant of a rollout as JSON, and what may be concluded from it.

Intervals of odds ratios are Woolf's, with half a device added to each count: for whoever looks
once. Those of hazard ratios hold however often one looks (node/guide/reference/gates.md,
"Evidence"). Floats are good enough for both: no verdict hangs on them.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.devices.status import BUILT_IN, MISSING, scale_of
from stationkeep.cluster.devices.table import NEVER, Column
from stationkeep.cluster.progression.variants import UNFAIR, Arm, arms, unfairness
from stationkeep.cluster.rollouts.evidence import Look, hazard
from stationkeep.cluster.rollouts.gates import MILLI, Observed
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.base import View

NORMAL = 1.959964
"""Standard deviations to each side that leave out one case in twenty."""
CONFIDENCE = 950_000


class IntervalView(View, frozen=True):
    """A ratio, and between what it is in 19 of 20 cases; null: nothing sets that end."""

    ratio: float | None
    low: float | None
    high: float | None


class QuartilesView(View, frozen=True):
    """A figure as devices report it: a quarter of them below `low`, half below `median`, a quarter
    above `high`; of so many `devices`. It describes, and judges nothing."""

    metric: str
    low: float
    median: float
    high: float
    devices: int


class ArmView(View, frozen=True):
    """A variant that installs something. `share`: of all weights, 0..1. In devices: `assigned` to
    it; `reached`, of stages that are over; `succeeded` and `failed`, of those that have finished;
    `watched`, and `turned_bad` of these. `device_hours`: for which devices run it since they
    succeeded. `odds`: of success, against the first variant; null: of the first, and where nothing
    is to be concluded. `bad_odds`: those of turning bad, of the devices that were watched.
    `hazard`: how much more often its devices turn bad than their twins; null: none was compared.
    `metrics`: of the newest statuses of its devices."""

    name: str
    version: str
    share: float
    assigned: int
    reached: int
    succeeded: int
    failed: int
    watched: int
    turned_bad: int
    device_hours: float
    odds: IntervalView | None
    bad_odds: IntervalView | None
    hazard: IntervalView | None
    metrics: list[QuartilesView]


class SampleRatioView(View, frozen=True):
    """Evidence that devices do not come to variants by their weights; at `needed` nothing is to be
    concluded."""

    evidence: float
    needed: float


class ReportView(View, frozen=True):
    """`GET /v1/rollouts/NAME/report`. `hazard`: how much more often devices that were updated turn
    bad than their twins, whatever variant they got; null: none was compared. `conclusions`: in
    words; `withheld`: there are none, and why."""

    rollout: str
    state: str
    variants: list[ArmView]
    controls: list[str]
    sample_ratio: SampleRatioView | None
    hazard: IntervalView | None
    conclusions: list[str]
    withheld: str | None


def report_view(state: ClusterState, rollout: Rollout, now: int) -> ReportView:
    """The figures of a rollout at cluster time `now`."""
    found = arms(state, rollout) if rollout.plan.variants else []
    several = len(found) > 1
    unfair = unfairness(state, rollout) if several else 0
    withheld = _withheld(rollout, unfair) if several else None
    judged = several and withheld is None
    seen = _observed(state, rollout)
    total = sum(variant.weight for variant in rollout.plan.variants)
    versions = {v.name: v.artifact.version for v in rollout.plan.variants if v.artifact}
    places = {variant.name: place for place, variant in enumerate(rollout.plan.variants)}
    variants = [
        ArmView(
            name=arm.name,
            version=versions[arm.name],
            share=arm.weight / total,
            assigned=arm.assigned,
            reached=arm.reached,
            succeeded=arm.succeeded,
            failed=arm.failed,
            watched=seen[place].observed,
            turned_bad=seen[place].bad,
            device_hours=device_hours(state, rollout, place, now),
            odds=odds_ratio(arm, found[0]) if judged and arm is not found[0] else None,
            bad_odds=_bad_odds(seen, place, places[found[0].name]) if judged else None,
            hazard=_hazard(seen[place].looks),
            metrics=quartiles(state, rollout, place),
        )
        for arm in found
        for place in (places[arm.name],)
    ]
    return ReportView(
        rollout=rollout.name,
        state=rollout.state,
        variants=variants,
        controls=[v.name for v in rollout.plan.variants if v.artifact is None],
        sample_ratio=SampleRatioView(unfair / MILLI, UNFAIR / MILLI) if several else None,
        hazard=_hazard(_looks(state, rollout)),
        conclusions=list(_conclusions(variants)) if judged else [],
        withheld=withheld,
    )


def _withheld(rollout: Rollout, unfair: int) -> str | None:
    if unfair >= UNFAIR:
        found = f"evidence {unfair / MILLI:,.0f}, {UNFAIR / MILLI:,.0f} is proof"
        return f"devices do not come to the variants by their weights ({found})"
    if rollout.variant:
        return f"{rollout.variant} was promoted: later stages got it alone"
    return None


def odds_ratio(arm: Arm, first: Arm) -> IntervalView:
    """How the odds that an installation succeeds compare with those of another variant."""
    return _woolf(arm.succeeded, arm.failed, first.succeeded, first.failed)


def _bad_odds(seen: Sequence[Observed], place: int, first: int) -> IntervalView | None:
    """How the odds that a device turns bad compare with those of the first variant; None: of that
    itself, or where nobody was watched."""
    one, other = seen[place], seen[first]
    if place == first or not one.observed or not other.observed:
        return None
    return _woolf(one.bad, one.observed - one.bad, other.bad, other.observed - other.bad)


def _woolf(*cells: int) -> IntervalView:
    """The odds ratio of a table of four: yes and no of the one, yes and no of the other."""
    counts = [n + 0.5 for n in cells]
    middle = math.log(counts[0] * counts[3] / (counts[1] * counts[2]))
    reach = NORMAL * math.sqrt(sum(1 / count for count in counts))
    ratio, low, high = map(math.exp, (middle, middle - reach, middle + reach))
    return IntervalView(ratio, low, high)


def _conclusions(variants: Sequence[ArmView]) -> Iterator[str]:
    first, *others = variants
    for arm in others:
        assert arm.odds is not None, "judged"
        yield _conclude(arm, first, arm.odds, "between", "succeeds")
        if arm.bad_odds is not None:
            yield _conclude(
                arm, first, arm.bad_odds, "in how often devices turn bad of", "turns bad"
            )
    for arm in variants:
        if arm.hazard is not None and arm.hazard.low is not None and arm.hazard.low > 1:
            end = "more" if arm.hazard.high is None else f"{arm.hazard.high:.2g}"
            often = f"{arm.hazard.low:.2g} to {end} times as often as their twins"
            yield f"devices with {arm.name} turn bad {often}"


def _conclude(arm: ArmView, first: ArmView, odds: IntervalView, what: str, does: str) -> str:
    """`no difference between b and a is shown: odds ratio 1.1, 0.9 to 1.3`."""
    assert odds.low is not None, "Woolf's have both ends"
    assert odds.high is not None, "Woolf's have both ends"
    if odds.low <= 1 <= odds.high:
        found = f"no difference {what} {arm.name} and {first.name} is shown"
    else:
        found = f"{arm.name} {does} {'more' if odds.low > 1 else 'less'} often than {first.name}"
    return f"{found}: odds ratio {odds.ratio:.2g}, {odds.low:.2g} to {odds.high:.2g}"


# Who turned bad


def _observed(state: ClusterState, rollout: Rollout) -> list[Observed]:
    """What was seen in all stages, by the place of the variant."""
    kinds = len(rollout.plan.variants)
    stages = []
    for stage in rollout.stages:
        twins = state.rollouts.twins.get((rollout.name, stage.name))
        if twins is None:
            stages.append(stage.arms or (Observed(),) * kinds)
        else:
            variants = state.deployments.rosters[stage.deployment].variant[twins.position]
            stages.append(twins.by_variant(variants, kinds))
    return [_together(of_one) for of_one in zip(*stages, strict=True)]


def _together(parts: Sequence[Observed]) -> Observed:
    looks: Counter[tuple[int, int, int]] = Counter()
    for part in parts:
        for twins, bad, updated, count in part.looks:
            looks[twins, bad, updated] += count
    return Observed(
        sum(part.observed for part in parts),
        sum(part.bad for part in parts),
        tuple((*look, count) for look, count in sorted(looks.items())),
    )


def _looks(state: ClusterState, rollout: Rollout) -> tuple[tuple[int, int, int, int], ...]:
    """What was seen in all stages."""
    found: Counter[Look] = Counter()
    for stage in rollout.stages:
        twins = state.rollouts.twins.get((rollout.name, stage.name))
        if twins is not None:
            found.update(twins.table)
        for at_risk, bad, updated, count in stage.looks:
            found[Look(at_risk, bad, updated)] += count
    return tuple((*look, count) for look, count in sorted(found.items()))


@lru_cache(maxsize=64)
def _hazard(looks: Sequence[tuple[int, int, int, int]]) -> IntervalView | None:
    if not looks:
        return None
    low, high = hazard({Look(*look): count for *look, count in looks}, CONFIDENCE)
    return IntervalView(
        None, None if low is None else float(low), None if high is None else float(high)
    )


# What its devices are like


def device_hours(state: ClusterState, rollout: Rollout, place: int, now: int) -> float:
    """For which devices have run a variant since they succeeded, as far as rosters are kept; of a
    rollout that is over until its end."""
    end, total = rollout.since if rollout.ended else now, 0
    for stage in rollout.stages:
        roster = state.deployments.rosters.get(stage.deployment)
        if roster is not None:
            since = roster.since[_having(roster, place)].astype(np.int64)
            at = state.deployments.known[stage.deployment].at(since)
            total += int(np.maximum(0, end - at).sum())
    return total / 3_600_000


def quartiles(state: ClusterState, rollout: Rollout, place: int) -> list[QuartilesView]:
    """Of what the devices that have a variant report, those that report nothing left out."""
    table = state.fleet.table
    parts = [np.zeros(0, np.intp)]
    for stage in rollout.stages:
        roster = state.deployments.rosters.get(stage.deployment)
        if roster is not None:
            having = _having(roster, place)
            rows = roster.row[having]
            parts.append(rows[table.birth[rows] == roster.birth[having]])
    rows = np.concatenate(parts)
    rows = rows[table.updated_at[rows] != NEVER]
    columns = {name: getattr(table, name) for name in BUILT_IN}
    columns |= {name: table.metrics[name] for name in sorted(table.metrics)}
    shown = [_quartiles(name, column[rows]) for name, column in columns.items()]
    return [one for one in shown if one is not None]


def _having(roster: Roster, place: int) -> Column:
    having: Column = (roster.state == TaskState.SUCCEEDED.code) & (roster.variant == place)
    return having


def _quartiles(metric: str, values: Column) -> QuartilesView | None:
    values = values[values != MISSING]
    if not len(values):
        return None
    low, median, high = (np.percentile(values, (25, 50, 75)) / scale_of(metric)).tolist()
    return QuartilesView(metric, low, median, high, len(values))
