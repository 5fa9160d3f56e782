"""Devices that were told to install something, were over before anything was heard of them, and
installed it all the same.

They say so when they register; a deployment that is closed by then does not look. Source:
rollouts.md, "Rollback".
"""

import numpy as np

from stationkeep.cluster.delivery.members import running
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import STATES, TaskState, codes
from stationkeep.cluster.deployments.roster import ACCEPTED, Roster
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.state import ClusterState

_OVER = np.isin(np.arange(len(STATES)), codes((TaskState.CANCELED, TaskState.UNREACHED)))
"""By the code of a state: whether the task was over for the cluster before its device had begun."""


def given_up(roster: Roster, positions: Column) -> Column:
    """Those of these tasks that were over after they had been offered, and before the device had
    begun."""
    told = _OVER[roster.state[positions]] & (roster.version[positions] > 0)
    chosen: Column = positions[told & (roster.flags[positions] & ACCEPTED == 0)]
    return chosen


def run_by(state: ClusterState, deployment: Deployment, positions: Column) -> Column:
    """Those of these tasks of present devices that run what the deployment installs, of nobody
    else's doing."""
    fleet, roster = state.fleet, state.deployments.rosters[deployment.number]
    runs = np.zeros(len(roster), bool)
    for artifact, mine in state.deployments.by_artifact(deployment, positions):
        ran = mine[running(fleet, roster, mine, artifact)]
        runs[ran[~_run_for_others(state, deployment, ran, artifact.component)]] = True
    return np.flatnonzero(runs)


def _run_for_others(
    state: ClusterState, deployment: Deployment, positions: Column, component: str
) -> Column:
    """Which of these devices run their version of this component since another deployment, that is
    remembered, had them do so."""
    book, found = state.deployments, np.zeros(len(positions), bool)
    roster = book.rosters[deployment.number]
    for number, theirs in book.rosters.items() if len(positions) else ():
        other = book.known[number]
        if other.rollout == deployment.rollout and other.rollout:
            continue
        places = theirs.find(roster.row[positions], roster.birth[positions])
        done = (places >= 0) & (theirs.state[places] == TaskState.SUCCEEDED.code)
        for artifact, mine in book.by_artifact(other, places[done]):
            if artifact.component == component:
                ran = mine[running(state.fleet, theirs, mine, artifact)]
                found |= np.isin(places, ran) & done
    return found
