"""The verbs of a script that disturb links: weather everywhere, troubles between two nodes."""

import msgspec

from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.links.weather import Direction, Weather

VERBS = frozenset(
    {
        *("cut", "mend", "isolate", "rejoin", "reset", "far", "udp", "standing"),
        *("weather", "stray", "datagrams", "lane"),
    }
)


class Disturbances:
    """Of one world's links."""

    def __init__(self, links: Links, names: list[str]) -> None:
        self._links, self._names = links, names

    def perform(self, verb: str, *words: str) -> None:
        """Does what a script says now; between a node and itself it does nothing."""
        getattr(self, "_do_" + verb)(*words)

    def heal(self) -> None:
        """All of it is over. What was lost by it is still lost."""
        self._links.air.weather = Weather()
        for direction in self._links.directions.values():
            direction.blocked = direction.standing = direction.mute = False
            direction.extra = 0.0

    # -- everywhere ----------------------------------------------------------------------------

    def _do_weather(self, delay: str, jitter: str, share: str, burst: str) -> None:
        self._set(delay=float(delay), jitter=float(jitter), share=float(share), burst=float(burst))

    def _do_stray(self, late: str, lateness: str, twice: str) -> None:
        self._set(late=float(late), lateness=float(lateness), twice=float(twice))

    def _do_datagrams(self, state: str) -> None:
        self._set(bare=state == "on")

    def _set(self, **fields: float) -> None:
        self._links.air.weather = msgspec.structs.replace(self._links.air.weather, **fields)

    def _do_lane(self, lane: str, state: str) -> None:
        self._links.lanes[lane] = state == "on"

    # -- between two ---------------------------------------------------------------------------

    def _direction(self, a: str, b: str) -> Direction:
        return self._links.directions.get((a, b)) or Direction()

    def _do_cut(self, a: str, b: str) -> None:
        self._direction(a, b).blocked = True
        self._links.ground(a, b)

    def _do_mend(self, a: str, b: str) -> None:
        """Streams find out at their next retransmission."""
        self._direction(a, b).blocked = False

    def _do_isolate(self, name: str) -> None:
        for other in self._names:
            self._do_cut(name, other)
            self._do_cut(other, name)

    def _do_rejoin(self, name: str) -> None:
        for other in self._names:
            self._do_mend(name, other)
            self._do_mend(other, name)

    def _do_standing(self, a: str, b: str, state: str) -> None:
        self._direction(a, b).standing = state == "on"
        if state == "on":
            self._links.ground(a, b)

    def _do_udp(self, a: str, b: str, state: str) -> None:
        self._direction(a, b).mute = state == "off"

    def _do_far(self, a: str, b: str, seconds: str) -> None:
        self._direction(a, b).extra = float(seconds)

    def _do_reset(self, a: str, b: str) -> None:
        if a != b:
            self._links.reset(a, b)
