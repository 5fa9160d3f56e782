"""Fault profiles of the network: what becomes of packets, of one lane or of both."""

import random
from collections.abc import Iterator
from itertools import permutations

import msgspec

from stationkeep.node.simulation.faults.rhythm import Setting, act, moments, pair
from stationkeep.node.simulation.scenario import Action


class BadWeather(msgspec.Struct, frozen=True):
    """The links are bad from the beginning, at times more, at times less."""

    share: tuple[float, float] = (0.0, 0.0)
    burst: tuple[float, float] = (0.0, 0.0)
    delay: tuple[float, float] = (0.002, 0.01)
    jitter: tuple[float, float] = (0.001, 0.01)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in [0.0, *moments(draw, on, 10 * on.unit)]:
            yield act(
                at,
                "weather",
                draw.uniform(*self.delay) * on.unit,
                draw.uniform(*self.jitter) * on.unit,
                draw.uniform(*self.share),
                draw.uniform(*self.burst) * on.unit,
            )


class Far(msgspec.Struct, frozen=True):
    """Some ways take longer than others, and not the same time there and back."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for _ in range(len(on.names)):
            a, b = pair(draw, on)
            yield act(0.0, "far", a, b, draw.uniform(0.02, 0.25) * on.unit)


class Partition(msgspec.Struct, frozen=True):
    """Groups that do not reach each other, for a while."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            lasts = draw.uniform(0.5, 6) * on.span
            if draw.random() < 0.5:
                alone = draw.choice([*on.names, "leader"])
                if alone == "leader":
                    yield act(at, "isolate", alone)
                    for name in on.names:  # whoever it was then
                        yield act(at + lasts, "rejoin", name)
                else:
                    yield act(at, "isolate", alone)
                    yield act(at + lasts, "rejoin", alone)
                continue
            side = draw.sample(on.names, len(on.names) // 2)
            for a in side:
                for b in on.names:
                    if b not in side:
                        yield act(at, "cut", a, b)
                        yield act(at, "cut", b, a)
                        yield act(at + lasts, "mend", a, b)
                        yield act(at + lasts, "mend", b, a)


class Straggler(msgspec.Struct, frozen=True):
    """One node at a time is cut off for longer than an election takes, and comes back."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 2 * on.unit
        while at < on.end:
            name = draw.choice(on.names)
            yield act(at, "isolate", name)
            yield act(at + draw.uniform(2, 5) * on.unit, "rejoin", name)
            at += draw.uniform(8, 12) * on.unit


class OneWay(msgspec.Struct, frozen=True):
    """Packets pass one way only."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            a, lasts = draw.choice(on.names), draw.uniform(0.5, 6) * on.span
            others = [b for b in on.names if b != a]
            inbound = draw.random() < 0.5
            for b in draw.sample(others, draw.randint(1, len(others))):
                way = (b, a) if inbound else (a, b)
                yield act(at, "cut", *way)
                yield act(at + lasts, "mend", *way)


class Inbound(msgspec.Struct, frozen=True):
    """One node, mostly the PRIMARY, receives nothing but is received, for so long that it must be
    replaced meanwhile."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = draw.uniform(6, 12) * on.span
        while at < on.end:
            who = "primary" if draw.random() < 0.8 else draw.choice(on.names)
            for name in on.names:
                yield act(at, "cut", name, who)
            at += draw.uniform(11, 16) * on.span
            for a, b in permutations(on.names, 2):
                yield act(at, "mend", a, b)
            at += draw.uniform(4, 16) * on.span


class Partial(msgspec.Struct, frozen=True):
    """Two nodes do not reach each other; all others reach both."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            (a, b), lasts = pair(draw, on), draw.uniform(1, 8) * on.span
            yield act(at, "cut", a, b)
            yield act(at, "cut", b, a)
            yield act(at + lasts, "mend", a, b)
            yield act(at + lasts, "mend", b, a)


class Resets(msgspec.Struct, frozen=True):
    """Connections break; what was in flight is lost."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on, on.gap / 4):
            yield act(at, "reset", *pair(draw, on))


class OneLane(msgspec.Struct, frozen=True):
    """One lane carries nothing for a while: `udp` (datagrams) or `standing` (streams, also those
    dialled meanwhile); between two, around one, or everywhere."""

    verb: str
    begin: str
    end: str

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in moments(draw, on):
            lasts = draw.uniform(0.5, 8) * draw.choice((on.unit, on.span))
            for way in self._ways(draw, on):
                yield act(at, self.verb, *way, self.begin)
                yield act(at + lasts, self.verb, *way, self.end)

    @staticmethod
    def _ways(draw: random.Random, on: Setting) -> list[tuple[str, str]]:
        everywhere = list(permutations(on.names, 2))
        roll = draw.random()
        if roll < 0.3:
            return everywhere
        if roll < 0.6:
            one = draw.choice(on.names)
            return [way for way in everywhere if one in way]
        a, b = pair(draw, on)
        return [(a, b)] if roll < 0.8 else [(a, b), (b, a)]


class Stray(msgspec.Struct, frozen=True):
    """Datagrams arrive seconds late, twice, and in any order."""

    late: tuple[float, float] = (0.02, 0.4)
    lateness: tuple[float, float] = (0.1, 5.0)
    twice: tuple[float, float] = (0.0, 0.3)

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for at in [0.0, *moments(draw, on, 10 * on.unit)]:
            yield act(
                at,
                "stray",
                draw.uniform(*self.late),
                draw.uniform(*self.lateness) * on.unit,
                draw.uniform(*self.twice),
            )
