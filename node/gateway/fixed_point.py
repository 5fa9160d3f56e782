"""Converts what devices report to the fixed point of the log, one device or thousands at once.

Percentages in hundredths, custom metrics in thousandths (`cluster.devices.status`). All input has
passed the schema of `node.wire.messages`, so nothing can be out of range.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stationkeep.cluster.commands import Registration
from stationkeep.cluster.devices.status import Reading
from stationkeep.node.fleet.status_buffer import StatusColumns
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import DeviceStatus, StatusPayload

PERCENT, THOUSANDTHS = 100, 1_000


def reading_of(status: DeviceStatus) -> Reading:
    """One status in fixed point."""
    return Reading(
        status.battery_level,
        status.battery_charging,
        round(status.cpu_usage * PERCENT),
        round(status.memory_usage * PERCENT),
        round(status.disk_usage * PERCENT),
        {name: round(value * THOUSANDTHS) for name, value in status.metrics.items()},
    )


def registration_of(
    device: str, payload: wire.RegistrationPayload | wire.BatchedRegistration
) -> Registration:
    """A registration as in a command; values of capabilities become text, written as in JSON."""
    status = payload.device_status
    return Registration(
        device,
        status.device_name if status else "",
        status.os_version if status else "",
        status.app_version if status else "",
        {name: _text(value) for name, value in payload.capabilities.items()},
        dict(payload.labels),
        payload.session,
        payload.sequence,
        reading_of(status) if status else None,
    )


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def columns_of(payloads: Sequence[StatusPayload]) -> StatusColumns:
    """A batch of statuses as columns: one pass over the structs for each, then numpy."""
    statuses = [payload.device_status for payload in payloads]
    return StatusColumns(
        ids=[status.slave_id for status in statuses],
        sessions=np.array([payload.session for payload in payloads], np.uint32),
        sequences=np.array([payload.sequence for payload in payloads], np.uint32),
        battery=np.array([status.battery_level for status in statuses], np.uint8),
        charging=np.array([status.battery_charging for status in statuses], np.uint8),
        cpu=_hundredths([status.cpu_usage for status in statuses]),
        memory=_hundredths([status.memory_usage for status in statuses]),
        disk=_hundredths([status.disk_usage for status in statuses]),
        metrics=_metrics(statuses),
    )


def _hundredths(percents: list[float]) -> NDArray[np.uint16]:
    return np.rint(np.array(percents, np.float64) * PERCENT).astype(np.uint16)


def _metrics(
    statuses: list[DeviceStatus],
) -> tuple[tuple[str, NDArray[np.uint32], NDArray[np.int32]], ...]:
    found: dict[str, tuple[list[int], list[int]]] = {}
    for position, status in enumerate(statuses):
        for name, value in status.metrics.items():
            positions, values = found.setdefault(name, ([], []))
            positions.append(position)
            values.append(round(value * THOUSANDTHS))
    return tuple(
        (name, np.array(positions, np.uint32), np.array(values, np.int32))
        for name, (positions, values) in found.items()
    )
