"""Plans the faults of a storm and their times, from a seed, before anything runs.

A strike says what happens and for how long. Its victim is chosen when it happens, since only then
is it known which node is PRIMARY.
"""

import random
from collections.abc import Mapping

import msgspec

SPELL = 120.0
"""Seconds of storm between two calms, in which the cluster must recover."""
GAP = 4.0
"""Mean seconds between two strikes."""
AIMS = ("anyone", "anyone", "primary", "leader")


class BadForecast(ValueError):  # noqa: N818 (named after what is the case)
    """An unknown fault; the message names it and those that exist."""


class Fault(msgspec.Struct, frozen=True):
    """A kind of fault."""

    says: str
    """Description, for people."""
    weight: int
    """How often it is chosen, relative to the others."""
    seconds: tuple[float, float]
    """The shortest and the longest absence of the victim."""


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("kill -9 of a node, started again later", 30, (0.2, 15.0)),
    "stop": Fault("SIGSTOP of a node, SIGCONT later", 25, (0.1, 12.0)),
    "term": Fault("SIGTERM of a node, started again later", 12, (0.2, 10.0)),
    "restart": Fault("SIGTERM of a node, started again at once", 15, (0.0, 0.0)),
    "majority": Fault("kill -9 or SIGSTOP of a majority at one moment", 6, (0.5, 6.0)),
    "blackout": Fault("kill -9 of every node at one moment", 4, (0.0, 3.0)),
}


class Strike(msgspec.Struct, frozen=True):
    """One fault."""

    at: float
    """Seconds since the start of its spell."""
    fault: str
    """One of `FAULTS`."""
    aim: str
    """One of `AIMS`."""
    seconds: float
    """How long the victim is absent."""
    freeze: bool
    """For `majority`: SIGSTOP instead of kill -9."""


def parse_faults(text: str) -> tuple[str, ...]:
    """Names with commas, or `all`; raises `BadForecast`."""
    names = tuple(name.strip() for name in text.split(","))
    if names == ("all",):
        return tuple(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise BadForecast(f"{name!r}: no such fault; all, or some of {', '.join(FAULTS)}")
    if len(set(names)) < len(names):
        raise BadForecast(f"{text!r}: a fault is named twice")
    return names


def forecast(seed: int, spell: int, seconds: float, faults: tuple[str, ...]) -> list[Strike]:
    """The strikes of one spell in order of time; the same for the same arguments."""
    draw = random.Random(f"{seed}/{spell}")  # noqa: S311 (a storm, not a secret)
    weights = [FAULTS[name].weight for name in faults]
    strikes: list[Strike] = []
    at = draw.uniform(0.5, 2.0)
    while at < seconds:
        name = draw.choices(faults, weights)[0]
        shortest, longest = FAULTS[name].seconds
        # Squared: most absences are short, so that the next strike comes during recovery; a few
        # are long, so that the node needs a snapshot afterwards.
        absent = shortest + (longest - shortest) * draw.random() ** 2
        strikes.append(Strike(at, name, draw.choice(AIMS), absent, draw.random() < 0.5))
        at += min(3 * GAP, draw.expovariate(1 / GAP))
    return strikes
