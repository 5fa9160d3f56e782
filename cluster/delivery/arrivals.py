"""What a registration does to tasks: a device runs what it reports, whatever it was told.

Source: tasks.md, "Versions" and "Table of transitions".
"""

import numpy as np

from stationkeep.cluster.commands import RegisterDevices, RemoveDevice
from stationkeep.cluster.delivery.failures import note_failures
from stationkeep.cluster.delivery.members import present, running, told_again, version_of
from stationkeep.cluster.delivery.steps import Wait, close_if_over, may, take
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Deployment
from stationkeep.cluster.deployments.lifecycle import Cause, TaskReason, TaskState
from stationkeep.cluster.deployments.roster import REVERTED, SUPERSEDED, Roster
from stationkeep.cluster.deployments.versions import is_newer
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet import orders, registration
from stationkeep.cluster.state.step import Step


def register_devices(step: Step, command: RegisterDevices) -> dict[str, object]:
    """Takes devices in, and ends the tasks of those that run something else by now."""
    answer = registration.register_devices(step, command)
    known = {step.state.fleet.row(device.id) for device in command.devices}
    rows = np.array(sorted(row for row in known if row is not None), np.intp)
    births = step.state.fleet.table.birth[rows]
    for deployment in step.state.deployments.open_ones():
        roster = step.state.deployments.rosters[deployment.number]
        positions = present(step.state.fleet, roster, rows, births)
        positions = positions[positions >= 0]
        if len(positions):
            roster.own()
            _hear_again(deployment, roster, positions, step.now)
            compare_versions(step, deployment, roster, positions)
            close_if_over(step, deployment)
    return answer


def _hear_again(deployment: Deployment, roster: Roster, positions: Column, now: int) -> None:
    """Who left offers unanswered is there again, and is offered its task at once."""
    waits = roster.state[positions] == TaskState.QUEUED.code
    for reason in (TaskReason.UNANSWERED, TaskReason.NOT_ANSWERING):
        again = positions[waits & (roster.reason[positions] == reason.code)]
        roster.reason[again] = roster.detail[again] = 0
        roster.due[again] = deployment.tenths(now)


def compare_versions(step: Step, deployment: Deployment, roster: Roster, positions: Column) -> None:
    """Whoever runs the artifact has succeeded, whoever does not any more has not, and whoever runs
    a newer version is passed over."""
    for artifact, mine in step.state.deployments.by_artifact(deployment, positions):
        _compare(step, deployment, roster, mine, artifact)


def _compare(
    step: Step, deployment: Deployment, roster: Roster, positions: Column, artifact: Artifact
) -> None:
    said, runs, newer = _reported(step.state.fleet, roster, positions, artifact)
    states = roster.state[positions]
    other = said & ~runs & may(Cause.REVERSION, states)
    reverted = _not_superseded(step, deployment, positions[other], artifact.component)
    runs &= ~_is_being_updated(step, deployment, roster, positions)
    runs &= ~told_again(step.state, deployment, positions)
    installed = positions[runs & may(Cause.INSTALLED, states)]
    overtaken = positions[newer & may(Cause.NEWER, states)]
    take(step, deployment, installed, Cause.INSTALLED)
    roster.flags[reverted] |= REVERTED
    take(step, deployment, reverted, Cause.REVERSION, Wait(TaskReason.REVERTED.code))
    note_failures(step, deployment, reverted)
    if not deployment.allow_downgrade:
        why = Wait(TaskReason.NEWER_INSTALLED.code)
        take(step, deployment, overtaken, Cause.NEWER, why)


def _is_being_updated(
    step: Step, deployment: Deployment, roster: Roster, positions: Column
) -> Column:
    """Which of these devices carry out still what this deployment is to undo: they report their
    former version until they have, and that is not yet the way back."""
    known = step.state.deployments.known
    slots = [known[n].slot for n in deployment.undoes if n in known and known[n].slot]
    if not slots:
        return np.zeros(len(positions), bool)
    found: Column = np.isin(step.state.fleet.table.task[roster.row[positions]], slots)
    return found


def _not_superseded(
    step: Step, deployment: Deployment, positions: Column, component: str
) -> Column:
    """Of devices that succeeded once and run another version of this component, those that no
    other deployment has run it. What another has had installed since does not count against this
    one, for good."""
    fleet, book = step.state.fleet, step.state.deployments
    roster = book.rosters[deployment.number]
    positions = positions[roster.flags[positions] & SUPERSEDED == 0]
    for other in book.open_ones():
        if other is deployment or not len(positions):
            continue
        theirs = book.rosters[other.number]
        places = theirs.find(roster.row[positions], roster.birth[positions])
        states = theirs.state[places]
        told = may(Cause.INSTALLED, states)
        told |= (states == TaskState.SUCCEEDED.code) & (theirs.flags[places] & SUPERSEDED == 0)
        ordered = np.zeros(len(positions), bool)
        for artifact, mine in book.by_artifact(other, places[(places >= 0) & told]):
            if artifact.component != component:
                continue
            ordered |= np.isin(places, mine[running(fleet, theirs, mine, artifact)])
        roster.flags[positions[ordered]] |= SUPERSEDED
        positions = positions[~ordered]
    return positions


def _reported(
    fleet: Fleet, roster: Roster, positions: Column, artifact: Artifact
) -> tuple[Column, Column, Column]:
    """Whether each of these devices reports a version, the artifact's, and a newer one. Kinds are
    looked at once each: a retry asks for a whole fleet."""
    kinds, numbers = fleet.table.kinds, fleet.table.kind[roster.row[positions]]
    asked, known = np.zeros(len(kinds.all), bool), np.zeros((3, len(kinds.all)), bool)
    asked[numbers] = True
    for number in np.flatnonzero(asked).tolist():
        version = version_of(kinds[number], artifact)
        newer = is_newer(version, artifact.version)
        known[:, number] = bool(version), version == artifact.version, newer
    said, runs, newest = known[:, numbers]
    return said, runs, newest


def remove_device(step: Step, command: RemoveDevice) -> dict[str, object]:
    """Forgets a device, and whatever it was to do."""
    row = step.state.fleet.row(command.device)
    if row is not None:
        _cancel_all(step, row)
    return orders.remove_device(step, command)


def _cancel_all(step: Step, row: int) -> None:
    rows = np.array([row], np.intp)
    births = step.state.fleet.table.birth[rows]
    for deployment in step.state.deployments.open_ones():
        positions = present(
            step.state.fleet, step.state.deployments.rosters[deployment.number], rows, births
        )
        states = step.state.deployments.rosters[deployment.number].state[positions]
        positions = positions[(positions >= 0) & may(Cause.REMOVAL, states)]
        take(step, deployment, positions, Cause.REMOVAL, Wait(TaskReason.REMOVED.code))
        close_if_over(step, deployment)
