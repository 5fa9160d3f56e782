"""The part of a transcript that is about devices and their rings."""

from collections.abc import Callable, Iterator

import numpy as np

from stationkeep.cluster import commands
from stationkeep.cluster.apply import Applied
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.moves import REASONS
from stationkeep.cluster.devices.rings import RINGS, UNSET, Ring
from stationkeep.cluster.devices.status import Reading
from stationkeep.cluster.fleet.explain import explain_device
from stationkeep.cluster.settings import parse_duration
from stationkeep.cluster.state.events import (
    AnyEvent,
    DevicesMoved,
    DevicesWentOffline,
    DevicesWentOnline,
)
from tests.cluster.driver import Driver
from tests.cluster.fleet.fleets import GOOD, FleetDriver, recorded

Tell = Callable[[Applied], Iterator[str]]
Verb = Callable[[list[str]], Iterator[str]]


class Devices:
    """The verbs about devices, on the driver of a player."""

    def __init__(self, driver: Driver, tell: Tell) -> None:
        self.driver, self.tell = FleetDriver.adopting(driver), tell
        self.verbs: dict[str, Verb] = {
            "devices": self.devices,
            "report": self.report,
            "silence": self.silence,
            "check": self.check,
            "rings": self.rings,
            "why": self.why,
        }

    @property
    def fleet(self) -> Fleet:
        return self.driver.fleet

    def devices(self, words: list[str]) -> Iterator[str]:
        """devices NAME… [battery=N] [LABEL=VALUE…]: they register"""
        labels = dict(word.split("=") for word in words if "=" in word)
        reading = _reading(labels)
        names = [word for word in words if "=" not in word]
        devices = [self.driver.registration(name, reading, labels=labels) for name in names]
        yield from self.do(commands.RegisterDevices("sat-001", tuple(devices)))

    def report(self, words: list[str]) -> Iterator[str]:
        """report NAME…|all [battery=N] [cpu=N]… [xN]: statuses, N of them in a row"""
        figures = dict(word.split("=") for word in words if "=" in word)
        times = next((int(word[1:]) for word in words if word[0] == "x" and word[1:].isdigit()), 1)
        known = [self.fleet.row(word) for word in words if self.fleet.row(word) is not None]
        rows = self.driver.rows if words[0] == "all" else known
        for _ in range(times):
            reading = _reading(dict(figures))
            yield from self.do(self.driver.batch({row: reading for row in rows if row is not None}))

    def silence(self, _: list[str]) -> Iterator[str]:
        """silence: the leader looks who was not heard of for too long"""
        rows = np.array(self.driver.rows, "<u4")
        births = self.fleet.table.birth[rows].astype("<u4").tobytes()
        yield from self.do(commands.MarkOffline(rows.tobytes(), births))

    def check(self, _: list[str]) -> Iterator[str]:
        """check: the leader checks the rings"""
        yield from self.do(recorded(self.driver.plan_rings(), self.fleet.checks))

    def rings(self, _: list[str]) -> Iterator[str]:
        """rings: who stands where"""
        quota = self.fleet.quota_by_ring()
        for ring, counts in self.fleet.counts().items():
            here = ", ".join(self.fleet.id(row) for row in self.driver.in_ring(ring))
            yield f"{ring} {counts.total} of {quota[ring]}: {here or 'nobody'}"

    def why(self, words: list[str]) -> Iterator[str]:
        """why NAME: why it is in its ring"""
        row = self.fleet.row(words[0])
        assert row is not None, words
        yield from explain_device(self.driver.state, row).summary

    def do(self, command: commands.Command) -> Iterator[str]:
        yield from self.tell(self.driver.do(command))


def _reading(figures: dict[str, str]) -> Reading:
    """The figures named, out of the words; the others are good."""
    battery = int(figures.pop("battery", GOOD.battery))
    cpu, memory = (round(float(figures.pop(name, 20)) * 100) for name in ("cpu", "memory"))
    return Reading(battery, False, cpu, memory, GOOD.disk)


def say(fleet: Fleet, event: AnyEvent) -> Iterator[str]:
    """One line for each device that an event is about."""
    match event:
        case DevicesMoved(rows, _, origins, rings, reasons):
            for row, origin, ring, reason in zip(
                np.frombuffer(rows, "<u4").tolist(), origins, rings, reasons, strict=True
            ):
                came = "" if origin == UNSET else f"{RINGS[origin]} → "
                yield f"{fleet.id(row)}: {came}{RINGS[ring]} ({REASONS[reason]})"
        case DevicesWentOffline(rows, _):
            yield f"offline: {', '.join(map(fleet.id, np.frombuffer(rows, '<u4').tolist()))}"
        case DevicesWentOnline(rows, _):
            yield f"online: {', '.join(map(fleet.id, np.frombuffer(rows, '<u4').tolist()))}"


def order(verb: str, words: list[str]) -> commands.Command | None:
    """An operator's order about devices; None when it is about something else."""
    match verb, words:
        case "assign", [device, ring, *lifetime]:
            return commands.AssignRing(
                device, Ring(ring), parse_duration("lifetime", lifetime[0]) if lifetime else 0
            )
        case "release", [device]:
            return commands.ReleaseRing(device)
        case "remove", [device]:
            return commands.RemoveDevice(device)
        case "shares", weights:
            canary, dev, stage, prod = map(int, weights)
            return commands.SetRingShares((canary, dev, stage, prod))
        case "unbrake", []:
            return commands.ReleaseBrake()
    return None
