"""Evidence, against scipy, against exact fractions, and as what it claims to be: e-values."""

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import nchypergeom_fisher

from stationkeep.cluster.rollouts.evidence import (
    HARMFUL,
    MAX_TWINS,
    MOST,
    OCTAVE,
    POSSIBLE,
    Look,
    Table,
    failing,
    harm,
    hazard,
    imbalance,
)

OUTCOMES = [
    Look(twins, bad, updated)
    for twins in range(1, MAX_TWINS + 1)
    for bad in range(1, twins + 2)
    for updated in (0, 1)
    if bad - updated <= twins
]
PPM = 1_000_000
FIVE_PERCENT = 50_000
few = st.integers(0, 40)
counts = st.one_of(st.integers(0, 200), st.integers(0, 2**32))
tables = st.dictionaries(st.sampled_from(OUTCOMES), counts, max_size=len(OUTCOMES))
rates = st.integers(0, PPM)


def figure(value: Decimal) -> float:
    """As people read it: two digits."""
    return float(f"{value:.2g}")


def alone(twins: int, updated: int, others: int = 0) -> Table:
    """So many looks at which one device turned bad: the updated one, or one of its twins."""
    return {Look(twins, 1, 1): updated, Look(twins, 1, 0): others}


# -- figures that the guide shows


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (alone(4, 1), 3.3),
        (alone(4, 2), 12),
        (alone(4, 3), 48),
        ({Look(4, 1, 1): 1, Look(2, 1, 1): 2}, 21),
        (alone(4, 5, others=2), 38),  # 5 of 20 against 2 of 80
        (alone(4, 4, others=6), 0.99),  # 4 of 20 against 6 of 80
        ({}, 1),
    ],
)
def test_evidence_of_harm(table: Table, expected: float) -> None:
    assert figure(harm(table)) == expected


@pytest.mark.parametrize(
    ("failed", "others", "expected"),
    [(1, 0, 10), (2, 0, 140), (2, 3, 8.3), (3, 2, 160), (1, 2, 1.9), (0, 0, 1)],
)
def test_evidence_of_failing_above_five_percent(failed: int, others: int, expected: float) -> None:
    assert figure(failing(failed, others, FIVE_PERCENT)) == expected


@pytest.mark.parametrize(
    ("counts", "expected"), [((500, 430), 0.57), ((500, 400), 11), ((20, 0), 50_000), ((0, 0), 1)]
)
def test_evidence_of_imbalance(counts: tuple[int, ...], expected: float) -> None:
    assert figure(imbalance(counts, (1, 1))) == expected


# -- other ways to the same numbers


@pytest.mark.parametrize("look", OUTCOMES)
@pytest.mark.parametrize("step", [-24, -7, 4, 48])
def test_the_likelihood_is_that_of_fishers_noncentral_hypergeometric(look: Look, step: int) -> None:
    theta = 2 ** (step / OCTAVE)

    def probability(odds: float) -> float:
        found = nchypergeom_fisher.pmf(look.updated, look.twins + 1, 1, look.bad, odds)
        return float(found)

    # Evidence over one alternative alone is its likelihood ratio; `harm` is the mean of twelve.
    ratios = [probability(2 ** (s / OCTAVE)) / probability(1) for s in HARMFUL]
    assert float(harm({look: 1})) == pytest.approx(sum(ratios) / len(ratios), rel=1e-9)
    assert probability(theta) == pytest.approx(_probability(look, theta), rel=1e-9)


def _probability(look: Look, theta: float) -> float:
    twins, bad, updated = look
    whole = math.comb(twins, bad) + theta * math.comb(twins, bad - 1)
    return theta**updated * math.comb(twins, bad - updated) / whole


@given(table=st.dictionaries(st.sampled_from(OUTCOMES), few))
def test_evidence_of_harm_is_the_mean_likelihood_ratio(table: Table) -> None:
    def likelihood(step: int) -> float:
        theta = 2 ** (step / OCTAVE)
        return sum(count * math.log(_probability(look, theta)) for look, count in table.items())

    logs = [likelihood(step) - likelihood(0) for step in HARMFUL]
    expected = np.logaddexp.reduce(logs) - math.log(len(logs))
    assert float(harm(table).ln()) == pytest.approx(np.clip(expected, -MOST, MOST), abs=1e-9)


@given(table=st.dictionaries(st.sampled_from(OUTCOMES), few))
def test_what_a_hazard_interval_leaves_out_is_refuted_and_its_inside_is_not(table: Table) -> None:
    def log_likelihood(step: float) -> float:
        theta = 2 ** (step / OCTAVE)
        return sum(count * math.log(_probability(look, theta)) for look, count in table.items())

    mixed = np.logaddexp.reduce([log_likelihood(s) for s in POSSIBLE]) - math.log(len(POSSIBLE))
    low, high = hazard(table, 950_000)
    ends = [OCTAVE * math.log2(end) for end in (low, high) if end is not None]
    assert all(mixed - log_likelihood(end) >= math.log(20) - 1e-9 for end in ends)
    inner = POSSIBLE[0] if low is None else OCTAVE * math.log2(low) + 1
    outer = POSSIBLE[-1] if high is None else OCTAVE * math.log2(high) - 1
    assert inner <= outer
    for step in (inner, (inner + outer) / 2, outer):
        assert mixed - log_likelihood(step) < math.log(20) + 1e-9


@given(failed=few, others=few, most=st.integers(1, PPM - 1))
def test_evidence_of_failing_is_that_of_exact_fractions(
    failed: int, others: int, most: int
) -> None:
    allowed = Fraction(most, PPM)
    rates = [allowed + Fraction(i, 64) * (1 - allowed) for i in range(1, 64)]
    each = [(p / allowed) ** failed * ((1 - p) / (1 - allowed)) ** others for p in rates]
    expected = min(max(sum(each) / 63, Fraction(math.exp(-MOST))), Fraction(math.exp(MOST)))
    assert float(failing(failed, others, most)) == pytest.approx(float(expected), rel=1e-12)


@given(
    arrived=st.lists(
        st.tuples(st.integers(0, 400_000), st.integers(1, 100)), min_size=1, max_size=8
    )
)
def test_evidence_of_imbalance_is_that_of_gamma_functions(arrived: list[tuple[int, int]]) -> None:
    counts, weights = np.array(arrived).T
    shares = weights / weights.sum()
    whole = gammaln(len(counts)) - gammaln(counts.sum() + len(counts))
    expected = whole + (gammaln(counts + 1) - counts * np.log(shares)).sum()
    found = imbalance(counts.tolist(), weights.tolist())
    # In floats the terms, of tens of millions, leave nine digits behind the point.
    assert float(found.ln()) == pytest.approx(np.clip(expected, -MOST, MOST), abs=1e-6)


@given(arrived=st.lists(st.integers(0, 150), min_size=2, max_size=4))
def test_evidence_of_imbalance_is_that_of_exact_factorials(arrived: list[int]) -> None:
    kinds = len(arrived)
    expected = Fraction(math.factorial(kinds - 1), math.factorial(sum(arrived) + kinds - 1))
    for count in arrived:
        expected *= math.factorial(count) * kinds**count
    found = imbalance(arrived, [7] * kinds)
    bound = Fraction(math.exp(MOST))
    expected = min(max(expected, 1 / bound), bound)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


# -- what makes it evidence


def _ever(paths: np.ndarray, evidence: Callable[[int, int], Decimal]) -> float:
    """The share of paths, each row one of outcomes 0 and 1, on which evidence is ever 20."""
    bounds = _bounds(paths.shape[1], evidence)
    return float((paths.cumsum(1) >= bounds).any(1).mean())


def _bounds(most: int, evidence: Callable[[int, int], Decimal]) -> np.ndarray:
    """By outcomes so far: how many of them must be 1 for evidence of 20."""
    found, ones = [], 0
    for n in range(1, most + 1):
        while ones <= n and evidence(ones, n - ones) < 20:
            ones += 1
        found.append(ones)
    return np.array(found)


def test_looking_after_every_installation_stops_few_versions_that_fail_as_often_as_allowed() -> (
    None
):
    draws = np.random.default_rng(1).random((20_000, 500)) < 0.05
    stopped = _ever(draws, lambda failed, others: failing(failed, others, FIVE_PERCENT))
    assert 0.005 < stopped < 0.05


def test_looking_after_every_turn_stops_few_versions_that_do_no_harm() -> None:
    draws = np.random.default_rng(2).random((20_000, 300)) < 1 / 5
    stopped = _ever(draws, lambda updated, others: harm(alone(4, updated, others)))
    assert 0.005 < stopped < 0.05


@given(look=st.sampled_from([(n, d) for n in range(1, 5) for d in range(1, n + 1)]), table=tables)
def test_a_look_multiplies_evidence_by_one_on_average_if_the_version_does_no_harm(
    look: tuple[int, int], table: Table
) -> None:
    twins, bad = look
    chance = Fraction(bad, twins + 1)  # that the updated one is among the bad
    before = harm(table)
    after = [harm(_with(table, Look(twins, bad, updated))) for updated in (0, 1)]
    mean = float(after[0]) * float(1 - chance) + float(after[1]) * float(chance)
    if math.exp(4 - MOST) < before < math.exp(MOST - 4):
        assert mean == pytest.approx(float(before), rel=1e-6)


def _with(table: Table, look: Look) -> Table:
    return {**table, look: table.get(look, 0) + 1}


# -- properties


@given(table=tables, twins=st.integers(1, MAX_TWINS), data=st.data())
def test_one_more_bad_updated_device_never_lowers_evidence(
    table: Table, twins: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(1, twins + 1))
    assert harm(_with(table, Look(twins, bad, 1))) >= harm(table)


@given(table=tables, twins=st.integers(1, MAX_TWINS), data=st.data())
def test_one_more_bad_twin_never_raises_evidence(
    table: Table, twins: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(1, twins))
    assert harm(_with(table, Look(twins, bad, 0))) <= harm(table)


@given(failed=counts, others=counts, most=rates)
def test_a_failure_never_lowers_evidence_and_a_success_never_raises_it(
    failed: int, others: int, most: int
) -> None:
    found = failing(failed, others, most)
    assert failing(failed + 1, others, most) >= found >= failing(failed, others + 1, most)


@given(table=tables, data=st.data())
def test_the_order_of_a_table_is_irrelevant(table: Table, data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(table.items()))))
    assert harm(shuffled) == harm(table)
    assert hazard(shuffled, 950_000) == hazard(table, 950_000)


@given(
    table=tables,
    failed=counts,
    most=rates,
    prec=st.integers(1, 60),
    rounding=st.sampled_from([decimal.ROUND_UP, decimal.ROUND_FLOOR, decimal.ROUND_05UP]),
)
def test_digits_are_the_same_in_any_ambient_context(
    table: Table, failed: int, most: int, prec: int, rounding: str
) -> None:
    def digits() -> list[str]:
        found = (harm(table), failing(failed, 7, most), imbalance((failed, 7), (2, 3)))
        return [*map(str, found), str(hazard(table, 990_000))]

    traps = [decimal.Inexact, decimal.Overflow, decimal.Underflow]
    with decimal.localcontext(decimal.Context(prec, rounding, Emin=-1, Emax=1, traps=traps)):
        hostile = digits()
    assert digits() == hostile


@given(table=tables, failed=counts, others=counts, most=rates, confidence=st.integers(1, PPM - 1))
def test_no_count_is_too_large(
    table: Table, failed: int, others: int, most: int, confidence: int
) -> None:
    found = (harm(table), failing(failed, others, most), imbalance((failed, others), (1, 99)))
    assert all(math.exp(-MOST) * 0.999 < value < math.exp(MOST) * 1.001 for value in found)
    low, high = hazard(table, confidence)
    assert low is None or high is None or low < high


def test_every_outcome_is_one_of_twenty_four() -> None:
    assert len(OUTCOMES) == 24


def test_that_a_whole_set_turned_bad_says_nothing() -> None:
    assert harm({Look(n, n + 1, 1): 1_000 for n in range(1, MAX_TWINS + 1)}) == 1


def test_a_hazard_interval_has_no_end_where_nothing_is_refuted() -> None:
    assert hazard({}, 950_000) == (None, None)
    low, high = hazard(alone(4, 5, others=2), 950_000)
    assert (low, high) == (1, None)
    low, high = hazard(alone(4, 2, others=60), 950_000)
    assert low is None
    assert high is not None
    assert high < 1


@pytest.mark.parametrize("look", [Look(0, 1, 1), Look(5, 1, 1), Look(4, 0, 0), Look(4, 5, 0)])
def test_what_no_look_can_find_is_a_bug_of_who_counts(look: Look) -> None:
    with pytest.raises(AssertionError):
        harm({look: 1})
