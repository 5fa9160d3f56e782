"""How simulated devices feel: readings as a pure function of seed, device and time.

Nothing is remembered between two readings, so thousands of devices cost nothing but their
sockets, and the same seed always gives the same fleet.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from stationkeep.node.agent.readings import Readings
from stationkeep.node.health.replay import Recording, ReplayError, read_recording

EPISODE = 120.0
"""Seconds that a device of the mixed fleet is well or ill at a stretch."""
ILL_SHARE = 0.125
"""Of the mixed fleet at any moment: one in eight, as in the seed's example."""
STORM_FIRST, STORM_EVERY, STORM_LENGTH = 30.0, 180.0, 60.0
"""Seconds."""
STORM_SHARE = 0.7
"""Of the fleet that each storm overloads: above any sensible storm brake."""

Behaviour = Callable[[int, float, int], Readings]
"""Readings of a device from its number, its time (s since the fleet began), and how many
readings it has given before."""


def chance(*parts: int) -> float:
    """A fixed number in [0, 1) for these integers, well spread (splitmix64)."""
    mixed = 0
    for part in parts:
        mixed = (mixed + part + 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFF_FFFF_FFFF_FFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFF_FFFF_FFFF_FFFF
        mixed ^= mixed >> 31
    return mixed / 2**64


def drift(period: float, at: float, *parts: int) -> float:
    """A smooth wander through [0, 1) that forgets itself after some periods (value noise)."""
    step, rest = divmod(at / period, 1.0)
    low, high = chance(*parts, int(step)), chance(*parts, int(step) + 1)
    return low + (high - low) * rest * rest * (3 - 2 * rest)


class Healthy:
    """Every device is well, all the time; no two at the same figures."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, index: int, at: float, _count: int) -> Readings:
        level, charging = self.battery(index, at)
        return Readings(
            battery_level=level,
            battery_charging=charging,
            cpu_usage=10 + 50 * drift(60, at, self._seed, index, 1),
            memory_usage=30 + 40 * drift(600, at, self._seed, index, 2),
            disk_usage=20 + 50 * chance(self._seed, index, 3),
            metrics={"temperature": 30 + 15 * drift(300, at, self._seed, index, 4)},
        )

    def battery(self, index: int, at: float) -> tuple[float, bool]:
        """From full down to 40 % in an hour and a half, and up again in half an hour."""
        phase = (at / 7_200 + chance(self._seed, index, 5)) % 1
        down = phase < 0.75
        return (100 - 80 * phase if down else 40 + 240 * (phase - 0.75)), not down

    def overloaded(self, index: int, at: float, count: int) -> Readings:
        """The same device with a processor that is too busy."""
        well = Healthy.__call__(self, index, at, count)
        return replace(well, cpu_usage=84 + 15 * chance(self._seed, index, count, 6))


class Mixed(Healthy):
    """One in eight is ill: busy, full, or nearly empty; for a while, then others are."""

    def __call__(self, index: int, at: float, count: int) -> Readings:
        episode = int(at / EPISODE + chance(self._seed, index, 7))
        if chance(self._seed, index, episode, 8) >= ILL_SHARE:
            return super().__call__(index, at, count)
        kind = int(3 * chance(self._seed, index, episode, 9))
        much = chance(self._seed, index, episode, 10)
        if kind == 0:
            return self.overloaded(index, at, count)
        well = super().__call__(index, at, count)
        if kind == 1:
            return replace(well, memory_usage=87 + 11 * much)
        return replace(well, battery_level=3 + 15 * much, battery_charging=False)


class Flapping(Healthy):
    """Every reading of every device is ill or well at random: the worst that hysteresis meets."""

    def __call__(self, index: int, at: float, count: int) -> Readings:
        if chance(self._seed, index, count, 11) < 0.5:
            return self.overloaded(index, at, count)
        return super().__call__(index, at, count)


class Storm(Healthy):
    """From time to time most devices are overloaded at once, as after a bad update."""

    def __call__(self, index: int, at: float, count: int) -> Readings:
        number, since = divmod(at - STORM_FIRST, STORM_EVERY)
        struck = chance(self._seed, index, int(number), 12) < STORM_SHARE
        if number >= 0 and since < STORM_LENGTH and struck:
            return self.overloaded(index, at, count)
        return super().__call__(index, at, count)


class Replay(Healthy):
    """Recorded CPU percentages, over and over; device n takes recording n modulo their number,
    each from another place in it."""

    def __init__(self, seed: int, recordings: Sequence[Recording]) -> None:
        super().__init__(seed)
        self._recordings = recordings

    def __call__(self, index: int, at: float, count: int) -> Readings:
        recording = self._recordings[index % len(self._recordings)]
        place = (at + recording.length * chance(self._seed, index, 13)) % recording.length
        step = bisect_right(recording.offsets, place) - 1
        return replace(super().__call__(index, at, count), cpu_usage=recording.values[step])


PROFILES: dict[str, Callable[[int], Behaviour]] = {
    "healthy": Healthy,
    "mixed": Mixed,
    "flapping": Flapping,
    "storm": Storm,
}
"""Name → behaviour for a seed; `replay` needs recordings too."""


def behaviour(profile: str, seed: int, data: Sequence[Path] = ()) -> Behaviour:
    """The behaviour of a profile's name; raises ValueError (`ReplayError` for the data)."""
    if profile == "replay":
        if not data:
            raise ValueError("--profile replay needs --data FILE.csv, at least one")
        return Replay(seed, [_cpu_recording(path) for path in _files(data)])
    if data:
        raise ValueError(f"--data is for --profile replay, not for {profile}")
    if profile not in PROFILES:
        known = ", ".join([*PROFILES, "replay"])
        raise ValueError(f"--profile {profile!r} refused: one of {known}")
    return PROFILES[profile](seed)


def _files(paths: Sequence[Path]) -> list[Path]:
    """These files, and for a directory the CSVs in it, in the order of their names."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not inside:
            raise ReplayError(f"{path}: no *.csv in this directory")
        files += inside
    return files


def _cpu_recording(path: Path) -> Recording:
    recording = read_recording(path)
    if recording.is_risk:
        rule = "devices replay CPU percentages: a column named value"
        raise ReplayError(f"{path}: column risk refused: {rule}")
    return recording
