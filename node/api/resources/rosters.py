"""Tasks of a deployment that a list asks for: by column, and not one by one."""

import numpy as np

from stationkeep.cluster.delivery.tasks import Task, task_at
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


def task_there(state: ClusterState, deployment: int, position: int) -> Task | None:
    """The task at a position that was found, if it is still there: a list is rendered slice by
    slice, and between two of them a roster may be forgotten, or a device removed."""
    found = state.deployments.known.get(deployment)
    roster = state.deployments.rosters.get(deployment)
    if found is None or roster is None:
        return None
    task = task_at(state, found, position)
    return task if int(state.fleet.table.birth[task.row]) == task.birth else None
