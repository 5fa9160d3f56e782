"""What a real machine says of itself, through psutil."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stationkeep.node.agent.readings import Readings

SETTLING = 1.0
"""Seconds that processor use is counted over before it says anything. Until then the load of
the last minute stands for it: a device must not be judged by the moment of its own start."""


class HostReadings:
    """Reads this machine: call it. `disk`: a path on the file system that counts.

    A machine without a battery is one on mains: 100 % and charging. Raises OSError when `disk`
    cannot be read at the start; later the last figure stands.
    """

    def __init__(self, disk: Path = Path("/")) -> None:
        self._disk = str(disk)
        self._disk_usage = psutil.disk_usage(self._disk).percent
        self._since = time.monotonic()
        psutil.cpu_percent()

    def __call__(self) -> Readings:
        with suppress(OSError):
            self._disk_usage = psutil.disk_usage(self._disk).percent
        level, charging = battery()
        hottest = temperature()
        return Readings(
            battery_level=level,
            battery_charging=charging,
            cpu_usage=self._cpu(),
            memory_usage=psutil.virtual_memory().percent,
            disk_usage=self._disk_usage,
            metrics={} if hottest is None else {"temperature": hottest},
        )

    def _cpu(self) -> float:
        """Percent of all cores in use since the previous call."""
        if time.monotonic() - self._since >= SETTLING:
            self._since = float("-inf")
            return psutil.cpu_percent()
        return min(100.0, 100.0 * os.getloadavg()[0] / (os.cpu_count() or 1))


def battery() -> tuple[float, bool]:
    """Percent left, and whether it is being charged; psutil lacks it on some systems."""
    read: Callable[[], Any] | None = getattr(psutil, "sensors_battery", None)
    found = None
    if read is not None:
        with suppress(OSError, NotImplementedError):
            found = read()
    if found is None:
        return 100.0, True
    return min(100.0, max(0.0, float(found.percent))), bool(found.power_plugged)


def temperature() -> float | None:
    """The hottest sensor in °C; None where there is none."""
    read: Callable[[], Mapping[str, Any]] | None = getattr(psutil, "sensors_temperatures", None)
    found: Mapping[str, Any] = {}
    if read is not None:
        with suppress(OSError, NotImplementedError):
            found = read()
    return max((float(t.current) for group in found.values() for t in group if t.current),
               default=None)  # fmt: skip
