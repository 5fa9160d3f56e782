"""A fleet driven by hand: devices that report, a leader that checks the rings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stationkeep.cluster.commands import (
    MarkOffline,
    RecordRebalance,
    RegisterDevices,
    Registration,
    ReportDevices,
)
from stationkeep.cluster.devices.fleet import Device, Fleet
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.status import HealthRule, Reading, judge_one
from stationkeep.cluster.fleet.rebalance import RebalancePlan, plan_rebalance
from stationkeep.cluster.settings import PROFILES, Settings, merge
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from tests.cluster.driver import Driver

GOOD = Reading(battery=90, charging=False, cpu=2_000, memory=3_000, disk=4_000)
BAD = Reading(battery=5, charging=False, cpu=2_000, memory=3_000, disk=4_000)
QUIET = merge(PROFILES["orbit"], {"redistribution": "off"})
"""The defaults without redistribution: nothing is left to chance."""
NODE = "sat-001"


def u32(values: Iterable[int]) -> bytes:
    return np.array(list(values), "<u4").tobytes()


def u16(values: Iterable[int]) -> bytes:
    return np.array(list(values), "<u2").tobytes()


def u8(values: Iterable[int]) -> bytes:
    return np.array(list(values), "u1").tobytes()


class FleetDriver(Driver):
    """A cluster with devices. `sequence` numbers all messages, so that each is news."""

    def __init__(self, settings: Settings = QUIET, nodes: int = 1) -> None:
        self.sequence = 0
        super().__init__(nodes, settings)

    @classmethod
    def adopting(cls, driver: Driver) -> "FleetDriver":
        """The same cluster, with devices: what one does the other sees."""
        made = cls.__new__(cls)
        made.__dict__ = driver.__dict__
        made.sequence = 0
        return made

    @property
    def fleet(self) -> Fleet:
        return self.state.fleet

    # Devices

    def registration(
        self, device: str, reading: Reading | None = GOOD, **more: Any
    ) -> Registration:
        """A registration as the device's node would make it."""
        self.sequence += 1
        given = {"session": 1, "sequence": self.sequence} | more
        healthy = reading is None or judge_one(self.fleet.rule, reading)
        return Registration(id=device, reading=reading, healthy=healthy, **given)

    def register(self, *devices: str, reading: Reading | None = GOOD, **more: Any) -> list[int]:
        """Registers devices, in as many commands as that takes; their rows."""
        rows: list[int] = []
        for start in range(0, len(devices), 256):
            part = [self.registration(d, reading, **more) for d in devices[start : start + 256]]
            rows += self.done(RegisterDevices(NODE, tuple(part)))["rows"]
        return rows

    def crowd(self, count: int, reading: Reading | None = GOOD, **more: Any) -> list[int]:
        """Registers `dev-0000` and so on."""
        first = self.fleet.table.births
        return self.register(
            *[f"dev-{n:04d}" for n in range(first, first + count)], reading=reading, **more
        )

    def report(self, of: Mapping[int, Reading | None], times: int = 1) -> dict[str, Any]:
        """Statuses by row (None: a heartbeat), each of them `times` in a row."""
        answer: dict[str, Any] = {}
        for _ in range(times):
            answer = self.done(self.batch(of))
        return answer

    def batch(self, of: Mapping[int, Reading | None]) -> ReportDevices:
        """The command of `report`."""
        self.sequence += 1
        rows, rule = sorted(of), self.fleet.rule
        readings = [of[row] for row in rows]
        shown = [reading or GOOD for reading in readings]
        table = self.fleet.table
        return ReportDevices(
            node=NODE,
            rows=u32(rows),
            births=table.birth[rows].astype("<u4").tobytes(),
            sessions=table.session[rows].astype("<u4").tobytes(),
            sequences=u32([self.sequence] * len(rows)),
            battery=u8(r.battery for r in shown),
            charging=u8(r.charging for r in shown),
            cpu=u16(r.cpu for r in shown),
            memory=u16(r.memory for r in shown),
            disk=u16(r.disk for r in shown),
            bits=u8(judge_one(rule, r) for r in shown),
            counts=u8(r is not None for r in readings),
        )

    def sicken(self, *rows: int) -> None:
        """As many bad statuses as a verdict takes."""
        self.report(dict.fromkeys(rows, BAD), self.state.settings.unhealthy_statuses)

    def heal(self, *rows: int) -> None:
        """As many good statuses as a verdict takes."""
        self.report(dict.fromkeys(rows, GOOD), self.state.settings.healthy_statuses)

    def keep_alive(self) -> None:
        """Every device is heard of, in batches as a node would send them."""
        rows = self.rows
        for start in range(0, len(rows), 8_192):
            self.report(dict.fromkeys(rows[start : start + 8_192], None))

    def silence(self, rows: Sequence[int] | None = None) -> dict[str, Any]:
        """The leader finds these rows silent."""
        chosen = self.rows if rows is None else sorted(rows)
        births = self.fleet.table.birth[chosen].astype("<u4").tobytes()
        return self.done(MarkOffline(u32(chosen), births))

    # The leader

    def plan_rings(self, seed: int = 0) -> RebalancePlan:
        """What a check would move now."""
        draw = np.random.default_rng(seed)
        return plan_rebalance(self.fleet.view(), self.state.settings, self.clock, draw)

    def check(self, seed: int = 0) -> dict[str, Any]:
        """One check of the rings, planned and recorded."""
        return self.done(recorded(self.plan_rings(seed), self.fleet.checks))

    def rest(self, milliseconds: int = 300_000) -> None:
        """Lets everybody dwell: time passes, and all are heard of."""
        self.clock += milliseconds
        self.keep_alive()

    # Looking

    @property
    def rows(self) -> list[int]:
        return np.flatnonzero(self.fleet.table.birth[: self.fleet.table.used]).tolist()

    def device(self, row: int) -> Device:
        return self.fleet.device(row)

    def ring(self, row: int) -> Ring:
        return RINGS[self.fleet.table.ring[row]]

    def in_ring(self, ring: Ring) -> list[int]:
        return [row for row in self.rows if self.ring(row) is ring]

    @property
    def distribution(self) -> tuple[int, ...]:
        """Devices in CANARY, DEV, STAGE, PROD."""
        return tuple(len(self.in_ring(ring)) for ring in RINGS)


def recorded(plan: RebalancePlan, after: int, more: bool = False) -> RecordRebalance:
    """A whole plan as one command."""
    return RecordRebalance(
        after, more, plan.rows.astype("<u4").tobytes(), plan.revisions.astype("<u4").tobytes(),
        plan.rings.tobytes(), plan.reasons.tobytes(),
    )  # fmt: skip


def restored(state: ClusterState) -> ClusterState:
    return codec.decode_snapshot(codec.encode_snapshot(state))


PLAIN = HealthRule()
