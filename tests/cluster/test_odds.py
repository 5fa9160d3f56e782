"""The odds against exact rational arithmetic, closed forms, and the figures of roles.md."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.odds import Loss, LossError, Model, curve, forecast
from stationkeep.cluster.odds.chain import expected_time, samples_until_run
from stationkeep.cluster.odds.failover import Detection
from stationkeep.cluster.odds.forecast import false_alarm, frequent, watch
from stationkeep.cluster.odds.observation import MOST_RELAYS, links, uplink
from stationkeep.cluster.settings import DEFAULT_PROFILE, PROFILES, parse

ORBIT, DEFAULT = PROFILES["orbit"], PROFILES[DEFAULT_PROFILE]
YEAR = 365.25 * 86_400
Exact = list[list[Fraction]]


def solve(matrix: Exact, right: list[Fraction]) -> list[Fraction]:
    """Gauss-Jordan without rounding."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[n] for row in rows]


def exact_uplink(rate: Fraction, kept: Fraction, reports: int, run: int) -> Fraction:
    """Expected samples, from the whole chain over (channel, run), told report by report.

    `kept`: what the channel remembers from one report to the next; 0 is independent loss.
    """
    share = [1 - rate, rate]
    step = [[kept * (a == b) + (1 - kept) * share[b] for b in (0, 1)] for a in (0, 1)]
    windows = {}  # (origin, target, missed) → chance
    for origin in (0, 1):
        chance = {(origin, True): Fraction(1)}
        for _ in range(reports):
            after: dict[tuple[int, bool], Fraction] = {}
            for (channel, silent), weight in chance.items():
                for to in (0, 1):
                    key = (to, silent and to == 1)
                    after[key] = after.get(key, Fraction(0)) + weight * step[channel][to]
            chance = after
        for (target, silent), weight in chance.items():
            windows[origin, target, silent] = weight
    states = list(product((0, 1), range(run)))
    matrix = [[Fraction(int(a == b)) for b in states] for a in states]
    for i, (channel, length) in enumerate(states):
        for target in (0, 1):
            matrix[i][states.index((target, 0))] -= windows.get((channel, target, False), 0)
            if length + 1 < run:
                missed = windows.get((channel, target, True), 0)
                matrix[i][states.index((target, length + 1))] -= missed
    times = solve(matrix, [Fraction(1)] * len(states))
    start = [sum(share[o] * windows.get((o, t, False), 0) for o in (0, 1)) for t in (0, 1)]
    total = sum(start)
    return sum(start[t] / total * times[states.index((t, 0))] for t in (0, 1))


@pytest.mark.parametrize("rate", ["1/1000", "1/5", "9/10"])
@pytest.mark.parametrize(("reports", "run"), [(1, 3), (6, 2), (6, 3), (4, 10)])
@pytest.mark.parametrize("burst", [None, 10.0, 300.0])
def test_the_chain_agrees_with_rational_arithmetic(
    rate: str, reports: int, run: int, burst: float | None
) -> None:
    share = Fraction(rate)
    seen = uplink(Loss(float(share), burst), reports, 5.0 * reports)
    kept = Fraction(0) if burst is None else Fraction(math.exp(-5 / burst / (1 - float(share))))
    exact = exact_uplink(share, kept, reports, run)
    computed = samples_until_run(seen.part.missed, seen.part.heard, seen.start, run)
    assert computed == pytest.approx(float(exact), rel=1e-11)


def test_an_alarm_once_in_1e38_samples_keeps_its_digits() -> None:
    seen = links(Loss(0.2), 6, 30.0, 5)
    direct, relay = Fraction(1, 5) ** 6, Fraction(1, 5) ** 5 * (1 + 5 * Fraction(4, 5))
    miss = direct * relay**3
    assert seen.miss == pytest.approx(float(miss), rel=1e-12)
    assert seen.miss < 1e-12
    exact = (1 - miss**3) / (miss**3 * (1 - miss))
    computed = samples_until_run(seen.part.missed, seen.part.heard, seen.start, 3)
    assert computed == pytest.approx(float(exact), rel=1e-12)
    assert computed > 1e37


def test_solving_as_it_stands_would_lose_every_digit() -> None:
    """Why the chain is eliminated without subtraction."""
    seen = links(Loss(0.2), 6, 30.0, 5)
    moves = np.zeros((3, 3))
    moves[:, 0] = float(seen.part.heard[0, 0])
    moves[0, 1] = moves[1, 2] = seen.miss
    with np.errstate(all="ignore"):
        try:
            naive = float(np.linalg.solve(np.eye(3) - moves, np.ones(3))[0])
        except np.linalg.LinAlgError:
            naive = math.inf
    computed = samples_until_run(seen.part.missed, seen.part.heard, seen.start, 3)
    assert naive != pytest.approx(computed, rel=0.1)


def test_absorption_that_never_comes_takes_for_ever() -> None:
    stays = expected_time(np.ones((1, 1)), np.zeros(1), np.ones(1), np.ones(1))
    assert stays == math.inf


# roles.md


def test_one_report_per_evaluation_fires_every_78_minutes() -> None:
    """roles.md, "Failure modes": at 20 % loss three in a row come every 155 evaluations."""
    seen = uplink(Loss(0.2), 1, 30.0)
    samples = samples_until_run(seen.part.missed, seen.part.heard, seen.start, 3)
    assert samples == pytest.approx(155.0)
    assert samples * 30 / 60 == pytest.approx(77.5)


def test_six_reports_per_evaluation_make_it_once_in_millions_of_years() -> None:
    """roles.md, "Failure modes": the cautious model, in which nobody relays."""
    outlook = forecast(ORBIT, Loss(0.2), 5).outlooks["uplink"]
    assert outlook.miss == pytest.approx(0.2**6)
    assert outlook.false_failover / YEAR == pytest.approx(3.63e6, rel=0.01)


@pytest.mark.parametrize("model", list(Model))
def test_orbit_at_20_percent_fails_over_falsely_less_than_once_in_1000_years(model: Model) -> None:
    assert forecast(ORBIT, Loss(0.2), 5).outlooks[model].false_failover > 1_000 * YEAR


@pytest.mark.parametrize("model", list(Model))
def test_the_default_stands_20_percent_for_1000_years(model: Model) -> None:
    assert forecast(DEFAULT, Loss(0.2), 5).outlooks[model].false_failover > 1_000 * YEAR


def test_the_default_in_bursts_of_2_seconds() -> None:
    """What it was chosen by: links that lose each on its own. An uplink that is bad for 2 s on
    average is bad for 11 s about once an hour: no failover within a minute could
    tell that from a death once in 1,000 years."""
    outlooks = forecast(DEFAULT, Loss(0.2, 2.0), 5).outlooks
    assert outlooks["links"].false_failover > 1_000 * YEAR
    assert outlooks["links"].failover.p50 < 12.6
    assert 900 < outlooks["uplink"].false_failover < 7_200


def test_orbit_in_bursts_of_10_seconds() -> None:
    """The figures that the README states; relays are what bears bursts."""
    outlooks = forecast(ORBIT, Loss(0.2, 10.0), 5).outlooks
    assert outlooks["links"].false_failover / YEAR == pytest.approx(23e6, rel=0.01)
    assert outlooks["uplink"].false_failover / 86_400 == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_without_loss_a_failure_is_replaced_within_the_bound(profile: str) -> None:
    """roles.md, "What must hold", 6: one evaluation more than fail a PRIMARY."""
    settings = PROFILES[profile]
    figures = forecast(settings, Loss(0.0), 5)
    interval = settings.evaluation_interval / 1_000
    failures = settings.failures_to_fail_primary
    for outlook in figures.outlooks.values():
        assert outlook.miss == 0
        assert outlook.false_failover == outlook.false_safe_mode == math.inf
        assert outlook.detection.longest == pytest.approx((failures + 1) * interval)
        assert outlook.failover.longest == outlook.detection.longest
        # Half a slot less: who dies before its first report is noticed one sooner.
        spacing = watch(settings, Loss(0.0), 5, Model.UPLINK).spacing
        assert outlook.detection.mean == pytest.approx((failures + 0.5) * interval - spacing / 2)
        # The lease may still hold for those that are noticed earliest.
        assert 0 <= outlook.failover.mean - outlook.detection.mean < 1e-4 * interval


# What must hold of any figures

losses = st.builds(
    Loss, st.floats(0.001, 0.95), st.one_of(st.none(), st.floats(5.0, 600.0, allow_nan=False))
)


@given(losses, st.integers(1, 12), st.integers(2, 5))
def test_a_window_is_either_missed_or_heard(loss: Loss, reports: int, nodes: int) -> None:
    for seen in (uplink(loss, reports, 30.0), links(loss, reports, 30.0, nodes)):
        part = seen.part
        assert (part.missed >= 0).all()
        assert (part.heard >= 0).all()
        assert (part.missed + part.heard).sum(axis=1) == pytest.approx(1.0)
        kept = part.stationary @ (part.missed + part.heard)
        assert kept == pytest.approx(part.stationary)
        assert part.silent[0] == pytest.approx(1.0)
        assert part.silent[-1] == pytest.approx(part.missed.sum(axis=1))
        sizes = [float(part.stationary @ chance) for chance in part.silent]
        assert sizes == sorted(sizes, reverse=True)


@given(losses, st.integers(1, 8), st.integers(1, 5))
def test_detection_is_a_distribution(loss: Loss, reports: int, failures: int) -> None:
    found = Detection(uplink(loss, reports, 30.0), failures)
    assert found.by(0.0) == 0
    assert found.by(found.end) == pytest.approx(1.0)
    grid = np.linspace(0.0, found.end, 400)
    values = [found.by(t) for t in grid]
    assert values == sorted(values)
    # E T is the integral of what is left over, and `area` integrates what is not.
    assert found.mean == pytest.approx(found.end - found.area(found.end))
    rough = np.trapezoid(values, grid)
    assert rough == pytest.approx(found.area(found.end), abs=0.1)


@given(losses)
def test_more_relays_make_misses_rarer_and_longer_runs_make_alarms_rarer(loss: Loss) -> None:
    misses = [links(loss, 6, 30.0, nodes).miss for nodes in (2, 3, 4)]
    assert misses == sorted(misses, reverse=True)
    seen = uplink(loss, 6, 30.0)
    assert misses[0] == pytest.approx(seen.miss)
    runs = [false_alarm(ORBIT, seen, failures) for failures in (1, 2, 3)]
    assert runs == sorted(runs)


def test_bursts_without_memory_are_independent_losses() -> None:
    """The two loss models meet where a burst is short against the spacing."""
    alone, short = uplink(Loss(0.3), 6, 3_000.0), uplink(Loss(0.3, 0.01), 6, 3_000.0)
    assert short.miss == pytest.approx(alone.miss)
    assert false_alarm(ORBIT, short, 3) == pytest.approx(false_alarm(ORBIT, alone, 3))
    one, other = links(Loss(0.3), 6, 3_000.0, 5), links(Loss(0.3, 0.01), 6, 3_000.0, 5)
    assert other.miss == pytest.approx(one.miss)


def test_only_so_many_relays_are_counted_in_bursts() -> None:
    assert links(Loss(0.2, 10.0), 6, 30.0, 20).relays == MOST_RELAYS
    assert links(Loss(0.2), 6, 30.0, 20).relays == 18


def test_the_curve_falls_with_the_loss() -> None:
    times = curve(ORBIT, None, 5, Model.UPLINK, [0.0, 0.1, 0.3, 0.9])
    assert times[0] == math.inf
    assert times == sorted(times, reverse=True)


def test_the_loss_for_counting_is_the_one_asked_for_when_that_is_frequent() -> None:
    often = Loss(0.9)
    assert frequent(ORBIT, often, 5, Model.UPLINK, failures=3, samples=100) == often
    raised = frequent(ORBIT, Loss(0.2), 5, Model.UPLINK, failures=3, samples=100)
    assert 0.75 < raised.rate < 0.8


def test_extreme_settings_are_bounded_work() -> None:
    """Longest intervals and shortest reports: counted in part, on the safe side."""
    day = {"evaluation_interval": "8h", "report_interval": "10ms", "hysteresis_window": "24h",
           "heartbeat_timeout": "24h", "proposal_timeout": "24h"}  # fmt: skip
    figures = forecast(parse(day, ORBIT), Loss(0.2, 60.0), 6)
    assert figures.reports == 200
    assert figures.outlooks["links"].detection.longest == pytest.approx(4 * 8 * 3_600)


def test_a_wait_longer_than_the_evaluation_delays_the_next_attempt() -> None:
    slow = parse({"proposal_timeout": 40}, ORBIT)
    assert forecast(slow, Loss(0.5), 5).outlooks["uplink"].failover.p99 > 0


def test_approvals_out_of_reach_are_said_to_be() -> None:
    outlook = forecast(ORBIT, Loss(0.99), 50).outlooks["links"]
    assert outlook.failover.mean == math.inf
    assert outlook.failover.p99 == math.inf


@pytest.mark.parametrize(
    ("loss", "nodes", "field"),
    [
        (Loss(-0.1), 5, "loss"),
        (Loss(1.0), 5, "loss"),
        (Loss(math.nan), 5, "loss"),
        (Loss(0.2, 4.9), 5, "burst"),
        (Loss(0.2, 90_000.0), 5, "burst"),
        (Loss(0.2, math.nan), 5, "burst"),
        (Loss(0.0, 10.0), 5, "burst"),
        (Loss(0.2), 2, "nodes"),
        (Loss(0.2), 100, "nodes"),
        (Loss(0.2, 10.0), 21, "nodes"),
    ],
)
def test_what_cannot_be_meant_is_refused(loss: Loss, nodes: int, field: str) -> None:
    with pytest.raises(LossError) as refused:
        forecast(ORBIT, loss, nodes)
    assert refused.value.field == field
