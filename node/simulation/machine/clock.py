"""Clocks of simulated nodes, each with its own idea of true time."""

from stationkeep.node.simulation.agenda import Time

WALL_AT_START = 2_304_800_000_000
"""A Tuesday at 22:13:20 UTC, in 2043: a clock that shows less than the release is not believed."""


class SimulatedClock:
    """`node.ports.Clock` with an offset, a rate, and a wall clock that can be set.

    The monotonic clock counts on while its node is paused, as CLOCK_BOOTTIME does.
    """

    __slots__ = ("_offset", "_rate", "_time", "wall_offset")

    def __init__(self, time: Time, offset: float = 0.0, rate: float = 1.0) -> None:
        self._time, self._offset, self._rate = time, offset, rate
        self.wall_offset = 0
        """Milliseconds by which the wall clock is wrong."""

    @property
    def rate(self) -> float:
        """Its seconds per true second."""
        return self._rate

    def monotonic(self) -> float:
        return self._offset + self._time.now * self._rate

    def wall(self) -> int:
        return WALL_AT_START + int(self._time.now * 1_000) + self.wall_offset

    def true(self, moment: float) -> float:
        """True time at which this clock will show `moment`."""
        return (moment - self._offset) / self._rate

    def run_at(self, rate: float) -> None:
        """From now on it runs at another rate; what it shows does not jump."""
        self._offset = self.monotonic() - self._time.now * rate
        self._rate = rate
