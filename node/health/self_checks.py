"""What is wrong with a node and only the node knows: no risk yet, but an alarm.

A complaint goes out with every health report for as long as it holds. Whether it becomes an
alarm, and when that is over, is decided where all nodes agree (`cluster.alarms`).
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil
from msgspec.structs import replace

from stationkeep.node.health.measurement import HealthSource, Measurement
from stationkeep.node.ports import Clock
from stationkeep.node.wire.implausible import Implausible

DISK_INTERVAL = 10.0
"""Seconds between two looks at the disk."""
DISK_LOW_AT, DISK_WELL_AT = 90.0, 88.0
"""Percent in use at which a disk is nearly full, and at which it no longer is."""
JUMP = 1_000
"""Milliseconds by which the wall clock may leave the monotonic one between two reports: the
slewing of NTP is a hundred times slower."""
REMEMBERED = 600.0
"""Seconds for which a jump, or a refused number, is complained of: it is over at once, what it did
or whoever did it may not be."""

Watch = Callable[[], str | None]
"""What is wrong now, in words and figures; None when nothing is."""


class SelfChecked:
    """A health source that also says what `watches` see, each under the name of its alarm."""

    def __init__(self, source: HealthSource, watches: Mapping[str, Watch]) -> None:
        self._source, self._watches = source, watches

    def measure(self) -> Measurement:
        """What the source says, and the complaints of now."""
        seen = {name: watch() for name, watch in self._watches.items()}
        complaints = {name: said for name, said in seen.items() if said is not None}
        return replace(self._source.measure(), complaints=complaints)


class DiskWatch:
    """The file system of the data directory. One that cannot be read is the journal's to judge."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._due = float("-inf")
        self._said: str | None = None

    def __call__(self) -> str | None:
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + DISK_INTERVAL
            self._said = self._look()
        return self._said

    def _look(self) -> str | None:
        try:
            usage = psutil.disk_usage(str(self._path))
        except OSError:
            return self._said
        if usage.percent < (DISK_LOW_AT if self._said is None else DISK_WELL_AT):
            return None
        return f"disk {usage.percent:.0f} % in use, {usage.free / 1e9:.1f} GB free"


class ClockWatch:
    """The wall clock against the monotonic one. Nothing is decided by the wall clock, but people
    read by it, and webhooks are signed with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._read()
        self._until = float("-inf")
        self._said: str | None = None

    def __call__(self) -> str | None:
        now, offset = self._clock.monotonic(), self._read()
        jumped, self._offset = offset - self._offset, offset
        if abs(jumped) > JUMP:
            self._until = now + REMEMBERED
            way = "forward" if jumped > 0 else "back"
            self._said = f"the clock jumped {way} by {abs(jumped) / 1_000:,.1f} s"
        return self._said if now < self._until else None

    def _read(self) -> int:
        """Wall ms minus monotonic ms; constant for as long as nobody sets the clock."""
        return self._clock.wall() - int(self._clock.monotonic() * 1_000)


class NumberWatch:
    """Numbers that were refused because they cannot be, by any of those who `heard` them."""

    def __init__(self, clock: Clock, heard: Callable[[], Iterable[Implausible]]) -> None:
        self._clock, self._heard = clock, heard
        self._counts: dict[int, int] = {}
        """By the place of who heard them."""
        self._until = float("-inf")
        self._said: str | None = None

    def __call__(self) -> str | None:
        now = self._clock.monotonic()
        for place, one in enumerate(self._heard()):
            if one.total > self._counts.get(place, 0):
                self._counts[place] = one.total
                self._until, self._said = now + REMEMBERED, one.newest
        return self._said if now < self._until else None
