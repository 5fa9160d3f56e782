"""Twins: who is compared with an updated device, and what is seen of them.

They are found when the device is told, in the same entry: devices in the scope of the rollout that
it has not touched yet, and that have been well for as long. Whoever is told to do something itself
is a twin no more. Source: rollouts.md, "Twins".
"""

from typing import NamedTuple

import numpy as np

from stationkeep.cluster.commands import OfferTasks
from stationkeep.cluster.delivery import offers
from stationkeep.cluster.delivery.members import beginnings
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import STATES, UNFINISHED, TaskState, codes
from stationkeep.cluster.deployments.roster import SUPERSEDED, Roster
from stationkeep.cluster.devices.status import HealthRule
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.progression.members import in_scope, lots_of
from stationkeep.cluster.rollouts.evidence import MAX_TWINS
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.rollouts.twins import (
    COMPLETE,
    LEFT,
    LOOKED_AT,
    MAX_SETS,
    UPDATED,
    Twins,
)
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Step

SAMPLE = 65_536
"""Devices that are looked at for twins first."""
_GOING = np.isin(np.arange(len(STATES)), codes((*UNFINISHED, TaskState.SUCCEEDED)))
"""By the code of a state: whether the device is worth comparing."""


def offer_tasks(step: Step, command: OfferTasks) -> dict[str, object]:
    """Offers tasks, and finds twins for the devices of a stage that are told first."""
    chosen = offers.choose(step, command)
    deployment, positions = chosen.deployment, chosen.positions
    if len(positions):
        roster = step.state.deployments.rosters[deployment.number]
        _leave_sets(step.state, deployment, roster.row[positions])
        found = _stage_of(step.state, deployment)
        if found is not None:
            _find_twins(step.state, *found, deployment, positions)
    return offers.offer(step, chosen)


def _stage_of(state: ClusterState, deployment: Deployment) -> tuple[Rollout, Stage] | None:
    """The stage that a deployment is judged for, if its health is."""
    rollout = state.rollouts.known.get(deployment.rollout)
    if rollout is None:
        return None
    for stage in rollout.stages:
        if stage.deployment == deployment.number and stage.is_judged and stage.checks.health:
            return rollout, stage
    return None


def _leave_sets(state: ClusterState, deployment: Deployment, rows: Column) -> None:
    """Devices that are told to do something are compared with nobody any more, but by the stage
    that tells them."""
    told = np.zeros(state.fleet.table.used, bool)
    told[rows] = True
    for (name, stage), twins in state.rollouts.twins.items():
        twins.leave(told[twins.row] & (twins.birth > 0))
        rollout = state.rollouts.known[name]
        place = rollout.stage(stage)
        assert place is not None
        number = rollout.stages[place].deployment
        if number != deployment.number:
            updated = state.deployments.rosters[number].row[twins.position]
            gone = np.flatnonzero(twins.open & told[updated])
            if len(gone):
                twins.move_on(gone, LEFT)


# Finding them


def _find_twins(
    state: ClusterState,
    rollout: Rollout,
    stage: Stage,
    deployment: Deployment,
    positions: Column,
) -> None:
    """Sets for those of these devices that were well for long enough and have none yet. A set that
    was given up, as its device was not reached, makes room for another when this is told again."""
    twins = state.rollouts.twins.setdefault((rollout.name, stage.name), Twins())
    twins.drop(positions)
    room = MAX_SETS - len(twins)
    if not room:
        return
    roster = state.deployments.rosters[deployment.number]
    fresh = positions[~np.isin(positions, twins.position)]
    fresh = fresh[_steady(state, stage.checks.require, roster.row[fresh])][:room]
    if len(fresh):
        wanted = MAX_TWINS * len(fresh)
        candidates = _candidates(state, rollout, stage, roster.row[positions], wanted)
        rows, births = _pair(state, rollout, roster.row[fresh], candidates)
        twins.add(fresh, rows, births)


def _steady(state: ClusterState, require: HealthRule | None, rows: Column) -> Column:
    """Which devices have been well for `recovery_hold`."""
    since = state.fleet.table.turned_at[rows]
    rested: Column = since <= state.time - state.settings.recovery_hold
    return rested & well(state, require, rows)


def well(state: ClusterState, require: HealthRule | None, rows: Column) -> Column:
    """Which devices are healthy and there, and meet what a stage requires besides."""
    table = state.fleet.table
    found: Column = table.healthy[rows] & table.online[rows]
    return found if require is None else found & state.fleet.meeting(require, rows)


def _candidates(
    state: ClusterState, rollout: Rollout, stage: Stage, told: Column, wanted: int
) -> Column:
    """Rows of devices that may be twins now, at least so many if there are. Of a large fleet every
    so manieth device is looked at first."""
    fleet, used = state.fleet, state.fleet.table.used
    free = in_scope(fleet, rollout.plan) & (fleet.table.task[:used] == 0)
    free[told] = False
    for twins in state.rollouts.twins.values():
        free[twins.serving()] = False
    free[_begun(state, rollout)] = False
    step = max(1, used // SAMPLE)
    some = np.arange(rollout.salt % step, used, step)
    found = _fit(state, rollout, stage, some[free[some]])
    return found if len(found) >= wanted else _fit(state, rollout, stage, np.flatnonzero(free))


def _fit(state: ClusterState, rollout: Rollout, stage: Stage, rows: Column) -> Column:
    """Those of these devices that are steady, and could be updated as well."""
    rows = rows[_steady(state, stage.checks.require, rows)]
    for artifact in rollout.plan.installed:
        states = beginnings(state.fleet, rows, artifact, rollout.plan.allow_downgrade)
        rows = rows[states == TaskState.QUEUED.code]
    return rows


def _begun(state: ClusterState, rollout: Rollout) -> Column:
    """Rows of the devices that were told by this rollout, or that had nothing to be told."""
    found = [np.zeros(0, np.uint32)]
    for number in rollout.deployments:
        roster = state.deployments.rosters.get(number)
        if roster is not None:
            untouched = roster.state == TaskState.QUEUED.code
            untouched &= (roster.flags == 0) & (roster.reason == 0) & (roster.attempt == 1)
            found.append(roster.row[~untouched])
    return np.concatenate(found)


class _Pairs(NamedTuple):
    """By updated device the rows and births of its twins; birth 0: none."""

    rows: Column
    births: Column


def _pair(state: ClusterState, rollout: Rollout, updated: Column, candidates: Column) -> _Pairs:
    """As many twins for each as there are for all; of the same ring, as far as they go, and those
    that are updated last."""
    each = min(MAX_TWINS, len(candidates) // len(updated))
    candidates = candidates[np.argsort(lots_of(state.fleet, rollout, candidates))[::-1]]
    ring = state.fleet.table.ring
    rows = np.zeros((len(updated), MAX_TWINS), np.int64)
    taken = np.zeros(len(candidates), bool)
    empty = np.zeros((2, 0), np.intp)
    for code in np.flatnonzero(np.bincount(ring[updated])).tolist():
        mine = np.flatnonzero(ring[updated] == code)
        wanted = np.stack([np.tile(mine, each), np.repeat(np.arange(each), len(mine))])
        own = np.flatnonzero(ring[candidates] == code)[: wanted.shape[1]]
        taken[own] = True
        _place(rows, wanted, candidates[own])
        empty = np.concatenate([empty, wanted[:, len(own) :]], axis=1)
    _place(rows, empty, candidates[~taken])
    births = state.fleet.table.birth[rows].astype(np.int64)
    births[:, each:] = 0
    return _Pairs(rows, births)


def _place(rows: Column, places: Column, twins: Column) -> None:
    """Enters twins at these places, (updated device, how manieth twin), as far as they go."""
    count = min(places.shape[1], len(twins))
    rows[tuple(places[:, :count])] = twins[:count]


# Looking at them


def look(state: ClusterState, rollout: Rollout, stage: Stage, twins: Twins) -> None:
    """One look at all sets of a stage."""
    deployment = state.deployments.known[stage.deployment]
    roster = state.deployments.rosters[stage.deployment]
    sets = np.flatnonzero(twins.open)
    positions = twins.position[sets]
    useless = _is_useless(state, roster, positions)
    if useless.any():
        twins.move_on(sets[useless], LEFT)
    done = ~useless & (roster.state[positions] == TaskState.SUCCEEDED.code)
    age = state.time - deployment.at(roster.since[positions].astype(np.int64))
    seen = done & (age >= state.settings.settling)
    sets, positions, age = sets[seen], positions[seen], age[seen]
    if not len(sets):
        return
    table = state.fleet.table
    twins.leave((table.birth[twins.row] != twins.birth) & (twins.birth > 0))
    require = stage.checks.require
    ill = ~well(state, require, twins.row[sets].reshape(-1)).reshape(-1, MAX_TWINS)
    bad = (ill << np.arange(1, MAX_TWINS + 1)).sum(axis=1)
    bad |= ~well(state, require, roster.row[positions]) * UPDATED
    twins.count(sets, bad.astype(np.uint8), roster.variant[positions])
    over = age >= state.settings.settling + soak_of(state, stage)
    over &= state.time >= stage.watched_until
    over |= bad & UPDATED > 0
    twins.move_on(sets, LOOKED_AT)
    if over.any():
        twins.move_on(sets[over], COMPLETE)


def look_on(state: ClusterState, rollout: Rollout, stage: Stage) -> None:
    """The devices of a stage, and their twins, are watched again."""
    twins = state.rollouts.twins.get((rollout.name, stage.name))
    if twins is not None:
        serving = [other.serving() for other in state.rollouts.twins.values()]
        twins.reopen(np.concatenate(serving))


def _is_useless(state: ClusterState, roster: Roster, positions: Column) -> Column:
    """Sets whose updated device is gone, or came to something else than a success that stands."""
    useless: Column = state.fleet.table.birth[roster.row[positions]] != roster.birth[positions]
    useless |= roster.flags[positions] & SUPERSEDED > 0
    return useless | ~_GOING[roster.state[positions]]


def soak_of(state: ClusterState, stage: Stage) -> int:
    """ms for which the devices of a stage are watched: for one look at least."""
    given = stage.plan.soak
    return max(state.settings.soak if given is None else given, state.settings.looking)
