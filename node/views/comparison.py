"""What came of each variant of a rollout as JSON, and what may be concluded from it.

Intervals of odds ratios are Woolf's, with half a device added to each count: for whoever looks
once. Those of hazard ratios hold however often one looks (node/guide/reference/gates.md,
"Evidence"). Floats are good enough for both: no verdict hangs on them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from stationkeep.cluster.progression.variants import UNFAIR, Arm, arms, unfairness
from stationkeep.cluster.rollouts.evidence import Look, hazard
from stationkeep.cluster.rollouts.gates import MILLI
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.rollouts.twins import COMPLETE, LOOKED_AT, UPDATED
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


class ArmView(View, frozen=True):
    """A variant that installs something. `share`: of all weights, 0..1. In devices: `assigned` to
    it; `reached`, of stages that are over; `succeeded` and `failed`, of those that have finished;
    `watched` and `turned_bad`, of stages that are being judged now. `odds`: of success, against the
    first variant; null: of the first, and where nothing is to be concluded."""

    name: str
    version: str
    share: float
    assigned: int
    reached: int
    succeeded: int
    failed: int
    watched: int
    turned_bad: int
    odds: IntervalView | None


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


def report_view(state: ClusterState, rollout: Rollout) -> ReportView:
    """The figures of a rollout as they are now."""
    found = arms(state, rollout) if rollout.plan.variants else []
    several = len(found) > 1
    unfair = unfairness(state, rollout) if several else 0
    withheld = _withheld(rollout, unfair) if several else None
    judged = several and withheld is None
    watched = _watched(state, rollout)
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
            watched=watched[places[arm.name], 0],
            turned_bad=watched[places[arm.name], 1],
            odds=odds_ratio(arm, found[0]) if judged and arm is not found[0] else None,
        )
        for arm in found
    ]
    return ReportView(
        rollout=rollout.name,
        state=rollout.state,
        variants=variants,
        controls=[v.name for v in rollout.plan.variants if v.artifact is None],
        sample_ratio=SampleRatioView(unfair / MILLI, UNFAIR / MILLI) if several else None,
        hazard=_hazard(_looks(state, rollout)),
        conclusions=[_conclude(arm, variants[0]) for arm in variants[1:] if arm.odds is not None],
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
    counts = [n + 0.5 for n in (arm.succeeded, arm.failed, first.succeeded, first.failed)]
    middle = math.log(counts[0] * counts[3] / (counts[1] * counts[2]))
    reach = NORMAL * math.sqrt(sum(1 / count for count in counts))
    ratio, low, high = map(math.exp, (middle, middle - reach, middle + reach))
    return IntervalView(ratio, low, high)


def _conclude(arm: ArmView, first: ArmView) -> str:
    odds = arm.odds
    assert odds is not None, "asked of no other"
    assert odds.low is not None, "Woolf's have both ends"
    assert odds.high is not None, "Woolf's have both ends"
    if odds.low <= 1 <= odds.high:
        found = f"no difference between {arm.name} and {first.name} is shown"
    else:
        found = f"{arm.name} succeeds {'more' if odds.low > 1 else 'less'} often than {first.name}"
    return f"{found}: odds ratio {odds.ratio:.2g}, {odds.low:.2g} to {odds.high:.2g}"


# Who turned bad


def _watched(state: ClusterState, rollout: Rollout) -> Counter[tuple[int, int]]:
    """Devices of stages that are judged now, by the place of their variant: that are watched (0),
    and turned bad (1). Sets of stages that are over are kept by what was seen, not by whom."""
    found: Counter[tuple[int, int]] = Counter()
    for stage in rollout.stages:
        twins = state.rollouts.twins.get((rollout.name, stage.name))
        if twins is None:
            continue
        variants = state.deployments.rosters[stage.deployment].variant[twins.position]
        bad = twins.bad & UPDATED > 0
        seen = (twins.stage == LOOKED_AT) | (twins.stage == COMPLETE) | bad
        for of, counted in enumerate((seen, bad)):
            for place, count in zip(*np.unique(variants[counted], return_counts=True), strict=True):
                found[int(place), of] += int(count)
    return found


def _looks(state: ClusterState, rollout: Rollout) -> tuple[tuple[Look, int], ...]:
    """What was seen in all stages."""
    found: Counter[Look] = Counter()
    for stage in rollout.stages:
        twins = state.rollouts.twins.get((rollout.name, stage.name))
        if twins is not None:
            found.update(twins.table)
        for at_risk, bad, updated, count in stage.looks:
            found[Look(at_risk, bad, updated)] += count
    return tuple(sorted(found.items()))


@lru_cache(maxsize=64)
def _hazard(looks: Sequence[tuple[Look, int]]) -> IntervalView | None:
    if not looks:
        return None
    low, high = hazard(dict(looks), CONFIDENCE)
    return IntervalView(
        None, None if low is None else float(low), None if high is None else float(high)
    )
