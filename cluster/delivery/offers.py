"""Which tasks are offered to their devices, and when: planned by the leader, checked by apply.

Level-triggered: whoever is QUEUED and may be offered is, as many at a time as limit and pace allow.
The plan is pure and bounded; of what it asks for apply leaves out whatever does not hold any more,
so that a late plan of a deposed leader can do no harm. Source: tasks.md, "Offering".
"""

import enum
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import groupby
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.commands import MAX_BATCH, OfferTasks
from stationkeep.cluster.delivery.members import version_of
from stationkeep.cluster.delivery.steps import Wait, take
from stationkeep.cluster.deployments.deployment import TOKEN, Deployment
from stationkeep.cluster.deployments.lifecycle import Cause, TaskState
from stationkeep.cluster.deployments.roster import ACCEPTED, LATEST, TENTH, Roster
from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import column, packed, row_column
from stationkeep.cluster.rollouts.rollout import Freeze
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused, Step

MOST_PLANNED = 4 * MAX_BATCH
"""Offers of one plan."""
_CHUNK = 65_536
"""Queued tasks looked at at a time, in an order of chunks that is another one each time."""


class Hold(enum.StrEnum):
    """Why no task of any deployment is offered."""

    CLUSTER_PAUSED = "cluster_paused"
    SWARM_OFF = "swarm_off"
    STORM = "storm"


def hold_of(state: ClusterState) -> Hold | None:
    """What holds all offers back, or None."""
    return next(all_holds(state), None)


def all_holds(state: ClusterState) -> Iterator[Hold]:
    """Everything that does."""
    if state.pause is not None:
        yield Hold.CLUSTER_PAUSED
    if not state.settings.swarm_mode:
        yield Hold.SWARM_OFF
    if state.fleet.braked:
        yield Hold.STORM


def room(state: ClusterState, deployment: Deployment, now: int) -> int:
    """How many tasks of a deployment may be offered at a cluster time."""
    if not deployment.open or deployment.held or now >= deployment.deadline:
        return 0
    assert deployment.limits.max_in_flight is not None
    left = max(0, deployment.limits.max_in_flight - deployment.in_flight)
    if deployment.limits.pace:
        left = min(left, deployment.tokens_by(now) // TOKEN)
    if left and is_on_trial(state, deployment, now):
        return 0 if deployment.in_flight or _settling(state, deployment, now) else 1
    return left


def is_on_trial(state: ClusterState, deployment: Deployment, now: int) -> bool:
    """Whether the first devices of a deployment are told one at a time still: until so many have
    succeeded and are well after `settle`."""
    first = deployment.limits.first
    if not first or not deployment.on_trial:
        return False
    table, roster = state.fleet.table, state.deployments.rosters[deployment.number]
    done = _succeeded(state, deployment, now)
    rows = roster.row[done]
    well = table.online[rows] & table.healthy[rows] & (table.birth[rows] == roster.birth[done])
    return int(well.sum()) < first


def _succeeded(state: ClusterState, deployment: Deployment, now: int) -> Column:
    """Positions of the tasks that succeeded long enough ago for their devices to be as they will
    be."""
    roster = state.deployments.rosters[deployment.number]
    done = roster.in_state(TaskState.SUCCEEDED)
    since = deployment.at(roster.since[done].astype(np.int64))
    settled: Column = done[since + state.settings.settling <= now]
    return settled


def _settling(state: ClusterState, deployment: Deployment, now: int) -> bool:
    """Whether a device of the trial succeeded so lately that nobody knows yet how it does."""
    return len(_succeeded(state, deployment, now)) < deployment.count(TaskState.SUCCEEDED)


def _ready(state: ClusterState, deployment: Deployment, positions: Column, now: int) -> Column:
    """Which of these tasks are queued and due, and their devices ready for them, as far as this
    deployment alone is asked."""
    table, roster = state.fleet.table, state.deployments.rosters[deployment.number]
    rows = roster.row[positions]
    good: Column = roster.state[positions] == TaskState.QUEUED.code
    good &= roster.due[positions] <= deployment.tenths(now)
    good &= (table.birth[rows] == roster.birth[positions]) & table.online[rows]
    good &= table.task[rows] == 0
    if deployment.require is not None:
        good &= state.fleet.meeting(deployment.require, rows)
    return good & ~frozen(state, deployment, rows)


def frozen(state: ClusterState, deployment: Deployment, rows: Column) -> Column:
    """On which of these devices a freeze lies. None keeps anything from being taken back."""
    found = np.zeros(len(rows), bool)
    if deployment.undoes or not state.rollouts.freezes:
        return found
    for freeze in state.rollouts.freezes.values():
        if freeze.name not in deployment.overrides:
            found |= lies_on(state, freeze, rows)
    return found


def lies_on(state: ClusterState, freeze: Freeze, rows: Column) -> Column:
    """On which of these devices one freeze lies."""
    lies: Column = state.fleet.table.birth[rows] > 0
    if freeze.rings:
        lies &= np.isin(state.fleet.table.ring[rows], [ring.code for ring in freeze.rings])
    lies[lies] = state.fleet.matching(rows[lies], parse(freeze.selector))
    return lies


def _claimed(state: ClusterState, deployment: Deployment, rows: Column, births: Column) -> Column:
    """Which devices a deployment of higher priority has a queued task for."""
    found = np.zeros(len(rows), bool)
    for other in state.deployments.open_ones():
        if other.priority <= deployment.priority:
            break
        if other.count(TaskState.QUEUED) and not other.held:
            roster = state.deployments.rosters[other.number]
            places = roster.find(rows, births)
            found |= (places >= 0) & (roster.state[places] == TaskState.QUEUED.code)
    return found


MayBegin = Callable[[Deployment, Column], Column]
"""Which of these devices, by row, may begin with a deployment by the clock of a wall, which nobody
but the leader asks."""


def at_any_time(_: Deployment, rows: Column) -> Column:
    """`MayBegin` where there are no windows."""
    return np.ones(len(rows), bool)


def plan_offers(
    state: ClusterState, now: int, may_begin: MayBegin = at_any_time
) -> list[OfferTasks]:
    """What the leader is to offer at cluster time `now`: at most `MOST_PLANNED` tasks."""
    if not state.founded or hold_of(state) is not None:
        return []
    plan: list[OfferTasks] = []
    taken = np.zeros(state.fleet.table.used, bool)
    left = MOST_PLANNED
    open_ones = state.deployments.open_ones()
    waiting = [d for d in open_ones if d.count(TaskState.QUEUED) and not d.held]
    for _, equals in groupby(waiting, key=lambda d: d.priority):
        group = list(equals)
        for deployment in group:
            most = min(left, room(state, deployment, now))
            if most:
                positions = _choose(state, deployment, now, most, taken, may_begin=may_begin)
                plan += _commands(state, deployment, positions)
                left -= len(positions)
        if not left or group[-1] is waiting[-1]:
            break
        for deployment in group:
            roster = state.deployments.rosters[deployment.number]
            taken[roster.row[roster.in_state(TaskState.QUEUED)]] = True
    return plan


def _choose(
    state: ClusterState,
    deployment: Deployment,
    now: int,
    most: int,
    taken: Column,
    *,
    may_begin: MayBegin,
) -> Column:
    """At most so many tasks to offer, by `_order`. `taken`: rows that this plan has offered a task
    already, or for which a task of higher priority waits."""
    roster = state.deployments.rosters[deployment.number]
    begun = _on_trial(state, deployment, roster, now)
    if len(begun):
        taken[roster.row[begun]] = True
        begun = begun[_ready(state, deployment, begun, now)]
        return begun[may_begin(deployment, roster.row[begun])][:most]
    found: list[Column] = []
    count = 0
    for chunk in _chunks(state, deployment, roster, now):
        free = chunk[~taken[roster.row[chunk]]]
        free = free[_ready(state, deployment, free, now)]
        found.append(free[may_begin(deployment, roster.row[free])])
        count += len(found[-1])
        if count >= most:
            break
    positions = np.concatenate(found) if found else np.zeros(0, np.intp)
    if len(positions) > most:
        order = _order(state, deployment, roster, positions)
        positions = positions[np.argpartition(order, most)[:most]]
    taken[roster.row[positions]] = True
    return np.sort(positions)


def _on_trial(state: ClusterState, deployment: Deployment, roster: Roster, now: int) -> Column:
    """While a deployment is on trial, the tasks that wait for another attempt: until it is known
    what becomes of them nobody else is told, unless their devices are offline."""
    if not is_on_trial(state, deployment, now):
        return np.zeros(0, np.intp)
    queued = roster.in_state(TaskState.QUEUED)
    rows = roster.row[queued]
    there = (state.fleet.table.birth[rows] == roster.birth[queued]) & state.fleet.table.online[rows]
    begun: Column = queued[(roster.flags[queued] & ACCEPTED > 0) & there]
    return begun


def _order(
    state: ClusterState, deployment: Deployment, roster: Roster, positions: Column
) -> Column:
    """Those first that have waited longest, so that who puts its task off again and again comes
    after the others. Among equals by lot; where something is taken back, those first that were
    given it last, since the others live with it so much longer already."""
    order = roster.since[positions].astype(np.uint64) << np.uint64(32)
    if deployment.undoes:
        installed = _installed_at(state, deployment, roster, positions)
        order |= np.uint64(LATEST) - np.minimum(installed // TENTH, LATEST).astype(np.uint64)
    else:
        order |= draw(state, deployment, roster.row[positions]) >> np.uint64(32)
    return order


def _installed_at(
    state: ClusterState, deployment: Deployment, roster: Roster, positions: Column
) -> Column:
    """Cluster time at which what is taken back came into the state that it is in."""
    rows, births = roster.row[positions], roster.birth[positions]
    at = np.zeros(len(positions), np.int64)
    for number in deployment.undoes:
        theirs = state.deployments.rosters.get(number)
        if theirs is not None:
            places = theirs.find(rows, births)
            since = state.deployments.known[number].at(theirs.since[places].astype(np.int64))
            at = np.maximum(at, np.where(places >= 0, since, 0))
    return at


def _chunks(
    state: ClusterState, deployment: Deployment, roster: Roster, now: int
) -> Iterator[Column]:
    queued = roster.in_state(TaskState.QUEUED)
    starts = np.arange(0, len(queued), _CHUNK)
    lots = draw_by(starts, _salt(state, deployment) ^ now)
    for start in starts[np.argsort(lots)]:
        yield queued[start : start + _CHUNK]


def draw(state: ClusterState, deployment: Deployment, rows: Column) -> Column:
    """A random number for each device, u64, that is its own in this deployment for good, and in
    all of a rollout."""
    return draw_by(state.fleet.table.lot[rows], _salt(state, deployment))


def draw_by(lots: Column, salt: int) -> Column:
    """Random numbers, u64, of devices with these lots."""
    return _mixed(lots.astype(np.uint64) ^ np.uint64(salt))


def _salt(state: ClusterState, deployment: Deployment) -> int:
    return salt_of(state.cluster_id, deployment.rollout or str(deployment.number))


def salt_of(cluster_id: str, name: str) -> int:
    """What makes the draws of one deployment or rollout its own."""
    name_bytes = f"{cluster_id}\n{name}".encode()
    return int.from_bytes(blake2b(name_bytes, digest_size=8).digest())


def _mixed(values: Column) -> Column:
    """splitmix64 (Steele, Lea, Flood 2014)."""
    mixed: Column = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _commands(
    state: ClusterState, deployment: Deployment, positions: Column
) -> Iterator[OfferTasks]:
    attempts = state.deployments.rosters[deployment.number].attempt[positions]
    for start in range(0, len(positions), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        yield OfferTasks(
            deployment.number, packed(positions[part], "<u4"), packed(attempts[part], "u1")
        )


# In apply


class Chosen(NamedTuple):
    """Tasks that are offered, and how many more were asked for."""

    deployment: Deployment
    positions: Column
    left_out: int


def choose(step: Step, command: OfferTasks) -> Chosen:
    """What may be offered now, of what the leader planned."""
    deployment = open_deployment(step, command.deployment)
    roster = step.state.deployments.rosters[deployment.number]
    positions, attempts = positions_of(roster, command.positions, command.attempts)
    held = hold_of(step.state)
    if held is not None:
        raise Refused(Reason.PAUSED, f"no task is offered: {held}")
    good = roster.attempt[positions] == attempts
    good &= _ready(step.state, deployment, positions, step.now)
    rows = roster.row[positions]
    good &= ~_claimed(step.state, deployment, rows, roster.birth[positions])
    deployment.on_trial = is_on_trial(step.state, deployment, step.now)
    chosen = positions[good][: room(step.state, deployment, step.now)]
    return Chosen(deployment, chosen, len(positions) - len(chosen))


def offer(step: Step, chosen: Chosen) -> dict[str, object]:
    """Offers what was chosen."""
    if len(chosen.positions):
        _offer(step, chosen.deployment, chosen.positions)
    return {"offered": len(chosen.positions), "left_out": chosen.left_out}


def _offer(step: Step, deployment: Deployment, positions: Column) -> None:
    roster = step.state.deployments.rosters[deployment.number]
    roster.own()
    _note_versions(step, deployment, roster, positions)
    if deployment.limits.pace is not None:
        deployment.tokens = deployment.tokens_by(step.now) - TOKEN * len(positions)
        deployment.tokens_at = step.now
    due = deployment.after(step.now, step.state.settings.answer_time)
    take(step, deployment, positions, Cause.OFFER, Wait(0, due, roster.detail[positions]))


def _note_versions(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """What each device runs as it is offered its task for the first time: where it can go back
    to."""
    book, table = step.state.deployments, step.state.fleet.table
    artifact = next((book.artifacts[n] for n in deployment.artifacts if n), None)
    first = positions[roster.version[positions] == 0]
    kinds, places = np.unique(table.kind[roster.row[first]], return_inverse=True)
    run = [version_of(table.kinds[kind], artifact) for kind in kinds.tolist()]
    numbers = book.versions.numbers(run, book.rosters.values())
    roster.version[first] = np.array([numbers[version] for version in run], np.uint16)[places]


def open_deployment(step: Step, number: int) -> Deployment:
    """The deployment, refused unless it is one that is not over."""
    deployment = step.state.deployments.known.get(number)
    if deployment is None or not deployment.slot:
        raise Refused(Reason.NOT_IN_STATE, f"deployment: {number} is not open")
    return deployment


def positions_of(roster: Roster, positions: bytes, attempts: bytes) -> tuple[Column, Column]:
    """The columns of a leader's command: positions that are in the roster, and attempts."""
    places = row_column(positions, "positions")
    tried = column("attempts", attempts, "u1", len(places))
    if len(places) and int(places[-1]) >= len(roster):
        rule = f"{int(places[-1])} is beyond the {len(roster)} tasks there are"
        raise Refused(Reason.INVALID, f"positions: {rule}")
    return places.astype(np.intp), tried
