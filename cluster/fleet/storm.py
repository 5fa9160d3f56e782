"""The storm brake, and the alarms of the fleet.

When more than `storm_brake` of the online devices turn unhealthy within one check, the devices are
hardly the cause, and moving them all would only spread the trouble. Automatic moves stop until an
operator releases the brake, or until at most that share is unhealthy. Source: rings.md,
"Rebalancing" and "Ring assignment".
"""

import numpy as np

from stationkeep.cluster.alarms import DEVICE_STORM, PINNED_UNHEALTHY
from stationkeep.cluster.commands import ReleaseBrake
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import NEVER, Column
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.step import Step


def turned(step: Step, rows: Column, healthy: Column) -> None:
    """Notes new verdicts, already in the table: how many turned since the newest check. A device
    that a task has is expected to look ill: it is not counted, and is noted as ill from before, so
    that it is not taken off the count either when it recovers."""
    fleet = step.state.fleet
    table, since = fleet.table, NEVER if fleet.checked_at is None else fleet.checked_at
    expected = ~healthy & (table.task[rows] > 0)
    recovered_in_time = int((healthy & (table.turned_at[rows] > since)).sum())
    fleet.turned = max(0, fleet.turned - recovered_in_time) + int((~healthy & ~expected).sum())
    table.turned_at[rows] = np.where(expected, since, step.now)


def figures(fleet: Fleet) -> tuple[int, int]:
    """(devices online, unhealthy ones among them)."""
    sick, well = fleet.table.by_class[:, :, :, 1].sum(axis=(0, 1, 3)).tolist()
    return sick + well, sick


def watch(step: Step) -> None:
    """Puts the brake on or takes it off, and keeps the alarms true."""
    fleet, limit = step.state.fleet, step.state.settings.storm_brake
    online, sick = figures(fleet)
    turned = min(fleet.turned, sick)  # of those who turned, some may have gone offline since
    if not fleet.braked and turned * PPM > limit * online:
        fleet.braked = True
        share = f"{turned:,} of {online:,} devices online turned unhealthy within one check"
        step.raise_alarm(DEVICE_STORM, f"{share}; automatic moves wait")
    elif fleet.braked and sick * PPM <= limit * online:
        release(step)
    _watch_pinned(step)


def release(step: Step) -> None:
    """Takes the brake off; the same storm does not put it on again."""
    fleet = step.state.fleet
    fleet.braked, fleet.turned = False, 0
    online, sick = figures(fleet)
    step.clear_alarm(DEVICE_STORM, why=f"{sick:,} of {online:,} devices online are unhealthy")


def release_brake(step: Step, _: ReleaseBrake) -> dict[str, object]:
    """Releases the brake for an operator; does nothing if it is off."""
    was_braked = step.state.fleet.braked
    if was_braked:
        release(step)
    return {"was_braked": was_braked}


def _watch_pinned(step: Step) -> None:
    """Raises an alarm while unhealthy devices are pinned to PROD, where they stay."""
    table = step.state.fleet.table
    count = int(np.sum(table.by_class[:, Ring.PROD.code, 0, 1, 1]))
    if count:
        step.raise_alarm(PINNED_UNHEALTHY, "unhealthy devices are pinned to PROD")
    else:
        step.clear_alarm(PINNED_UNHEALTHY)
