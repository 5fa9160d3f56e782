"""The verbs of a script that disturb links: weather everywhere, faults between two nodes."""

import msgspec

from stationkeep.node.simulation.links.network import Links
from stationkeep.node.simulation.links.weather import Direction, Weather


class Disturbances:
    """Disturbances of one world's links. Between a node and itself they do nothing."""

    def __init__(self, links: Links, names: list[str]) -> None:
        self._links, self._names = links, names

    def heal(self) -> None:
        """Ends all disturbances. What was lost stays lost."""
        self._links.air.weather = Weather()
        for direction in self._links.directions.values():
            direction.blocked = direction.standing = direction.mute = False
            direction.extra = 0.0

    # -- everywhere ----------------------------------------------------------------------------

    def weather(self, delay: str, jitter: str, share: str, burst: str) -> None:
        self._set(delay=float(delay), jitter=float(jitter), share=float(share), burst=float(burst))

    def stray(self, late: str, lateness: str, twice: str) -> None:
        self._set(late=float(late), lateness=float(lateness), twice=float(twice))

    def datagrams(self, state: str) -> None:
        self._set(bare=state == "on")

    def _set(self, **fields: float) -> None:
        self._links.air.weather = msgspec.structs.replace(self._links.air.weather, **fields)

    def lane(self, lane: str, state: str) -> None:
        self._links.lanes[lane] = state == "on"

    # -- between two ---------------------------------------------------------------------------

    def _direction(self, a: str, b: str) -> Direction:
        return self._links.directions.get((a, b)) or Direction()

    def cut(self, a: str, b: str) -> None:
        self._direction(a, b).blocked = True
        self._links.ground(a, b)

    def mend(self, a: str, b: str) -> None:
        """Streams find out at their next retransmission."""
        self._direction(a, b).blocked = False

    def isolate(self, name: str) -> None:
        for other in self._names:
            self.cut(name, other)
            self.cut(other, name)

    def rejoin(self, name: str) -> None:
        for other in self._names:
            self.mend(name, other)
            self.mend(other, name)

    def standing(self, a: str, b: str, state: str) -> None:
        self._direction(a, b).standing = state == "on"
        if state == "on":
            self._links.ground(a, b)

    def udp(self, a: str, b: str, state: str) -> None:
        self._direction(a, b).mute = state == "off"

    def far(self, a: str, b: str, seconds: str) -> None:
        self._direction(a, b).extra = float(seconds)

    def reset(self, a: str, b: str) -> None:
        if a != b:
            self._links.reset(a, b)
