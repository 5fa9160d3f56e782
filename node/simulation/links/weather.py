"""How bad the links are, and what becomes of a packet.

Weather is everywhere: delay, loss, bursts (Gilbert-Elliott, each direction in a state of its own).
A `Direction` may also have faults of its own: it is blocked, for all packets or for those of one
lane. Packets of both lanes are lost alike, acknowledgements as well as data.
"""

import random

import msgspec

from stationkeep.node.simulation.agenda import Time


class Weather(msgspec.Struct):
    """How bad the links are now. Delays in seconds; `burst`: mean length of a bad time, 0 for
    independent loss; `share`: of time in bad times (bursty), or of packets lost (independent).

    For datagrams also: the share that is `late`, by up to `lateness` seconds, and the share that
    arrives `twice`."""

    delay: float = 0.005
    jitter: float = 0.005
    share: float = 0.0
    burst: float = 0.0
    bare: bool = False
    """Every message goes as one datagram without a number: what no link may be."""
    late: float = 0.0
    lateness: float = 0.0
    twice: float = 0.0


class Direction(msgspec.Struct, eq=False):
    """Packets from one node to another."""

    blocked: bool = False
    standing: bool = False
    """Packets of streams vanish."""
    mute: bool = False
    """Datagrams vanish."""
    dark: bool = False
    """One of the two machines has no power."""
    extra: float = 0.0
    """Seconds beyond the weather's delay."""
    bad: bool = False
    turns_at: float = -1.0
    """Gilbert-Elliott: whether it is in a bad time, and until when."""


class Air:
    """What the packets of all directions go through."""

    def __init__(self, time: Time, draw: random.Random) -> None:
        self._time, self._draw = time, draw
        self.weather = Weather()
        self.lost = 0
        """Packets lost so far."""

    def latency(self, direction: Direction) -> float:
        """Seconds that a packet takes if it leaves now."""
        weather = self.weather
        return weather.delay + weather.jitter * self._draw.random() + direction.extra

    def loses(self, direction: Direction) -> bool:
        """Whether a packet that leaves now is lost by the weather."""
        weather = self.weather
        if not weather.share:
            return False
        if not weather.burst:
            lost = self._draw.random() < weather.share
        else:
            lost = self._is_bad(direction, weather)
        self.lost += lost
        return lost

    def _is_bad(self, direction: Direction, weather: Weather) -> bool:
        now = self._time.now
        mean_good = weather.burst * (1 - weather.share) / weather.share
        if direction.turns_at < now - 10 * (weather.burst + mean_good):  # long ago: begin anew
            direction.bad = self._draw.random() >= weather.share
            direction.turns_at = now
        while direction.turns_at <= now:
            direction.bad = not direction.bad
            mean = weather.burst if direction.bad else mean_good
            direction.turns_at += self._draw.expovariate(1 / mean)
        return direction.bad

    def datagram_passes(self, direction: Direction) -> bool:
        shut = direction.blocked or direction.dark or direction.mute
        return not shut and not self.loses(direction)

    def datagram_latency(self, direction: Direction) -> float:
        """As `latency`; some are much later than others."""
        latency, weather = self.latency(direction), self.weather
        if weather.late and self._draw.random() < weather.late:
            latency += weather.lateness * self._draw.random()
        return latency

    def copies(self) -> int:
        """How many copies of one datagram are sent."""
        twice = self.weather.twice
        return 1 + (twice > 0 and self._draw.random() < twice)


class Way:
    """The way there and back, for the packets of a stream."""

    __slots__ = ("_air", "back", "there")

    def __init__(self, air: Air, there: Direction, back: Direction) -> None:
        self._air, self.there, self.back = air, there, back

    @property
    def clean(self) -> bool:
        """Whether nothing can be lost now in either direction, nor overtake anything."""
        there, back, weather = self.there, self.back, self._air.weather
        return not (
            weather.share
            or weather.late
            or weather.twice
            or there.blocked
            or back.blocked
            or there.dark
            or there.standing
            or back.standing
        )

    def reversed(self) -> "Way":
        return Way(self._air, self.back, self.there)

    def latency(self, *, back: bool = False) -> float:
        """Seconds that a packet takes; `back`: from the receiver to the sender."""
        return self._air.latency(self.back if back else self.there)

    def loses(self, *, back: bool = False) -> bool:
        """Whether a packet of a stream that leaves now is lost."""
        direction = self.back if back else self.there
        shut = direction.blocked or direction.dark or direction.standing
        return shut or self._air.loses(direction)
