"""Which faults hit a cluster, and when: drawn from a seed before anything runs.

A strike says what happens and for how long; whom it hits is decided at its moment, since only
then is it known who is PRIMARY.
"""

import random
from collections.abc import Mapping

import msgspec

SPELL = 120.0
"""Seconds of storm between two calms, in which everything must become well again."""
GAP = 4.0
"""Mean seconds between two strikes."""
AIMS = ("anyone", "anyone", "primary", "leader")


class BadForecast(ValueError):  # noqa: N818 (says what is the case)
    """No such fault; names it and those that exist."""


class Fault(msgspec.Struct, frozen=True):
    """`weight`: how often compared with others; `seconds`: the shortest and longest absence."""

    says: str
    weight: int
    seconds: tuple[float, float]


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("kill -9 of a node, started again later", 30, (0.2, 15.0)),
    "stop": Fault("SIGSTOP of a node, SIGCONT later", 25, (0.1, 12.0)),
    "term": Fault("SIGTERM of a node, started again later", 12, (0.2, 10.0)),
    "restart": Fault("SIGTERM of a node, started again at once", 15, (0.0, 0.0)),
    "majority": Fault("kill -9 or SIGSTOP of a majority at one moment", 6, (0.5, 6.0)),
    "blackout": Fault("kill -9 of every node at one moment", 4, (0.0, 3.0)),
}


class Strike(msgspec.Struct, frozen=True):
    """One fault. `at` and `seconds` count the seconds of its spell; `aim` is one of `AIMS`."""

    at: float
    fault: str
    aim: str
    seconds: float
    freeze: bool
    """Of `majority`: SIGSTOP instead of kill -9."""


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
        # Squared: most absences are short, so that the cluster is caught in the middle of
        # recovering; a few are long, so that the absent must be sent a snapshot.
        absent = shortest + (longest - shortest) * draw.random() ** 2
        strikes.append(Strike(at, name, draw.choice(AIMS), absent, draw.random() < 0.5))
        at += min(3 * GAP, draw.expovariate(1 / GAP))
    return strikes
