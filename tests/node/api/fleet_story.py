"""Devices of a `FakeNode`: registered, reporting, checked, all through its log."""

from typing import Any

import numpy as np

from stationkeep.cluster.commands import (
    MAX_REGISTRATIONS,
    MarkOffline,
    RecordRebalance,
    RegisterDevices,
    Registration,
    ReportDevices,
)
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.fleet.rebalance import plan_rebalance
from tests.node.api.fake import FakeNode

WELL = Reading(85, True, 4_520, 6_250, 5_500)
ILL = Reading(85, True, 9_500, 6_250, 5_500)


def register(node: FakeNode, *ids: str, ill: bool = False, **about: Any) -> None:
    """Registers devices with their first status; their agents are in session 1."""
    reading = ILL if ill else WELL
    for start in range(0, len(ids), MAX_REGISTRATIONS):
        devices = tuple(
            Registration(id_, session=1, sequence=1, reading=reading, healthy=not ill, **about)
            for id_ in ids[start : start + MAX_REGISTRATIONS]
        )
        outcome = node.commit(RegisterDevices("sat-001", devices))
        assert not outcome.result.get("refused"), outcome


def report(node: FakeNode, *ids: str, ill: bool = False, times: int = 3) -> None:
    """`times` statuses of each device, in one batch."""
    table = node.state.fleet.table
    rows = np.sort([table.rows[id_] for id_ in ids])
    count = len(rows)
    reading = ILL if ill else WELL

    def column(value: int, dtype: str) -> bytes:
        return np.full(count, value, dtype).tobytes()

    outcome = node.commit(
        ReportDevices(
            node="sat-001",
            rows=rows.astype("<u4").tobytes(),
            births=table.birth[rows].astype("<u4").tobytes(),
            sessions=table.session[rows].astype("<u4").tobytes(),
            sequences=(table.sequence[rows] + times).astype("<u4").tobytes(),
            battery=column(reading.battery, "u1"),
            charging=column(reading.charging, "u1"),
            cpu=column(reading.cpu, "<u2"),
            memory=column(reading.memory, "<u2"),
            disk=column(reading.disk, "<u2"),
            bits=column(0 if ill else (1 << times) - 1, "u1"),
            counts=column(times, "u1"),
        )
    )
    assert outcome.result["applied"] == count, outcome


def go_silent(node: FakeNode, *ids: str) -> None:
    """Time passes without a word of these devices, and the leader notices."""
    node.now += node.settings.device_offline_after + 1
    table = node.state.fleet.table
    rows = np.sort([table.rows[id_] for id_ in ids])
    births = table.birth[rows]
    node.commit(MarkOffline(rows.astype("<u4").tobytes(), births.astype("<u4").tobytes()))


def check(node: FakeNode) -> int:
    """One check of the rings; how many devices it moved."""
    fleet = node.state.fleet
    draw = np.random.default_rng(1)
    plan = plan_rebalance(fleet.view(), node.settings, node.cluster_time(), draw)
    node.commit(
        RecordRebalance(
            fleet.checks,
            False,
            plan.rows.astype("<u4").tobytes(),
            plan.revisions.astype("<u4").tobytes(),
            plan.rings.astype("u1").tobytes(),
            plan.reasons.astype("u1").tobytes(),
        )
    )
    return len(plan.rows)
