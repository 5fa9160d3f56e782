"""What losses cost beside false failovers: Raft elections, and leases that lapse. Upper bounds.

**Elections.** The leader speaks to every follower once a heartbeat, and each of these is one try:
Raft over datagrams retransmits by a timer, so nothing waits behind a loss. A follower is deaf when
nothing came for `election_timeout_min`. Pre-vote lets nobody stand without the yes of a majority,
and no voter says yes that is not deaf; so an election needs a majority of all among the followers
deaf at once. The other end of a leadership is its own: it steps down when so few answered within
twice that time that a quorum is out of reach. Both are counted as often as they begin, with the
votes that are lost and the longer draws of the time-outs left out: elections are rarer.

**Leases.** A PRIMARY that does not lead Raft holds its lease L from the sending of a report that
the log echoes back, and an echo is committed every r = L/5. At any instant t it holds, if

- the newest report that the leader knew of was at most a old when it proposed an echo,
- the echo was committed within c, by a majority that answered one of the tries of that time, and
- one of the leader's messages of the last b reached the PRIMARY (each carries what it lacks),

with a + b + c + r = L and c ≤ r: the last echo proposed before t - b - c is then committed, known
to the PRIMARY, and tells of a report sent after t - L. So the share of the time without a lease is
at most the sum of the shares of the three silences, for every split; the smallest sum is said.
The leader's word to the PRIMARY has no relays: what is lost there is what leases lapse by.

An election holds renewals up, but less than a lease (`leader step-down < primary_lease / 2`).
"""

import math
from functools import cache

from stationkeep.cluster.odds.silence import ROUNDING, STEPS, Way, some_silent, turning_silent
from stationkeep.cluster.settings import Settings

HOUR = 3_600.0


def elections(settings: Settings, nodes: int, told: Way, answered: Way) -> float:
    """Raft elections an hour, at most. `told`: leader to follower; `answered`: there and back."""
    spacing = settings.raft_heartbeat / 1_000
    deaf = turning_silent(
        told, _tries(settings, settings.election_timeout_min), spacing,
        of=nodes - 1, least=nodes // 2 + 1,
    )  # fmt: skip
    alone = turning_silent(
        answered, _tries(settings, settings.step_down_after), spacing,
        of=nodes - 1, least=_too_many_silent(nodes),
    )  # fmt: skip
    return (deaf + alone) * HOUR / spacing


def elections_behind_uplink(settings: Settings, told: Way) -> float:
    """The same when what the leader sends is lost to all at once; one that steps down for want of
    answers has been unheard before."""
    spacing = settings.raft_heartbeat / 1_000
    tries = _tries(settings, settings.election_timeout_min)
    return turning_silent(told, tries, spacing, of=1, least=1) * HOUR / spacing


def _tries(settings: Settings, timeout: int) -> int:
    """Heartbeats after the last that was heard and before the time-out; at least two, by the
    relations of settings."""
    return math.ceil(timeout / settings.raft_heartbeat - ROUNDING) - 1


def lapsed(settings: Settings, nodes: int, reported: Way, told: Way, answered: Way) -> float:
    """Seconds an hour without a PRIMARY that may act, at most. `reported`: PRIMARY to leader."""
    renewal = settings.lease_renewal / 1_000
    budget = settings.primary_lease / 1_000 - renewal
    report = settings.report_interval / 1_000
    beat = settings.raft_heartbeat / 1_000

    @cache
    def uncommitted(seconds: float) -> float:
        return some_silent(answered(seconds), of=nodes - 1, least=_too_many_silent(nodes))

    told = cache(told)
    shares = []
    for age in _multiples(report, budget):
        known = reported(age)
        for commit in _multiples(beat, min(renewal, budget - age)):
            rest = math.floor((budget - age - commit) / beat + ROUNDING) * beat
            shares.append(known + uncommitted(commit) + told(rest))
    return min([1.0, *shares]) * HOUR


def _too_many_silent(nodes: int) -> int:
    """So many followers that do not answer leave the leader without a majority."""
    return nodes - nodes // 2


def _multiples(step: float, limit: float) -> list[float]:
    """Up to `STEPS` multiples of `step` within the limit, evenly spread."""
    count = math.floor(limit / step + ROUNDING)
    stride = math.ceil(count / STEPS) if count else 1
    return [n * step for n in range(1, count + 1, stride)]
