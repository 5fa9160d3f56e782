"""Who becomes a member of a deployment, and as what, and what members run.

Only devices with the capability `deployment` carry out tasks. Source: tasks.md,
"Deployments" and "Versions".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment, Target
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.deployments.versions import is_newer
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.devices.table import Column, Kind
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.state import ClusterState
from stationkeep.cluster.state.step import Refused
from stationkeep.cluster.suggestion import unknown

CAPABILITY = "deployment"
_NO = ("", "false", "no", "off", "0")
"""What a device may say of a capability that it does not have."""


class Members(NamedTuple):
    """Rows, ascending, and the codes of the states that their tasks begin in; how many devices of
    the target are incapable."""

    rows: Column
    states: Column
    incapable: int


def members_of(
    fleet: Fleet, target: Target, artifact: Artifact | None, allow_downgrade: bool
) -> Members:
    """The members of a deployment that opens now."""
    rows = targeted(fleet, target)
    begin = beginnings(fleet, rows, artifact, allow_downgrade)
    capable = begin != INCAPABLE
    return Members(rows[capable], begin[capable], len(rows) - int(capable.sum()))


def targeted(fleet: Fleet, target: Target) -> Column:
    """The rows of a target, ascending."""
    table, used = fleet.table, slice(0, fleet.table.used)
    if target.ring is not None:
        return np.flatnonzero((table.ring[used] == target.ring.code) & (table.birth[used] > 0))
    if target.devices:
        return np.array(sorted(_row(fleet, device) for device in target.devices), np.intp)
    return fleet.rows_of(parse(target.selector))


def _row(fleet: Fleet, device: str) -> int:
    row = fleet.row(device)
    if row is None:
        raise Refused(Reason.UNKNOWN_DEVICE, f"target.devices: {unknown('device', device)}")
    return row


INCAPABLE = 255
"""Stands for the state of a task that a device cannot have."""


def beginnings(
    fleet: Fleet, rows: Column, artifact: Artifact | None, allow_downgrade: bool
) -> Column:
    """The codes of the states that the tasks of these devices begin in, or `INCAPABLE`. Each kind
    of device among them is looked at once, and each version that these report compared once."""
    kinds, numbers = fleet.table.kinds, fleet.table.kind[rows]
    begins = np.zeros(len(kinds.all), np.uint8)
    asked = np.zeros(len(kinds.all), bool)
    asked[numbers] = True
    known: dict[tuple[object, str], int] = {}
    for number in np.flatnonzero(asked).tolist():
        kind = kinds[number]
        version = version_of(kind, artifact)
        key = (kind.capabilities, version)
        if key not in known:
            state = _begin(version, artifact, allow_downgrade)
            known[key] = state.code if is_capable(kind) else INCAPABLE
        begins[number] = known[key]
    return begins[numbers]


def _begin(version: str, artifact: Artifact | None, allow_downgrade: bool) -> TaskState:
    if artifact is None:
        return TaskState.QUEUED
    if version == artifact.version:
        return TaskState.ALREADY_INSTALLED
    passed_over = not allow_downgrade and is_newer(version, artifact.version)
    return TaskState.CANCELED if passed_over else TaskState.QUEUED


def is_capable(kind: Kind) -> bool:
    """Whether devices of a kind carry out tasks."""
    return has_capability(kind, CAPABILITY)


def has_capability(kind: Kind, capability: str) -> bool:
    """Whether devices of a kind say that they can do something."""
    return any(name == capability and said.lower() not in _NO for name, said in kind.capabilities)


def version_of(kind: Kind, artifact: Artifact | None) -> str:
    """Which version a device reports of what an artifact changes."""
    return kind.os_version if artifact and artifact.component == "os" else kind.app_version


def present(fleet: Fleet, roster: Roster, rows: Column, births: Column) -> Column:
    """The positions of these devices' tasks; -1 where there is none, or the device is gone."""
    places = roster.find(rows, births)
    there = (places >= 0) & (fleet.table.birth[roster.row[places]] == births)
    return np.where(there, places, -1)


def told_again(state: ClusterState, deployment: Deployment, positions: Column) -> Column:
    """Which of these tasks, of a stage of a rollout, were unreached and left to another stage of it
    that has told the device since: what the device does counts there, and once."""
    rosters = state.deployments.rosters
    roster = rosters[deployment.number]
    left = roster.state[positions] == TaskState.UNREACHED.code
    found = np.zeros(len(positions), bool)
    rollout = state.rollouts.known.get(deployment.rollout) if left.any() else None
    for number in rollout.deployments if rollout is not None else ():
        theirs = rosters.get(number)
        if number == deployment.number or theirs is None:
            continue
        places = theirs.find(roster.row[positions], roster.birth[positions])
        found |= (places >= 0) & (theirs.state[places] != TaskState.UNREACHED.code)
    again: Column = left & found
    return again


def running(fleet: Fleet, roster: Roster, positions: Column, artifact: Artifact) -> Column:
    """Whether the devices at these positions report an artifact's version."""
    return of_kinds(
        fleet,
        roster.row[positions],
        lambda kind: version_of(kind, artifact) == artifact.version,
    )


def of_kinds(fleet: Fleet, rows: Column, holds: Callable[[Kind], bool]) -> Column:
    """Of which of these devices something holds that their kind decides; each kind is asked
    once."""
    kinds, numbers = fleet.table.kinds, fleet.table.kind[rows]
    asked, found = np.zeros((2, len(kinds.all)), bool)
    asked[numbers] = True
    for number in np.flatnonzero(asked).tolist():
        found[number] = holds(kinds[number])
    answers: Column = found[numbers]
    return answers
