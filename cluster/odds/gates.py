"""What the health gate of a stage can see: how often it stops a version that makes devices ill.

Rollouts of the stage are simulated, all of them at once, with draws that are the same every time.
Each updated device and each of its twins turns bad by chance: `CHANCE` of them do within a soak,
and as many are bad at the first look, after the time that an installation takes. Besides, the
version makes a share of the updated ones ill, at a moment between installation and end of the soak.
Each look that finds somebody bad goes into the table of its rollout, which is stopped once the
evidence is proof. Floats are good enough here: no verdict hangs on them. `scripts/bench gates`
simulates the same device by device. Source: gates.md, "Evidence".
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.delivery.offers import draw_by
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.rollouts.evidence import HARMFUL, MAX_TWINS, OCTAVE
from stationkeep.cluster.rollouts.gates import MILLI, SUSPICIOUS, Gates
from stationkeep.cluster.settings import PPM

RUNS = 300
CHANCE = 0.012
"""Of devices that turn bad within a soak without anybody's doing, as in `scripts/bench gates`."""
MOST_SETS = 400
"""That are simulated of a stage: with more it sees more, but by then it sees most there is."""
MOST_LOOKS = 1_000
"""Of a soak that are told apart: beyond, several are taken for one."""
SHARES = ((50, (0.2, 0.1, 0.05)), (10, (0.6, 0.3, 0.15)), (0, (1.0, 0.6, 0.3)))
"""Made ill by the version, by the least members of a stage that are asked about these."""
_SEED = 13
_NEVER = np.int32(1 << 30)


class Judged(NamedTuple):
    """A stage as its health gate sees it. `twins`: devices that may serve as such; `looks`: within
    the soak; `unseen`: looks that pass before the first; `tellings`: by member, the look at which
    it is told, ascending; of the first `MOST_SETS` at least."""

    members: int
    twins: int
    looks: int
    unseen: int
    tellings: Column
    gates: Gates


class Power(NamedTuple):
    """Of rollouts in which the version makes `ill` (a share) of the devices ill: the shares that
    the gate stops, and that it leaves in doubt."""

    ill: float
    stopped: float
    doubted: float


def powers(stage: Judged, runs: int = RUNS) -> Iterator[Power]:
    """For those shares that are of interest in a stage of this size, one by one."""
    if not stage.members:
        return
    turns = _Turns(stage, runs)
    for ill in next(shares for least, shares in SHARES if stage.members >= least):
        yield turns.power(ill)


class _Turns:
    """When devices turn bad in each set of all simulated rollouts, in looks; `_NEVER`: not while
    they are looked at."""

    def __init__(self, stage: Judged, runs: int) -> None:
        self.stage, self.runs = stage, runs
        self.sets = min(stage.members, MOST_SETS)
        self.looks = min(stage.looks, MOST_LOOKS)
        each = min(MAX_TWINS, stage.twins // self.sets)
        shape = runs * self.sets
        draws = _uniform((3 + max(1, each)) * shape).reshape(-1, shape)
        self.ill_draw, when = draws[0], draws[1]
        span = self.looks + stage.unseen
        self.falls_ill = np.maximum(0, (when * span).astype(np.int32) - stage.unseen)
        self.by_chance = self._turn(draws[2])
        self.twins = np.ascontiguousarray(self._turn(draws[3:]).T)
        place = np.arange(shape) % self.sets
        self.there = np.ones((shape, len(draws) - 3), bool)
        if not each:  # fewer free devices than sets: the first have one twin each
            self.there[:] = (place < stage.twins)[:, None]
        self.twins[~self.there] = _NEVER
        self.twin_turns = (self.twins < _NEVER).any(1)
        self.told = stage.tellings[place]

    def _turn(self, draws: Column) -> Column:
        """The look at which devices turn bad by chance."""
        found = np.full(draws.shape, _NEVER, np.int32)
        hit = draws < 2 * CHANCE
        found[hit] = np.maximum(0, draws[hit] / CHANCE - 1) * self.looks
        return found

    def power(self, ill: float) -> Power:
        sick = np.where(self.ill_draw < ill, self.falls_ill, _NEVER)
        updated = np.minimum(self.by_chance, sick)
        bad = (updated < _NEVER).reshape(self.runs, self.sets).sum(1)
        most, last = self._evidence(updated)
        gates = self.stage.gates
        stopped = most >= gates.needed / MILLI
        above = bad * PPM > gates.max_bad * self.sets
        few = self.sets < gates.min_devices
        doubted = ~stopped & (above | few | (last >= SUSPICIOUS / MILLI))
        return Power(ill, float(stopped.mean()), float(doubted.mean()))

    def _evidence(self, updated: Column) -> tuple[Column, Column]:
        """By run, the most evidence that there ever is, and that in the end."""
        most, last = np.zeros((2, self.runs))
        runs, at, looks = self._findings(updated)
        if not len(runs):
            return most, last
        order = np.lexsort((at, runs))
        runs, at = runs[order], at[order]
        summed = np.cumsum(_weights()[looks[order]], axis=0)
        first = np.flatnonzero(np.diff(runs, prepend=-1))
        before = np.vstack([np.zeros((1, summed.shape[1])), summed])[first]
        summed -= np.repeat(before, np.diff(first, append=len(runs)), axis=0)
        evidence = np.exp(np.minimum(summed, 25)).mean(1)
        ends = np.diff(runs, append=-1) != 0
        last[runs[ends]] = evidence[ends]
        evidence[~(ends | (np.diff(at, append=-1) != 0))] = 0  # the look goes on
        most[runs[first]] = np.maximum.reduceat(evidence, first)
        return most, last

    def _findings(self, updated: Column) -> tuple[Column, Column, Column]:
        """Of each look at a set that found somebody bad: the run, when, and what it found."""
        (hit,) = np.nonzero((updated < _NEVER) | self.twin_turns)
        updated, twins, there = updated[hit], self.twins[hit], self.there[hit]
        times = np.column_stack([updated, twins])
        found = []
        for place in range(times.shape[1]):
            at = times[:, place]
            again = (times[:, :place] == at[:, None]).any(1)
            turned = twins == at[:, None]
            at_risk = (there & (twins >= at[:, None])).sum(1)
            seen = (at < _NEVER) & ~again & (at <= updated) & (at_risk > 0)
            its = (at == updated).astype(np.int64)
            look = _place(at_risk, turned.sum(1) + its, its)
            found.append(np.stack([hit, at + self.told[hit], look])[:, seen])
        sets, at, looks = np.concatenate(found, axis=1)
        return sets // self.sets, at, looks


def _place(twins: Column | int, bad: Column | int, updated: Column | int) -> Column | int:
    """Of what a look found among the rows of `_weights`."""
    return (twins * (MAX_TWINS + 2) + bad) * 2 + updated


@cache
def _weights() -> Column:
    """By what a look found, and by hazard ratio of `HARMFUL`: ln of the likelihood to that of 1."""
    weights = np.zeros((_place(MAX_TWINS, MAX_TWINS + 1, 1) + 1, len(HARMFUL)))
    for twins in range(1, MAX_TWINS + 1):
        for bad in range(1, twins + 1):
            for updated in (0, 1):
                weights[_place(twins, bad, updated)] = [
                    updated * math.log(ratio)
                    - math.log(
                        (math.comb(twins, bad) + ratio * math.comb(twins, bad - 1))
                        / math.comb(twins + 1, bad)
                    )
                    for ratio in (2 ** (step / OCTAVE) for step in HARMFUL)
                ]
    return weights


def _uniform(count: int) -> Column:
    """Numbers evenly between 0 and 1, the same every time."""
    drawn = draw_by(np.arange(count, dtype=np.uint64) * np.uint64(0x2545F4914F6CDD1D), _SEED)
    uniform: Column = (drawn >> np.uint64(11)) * 2.0**-53
    return uniform
