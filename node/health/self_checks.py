"""Problems that only the node itself can see: not a risk yet, but worth an alarm.

A complaint is sent with every health report for as long as the problem lasts. The replicated state
decides when it raises an alarm and when that alarm ends (`cluster.alarms`).
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil
from msgspec.structs import replace

from stationkeep.node.health.measurement import HealthSource, Measurement
from stationkeep.node.ports import Clock
from stationkeep.node.security.identity import date
from stationkeep.node.version import RELEASED
from stationkeep.node.wire.implausible import Implausible

DISK_INTERVAL = 10.0
"""Seconds between two checks of the disk."""
DISK_LOW_AT, DISK_WELL_AT = 90.0, 88.0
"""Percent in use at which a disk is nearly full, and at which it no longer is."""
JUMP = 1_000
"""Milliseconds by which the wall clock may deviate from the monotonic one between two reports. NTP
slews a hundred times slower."""
REMEMBERED = 600.0
"""Seconds for which a clock jump or a refused number is reported: it is over at once, but its
effects or its cause may not be."""

Watch = Callable[[], str | None]
"""What is wrong now, in words and figures; None if nothing is."""


class SelfChecked:
    """A health source that adds the findings of `watches`, each under the name of its alarm."""

    def __init__(self, source: HealthSource, watches: Mapping[str, Watch]) -> None:
        self._source, self._watches = source, watches

    def measure(self) -> Measurement:
        """The source's measurement with the current complaints."""
        found = {name: watch() for name, watch in self._watches.items()}
        complaints = {name: detail for name, detail in found.items() if detail is not None}
        return replace(self._source.measure(), complaints=complaints)


class DiskWatch:
    """Watches the file system of the data directory. If it fails, the journal deals with that."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._due = float("-inf")
        self._found: str | None = None

    def __call__(self) -> str | None:
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + DISK_INTERVAL
            self._found = self._look()
        return self._found

    def _look(self) -> str | None:
        try:
            usage = psutil.disk_usage(str(self._path))
        except OSError:
            return self._found
        if usage.percent < (DISK_LOW_AT if self._found is None else DISK_WELL_AT):
            return None
        return f"disk {usage.percent:.0f} % in use, {usage.free / 1e9:.1f} GB free"


class ClockWatch:
    """Watches the wall clock for jumps. No decision depends on it, but it is what people read in
    logs, and webhooks are signed with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._read()
        self._until = float("-inf")
        self._found: str | None = None

    def __call__(self) -> str | None:
        if self._clock.wall() < RELEASED * 1_000:
            return (
                f"the clock shows {date(self._clock.wall() / 1_000)}, before this release was made"
            )
        now, offset = self._clock.monotonic(), self._read()
        jumped, self._offset = offset - self._offset, offset
        if abs(jumped) > JUMP:
            self._until = now + REMEMBERED
            way = "forward" if jumped > 0 else "back"
            self._found = f"the clock jumped {way} by {abs(jumped) / 1_000:,.1f} s"
        return self._found if now < self._until else None

    def _read(self) -> int:
        """Wall ms minus monotonic ms; constant for as long as nobody sets the clock."""
        return self._clock.wall() - int(self._clock.monotonic() * 1_000)


class NumberWatch:
    """Watches the tallies of implausible numbers that parts of the node have refused."""

    def __init__(self, clock: Clock, refused: Callable[[], Iterable[Implausible]]) -> None:
        self._clock, self._refused = clock, refused
        self._counts: dict[int, int] = {}
        """Totals seen before, by the position of the tally."""
        self._until = float("-inf")
        self._found: str | None = None

    def __call__(self) -> str | None:
        now = self._clock.monotonic()
        for position, tally in enumerate(self._refused()):
            if tally.total > self._counts.get(position, 0):
                self._counts[position] = tally.total
                self._until, self._found = now + REMEMBERED, tally.newest
        return self._found if now < self._until else None
