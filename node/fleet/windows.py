"""Windows of rollouts: the leader alone looks at the clock on the wall, when it plans offers.

Apply cannot ask which moment it is, and does not: a leader that knows the wrong time offers at the
wrong time, and does no other harm. So one whose clock has jumped takes every window for closed,
from that moment on: the alarm that tells of it goes through the log, and comes seconds later.
Source: rollouts.md, "Windows".
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.delivery.members import of_kinds
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.duty import Workbench
from stationkeep.node.health.self_checks import Watch
from stationkeep.node.system.zones import is_open, names, next_change, zone_or_utc


class Bounds(NamedTuple):
    """Unix ms between which installing may begin; None: no bound."""

    after: int | None
    before: int | None


class Windows:
    """As the clock of this node has them. `leaps`: what is wrong with that clock."""

    def __init__(self, bench: Workbench, leaps: Watch) -> None:
        self._clock, self._replica, self._leaps = bench.host.clock, bench.replica, leaps
        names()  # while the node starts, and not while it leads

    def may_begin(self, deployment: Deployment, rows: Column) -> Column:
        """Which of these devices may be told now: `cluster.delivery.offers.MayBegin`."""
        state, wall = self._replica.state, self._clock.wall()
        plan = plan_with_window(state, deployment)
        if plan is None:
            return np.ones(len(rows), bool)
        if self._leaps() is not None:
            return np.zeros(len(rows), bool)
        opened = cache(lambda zone: is_open(plan.hours, zone_or_utc(zone), wall))
        return of_kinds(state.fleet, rows, lambda kind: opened(plan.zone_of(kind)))


def plan_with_window(state: ClusterState, deployment: Deployment) -> Plan | None:
    """The plan whose window a deployment keeps to; None: devices may begin at any time. Nothing
    keeps them from going back."""
    rollout = state.rollouts.known.get(deployment.rollout)
    return None if rollout is None or deployment.undoes or not rollout.plan.hours else rollout.plan


def bounds(state: ClusterState, deployment: Deployment, row: int, wall: int) -> Bounds:
    """When the device in a row may begin with a deployment, if it is told at a moment, Unix ms."""
    plan = plan_with_window(state, deployment)
    if plan is None:
        return Bounds(None, None)
    table = state.fleet.table
    zone = zone_or_utc(plan.zone_of(table.kinds[int(table.kind[row])]))
    change = next_change(plan.hours, zone, wall)
    if change is None or is_open(plan.hours, zone, wall):
        return Bounds(None, change)
    return Bounds(change, next_change(plan.hours, zone, change))
