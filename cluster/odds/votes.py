"""How long a justified failover waits for its approvals when votes are lost too.

Every survivor is the same kind of voter, the leader and the candidate not favoured: it approves
when it heard the candidate itself within the last evaluation, and its verdict is in the log at
the first try that gets through. Tries come once a second from the proposal on, as the voters
make them, until the proposal times out; what is too late is proposed again at the next
evaluation after that. A voter has one channel to the rest, both ways. Denials that would end a
proposal sooner are not counted as a gain. Only links lose; commits among the survivors that
hold are taken as immediate.

Under bursts a voter at an evaluation is in one of three states: channel good (then it heard the
candidate's last report), bad but heard it before, bad and heard nothing. Voters are alike and
independent, so a cluster is the count of voters in each state: a Markov chain over attempts.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from stationkeep.cluster.odds.loss import BAD, GOOD, Loss, LossError, Matrix, Vector

RETRY = 1.0
"""Seconds between two tries of one vote; node/roles/voter.py."""
MOST_TRIES = 60
"""Tries of one attempt that are counted; more of them only make an approval likelier."""
MOST_ATTEMPTS = 1_000
NEGLIGIBLE = 1e-13
"""Probability left over at which further attempts are not followed."""
MOST_NODES_IN_BURSTS = 20
"""Counts of voters in three states grow with the square of the cluster."""
SEEN, MUTE, DEAF = 0, 1, 2  # good; bad, heard the candidate; bad, heard nothing
_CHANNEL = {SEEN: GOOD, MUTE: BAD, DEAF: BAD}


class Ballot(msgspec.Struct, frozen=True):
    """The terms of a vote. `voters` vote, `quorum` approvals are needed, tries are made at
    `tries` s after the evaluation; reports come `spacing` s apart, `reports` per evaluation of
    `interval` s; another attempt follows after `period` evaluations."""

    voters: int
    quorum: int
    tries: tuple[float, ...]
    reports: int
    spacing: float
    interval: float
    period: int


class Delays(msgspec.Struct, frozen=True):
    """Seconds from detection to approval, and their probabilities; `open`: what is left."""

    seconds: Vector
    chances: Vector
    open: float


def ballot(
    *, electors: int, voters: int, quorum: int, timeout: float, interval: float, reports: int
) -> Ballot:
    """Terms for a proposal timeout and evaluation interval in s."""
    assert electors >= voters >= quorum
    count = min(MOST_TRIES, math.ceil(timeout / RETRY - 1e-9))
    tries = tuple(RETRY * i for i in range(count))
    period = math.floor(timeout / interval + 1e-9) + 1
    return Ballot(voters, quorum, tries, reports, interval / reports, interval, period)


def delays(loss: Loss, terms: Ballot) -> Delays:
    """The distribution of the wait for approvals."""
    voter = _Voter(loss, terms)
    if loss.burst is None:
        return _repeated(voter, terms)
    if terms.voters >= MOST_NODES_IN_BURSTS:
        rule = f"bursts are computed for at most {MOST_NODES_IN_BURSTS} nodes"
        raise LossError("nodes", terms.voters + 1, rule)
    return _chained(voter, terms)


class _Voter:
    """One voter over one attempt: `by[s, i]`, the chance that it has approved by try i when it
    was in state s at the evaluation; `after[s, v, s']`: that it approved (v) and is in s' at the
    next attempt; `first[s]`: its state at the first attempt."""

    def __init__(self, loss: Loss, terms: Ballot) -> None:
        self.loss, self.terms = loss, terms
        # Independent losses have no state to share: the answer is another message, lost or not.
        self.answer = 1.0 if loss.burst is not None else 1 - loss.rate
        self.by = np.zeros((3, len(terms.tries)))
        self.after = np.zeros((3, 2, 3))
        self.first = np.zeros(3)
        for channel in (GOOD, BAD):
            *_, (_, end) = self._follow(channel, votes=False, events=self._hearing(0.0))
            self.first += loss.stationary[channel] * self._states(end.sum(axis=1))
        for state in (SEEN, MUTE, DEAF):
            votes = state != DEAF
            steps = list(self._follow(_CHANNEL[state], votes=votes, events=self._attempt()))
            self.by[state] = [chance[:, 1].sum() for is_try, chance in steps if is_try]
            _, end = steps[-1]
            self.after[state] = [self._states(end[:, v]) for v in (0, 1)]

    def _hearing(self, since: float) -> list[tuple[float, bool]]:
        terms = self.terms
        return [(since + terms.spacing * (j + 1), False) for j in range(terms.reports)]

    def _attempt(self) -> list[tuple[float, bool]]:
        """(s after the evaluation, is a try) up to the next attempt."""
        last = (self.terms.period - 1) * self.terms.interval
        return sorted([(at, True) for at in self.terms.tries] + self._hearing(last))

    def _follow(
        self, channel: int, *, votes: bool, events: list[tuple[float, bool]]
    ) -> Iterator[tuple[bool, Matrix]]:
        """After each event: whether it was a try, and the probabilities over (channel, approved,
        heard the candidate since), axes in this order."""
        chance = np.zeros((2, 2, 2))
        chance[channel, 0, 0] = 1.0
        now = 0.0
        for at, is_try in events:
            chance = np.einsum("cvh,cd->dvh", chance, self.loss.transition(at - now))
            now = at
            if not is_try:
                chance[GOOD, :, 1] += chance[GOOD, :, 0]
                chance[GOOD, :, 0] = 0.0
            elif votes:
                chance[GOOD, 1] += self.answer * chance[GOOD, 0]
                chance[GOOD, 0] *= 1 - self.answer
            yield is_try, chance

    @staticmethod
    def _states(chance: Matrix) -> Vector:
        """(channel, heard) as states; a good channel at the last report has heard it."""
        return np.array([chance[GOOD].sum(), chance[BAD, 1], chance[BAD, 0]])


def at_least(needed: int, chances: list[float]) -> float:
    """Probability that at least `needed` of independent events happen."""
    counts = np.array([1.0])
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return float(counts[needed:].sum())


def _repeated(voter: _Voter, terms: Ballot) -> Delays:
    """Without memory each attempt is like the first."""
    heard = float(voter.first[SEEN] + voter.first[MUTE])
    by = [at_least(terms.quorum, [heard * float(c)] * terms.voters) for c in voter.by[SEEN]]
    gains = np.diff([0.0, *by])
    left, seconds, chances = 1.0, [], []
    for attempt in range(MOST_ATTEMPTS):
        seconds += [attempt * terms.period * terms.interval + at for at in terms.tries]
        chances += [left * gain for gain in gains]
        left *= max(0.0, 1 - by[-1])
        if left < NEGLIGIBLE:
            break
    return Delays(np.array(seconds), np.array(chances), left)


def _chained(voter: _Voter, terms: Ballot) -> Delays:
    """Counts of voters in each state, from attempt to attempt."""
    crowds = [
        (seen, mute, terms.voters - seen - mute)
        for seen, mute in itertools.product(range(terms.voters + 1), repeat=2)
        if seen + mute <= terms.voters
    ]
    by = np.array([_approved_by(voter, terms, crowd) for crowd in crowds])
    gains = np.diff(by, axis=1, prepend=0.0)
    fails = np.array([_failing(voter, terms, crowd, crowds) for crowd in crowds])
    left = np.array([_multinomial(crowd, voter.first) for crowd in crowds])
    seconds: list[float] = []
    chances: list[float] = []
    for attempt in range(MOST_ATTEMPTS):
        seconds += [attempt * terms.period * terms.interval + at for at in terms.tries]
        chances += list(left @ gains)
        left = left @ fails
        if left.sum() < NEGLIGIBLE:
            break
    return Delays(np.array(seconds), np.array(chances), float(left.sum()))


def _approved_by(voter: _Voter, terms: Ballot, crowd: tuple[int, ...]) -> list[float]:
    return [
        at_least(terms.quorum, [float(voter.by[s, i]) for s in range(3) for _ in range(crowd[s])])
        for i in range(len(terms.tries))
    ]


def _failing(
    voter: _Voter, terms: Ballot, crowd: tuple[int, ...], crowds: Sequence[tuple[int, ...]]
) -> list[float]:
    """Chance of too few approvals and of each crowd at the next attempt."""
    size = terms.voters + 1
    joint = np.zeros((terms.quorum, size, size))  # approvals, SEEN and MUTE of the next attempt
    joint[0, 0, 0] = 1.0
    for state in range(3):
        for _ in range(crowd[state]):
            grown = np.zeros_like(joint)
            for approved, then in itertools.product(range(2), range(3)):
                a, s, m = approved, int(then == SEEN), int(then == MUTE)
                part = joint[: terms.quorum - a, : size - s, : size - m]
                grown[a:, s:, m:] += voter.after[state, approved, then] * part
            joint = grown
    ends = joint.sum(axis=0)
    return [float(ends[seen, mute]) for seen, mute, _ in crowds]


def _multinomial(crowd: tuple[int, ...], chances: Vector) -> float:
    ways = math.factorial(sum(crowd)) // math.prod(math.factorial(n) for n in crowd)
    return ways * math.prod(float(c) ** n for c, n in zip(chances, crowd, strict=True))
