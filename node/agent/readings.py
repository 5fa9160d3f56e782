"""What a device says of itself at one moment."""

import math

import msgspec


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """Percentages from 0 to 100; `metrics`: further numbers by name (temperature, network …)."""

    battery_level: float = 100.0
    battery_charging: bool = True
    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    disk_usage: float = 0.0
    metrics: dict[str, float] = {}

    def __post_init__(self) -> None:
        """Raises ValueError naming field, value and rule: better here than from a node."""
        for field in ("battery_level", "cpu_usage", "memory_usage", "disk_usage"):
            value = getattr(self, field)
            if not 0 <= value <= 100:
                raise ValueError(f"{field}: {value!r} refused: a percentage from 0 to 100")
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"metrics.{name}: {value!r} refused: a finite number")
