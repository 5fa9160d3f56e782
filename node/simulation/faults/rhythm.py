"""What fault profiles share: when something happens, to whom, and how it is written down.

A profile knows its own rhythm: `gap` is the mean time between two of its faults, `unit` the
longest election timeout, `span` the evaluation interval, so that the same profile suits every
timing: what disturbs Raft is measured in units, what disturbs roles in spans.
"""

import random
from collections.abc import Iterator
from typing import Protocol

import msgspec

from stationkeep.node.simulation.scenario import Action


class Setting(msgspec.Struct, frozen=True):
    """What a profile may know. `unit`, `span`, `gap`, `end` in seconds."""

    names: tuple[str, ...]
    spares: tuple[str, ...]
    unit: float
    span: float
    gap: float
    end: float


class Profile(Protocol):
    """`actions` need not be in order."""

    def actions(self, draw: random.Random, on: Setting) -> Iterator[Action]: ...


def moments(draw: random.Random, on: Setting, gap: float | None = None) -> Iterator[float]:
    """A Poisson process from the first unit to the end."""
    mean = on.gap if gap is None else gap
    at = on.unit + draw.expovariate(1 / mean)
    while at < on.end:
        yield at
        at += draw.expovariate(1 / mean)


def act(at: float, verb: str, *words: str | float) -> Action:
    texts = tuple(word if isinstance(word, str) else f"{word:.4g}" for word in words)
    return Action(round(at, 3), verb, texts)


def anyone(draw: random.Random, on: Setting) -> str:
    """Somebody; the leader and the PRIMARY more often than others."""
    roll = draw.random()
    if roll < 0.25:
        return "leader"
    return "primary" if roll < 0.4 else draw.choice(on.names)


def pair(draw: random.Random, on: Setting) -> tuple[str, str]:
    a, b = draw.sample(on.names, 2)
    return a, b
