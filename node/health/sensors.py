"""The host's health: each component has a risk between 0 and 1, and the worst one counts.

Readings are cheap counters of the operating system, cached where they change slowly. CPU load
is averaged over half a minute: a burst of work is not a problem.
Source: roles.md, "Health and registry".
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.config.sensors import Marks, SensorConfig
from stationkeep.node.health.measurement import Measurement, component_risk
from stationkeep.node.hooks.runner import HookResult, HookRunner
from stationkeep.node.ports import Clock

CPU_AVERAGE = 30.0
"""Time constant of the CPU average, s."""
SLOW = 10.0
"""Seconds between two readings of disk, battery and temperature."""
UNITS = {"loop_lag": "s", "replication_lag": "entries", "temperature": "°C"}

Reader = Callable[[], float | None]
"""A component's reading now; None if the host does not have the component."""


def describe(component: str, reading: float) -> str:
    """`memory 91 %`, `loop_lag 0.4 s`."""
    shown = f"{reading:.2g}" if component == "loop_lag" else f"{reading:.0f}"
    return f"{component} {shown} {UNITS.get(component, '%')}"


class Average:
    """An exponential moving average that starts at 0."""

    def __init__(self, constant: float) -> None:
        self._constant = constant
        self._value = 0.0
        self._at: float | None = None

    def update(self, reading: float, now: float) -> float:
        """The average at `now` (monotonic s), including this reading."""
        if self._at is not None:
            weight = 1 - math.exp(-(now - self._at) / self._constant)
            self._value += weight * (reading - self._value)
        self._at = now
        return self._value


class Cached:
    """A reader that calls another at most every `interval` seconds."""

    def __init__(self, reader: Reader, clock: Clock, interval: float) -> None:
        self._reader, self._clock, self._interval = reader, clock, interval
        self._value: float | None = None
        self._due = float("-inf")

    def __call__(self) -> float | None:
        now = self._clock.monotonic()
        if now >= self._due:
            self._value, self._due = self._reader(), now + self._interval
        return self._value


class CommandSensor:
    """An operator's own check, run in the background.

    Exit status 0 is risk 0, any other is risk 1. A run that exits with 0 and prints nothing but
    JSON `{"risk": 0..1, "cause": "…"}` has that risk. The newest result is valid until the next.
    """

    def __init__(self, config: SensorConfig, clock: Clock, runner: HookRunner, node: str) -> None:
        self._config, self._clock, self._runner = config, clock, runner
        self._env = {"STATIONKEEP_NODE": node}
        self._due = float("-inf")
        self._running = False
        self._result = Measurement(0.0, "")

    def poll(self) -> Measurement:
        """The newest result; starts the next run when it is due."""
        now = self._clock.monotonic()
        if not self._running and now >= self._due:
            self._running = True
            self._due = now + self._config.command_interval
            timeout = self._config.command_timeout
            self._runner.start(self._config.command, self._env, timeout, self._on_done)
        return self._result

    def _on_done(self, result: HookResult) -> None:
        self._running = False
        self._result = judge_command(result)


class _CommandOutput(msgspec.Struct, frozen=True):
    risk: float
    cause: str = "command"


def judge_command(result: HookResult) -> Measurement:
    """The risk that an operator's command reports."""
    if not result.ok:
        return Measurement(1.0, f"command {result.detail}"[:200])
    if not result.output.lstrip().startswith("{"):
        return Measurement(0.0)
    try:
        output = msgspec.json.decode(result.output, type=_CommandOutput)
    except UNREADABLE as error:
        return Measurement(1.0, f"command: {explain(error, 'json')}"[:200])
    if not 0 <= output.risk <= 1:
        return Measurement(1.0, f"command: risk {output.risk:g} is not between 0 and 1")
    return Measurement(output.risk, output.cause[:200])


class HostSensors:
    """The host's health. `lags`: readers of the components that the node itself measures."""

    def __init__(
        self,
        config: SensorConfig,
        *,
        clock: Clock,
        data_dir: Path,
        lags: Mapping[str, Reader],
        command: CommandSensor | None = None,
    ) -> None:
        self._command = command
        readers: dict[str, Reader] = {
            "cpu": _CpuReader(clock),
            "memory": Cached(lambda: psutil.virtual_memory().percent, clock, 1.0),
            "disk": Cached(lambda: _disk(data_dir), clock, SLOW),
            "battery": Cached(_battery, clock, SLOW),
            "temperature": Cached(_temperature, clock, SLOW),
            **lags,
        }
        self._components: list[tuple[str, Marks, Reader]] = []
        for name, reader in readers.items():
            marks: Marks | None = getattr(config, name)
            if marks is not None:
                self._components.append((name, marks, reader))

    def measure(self) -> Measurement:
        """The worst component. One that cannot be read is left out, and is no risk."""
        metrics: dict[str, float] = {}
        worst, cause = 0.0, ""
        for name, marks, reader in self._components:
            reading = reader()
            if reading is None:
                continue
            metrics[name] = round(reading, 4)
            risk = component_risk(marks, reading)
            if risk > worst:
                worst, cause = risk, describe(name, reading)
        if self._command is not None:
            result = self._command.poll()
            metrics["command"] = result.risk
            if result.risk > worst:
                worst, cause = result.risk, result.cause
        return Measurement(worst, cause, metrics)


class _CpuReader:
    """Percent of all cores in use, averaged. psutil measures since its previous call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._average = Average(CPU_AVERAGE)
        self._value = 0.0
        self._due = float("-inf")
        psutil.cpu_percent(interval=None)

    def __call__(self) -> float:
        now = self._clock.monotonic()
        if now >= self._due:
            self._value = self._average.update(psutil.cpu_percent(interval=None), now)
            self._due = now + 1.0
        return self._value


def _disk(path: Path) -> float | None:
    """Percent of the file system in use. If the disk fails, the journal deals with that."""
    with suppress(OSError):
        return float(psutil.disk_usage(str(path)).percent)
    return None


def _battery() -> float | None:
    """Percent left; None if there is no battery, or it is being charged."""
    read: Callable[[], Any] | None = getattr(psutil, "sensors_battery", None)
    found = None
    if read is not None:
        with suppress(OSError, NotImplementedError):
            found = read()
    return None if found is None or found.power_plugged else float(found.percent)


def _temperature() -> float | None:
    """The hottest sensor of the host in °C."""
    read: Callable[[], Any] | None = getattr(psutil, "sensors_temperatures", None)
    found: Mapping[str, Any] = {}
    if read is not None:
        with suppress(OSError, NotImplementedError):
            found = read()
    readings = [float(t.current) for group in found.values() for t in group if t.current]
    return max(readings, default=None)
