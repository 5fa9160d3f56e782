"""Devices that install what was called off, or taken back from all others, when it had been offered
to them already (`late`).

What a device runs is what it reports, so it is found when it registers. Where the version was
proven bad it goes back like the others; else somebody should know. Of a rollout that was aborted
who is updated stays so, and a stray is one of those. Source: rollouts.md, "Rollback".
"""

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.commands import RegisterDevices
from stationkeep.cluster.delivery import arrivals
from stationkeep.cluster.delivery.members import present
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.deployments.roster import ACCEPTED, Roster
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.progression.advance import is_held
from stationkeep.cluster.progression.alarms import watch
from stationkeep.cluster.progression.late import given_up, run_by
from stationkeep.cluster.progression.rollback import affected_by, back_fault, turn_back
from stationkeep.cluster.progression.steps import about
from stationkeep.cluster.rollouts.lifecycle import RolloutCause, RolloutState
from stationkeep.cluster.rollouts.rollout import Rollout
from stationkeep.cluster.rollouts.twins import MAX_NAMED
from stationkeep.cluster.state.decisions import Outcome
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Step

_BACK = (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)
_CALLED_OFF = (*_BACK, RolloutState.ABORTING, RolloutState.ABORTED)


def register_devices(step: Step, command: RegisterDevices) -> dict[str, object]:
    """Takes devices in, and finds those among them that have strayed."""
    answer = arrivals.register_devices(step, command)
    versions = {("app", device.app_version) for device in command.devices}
    versions |= {("os", device.os_version) for device in command.devices}
    suspect = [
        rollout
        for rollout in step.state.rollouts.known.values()
        if rollout.state in _CALLED_OFF
        and any((one.component, one.version) in versions for one in rollout.plan.installed)
    ]
    if suspect:
        known = {step.state.fleet.row(device.id) for device in command.devices}
        rows = np.array(sorted(row for row in known if row is not None), np.intp)
        for rollout in suspect:
            _look_for_strays(step, rollout, rows)
    return answer


def _look_for_strays(step: Step, rollout: Rollout, rows: Column) -> None:
    strays = [
        row for number in rollout.deployments for row in _strays(step.state, rollout, number, rows)
    ]
    if not strays:
        return
    ids = [step.state.fleet.id(row) for row in strays]
    facts = about(rollout) | {"devices": ids[:MAX_NAMED], "count": len(ids)}
    step.decide("strays", Outcome.NOTED, (), facts=facts)
    if rollout.state not in _BACK:
        return  # who has it keeps it, and goes back with the others if it is rolled back one day
    rollout = replace(rollout, strayed=rollout.strayed + len(ids))
    step.state.rollouts.put(rollout)
    if rollout.state is RolloutState.ROLLED_BACK:
        take_back(step, rollout)
    watch(step)


def take_back(step: Step, rollout: Rollout) -> bool:
    """Has those who have strayed go back, where nobody else needs to decide that: whether they
    do."""
    book = step.state.rollouts
    proven = all(book.blocking(artifact) for artifact in rollout.plan.installed)
    if not rollout.strayed or not proven or is_held(step.state):
        return False
    affected = affected_by(step.state, rollout)
    if back_fault(step.state, rollout, len(affected.rows)) is not None:
        return False
    turn_back(step, rollout, RolloutCause.STRAY, "strayed")
    return True


def _strays(state: ClusterState, rollout: Rollout, number: int, rows: Column) -> list[int]:
    """Those of these devices that have installed it late. They count as such that have begun from
    now on."""
    roster = state.deployments.rosters.get(number)
    if roster is None:
        return []
    positions = present(state.fleet, roster, rows, state.fleet.table.birth[rows])
    positions = positions[positions >= 0]
    late = np.append(given_up(roster, positions), _unexpected(state, rollout, roster, positions))
    found = run_by(state, state.deployments.known[number], late)
    if len(found):
        roster.own()
        roster.flags[found] |= ACCEPTED
    return [int(row) for row in roster.row[found]]


def _unexpected(state: ClusterState, rollout: Rollout, roster: Roster, positions: Column) -> Column:
    """Tasks that were given up, and have succeeded since it was settled who goes back: a deployment
    is open until all are over that have begun."""
    back = state.deployments.rosters.get(rollout.rollback)
    if rollout.state not in _BACK or (back is None and rollout.rollback):
        return positions[:0]
    done = roster.state[positions] == TaskState.SUCCEEDED.code
    chosen: Column = positions[done & (roster.flags[positions] & ACCEPTED == 0)]
    if back is not None:
        chosen = chosen[back.find(roster.row[chosen], roster.birth[chosen]) < 0]
    return chosen
