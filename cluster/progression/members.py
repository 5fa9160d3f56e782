"""Who belongs to a stage: found in apply, by rings and lots, and not in the log.

Source: rollouts.md, "Stages".
"""

import numpy as np

from stationkeep.cluster.delivery.members import INCAPABLE, Members, beginnings
from stationkeep.cluster.delivery.offers import draw_by
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.numbers import U32
from stationkeep.cluster.rollouts.lifecycle import WAITING
from stationkeep.cluster.rollouts.plan import FOLLOW, Plan
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import ClusterState


def members_of(state: ClusterState, rollout: Rollout, place: int) -> Members:
    """The members of a stage, if it opened now."""
    fleet, plan, stage = state.fleet, rollout.plan, rollout.stages[place].plan
    wanted = in_scope(fleet, plan)
    if stage.ring is not None:
        wanted &= fleet.table.ring[: fleet.table.used] == stage.ring.code
    if stage.name == FOLLOW:
        wanted &= fleet.table.online[: fleet.table.used]
    rows = np.flatnonzero(wanted)
    draws = lots_of(fleet, rollout, rows)
    states = _beginnings(fleet, rollout, rows, draws)
    capable = states != INCAPABLE
    chosen = _smallest(draws, capable, stage.share)
    chosen &= ~touched(state, rollout, stage.name == FOLLOW)[rows] & (states != _CONTROL)
    for rival in rivals(state, rollout):  # by now devices may be in the scope of both
        chosen &= ~touched(state, rival, False)[rows]
    return Members(rows[chosen], states[chosen], len(rows) - int(capable.sum()))


_CONTROL = 254
"""Stands for the state of a task that a device does not get, although it could."""


def _beginnings(fleet: Fleet, rollout: Rollout, rows: Column, draws: Column) -> Column:
    """The codes of the states that the tasks of these devices begin in, of what each of them
    gets."""
    plan = rollout.plan
    if not plan.variants:
        return beginnings(fleet, rows, plan.artifact, plan.allow_downgrade)
    variants, states = variants_of(rollout, draws), np.zeros(len(rows), np.uint8)
    for place, artifact in enumerate(plan.artifacts):
        mine = np.flatnonzero(variants == place)
        states[mine] = beginnings(fleet, rows[mine], artifact, plan.allow_downgrade)
        if artifact is None:
            states[mine[states[mine] != INCAPABLE]] = _CONTROL
    return states


def rivals(state: ClusterState, rollout: Rollout) -> list[Rollout]:
    """Those that have begun, and of which nothing says whether they or this one go first on a
    device that both are about."""
    mine = rollout.plan.precedence, rollout.plan.component
    return [
        other
        for other in state.rollouts.open_ones()
        if other.name != rollout.name
        and other.state not in WAITING
        and (other.plan.precedence, other.plan.component) == mine
    ]


def in_scope(fleet: Fleet, plan: Plan) -> Column:
    """By row, whether a device is in the scope of a plan now."""
    wanted = np.zeros(fleet.table.used, bool)
    wanted[fleet.rows_of(parse(plan.scope))] = True
    if plan.devices:
        named = [row for device in plan.devices if (row := fleet.row(device)) is not None]
        only = np.zeros(fleet.table.used, bool)
        only[np.array(named, np.intp)] = True
        wanted &= only
    return wanted


def touched(state: ClusterState, rollout: Rollout, again: bool) -> Column:
    """By row, whether a device is in a roster of this rollout. Who was unreached may be told
    `again` by a stage that follows."""
    table = state.fleet.table
    found = np.zeros(table.used, bool)
    for number in rollout.deployments:
        roster = state.deployments.rosters.get(number)
        if roster is not None:
            there = table.birth[roster.row] == roster.birth
            if again:
                there &= roster.state != TaskState.UNREACHED.code
            found[roster.row[there]] = True
    return found


def lots_of(fleet: Fleet, rollout: Rollout, rows: Column) -> Column:
    """A random number, u64, for each device, its own for the whole life of the rollout."""
    return draw_by(fleet.table.lot[rows], rollout.salt)


def _smallest(draws: Column, among: Column, share: int) -> Column:
    """Which of those marked have the smallest draws: a larger share has all of a smaller one."""
    places = np.flatnonzero(among)
    most = -(-len(places) * share // PPM)
    if most >= len(places):
        return among.copy()
    chosen = np.zeros(len(draws), bool)
    chosen[places[np.argpartition(draws[places], most)[:most]]] = True
    return chosen


def variants_of(rollout: Rollout, draws: Column) -> Column:
    """Which variant each device gets, by the low half of its draw: the high half decides whether
    it is in a share, and must not decide both."""
    weights = [variant.weight for variant in rollout.plan.variants]
    if rollout.variant:
        weights = [v.weight * (v.name == rollout.variant) for v in rollout.plan.variants]
    ends = np.cumsum(np.array(weights, np.uint64))
    places = ((draws & np.uint64(U32)) * ends[-1]) >> np.uint64(32)
    found: Column = np.searchsorted(ends, places, side="right").astype(np.uint8)
    return found
