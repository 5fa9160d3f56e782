"""A recorded series as a node's health, instead of its host's sensors.

Source: roles.md, "Health and registry".
"""

import csv
import math
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from stationkeep.node.config.sensors import Marks
from stationkeep.node.health.measurement import Measurement, component_risk
from stationkeep.node.ports import Clock
from stationkeep.node.system.operator_files import regular

MAX_ROWS = 2_000_000


class ReplayError(ValueError):
    """A recording that cannot be used; names file, line, value and rule."""


class Recording(msgspec.Struct, frozen=True):
    """A recorded series."""

    offsets: tuple[float, ...]
    """Seconds since the first row, rising."""
    values: tuple[float, ...]
    """Risks in [0, 1] if `is_risk`, else CPU percent."""
    length: float
    """Seconds after which it starts over."""
    is_risk: bool


def read_recording(path: Path) -> Recording:
    """Reads a CSV file with the columns `timestamp` and either `value` (CPU percent) or `risk`
    (0 to 1). Timestamps are ISO dates or seconds, rising. Raises `ReplayError`."""
    try:
        with open(path, newline="", encoding="utf-8-sig", opener=regular) as file:
            return _parse_recording(path, csv.reader(file))
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path}: refused: CSV in UTF-8, with short fields") from error


def _parse_recording(path: Path, rows: "Iterator[list[str]]") -> Recording:
    header = [name.strip() for name in next(rows, [])]
    column = "risk" if "risk" in header else "value"
    if "timestamp" not in header or column not in header:
        rule = "a header naming timestamp and either value (CPU percent) or risk (0..1)"
        raise ReplayError(f"{path}:1: {','.join(header)!r} refused: {rule}")
    where = header.index("timestamp"), header.index(column)
    top = 1.0 if column == "risk" else 100.0
    offsets: list[float] = []
    values: list[float] = []
    first = 0.0
    for line, row in enumerate(rows, start=2):
        if line > MAX_ROWS + 1:
            raise ReplayError(f"{path}:{line}: refused: a recording has at most {MAX_ROWS} rows")
        if not row:
            continue
        place = f"{path}:{line}"
        if len(row) <= max(where):
            raise ReplayError(f"{place}: {','.join(row)!r} refused: a {column} in every row")
        moment = _moment(place, row[where[0]])
        first = first if offsets else moment
        if offsets and moment - first <= offsets[-1]:
            raise ReplayError(f"{place}: timestamp {row[where[0]]!r} refused: timestamps rise")
        offsets.append(moment - first)
        values.append(_reading(place, column, row[where[1]], top))
    if not values:
        raise ReplayError(f"{path}: refused: a recording has at least one row of data")
    spacing = offsets[-1] - offsets[-2] if len(offsets) > 1 else 1.0
    return Recording(tuple(offsets), tuple(values), offsets[-1] + spacing, column == "risk")


def _moment(place: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = _date(text)
    if not math.isfinite(seconds):
        rule = "a date such as 2014-02-14 14:30:00, or seconds"
        raise ReplayError(f"{place}: timestamp {text!r} refused: {rule}")
    return seconds


def _date(text: str) -> float:
    """Unix time of an ISO date, in UTC unless it has an offset; NaN when it is not a date."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _reading(place: str, column: str, text: str, top: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= top:
        rule = f"a number between 0 and {top:g}"
        raise ReplayError(f"{place}: {column} {text!r} refused: {rule}")
    return value


class HealthReplay:
    """Plays a recorded series as this node's health, in a loop, `speed` times as fast.

    The marks of the cpu component (the defaults when it is off) turn CPU percents into risks.
    """

    def __init__(
        self, recording: Recording, speed: float, marks: Marks | None, clock: Clock
    ) -> None:
        if not 0 < speed < math.inf:
            raise ReplayError(f"replay speed {speed!r} refused: a number above 0")
        self._recording, self._speed = recording, speed
        self._marks = marks or Marks(70, 100)
        self._clock = clock
        self._start = clock.monotonic()

    def measure(self) -> Measurement:
        """The newest row that is due by now."""
        recording = self._recording
        elapsed = (self._clock.monotonic() - self._start) * self._speed
        step = bisect_right(recording.offsets, elapsed % recording.length) - 1
        value = recording.values[step]
        if recording.is_risk:
            return Measurement(value, f"recorded risk {value:.2f}", {"risk": value})
        cause = f"recorded cpu {value:.0f} %"
        return Measurement(component_risk(self._marks, value), cause, {"cpu": value})
