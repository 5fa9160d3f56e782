"""How often gates stop a version that does no harm, and how often one that does.

Simulated stages, judged after every look by the functions that are to judge real ones. Devices turn
unhealthy by chance and recover; some are made ill by the version, for good, or fail to install it.
Beside each gate what is usual: two or more, and more than 5 %, looked at as often.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from stationkeep.cluster.rollouts import evidence
from stationkeep.cluster.rollouts.evidence import MAX_TWINS, Look
from stationkeep.cluster.rollouts.gates import Gates, Tally, Verdict, Watched, failures, health

Json = dict[str, Any]
GATES = Gates()
ALLOWED = 0.05
"""Of harmless versions that may be stopped: 1 - confidence."""
USUAL = 2, 0.05
"""Of how many, and of which share of them, the usual rule stops a version."""
LOOKS_A_MINUTE, SETTLE, SOAK = 6, 3, 6
"""Looks, as in profile orbit: every 10 s, 30 s, 60 s."""
UPDATE = 3, 10
"""Looks that an installation takes, evenly between."""
RECOVERY = 0.1
"""Of the unhealthy that are well again at the next look."""
PACE, MOST_PACE, IN_FLIGHT = 10, 1_000, 500
NEVER = 1 << 40


class Healthy(NamedTuple):
    """A stage of `members` of a fleet, of which `ill` (a share) are made ill by the version;
    `chance`: of others to turn unhealthy between two looks; each is looked at for `soaks`."""

    fleet: int
    members: int
    ill: float = 0.0
    chance: float = 0.002
    soaks: int = 1


class Installing(NamedTuple):
    """A stage of which `rate` (a share) fail to install, each after `failing` looks. `paced`, or
    as many at once as may be in flight."""

    members: int
    rate: float
    failing: int = 1
    paced: bool = True


HEALTH = (
    Healthy(12, 3), Healthy(50, 10), Healthy(300, 60), Healthy(300, 60, chance=0.005),
    Healthy(300, 60, chance=0.005, soaks=10), Healthy(2_000, 400), Healthy(2_000, 400, soaks=10),
    Healthy(100, 100),
    Healthy(12, 3, 1.0), Healthy(25, 5, 0.6), Healthy(50, 10, 0.3), Healthy(100, 20, 0.3),
    Healthy(100, 20, 0.15), Healthy(250, 50, 0.2), Healthy(250, 50, 0.1), Healthy(250, 50, 0.05),
    Healthy(500, 100, 0.1), Healthy(1_000, 200, 0.05), Healthy(2_000, 400, 0.05),
    Healthy(100, 100, 0.3),
)  # fmt: skip
FAILURES = (
    Installing(12, 0.03), Installing(100, 0.03), Installing(1_000, 0.03), Installing(2_000, 0.03),
    Installing(2_000, 0.05), Installing(2_000, 0.05, failing=30),
    Installing(1_000, 0.03, paced=False), Installing(2_000, 0.05, paced=False),
    Installing(12, 1.0), Installing(12, 0.5), Installing(50, 0.2), Installing(100, 0.2),
    Installing(100, 0.1), Installing(1_000, 0.1), Installing(1_000, 0.1, paced=False),
    Installing(2_000, 0.075),
)  # fmt: skip


class Offers:
    """When tasks are offered: one until it is well, then at a pace that doubles."""

    def __init__(self, members: int) -> None:
        self._left, self._members = members, members
        self._rate, self._at_rate, self._tokens = PACE, 0, 0.0

    def due(self, succeeded: int, in_flight: int, settled: bool) -> int:
        """How many are offered at this look; `succeeded`: since the one before."""
        if self._left == self._members:
            count = 1
        elif not settled:
            return 0
        else:
            self._at_rate += succeeded
            if self._at_rate >= self._rate < MOST_PACE:
                self._at_rate -= self._rate
                self._rate = min(MOST_PACE, 2 * self._rate)
            self._tokens += self._rate / LOOKS_A_MINUTE
            count = min(int(self._tokens), self._left, IN_FLIGHT - in_flight)
            self._tokens -= count
        self._left -= count
        return count


class Stage:
    """One simulated stage. Devices from `members` on are not updated: twins are drawn of them."""

    def __init__(self, cell: Healthy, rng: np.random.Generator) -> None:
        self.cell, self.rng = cell, rng
        members, unset = cell.members, np.full(cell.members, NEVER)
        self.soak = SOAK * cell.soaks
        self.unhealthy = np.zeros(cell.fleet, bool)
        self.well_since = np.full(cell.fleet, -SOAK)
        self.serves = np.full(cell.fleet, -1)  # the last look of the set that it is a twin in
        self.offered = 0
        self.done, self.falls_ill = unset.copy(), unset.copy()
        self.observed = np.zeros(members, bool)
        self.turned = np.zeros(members, bool)
        self.twins = np.full((members, MAX_TWINS), -1)
        self.at_risk = np.zeros((members, 1 + MAX_TWINS), bool)
        self.table: dict[Look, int] = {}

    def pass_time(self, now: int) -> None:
        """Devices turn unhealthy and recover."""
        draws = self.rng.random(self.cell.fleet)
        was = self.unhealthy
        self.unhealthy = np.where(was, draws >= RECOVERY, draws < self.cell.chance)
        self.unhealthy[: self.cell.members] |= self.falls_ill <= now
        self.well_since[was & ~self.unhealthy] = now

    def offer(self, count: int, now: int) -> None:
        """To the next members, and finds them twins that are as steady."""
        new = np.arange(self.offered, self.offered + count)
        self.offered += count
        self.done[new] = now + self.rng.integers(*UPDATE, count)
        ill = self.rng.random(count) < self.cell.ill
        after = self.done[new] + self.rng.integers(0, SETTLE + self.soak, count)
        self.falls_ill[new] = np.where(ill, after, NEVER)
        self.observed[new] = steady = self._steady(now)[new]
        asking = new[steady]
        others = np.arange(self.cell.members, self.cell.fleet)
        free = others[(self.serves[others] < now) & self._steady(now)[others]]
        each = min(MAX_TWINS, len(free) // len(asking)) if len(asking) else 0
        drawn = self.rng.permutation(free)[: each * len(asking)].reshape(len(asking), each)
        self.twins[asking, :each] = drawn
        self.serves[drawn] = (self.done[asking] + SETTLE + self.soak)[:, None]
        self.at_risk[asking, 0] = True
        self.at_risk[asking, 1 : 1 + each] = True

    def _steady(self, now: int) -> np.ndarray:
        return ~self.unhealthy & (self.well_since <= now - SOAK)

    def look(self, now: int) -> bool:
        """Counts who has turned bad in each set; whether anything is new in the table."""
        begins = self.done + SETTLE
        (open_,) = np.nonzero((begins <= now) & (now < begins + self.soak) & self.at_risk[:, 0])
        bad = np.concatenate([open_[:, None], self.twins[open_]], axis=1)
        bad = self.unhealthy[bad] & self.at_risk[open_]
        twins = self.at_risk[open_, 1:].sum(1)
        found = np.stack([twins, bad.sum(1), bad[:, 0]], axis=1)
        self.at_risk[open_] &= ~bad
        self.at_risk[open_[bad[:, 0]]] = False
        self.turned[open_[bad[:, 0]]] = True
        new = found[(found[:, 0] > 0) & (found[:, 1] > 0)]
        for look in map(Look._make, new.tolist()):
            self.table[look] = self.table.get(look, 0) + 1
        return len(new) > 0

    def run(self) -> "Path":
        """Looks until every soak is over, whatever the gate says meanwhile."""
        offers, now = Offers(self.cell.members), 0
        stopped = usual = NEVER
        while self.offered < self.cell.members or now <= self.done.max() + SETTLE + self.soak:
            self.pass_time(now)
            known = self.done[: self.offered]
            settled = bool((known[:1] + SETTLE <= now).all())
            count = offers.due(int((known == now).sum()), int((known > now).sum()), settled)
            if count:
                self.offer(count, now)
            if self.look(now) and stopped == NEVER and proves(frozenset(self.table.items())):
                stopped = self.offered
            seen = int((self.observed & (self.done + SETTLE <= now)).sum())
            if usual == NEVER and too_many(int(self.turned.sum()), seen):
                usual = self.offered
            now += 1
        return Path(stopped, usual, self.judge())

    def judge(self) -> Verdict:
        """After the last soak."""
        observed, bad = int(self.observed.sum()), int(self.turned.sum())
        compared = int((self.twins[:, 0] >= 0).sum())
        watched = Watched(observed, bad, observed, compared)
        return health(Tally(succeeded=self.cell.members), watched, self.table, GATES).verdict


class Path(NamedTuple):
    """How many had been offered the version when the gate, and when the usual rule, stopped it
    (`NEVER` if they did not), and the gate's verdict in the end."""

    stopped: int
    usual: int
    last: Verdict


@lru_cache(maxsize=1 << 16)
def proves(table: frozenset[tuple[Look, int]]) -> bool:
    """Whether a table stops a version."""
    return health(Tally(succeeded=1), Watched(), dict(table), GATES).verdict is Verdict.FAILED


def too_many(bad: int, seen: int) -> bool:
    """What the usual rule says."""
    least, share = USUAL
    return bad >= least and bad > share * seen


def health_cell(cell: Healthy, runs: int) -> Json:
    """Shares of so many runs."""
    rng = _rng(cell)
    paths = [Stage(cell, rng).run() for _ in range(runs)]
    stopped = [path.stopped for path in paths if path.stopped != NEVER]
    went_on = [path for path in paths if path.stopped == NEVER]
    return {
        **cell._asdict(),
        "runs": runs,
        "failed": wilson(len(stopped), runs),
        "inconclusive": wilson(sum(p.last is Verdict.INCONCLUSIVE for p in went_on), runs),
        "usual": wilson(sum(path.usual != NEVER for path in paths), runs),
        "offered": float(np.median(stopped)) if stopped else None,
    }


def _rng(cell: Healthy | Installing) -> np.random.Generator:
    """The same for the same cell."""
    return np.random.default_rng(list(repr(cell).encode()))


def failures_cell(cell: Installing, runs: int) -> Json:
    """Shares of so many runs."""
    rng = _rng(cell)
    shape = runs, cell.members
    fails = rng.random(shape) < cell.rate
    begins = _begins(cell.members, cell.paced)
    ends = begins + np.where(fails, cell.failing, rng.integers(*UPDATE, shape))
    looks = range(1, int(ends.max()) + 1)
    failed = np.array([(fails & (ends <= now)).sum(1) for now in looks])
    succeeded = np.array([(~fails & (ends <= now)).sum(1) for now in looks])
    begun = np.array([int((begins < now).sum()) for now in looks])[:, None] - failed - succeeded
    proof = _proof(cell.members)
    stopped = failed >= proof[succeeded + begun]
    last = [
        failures(Tally(failed=int(f), succeeded=int(s)), GATES).verdict
        for f, s in zip(failed[-1], succeeded[-1], strict=True)
    ]
    went_on = [verdict for verdict, stop in zip(last, stopped.any(0), strict=True) if not stop]
    offered = (failed + succeeded + begun)[stopped.argmax(0), np.arange(runs)]
    least, share = USUAL
    usual = (failed >= least) & (failed > share * (failed + succeeded))
    return {
        **cell._asdict(),
        "runs": runs,
        "failed": wilson(int(stopped.any(0).sum()), runs),
        "inconclusive": wilson(went_on.count(Verdict.INCONCLUSIVE), runs),
        "finished": wilson(int((failed >= proof[succeeded]).any(0).sum()), runs),
        "usual": wilson(int(usual.any(0).sum()), runs),
        "offered": float(np.median(offered[stopped.any(0)])) if stopped.any() else None,
    }


def _begins(members: int, paced: bool) -> np.ndarray:
    """The look at which each task begins, if all succeed."""
    typical = sum(UPDATE) // 2
    if not paced:
        return np.arange(members) // IN_FLIGHT * typical
    offers, now, begins = Offers(members), 0, []
    while len(begins) < members:
        succeeded = begins.count(now - typical)
        in_flight = sum(begun > now - typical for begun in begins)
        settled = bool(begins) and begins[0] + typical + SETTLE <= now
        begins += [now] * offers.due(succeeded, in_flight, settled)
        now += 1
    return np.array(begins)


@lru_cache
def _proof(members: int) -> np.ndarray:
    """By those that have not failed: how many failures stop a version."""
    found, failed = [], 0
    for others in range(members + 1):
        while failures(Tally(failed=failed, succeeded=others), GATES).verdict is not Verdict.FAILED:
            failed += 1
        found.append(failed)
    return np.array(found)


def wilson(hits: int, runs: int) -> tuple[float, float, float]:
    """A share and its 95 % interval."""
    z, share = 1.96, hits / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z * math.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2) / (1 + z * z / runs)
    return share, max(0.0, middle - half), min(1.0, middle + half)


def speed() -> Json:
    """Worst CPU ms of each kind of evidence: every outcome there is, and counts of billions."""
    outcomes = [
        Look(n, d, k) for n in range(1, 5) for d in range(1, n + 2) for k in (0, 1) if d - k <= n
    ]
    table = {look: 2**32 - place for place, look in enumerate(outcomes)}
    counts, weights = [2**32 - n for n in range(8)], list(range(11, 19))
    rates = iter(range(40_000, 50_000))  # each for the first time
    return {
        "failures_ms": _worst(lambda: evidence.failing(2**32, 2**31, next(rates))),
        "harm_ms": _worst(lambda: evidence.harm(table)),
        "hazard_ms": _worst(lambda: evidence.hazard(table, 950_000)),
        "imbalance_ms": _worst(lambda: evidence.imbalance(counts, weights)),
    }


def _worst(work: Callable[[], Any], times: int = 50) -> float:
    work()
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return max(took) * 1e3


def run(runs: int) -> Json:
    """All cells, and what evidence costs."""
    return {
        "speed": speed(),
        "health": [health_cell(cell, runs) for cell in HEALTH],
        "failures": [failures_cell(cell, runs) for cell in FAILURES],
    }


HEADS = {
    "health": ("the version makes ill", "FAILED", "INCONCLUSIVE", "usual rule", "offered"),
    "failures": ("fail to install", "FAILED", "INCONCLUSIVE", "usual rule", "offered", "finished"),
}
"""`offered`: of runs that the gate stopped, the median of how many devices had been offered the
version. `finished`: what the gate would stop if it counted only those that are finished."""


def rows(measured: Json, part: str) -> Iterator[tuple[str, ...]]:
    """The cells of a part, shares in percent with their 95 % intervals."""
    for cell in measured[part]:
        failed = said(cell["failed"]) + (" MISSED" if is_missed(cell) else "")
        offered = "-" if cell["offered"] is None else f"{cell['offered']:.0f}"
        known = (failed, said(cell["inconclusive"]), said(cell["usual"]), offered)
        if part == "health":
            yield _of_health(cell), *known
        else:
            yield _of_failures(cell), *known, said(cell["finished"])


def is_missed(cell: Json) -> bool:
    """Whether a harmless version is stopped more often than it may be, beyond doubt."""
    harmless = cell.get("ill") == 0 or cell.get("rate", 1) <= GATES.max_failures / 1e6
    return harmless and cell["failed"][1] > ALLOWED


def said(share: tuple[float, float, float]) -> str:
    """5.5 (4.2-7.1)"""
    middle, low, high = (f"{100 * value:.{0 if value >= 0.1 else 1}f}" for value in share)
    return f"{middle} ({low}-{high})"


def _of_health(cell: Json) -> str:
    long = "" if cell["soaks"] == 1 else f", {cell['soaks']} soaks"
    frail = "" if cell["chance"] == 0.002 else f", {100 * cell['chance']:g} % a look"
    return f"{100 * cell['ill']:.0f} % of {cell['members']} of {cell['fleet']:,}{frail}{long}"


def _of_failures(cell: Json) -> str:
    late = "" if cell["failing"] == 1 else ", late"
    paced = "" if cell["paced"] else ", at once"
    return f"{100 * cell['rate']:g} % of {cell['members']:,}{late}{paced}"


def show(measured: Json) -> None:
    """Two tables of at most 100 columns."""
    console = Console(width=100)
    for part, heads in HEADS.items():
        table = Table(*heads, box=SIMPLE, title=f"gates: {part}, % of runs", title_justify="left")
        for row in rows(measured, part):
            table.add_row(*row)
        console.print(table)
    console.print({name: round(took, 2) for name, took in measured["speed"].items()})
