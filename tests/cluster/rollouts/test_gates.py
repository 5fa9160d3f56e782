"""Three verdicts: gates.md, "Verdicts"."""

import decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.rollouts.evidence import Look, Table, hazard
from stationkeep.cluster.rollouts.gates import (
    Cause,
    Gates,
    Judgement,
    Tally,
    Verdict,
    Watched,
    coverage,
    failures,
    gate_faults,
    health,
)

DEFAULT = Gates()
FAILED, INCONCLUSIVE, PASSED = Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED
TWENTY = Tally(succeeded=20)
WELL = Watched(observed=20, whole=20, compared=20)
number = st.integers(0, 2_000)
tallies = st.builds(Tally, *[number] * 7)


def verdict(judged: Judgement) -> tuple[Verdict, Cause]:
    return judged.verdict, judged.cause


def ill(updated: int, twins: int = 0) -> Table:
    return {Look(4, 1, 1): updated, Look(4, 1, 0): twins}


# -- failures


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        (Tally(failed=1), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),  # 10.5
        (Tally(failed=2), (FAILED, Cause.PROVEN)),  # 139
        (Tally(failed=2, succeeded=3), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),  # 8
        (Tally(failed=3, succeeded=2), (FAILED, Cause.PROVEN)),  # 158
        (Tally(failed=1, succeeded=2), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),
        (Tally(failed=1, succeeded=19), (PASSED, Cause.WITHIN_LIMIT)),
        (Tally(failed=1, succeeded=18), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),
        (Tally(already=9), (PASSED, Cause.WITHIN_LIMIT)),
        (Tally(unreached=9), (PASSED, Cause.WITHIN_LIMIT)),
    ],
)
def test_failures(tally: Tally, expected: tuple[Verdict, Cause]) -> None:
    assert verdict(failures(tally, DEFAULT)) == expected


def test_a_judgement_says_value_limit_evidence_and_what_was_needed() -> None:
    judged = failures(Tally(failed=1, succeeded=2), DEFAULT)
    assert (judged.value, judged.limit) == (333_334, 50_000)
    assert (judged.evidence, judged.needed) == (1_938, 20_000)


def test_a_value_is_never_said_to_be_at_a_limit_that_it_breaks() -> None:
    judged = failures(Tally(failed=500_001, succeeded=9_500_000), DEFAULT)
    assert judged.verdict is INCONCLUSIVE
    assert judged.value == 50_001


def test_where_no_failure_is_allowed_one_is_proof() -> None:
    strict = Gates(max_failures=0)
    assert failures(Tally(failed=1, succeeded=100), strict).verdict is FAILED
    assert failures(Tally(succeeded=100), strict).verdict is PASSED


def test_where_every_failure_is_allowed_nothing_is_proof() -> None:
    assert failures(Tally(failed=1_000), Gates(max_failures=1_000_000)).verdict is PASSED


def test_failures_that_are_known_sooner_than_successes_stop_no_version_that_is_good_enough() -> (
    None
):
    """A thousand at once, of which 3 in 100 fail: the failures come first."""
    draws = np.random.default_rng(3).random((200, 1_000)) < 0.03
    stopped = blind = 0
    for failed in draws.sum(1).tolist():
        stopped += failures(Tally(failed=failed, begun=1_000 - failed), DEFAULT).verdict is FAILED
        blind += failures(Tally(failed=failed), DEFAULT).verdict is FAILED
    assert stopped <= 10
    assert blind == 200


@given(tally=tallies)
def test_to_wait_for_those_who_have_begun_never_makes_proof_of_successes(tally: Tally) -> None:
    done = msgspec.structs.replace(tally, succeeded=tally.succeeded + tally.begun, begun=0)
    assert failures(done, DEFAULT).evidence == failures(tally, DEFAULT).evidence


@given(tally=tallies)
def test_a_success_that_reverts_never_lowers_evidence(tally: Tally) -> None:
    if tally.succeeded:
        reverted = msgspec.structs.replace(
            tally, succeeded=tally.succeeded - 1, failed=tally.failed + 1
        )
        before, after = failures(tally, DEFAULT), failures(reverted, DEFAULT)
        assert (after.evidence or 0) >= (before.evidence or 0)


# -- coverage


@pytest.mark.parametrize(
    ("tally", "expected", "value"),
    [
        (Tally(succeeded=50, unreached=50), (PASSED, Cause.WITHIN_LIMIT), 500_000),
        (Tally(succeeded=49, unreached=50), (INCONCLUSIVE, Cause.BELOW_LIMIT), 494_949),
        (Tally(failed=50, waiting=50), (PASSED, Cause.WITHIN_LIMIT), 500_000),
        (Tally(already=9, unreached=1), (PASSED, Cause.WITHIN_LIMIT), 900_000),
        (Tally(canceled=90, succeeded=5, begun=5), (PASSED, Cause.WITHIN_LIMIT), 500_000),
        (Tally(canceled=9), (PASSED, Cause.WITHIN_LIMIT), None),
        (Tally(unreached=9), (INCONCLUSIVE, Cause.BELOW_LIMIT), 0),
    ],
)
def test_coverage(tally: Tally, expected: tuple[Verdict, Cause], value: int | None) -> None:
    judged = coverage(tally, DEFAULT)
    assert verdict(judged) == expected
    assert judged.value == value


@given(tally=tallies)
def test_absence_proves_nothing(tally: Tally) -> None:
    assert coverage(tally, DEFAULT).verdict is not FAILED


# -- health


@pytest.mark.parametrize(
    ("watched", "table", "expected"),
    [
        (WELL, {}, (PASSED, Cause.WITHIN_LIMIT)),
        (Watched(20, 5, 20, 20), ill(5, twins=2), (FAILED, Cause.PROVEN)),
        (Watched(20, 4, 20, 20), ill(4, twins=6), (PASSED, Cause.WITHIN_LIMIT)),
        (Watched(20, 5, 20, 20), ill(5, twins=9), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),
        (Watched(20, 2, 20, 20), ill(2), (INCONCLUSIVE, Cause.SUSPICIOUS)),
        (Watched(3, 3, 3, 3), ill(3), (FAILED, Cause.PROVEN)),
        (Watched(3, 2, 3, 3), ill(2), (INCONCLUSIVE, Cause.ABOVE_LIMIT)),
        (Watched(), {}, (INCONCLUSIVE, Cause.TOO_FEW_OBSERVED)),
        (Watched(observed=9), {}, (INCONCLUSIVE, Cause.TOO_FEW_OBSERVED)),
        (Watched(20, 0, 20, 0), {}, (PASSED, Cause.NOT_COMPARED)),
        (Watched(20, 5, 20, 0), {}, (INCONCLUSIVE, Cause.ABOVE_LIMIT)),
    ],
)
def test_health(watched: Watched, table: Table, expected: tuple[Verdict, Cause]) -> None:
    assert verdict(health(TWENTY, watched, table, DEFAULT)) == expected


def test_a_storm_that_hits_updated_devices_and_twins_alike_proves_nothing() -> None:
    """A fifth of 200 updated devices and of their 800 twins at once, spread by chance."""
    hit = np.random.default_rng(4).permutation(np.arange(1_000) < 200).reshape(200, 5)
    table: dict[Look, int] = {}
    for updated, *twins in hit.tolist():
        if updated or any(twins):
            look = Look(4, updated + sum(twins), int(updated))
            table[look] = table.get(look, 0) + 1
    judged = health(
        Tally(succeeded=200), Watched(200, int(hit[:, 0].sum()), 200, 200), table, DEFAULT
    )
    assert judged.verdict is not FAILED
    assert judged.evidence is not None
    assert judged.evidence < 1_000


def test_where_nobody_was_to_be_updated_there_is_nothing_to_observe() -> None:
    judged = health(Tally(already=9, canceled=1), Watched(), {}, DEFAULT)
    assert verdict(judged) == (PASSED, Cause.NOTHING_TO_DO)
    assert judged.value is None


def test_with_a_margin_it_takes_proof_to_pass() -> None:
    strict = Gates(margin=2_000_000)
    assert verdict(health(TWENTY, WELL, {}, strict)) == (INCONCLUSIVE, Cause.MARGIN_OPEN)
    calm = ill(2, twins=60)  # an eighth of what is expected
    assert verdict(health(TWENTY, WELL, calm, strict)) == (PASSED, Cause.WITHIN_LIMIT)


@pytest.mark.parametrize(("margin", "twins"), [(2, 13), (4, 7), (8, 4)])
def test_an_interval_that_ends_at_the_margin_is_proof(margin: int, twins: int) -> None:
    """There the hazard is refuted already."""
    calm = ill(0, twins)
    assert hazard(calm, DEFAULT.confidence).high == margin
    judged = health(TWENTY, WELL, calm, Gates(margin=margin * 1_000_000))
    assert verdict(judged) == (PASSED, Cause.WITHIN_LIMIT)


@given(
    bad=st.integers(0, 40),
    twins=st.integers(0, 40),
    confidence=st.integers(800_000, 999_999),
)
def test_no_gate_passes_and_fails_on_the_same_counts(bad: int, twins: int, confidence: int) -> None:
    gates = Gates(confidence=confidence)
    judged = health(Tally(succeeded=40), Watched(40, bad, 40, 40), ill(bad, twins), gates)
    assert judged.evidence is not None
    assert judged.needed is not None
    assert (judged.verdict is FAILED) == (judged.evidence >= judged.needed)
    if judged.verdict is PASSED:
        assert judged.evidence < 5_000
        assert bad <= 8


# -- limits


@pytest.mark.parametrize(("confidence", "needed"), [(950_000, 20_000), (990_000, 100_000)])
def test_what_is_needed_follows_from_the_confidence(confidence: int, needed: int) -> None:
    assert Gates(confidence=confidence).needed == needed


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"max_failures": -1}, "gates.max_failures: -1 is not between 0 and 1000000"),
        ({"min_coverage": 1_000_001}, "gates.min_coverage: 1000001 is not between 0 and 1000000"),
        ({"confidence": 1_000_000}, "gates.confidence: 1000000 is not between 800000 and 999999"),
        ({"max_bad": 2_000_000}, "gates.max_bad: 2000000 is not between 0 and 1000000"),
        ({"min_devices": 0}, "gates.min_devices: 0 is not between 1 and 1000000"),
        ({"margin": 1_000_000}, "gates.margin: 1000000 is not between 1000001 and 64000000"),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(given: dict[str, Any], rule: str) -> None:
    assert list(gate_faults(Gates(**given))) == [rule]


def test_the_defaults_are_right() -> None:
    assert list(gate_faults(DEFAULT)) == []


def test_a_judgement_goes_through_the_codec() -> None:
    judged = health(TWENTY, WELL, ill(1), DEFAULT)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(judged), type=Judgement) == judged


def test_a_judgement_is_the_same_in_any_ambient_context() -> None:
    seen, margin = {Look(4, 1, 0): 40, Look(4, 1, 1): 1}, Gates(margin=64_000_000)
    found = [failures(Tally(succeeded=9, failed=2), DEFAULT), health(TWENTY, WELL, seen, margin)]
    with decimal.localcontext(decimal.Context(prec=1, rounding=decimal.ROUND_UP)):
        again = [
            failures(Tally(succeeded=9, failed=2), DEFAULT),
            health(TWENTY, WELL, seen, margin),
        ]
    assert again == found
