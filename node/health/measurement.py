"""A node's own health at one moment, and where it comes from."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from stationkeep.node.config.sensors import Marks


class Measurement(msgspec.Struct, frozen=True):
    """What a health source measures."""

    risk: float
    """Risk of the worst component, in [0, 1]."""
    cause: str = ""
    """That component and its reading."""
    metrics: Mapping[str, float] = {}
    """Readings by component."""
    complaints: Mapping[str, str] = {}
    """Problems that are not a risk yet: name of the alarm → detail."""


class HealthSource(Protocol):
    """Where a node's own health comes from: sensors, a recording, or a simulation."""

    def measure(self) -> Measurement:
        """The health now; called once per report interval, must not block."""
        ...


def component_risk(marks: Marks, reading: float) -> float:
    """0 at `ok`, 1 at `critical`, linear between, clamped; either mark may be the larger one."""
    return min(1.0, max(0.0, (reading - marks.ok) / (marks.critical - marks.ok)))
