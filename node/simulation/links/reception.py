"""The receiving end of a TCP connection: puts bytes in order, and decides when to acknowledge.

Acknowledgements are delayed by 40 ms, except the first sixteen and those after anything unusual.
Each one echoes a timestamp, by which the sender measures the round trip: not of the packet that it
answers, but of the oldest that it acknowledges for the first time (RFC 7323). So lost
acknowledgements make the round trip seem longer.
"""

from collections.abc import Callable

from stationkeep.node.simulation.agenda import At, Time

QUICK, DELAYED = 16, 0.04
"""Acknowledgements sent at once, at first and after anything unusual; seconds that others wait."""
PAUSE = 0.2
"""Seconds without a packet that count as unusual."""

Ranges = tuple[tuple[int, int], ...]


class Receiver:
    """The receiver of one stream. `answer` sends an acknowledgement: the number of bytes received
    in order, the ranges of bytes beyond them, and the timestamp that it echoes."""

    def __init__(self, time: Time, at: At, answer: Callable[[int, Ranges, float], None]) -> None:
        self._time, self._at, self._answer = time, at, answer
        self.received = 0
        """Number of bytes received in order."""
        self._early: list[tuple[int, int]] = []
        """Ranges of bytes beyond those; disjoint, in order."""
        self._acknowledged = 0
        self._stamp = self._heard = 0.0
        self._quick = QUICK
        self._waiting = False
        """Whether an acknowledgement is delayed."""

    def take(self, first: int, last: int, stamp: float) -> None:
        """Takes a packet with the bytes from `first` to before `last`, sent at `stamp`."""
        if first <= self._acknowledged <= last:
            self._stamp = stamp
        now = self._time.now
        if last <= self.received or now - self._heard > PAUSE:
            self._quick = QUICK
        self._heard = now
        at_once = bool(self._early) or first > self.received
        if first > self.received:
            self._keep(first, last)
        elif last > self.received:
            self.received = last
            while self._early and self._early[0][0] <= self.received:
                self.received = max(self.received, self._early.pop(0)[1])
        self._acknowledge(at_once)

    def _keep(self, first: int, last: int) -> None:
        merged: list[tuple[int, int]] = []
        for begin, end in sorted([*self._early, (first, last)]):
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((begin, end))
        self._early = merged

    def _acknowledge(self, at_once: bool) -> None:
        if at_once or self._quick:
            self._quick = max(self._quick - 1, 0)
            self._send()
        elif not self._waiting:
            self._waiting = True
            self._at(self._time.now + DELAYED, self._send_late)

    def _send_late(self) -> None:
        if self._waiting:
            self._send()

    def _send(self) -> None:
        self._waiting = False
        self._acknowledged = self.received
        self._answer(self.received, tuple(self._early), self._stamp)
