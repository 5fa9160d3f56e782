"""What came of each variant of a rollout, and whether devices came to them as they should.

Who gets which is drawn, so the numbers of devices follow the weights. Where they do not, something
else decided it, and the variants cannot be compared. Source: gates.md, "Evidence".
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from stationkeep.cluster.deployments.lifecycle import STATES, TaskState, codes
from stationkeep.cluster.rollouts import evidence
from stationkeep.cluster.rollouts.gates import MILLI
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.state.state import ClusterState

UNFAIR = 1_000 * MILLI
"""Evidence, in thousandths, that devices do not come to variants by their weights: nothing is to be
concluded from a comparison then."""
_FAILED = (TaskState.FAILED, TaskState.REJECTED, TaskState.TIMED_OUT)
_NEVER = (TaskState.UNREACHED, TaskState.CANCELED, TaskState.ALREADY_INSTALLED)


class Arm(msgspec.Struct, frozen=True):
    """One variant that installs something, in devices. `reached`: those of stages that are over
    whose task came to anything."""

    name: str
    weight: int
    assigned: int = 0
    reached: int = 0
    succeeded: int = 0
    failed: int = 0


def arms(state: ClusterState, rollout: Rollout) -> list[Arm]:
    """The variants of a rollout, as far as its rosters are kept. Controls have no tasks."""
    kinds, width = len(rollout.plan.variants), len(STATES)
    whole, over = np.zeros((2, kinds, width), np.int64)
    for stage in rollout.stages:
        roster = state.deployments.rosters.get(stage.deployment)
        if roster is not None:
            cells = roster.variant.astype(np.intp) * width + roster.state
            counts = np.bincount(cells, minlength=kinds * width).reshape(kinds, width)
            whole += counts
            over += counts * (not stage.is_judged)
    reached = over.sum(axis=1) - over[:, codes(_NEVER)].sum(axis=1)
    return [
        Arm(
            name=variant.name,
            weight=variant.weight,
            assigned=int(whole[place].sum()),
            reached=int(reached[place]),
            succeeded=int(whole[place, TaskState.SUCCEEDED.code]),
            failed=int(whole[place, codes(_FAILED)].sum()),
        )
        for place, variant in enumerate(rollout.plan.variants)
        if variant.artifact is not None
    ]


def unfairness(state: ClusterState, rollout: Rollout) -> int:
    """Evidence, in thousandths, that devices do not come to the variants by their weights: of who
    was assigned, or of who was reached. 0 where there is nothing to compare, and once one variant
    was promoted."""
    found = arms(state, rollout)
    if len(found) < 2 or rollout.variant:
        return 0
    weights = tuple(arm.weight for arm in found)
    assigned, reached = (tuple(getattr(arm, f) for arm in found) for f in ("assigned", "reached"))
    return max(_imbalance(assigned, weights), _imbalance(reached, weights))


@lru_cache(maxsize=64)
def _imbalance(counts: Sequence[int], weights: Sequence[int]) -> int:
    return int(evidence.imbalance(counts, weights) * MILLI)
