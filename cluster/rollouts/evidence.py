"""Evidence: how strongly counts speak against "this version does no harm".

All of it are e-values: numbers that are 1 or less on average while the claim they test is true,
however often one looks. By Ville's inequality the chance that such a number ever reaches 20 is then
at most 1/20, so one may look after each report, pause, go on and look longer. Each is a ratio of
likelihoods, of the mean over some alternatives to the claim's.

They are computed with `decimal` in one context of their own. Its sums, products and quotients, and
its `exp` and `ln` too, are correctly rounded, so the digits are the same on every machine; those of
floats are not. Everything is summed as logarithms, and the result kept within e^±25: no count is
too large. Source: gates.md, "Evidence".
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    localcontext,
)
from functools import cache, lru_cache
from typing import NamedTuple

from stationkeep.cluster.settings import PPM

EXACT = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero],
)
MOST = 25
"""The logarithm of evidence is kept within ± this: beyond, it decides nothing any more."""
MAX_TWINS = 4
RATES = 64
"""Parts into which the span from the highest rate allowed to 1 is divided."""
OCTAVE = 8
"""Steps in which the ends of a hazard interval are looked for, from one power of 2 to the next."""
LOWEST, HIGHEST = -3 * OCTAVE, 6 * OCTAVE
"""Hazard ratios from 1/8 to 64, in such steps."""
HALF = OCTAVE // 2
HARMFUL = range(HALF, HIGHEST + 1, HALF)
"""The hazard ratios that stand for harm: square roots of 2 up to 64."""
POSSIBLE = range(LOWEST, HIGHEST + 1, HALF)
"""Those that stand for whatever it is."""


class Look(NamedTuple):
    """What one look at a set of twins found. `twins`: how many were at risk beside the updated
    device, 1 to `MAX_TWINS`; `bad`: how many of them all turned bad since the look before, at
    least 1; `updated`: 1 if the updated device is one of those, else 0."""

    twins: int
    bad: int
    updated: int


Table = Mapping[Look, int]
"""How often looks found what; those that found nobody bad say nothing, and are left out."""


class Interval(NamedTuple):
    """Hazard ratios that the counts leave possible; None where they set no end."""

    low: Decimal | None
    high: Decimal | None


def failing(failed: int, others: int, most: int) -> Decimal:
    """Evidence that more than `most` (ppm) of installations fail, after `failed` of them did and
    `others` did not. The alternatives are 63 rates p, evenly between `most` and 1:

        mean of (p / most)^failed · ((1 - p) / (1 - most))^others

    Where no failure is allowed, one in a million is: nothing is divided by 0."""
    with localcontext(EXACT):
        falls = _survival()
        rises = _rises(max(1, most))
        return _evidence(
            failed * rise + others * fall for rise, fall in zip(rises, falls, strict=True)
        )


@cache
def _survival() -> tuple[Decimal, ...]:
    """ln of (1 - p) / (1 - most) for each rate: the same whatever `most` is."""
    return tuple((Decimal(RATES - i) / RATES).ln() for i in range(1, RATES))


@lru_cache(maxsize=64)
def _rises(most: int) -> tuple[Decimal, ...]:
    """ln of p / most for each rate."""
    whole = RATES * most
    return tuple((Decimal(whole + i * (PPM - most)) / whole).ln() for i in range(1, RATES))


def harm(table: Table) -> Decimal:
    """Evidence that updated devices turn bad more often than their twins: the mean over `HARMFUL`
    of the likelihood, to that of a hazard ratio of 1."""
    with localcontext(EXACT):
        counts = _Counts(table)
        return _evidence(map(counts.log_likelihood, HARMFUL))


def hazard(table: Table, confidence: int) -> Interval:
    """Hazard ratios of updated devices to their twins that are not refuted, with `confidence`
    (ppm) at all times: where the mean over `POSSIBLE` of the likelihood is below
    1 / (1 - confidence) times the ratio's own. Each end is the nearest that is refuted among
    eighths of octaves."""
    with localcontext(EXACT):
        counts = _Counts(table)
        needed = (Decimal(PPM) / (PPM - confidence)).ln()
        least = _log_mean(map(counts.log_likelihood, POSSIBLE)) - needed
        steps = range(LOWEST, HIGHEST + 1)
        left = [step for step in steps if counts.log_likelihood(step) > least]
        # The likelihood is log-concave, so what is left is one piece. It is never empty: the best
        # of `POSSIBLE` is at least their mean.
        low, high = left[0], left[-1]
        return Interval(
            None if low == LOWEST else _ratio(low - 1),
            None if high == HIGHEST else _ratio(high + 1),
        )


class _Counts:
    """A table, by what its likelihood depends on. The likelihood of a hazard ratio θ is exact,
    given how many of a set turned bad:

        product of (θ^updated · C(twins, bad - updated)
                    / (C(twins, bad) + θ · C(twins, bad - 1)))^count
    """

    def __init__(self, table: Table) -> None:
        self.updated = 0
        looks: dict[tuple[int, int], int] = {}
        for (twins, bad, updated), count in table.items():
            assert 1 <= twins <= MAX_TWINS
            assert 0 <= updated <= 1 <= bad <= twins + updated
            if bad <= twins:  # else it was all of them, whatever the hazard
                self.updated += updated * count
                looks[twins, bad] = looks.get((twins, bad), 0) + count
        self.looks = sorted(looks.items())

    def log_likelihood(self, step: int) -> Decimal:
        """ln of the likelihood of 2^(step / `OCTAVE`), to that of 1."""
        weights = sum((count * _weight(*look, step) for look, count in self.looks), Decimal(0))
        return self.updated * _log_ratio(step) - weights


def _log_ratio(step: int) -> Decimal:
    return step * Decimal(2).ln() / OCTAVE


def _ratio(step: int) -> Decimal:
    """Whole octaves are powers of 2 exactly: people set margins to these."""
    octaves, rest = divmod(step, OCTAVE)
    return Decimal(2) ** octaves * _log_ratio(rest).exp()


@cache
def _weight(twins: int, bad: int, step: int) -> Decimal:
    """ln of how much likelier it is at a hazard ratio than at 1 that so many turn bad."""
    spared = _ratio(step) * math.comb(twins, bad - 1) + math.comb(twins, bad)
    return (spared / math.comb(twins + 1, bad)).ln()


def imbalance(counts: Sequence[int], weights: Sequence[int]) -> Decimal:
    """Evidence that devices do not come to variants by `weights` (each at least 1), from how many
    came to each: the multinomial likelihood averaged over all shares, to that of the weights.
    Counts must not depend on what a variant does to its devices, as the number of those that are
    done already does."""
    with localcontext(EXACT):
        whole, kinds = sum(weights), len(counts)
        ratio = _log_factorial(kinds - 1) - _log_factorial(sum(counts) + kinds - 1)
        for count, weight in zip(counts, weights, strict=True):
            ratio += _log_factorial(count) - count * (Decimal(weight) / whole).ln()
        return _evidence([ratio])


_STIRLING = ((1, 156), (-691, 360_360), (1, 1_188), (-1, 1_680), (1, 1_260), (-1, 360), (1, 12))
_HALF_LOG_TAU = Decimal("0.9189385332046727417803297364")
_FEW = 64
"""From here on the terms left out of Stirling's series are below the last digit."""


def _log_factorial(n: int) -> Decimal:
    if n < _FEW:
        return Decimal(math.factorial(n)).ln()
    large, series = Decimal(n), Decimal(0)
    for above, below in _STIRLING:
        series = series / large / large + Decimal(above) / below
    return (large + Decimal("0.5")) * large.ln() - large + _HALF_LOG_TAU + series / large


def _evidence(logarithms: Iterable[Decimal]) -> Decimal:
    """The mean of what these are the logarithms of, within e^±`MOST`."""
    return min(max(_log_mean(logarithms), Decimal(-MOST)), Decimal(MOST)).exp()


def _log_mean(logarithms: Iterable[Decimal]) -> Decimal:
    """ln of the mean of what these are the logarithms of."""
    terms = list(logarithms)
    largest = max(terms)
    # e^-100 of the largest is far below its last digit.
    total = sum((max(term - largest, Decimal(-100)).exp() for term in terms), Decimal(0))
    return largest + (total / len(terms)).ln()
