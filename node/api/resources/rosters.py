"""Tasks of a deployment that a list asks for: by column, and not one by one."""

import numpy as np

from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.state import ClusterState


def positions(
    state: ClusterState,
    deployment: Deployment,
    wanted: TaskState | None = None,
    ring: Ring | None = None,
    variant: int | None = None,
) -> Column | None:
    """Positions in its roster, ascending, of devices that are still registered; None: the roster is
    forgotten."""
    roster, table = state.deployments.rosters.get(deployment.number), state.fleet.table
    if roster is None:
        return None
    good: Column = table.birth[roster.row] == roster.birth
    if wanted is not None:
        good &= roster.state == wanted.code
    if ring is not None:
        good &= table.ring[roster.row] == ring.code
    if variant is not None:
        good &= roster.variant == variant
    places: Column = np.flatnonzero(good)
    return places
