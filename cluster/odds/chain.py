"""Absorbing Markov chains solved without subtraction (see the package for the derivation)."""

import math

import numpy as np

from stationkeep.cluster.odds.loss import Matrix, Vector

RAREST = 1e-290
"""Chances below this are near the end of the range of doubles: taken for never."""


def expected_time(kernel: Matrix, absorbed: Vector, sojourn: Vector, start: Vector) -> float:
    """Expected total sojourn until absorption, from the distribution `start`.

    `kernel[i, j]`: probability of going on to j; `absorbed[i]`: of leaving for ever; their sum
    is 1 for each i, which is used and not checked: the diagonal is never read, each pivot is the
    sum of what leaves a state. `inf` when absorption is rarer than `RAREST`.
    """
    size = len(start)
    moves = np.zeros((size + 1, size + 1))
    moves[0, 1:], moves[1:, 1:] = start, kernel
    leaves = np.concatenate(([0.0], absorbed))
    times = np.concatenate(([0.0], sojourn))
    for k in range(size, 0, -1):
        out = float(moves[k, :k].sum() + leaves[k])
        if out < RAREST:
            return math.inf
        share = moves[:k, k] / out
        moves[:k, :k] += np.outer(share, moves[k, :k])
        leaves[:k] += share * leaves[k]
        times[:k] += share * times[k]
    return float(times[0])


def samples_until_run(missed: Matrix, heard: Matrix, start: Vector, length: int) -> float:
    """Expected samples until `length` in a row are missed, from run 0 and channel `start`."""
    power = np.eye(len(start))
    total = np.zeros_like(missed)
    for _ in range(length):
        total = total + power
        power = power @ missed
    return expected_time(total @ heard, power.sum(axis=1), total.sum(axis=1), start)
