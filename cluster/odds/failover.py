"""How long a real failure takes to be noticed, and to be healed.

X dies u seconds after an evaluation, u uniform in [0, E). Of the reports of that window, which
is in slots of d = E/m with a phase of its own, it has sent a or a+1 when u = (a + x) d: a+1 with
chance x. If one of them was heard the sample is healthy and f more evaluations are needed; if
none was, the window counts and the run r that losses had left counts too. So detection comes at
K evaluations after the failure, T = K E - u, with K = f + 1, or K = f - r. Over each slot the
density of T is a straight line, and everything below is exact.

Failover is detection, plus the wait for approvals (`votes`), but never before the lease of the
dead is over: primary_lease and its drift margin, from a report sent at the last moment and
learnt through a relay one slot later.
"""

import itertools
import math

import msgspec
import numpy as np

from stationkeep.cluster.odds.loss import Vector
from stationkeep.cluster.odds.observation import Observation
from stationkeep.cluster.odds.votes import Delays

ONE_IN_A_BILLION = 1e-9


class Spread(msgspec.Struct, frozen=True):
    """A distribution in s. `longest`: where the distribution ends, or, when votes may be lost
    again and again, the time that one in 10^9 exceeds. `inf`: beyond what was followed."""

    mean: float
    p50: float
    p95: float
    p99: float
    longest: float


class Detection:
    """Distribution of the time from failure to the evaluation that notices it, in pieces of
    `width` s from `low` on: density `left` at its beginning, `right` at its end (per width)."""

    def __init__(self, observation: Observation, failures: int) -> None:
        m, self.width = observation.reports, observation.spacing
        weights = _evaluations_needed(observation, failures)
        lows, lefts, rights = [], [], []
        for needed, weight in weights.items():
            for slot in range(m):
                if weight[slot] + weight[slot + 1] > 0:
                    lows.append((needed * m - slot - 1) * self.width)
                    lefts.append(weight[slot + 1] / m)
                    rights.append(weight[slot] / m)
        self.low, self.left, self.right = np.array(lows), np.array(lefts), np.array(rights)

    def by(self, moment: float) -> float:
        """Probability of at most so many seconds."""
        y = np.clip((moment - self.low) / self.width, 0.0, 1.0)
        return float((self.left * (y - y * y / 2) + self.right * y * y / 2).sum())

    def area(self, moment: float) -> float:
        """The integral of `by` up to a moment."""
        past = np.maximum(0.0, moment - self.low - self.width)
        y = np.clip((moment - self.low) / self.width, 0.0, 1.0)
        inside = self.left * (y**2 / 2 - y**3 / 6) + self.right * y**3 / 6
        return float((self.width * inside + past * (self.left + self.right) / 2).sum())

    @property
    def mean(self) -> float:
        """Expected seconds."""
        middle = self.low * (self.left + self.right) / 2
        return float((middle + self.width * (self.left / 6 + self.right / 3)).sum())

    @property
    def end(self) -> float:
        """No failure takes longer."""
        return float(self.low.max() + self.width)


def _evaluations_needed(observation: Observation, failures: int) -> dict[int, Vector]:
    """For each number of evaluations: its chance, by how many reports were sent before death."""
    m = observation.reports
    needed: dict[int, Vector] = {failures + 1: np.zeros(m + 1)}
    for run, channels in enumerate(observation.runs(failures)):
        silent = np.array([float(channels @ chance) for chance in observation.part.silent])
        needed[failures - run] = silent
        needed[failures + 1] += np.maximum(0.0, channels.sum() - silent)
    return needed


class Failover:
    """Distribution of the time from failure to an active successor."""

    def __init__(self, detection: Detection, delays: Delays, lease: float) -> None:
        self.detection, self.delays, self.lease = detection, delays, lease
        self._waits = [  # in the order of time
            (float(s), float(c))
            for s, c in zip(delays.seconds, delays.chances, strict=True)
            if c > 0
        ]

    def by(self, moment: float) -> float:
        """Probability of at most so many seconds."""
        if moment < self.lease:
            return 0.0
        waits = itertools.takewhile(lambda pair: pair[0] < moment, self._waits)
        return sum(chance * self.detection.by(moment - wait) for wait, chance in waits)

    @property
    def mean(self) -> float:
        """Expected seconds; `inf` when approvals may be out of reach. E max(T, lease) is
        E T plus the integral of the distribution up to the lease."""
        if self.delays.open > ONE_IN_A_BILLION:
            return math.inf
        mean = self.detection.mean + sum(wait * chance for wait, chance in self._waits)
        return mean + sum(c * self.detection.area(self.lease - wait) for wait, c in self._waits)

    @property
    def bounded(self) -> bool:
        """The first attempt always succeeds, at once."""
        return len(self._waits) == 1 and self.delays.open == 0

    @property
    def end(self) -> float:
        """No failover followed here takes longer."""
        return max(self.lease, self.detection.end + max(wait for wait, _ in self._waits))


def spread(of: Detection | Failover) -> Spread:
    """Mean and quantiles."""
    bounded = isinstance(of, Detection) or of.bounded
    longest = of.end if bounded else quantile(of, 1 - ONE_IN_A_BILLION)
    p50, p95, p99 = (quantile(of, share) for share in (0.5, 0.95, 0.99))
    return Spread(of.mean, p50, p95, p99, longest)


def quantile(of: Detection | Failover, share: float) -> float:
    """The time that this share does not exceed, to a hundredth of a microsecond."""
    low, high = 0.0, of.end
    if of.by(high) < share:
        return math.inf
    while high - low > 1e-8 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (low, middle) if of.by(middle) >= share else (middle, high)
    return high
