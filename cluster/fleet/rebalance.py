"""The plan of one check of the rings: a pure, vectorised pass over the fleet."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.fleet.fleet import FleetView
from cluster.settings import Settings


class RebalancePlan(msgspec.Struct, frozen=True):
    """Moves, ascending by row; `facts` say what was seen and why nothing more is moved."""

    rows: npt.NDArray[np.uint32]
    revisions: npt.NDArray[np.uint32]
    rings: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    facts: dict[str, Any] = {}


def plan_rebalance(
    view: FleetView, settings: Settings, now: int, draw: np.random.Generator
) -> RebalancePlan:
    """What a check at cluster time `now` would move; `draw` gives the randomness."""
    raise NotImplementedError
