"""Delays and silences of many streams of messages, real or modelled, to be compared."""

import itertools
import random

import msgspec

from stationkeep.node.simulation.agenda import Agenda, Time
from stationkeep.node.simulation.links.congestion import Congestion
from stationkeep.node.simulation.links.stream import Stream

ROUND_TRIP = 0.00005
"""Seconds on a loopback interface."""
INTERVAL = 0.1
BYTES = 16


class Delays(msgspec.Struct, frozen=True):
    """When each stream's messages were sent, and those that arrived: sent and arrived. Seconds."""

    began: float
    ended: float
    sent: list[list[float]]
    arrivals: list[list[tuple[float, float]]]

    def delays(self) -> list[float]:
        """Of every message; what never arrived was late by all the rest of the time."""
        late = [at - sent for stream in self.arrivals for sent, at in stream]
        for sent, arrived in zip(self.sent, self.arrivals, strict=True):
            late += [self.ended - moment for moment in sent[len(arrived) :]]
        return sorted(late)

    def silences(self) -> list[float]:
        """The longest of each stream."""
        return sorted(self._longest([at for _, at in stream]) for stream in self.arrivals)

    def _longest(self, heard: list[float]) -> float:
        return max(b - a for a, b in itertools.pairwise([self.began, *heard, self.ended]))


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Losing:
    """A way on which each packet is lost on its own."""

    def __init__(self, draw: random.Random, loss: float, latency: float = ROUND_TRIP / 2) -> None:
        self._draw, self._latency = draw, latency
        self.loss = loss

    def latency(self, *, back: bool = False) -> float:
        return self._latency

    def loses(self, *, back: bool = False) -> bool:
        return self._draw.random() < self.loss

    def reversed(self) -> "Losing":
        return self


class Listener:
    """Notes what arrives, and what becomes of its stream."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.heard: list[tuple[float, float]] = []
        self.timeouts: list[float] = []
        self.given_up_at: float | None = None

    def arrived(self, message: float) -> None:
        self.heard.append((message, self._time.now))

    def timed_out(self) -> None:
        self.timeouts.append(self._time.now)

    def given_up(self) -> None:
        self.given_up_at = self._time.now


def modelled(
    loss: float, streams: int, seconds: float, congestion: Congestion, seed: int = 1
) -> Delays:
    """As the kernel is measured."""
    agenda, draw = Agenda(), random.Random(seed)
    way = Losing(draw, loss)
    sent: list[list[float]] = [[] for _ in range(streams)]
    listeners = [Listener(agenda.time) for _ in range(streams)]

    def speak(number: int, stream: Stream[float]) -> None:
        now = agenda.time.now
        sent[number].append(now)
        stream.write(now, BYTES)
        if now + INTERVAL < seconds:
            agenda.at(now + INTERVAL, speak, number, stream)

    for number, listener in enumerate(listeners):
        stream = Stream(
            agenda.time, agenda.at, way, listener,
            round_trip=ROUND_TRIP, user_timeout=float("inf"), congestion=congestion,
        )  # fmt: skip
        agenda.at(draw.random() * INTERVAL, speak, number, stream)
    agenda.run_to(seconds)
    return Delays(0.0, seconds, sent, [listener.heard for listener in listeners])
