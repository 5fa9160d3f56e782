"""Which nodes were in trouble, and when: tells needed failovers and elections from false ones."""

from stationkeep.node.simulation.agenda import Time


class Trouble:
    """Intervals, per node, in which it could not be expected to serve."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._since: dict[str, float] = {}
        self._past: dict[str, list[tuple[float, float]]] = {}
        self._cut_off: dict[str, float] = {}

    def connected(self, node: str, with_majority: bool) -> None:
        """From now on the node is in touch with a majority, or is not."""
        if with_majority:
            self._cut_off.pop(node, None)
        else:
            self._cut_off.setdefault(node, self._time.now)

    def cut_off_since(self, node: str) -> float | None:
        """When the node lost its majority; None while it has one."""
        return self._cut_off.get(node)

    def note(self, node: str, troubled: bool) -> None:
        """From now on the node is in trouble, or is not."""
        since = self._since.get(node)
        if troubled and since is None:
            self._since[node] = self._time.now
        elif not troubled and since is not None:
            del self._since[node]
            self._past.setdefault(node, []).append((since, self._time.now))

    def moment(self, node: str) -> None:
        """The node was in trouble for this moment."""
        self._past.setdefault(node, []).append((self._time.now, self._time.now))

    def was(self, node: str, start: float, end: float) -> bool:
        """Whether it was in trouble at any time from `start` to `end`."""
        since = self._since.get(node)
        if since is not None and since <= end:
            return True
        past = self._past.get(node, [])
        return any(began <= end and over >= start for began, over in reversed(past[-64:]))
