"""Weather beyond what is promised, and sequences that chance produces too rarely: only by name, to
see that the checks notice what a guard prevents.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import permutations

import msgspec

from stationkeep.node.simulation.faults.rhythm import Setting, act, moments
from stationkeep.node.simulation.links.connection import USER_TIMEOUT
from stationkeep.node.simulation.scenario import Action


class Echoes(msgspec.Struct, frozen=True):
    """Answers that arrive in a later term of the same leader. It is cut off but for one follower,
    whose answers are delayed; another leader replaces what it wrote; it leads again, and the
    answers arrive. (The only node that reaches all others is elected.)"""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 0.0
        while at < on.end:
            yield from self._echo(draw, on, at)
            at += draw.uniform(10, 11) * on.unit

    @staticmethod
    def _echo(draw: random.Random, on: Setting, at: float) -> Iterator[Action]:
        leader, echo, *others = draw.sample(on.names, len(on.names))

        def ways(after: float, verb: str, ways: Iterable[tuple[str, str]]) -> Iterator[Action]:
            for a, b in ways:
                yield act(at + after * on.unit, verb, a, b)

        among = list(permutations((echo, *others), 2))
        near = [way for other in others for way in ((leader, other), (other, leader))]
        yield from ways(0.0, "cut", among)
        yield from ways(4.0, "cut", near)
        yield act(at + 4 * on.unit, "far", echo, leader, draw.uniform(2.2, 2.9) * on.unit)
        yield from ways(4.0, "mend", among)
        for steps, other in enumerate(others):  # nobody has an entry when the next one has
            yield act(at + 7 * on.unit, "far", leader, other, 0.15 * steps * on.unit)
            yield act(at + 8.5 * on.unit, "far", leader, other, 0.0)
        for _ in range(100):
            yield act(at + draw.uniform(4.02, 4.1) * on.unit, "read", leader, leader)
        yield act(at + 4.7 * on.unit, "cut", leader, echo)
        yield from ways(5.4, "mend", near)
        yield from ways(5.4, "cut", among)
        yield act(at + 6.1 * on.unit, "isolate", "leader")
        yield act(at + 8.5 * on.unit, "far", echo, leader, 0.0)
        for name in on.names:
            yield act(at + 8.5 * on.unit, "rejoin", name)


class Deaf(msgspec.Struct, frozen=True):
    """One node at a time receives nothing, for nearly as long as its connections survive that."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        at = 2 * on.unit
        while at < on.end:
            deaf = draw.choice(on.names)
            for name in on.names:
                if name != deaf:
                    yield act(at, "cut", name, deaf)
                    yield act(at + 0.95 * USER_TIMEOUT, "mend", name, deaf)
            at += 1.5 * USER_TIMEOUT


class Unsynced(msgspec.Struct, frozen=True):
    """Every node runs with `--durability os`, and the power fails everywhere at once."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        for name in on.names:
            yield Action(0.0, "durability", (name, "os"))
        for at in moments(draw, on):
            for name in on.names:
                yield act(at, "crash", name, "power")
                yield act(at + draw.uniform(0.2, 2) * on.span, "start", name)


class Datagrams(msgspec.Struct, frozen=True):
    """What a Raft link must not do: reorder, duplicate, lose."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]:
        yield Action(0.0, "datagrams", ("on",))
        yield act(0.0, "weather", 0.01 * on.unit, 0.2 * on.unit, 0.05, 0.0)
