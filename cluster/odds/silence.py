"""How long ways between nodes stay silent, on datagrams and on a stream.

A way is told by one function: the share of the time at which nothing has arrived for so many
seconds. Loss is of *packets*, and what that does to messages is the lane's:

- *datagram*: one message, one packet. A silence of k tries in a row is k losses in a row, exactly
  (p^k when they are independent). Copies that a stream carries as well are not counted on.
- *stream*: TCP stands still behind a lost packet. It goes on when a retransmission and its
  acknowledgement both get through, (1-p)²; the time-outs double from 0.2 s (RFC 6298; Karn: an
  answer to a retransmission says nothing of the first try). After two time-outs in a row a fresh
  stream is dialled, again and again: four packets, SYN, its answer, hello, its answer. Messages
  that wait are delivered together, so gaps G between deliveries are independent, and by renewal
  theory the share is E (G - s)+ / E G. What is acknowledged while nothing else is on its way
  (fast retransmits, windows) is left out. Coarse: never replaced, such a stream is silent for
  more than 3 s in 16 to 20 % of the time at 20 % loss; Linux was, measured, in 15 to 22 %.
"""

import enum
import itertools
import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from stationkeep.cluster.odds.loss import GOOD, Loss, Vector

Way = Callable[[float], float]
"""Seconds → the share of the time at which nothing has arrived for as long; 1 at 0, falling."""

TIMEOUT = 0.2
"""Seconds of a first retransmission time-out: the least that Linux takes."""
REPLACED_AFTER = 2
"""Time-outs in a row after which a fresh stream is dialled."""
DIAL_APART = 0.4
"""Seconds between dials; node/peers."""
DIAL_PACKETS = 4
MOST_TRIES = 200
STEPS = 60
"""Of a sum of two silences, or of a split of one time into several."""
ROUNDING = 1e-9


class Lane(enum.StrEnum):
    """What carries the small messages between members."""

    DATAGRAM = "datagram"
    STREAM = "stream"


def datagrams(loss: Loss, spacing: float, legs: int = 1) -> Way:
    """One try each `spacing` s, of one packet on each of `legs` channels, all of which it needs."""
    step = reduce(np.kron, [loss.transition(spacing)] * legs)
    share = reduce(np.kron, [loss.stationary] * legs)
    lost = np.arange(len(share)) != GOOD  # the state in which every channel is good is the first

    def silent(seconds: float) -> float:
        tries = math.floor(seconds / spacing + ROUNDING)
        if tries == 0:
            return 1.0
        among = np.linalg.matrix_power(step[np.ix_(lost, lost)], tries - 1)
        return float((share[lost] @ among).sum())

    return silent


def stream(loss: Loss, spacing: float, replaced_after: int = REPLACED_AFTER) -> Way:
    """Messages each `spacing` s on a stream whose packets are lost independently."""
    gaps, chances = _gaps(loss.rate, spacing, replaced_after)
    mean = float(gaps @ chances)

    def silent(seconds: float) -> float:
        return float(np.maximum(0.0, gaps - seconds) @ chances) / mean

    return silent


def _gaps(rate: float, spacing: float, replaced_after: int) -> tuple[Vector, Vector]:
    """Seconds between two deliveries, and their chances; what `MOST_TRIES` tries leave is lumped
    together, at its mean."""
    answered = (1 - rate) ** 2
    gaps, chances = [spacing], [answered]
    gap, left, success = spacing, 1 - answered, answered
    for timeouts in range(MOST_TRIES):
        stands = timeouts < replaced_after
        gap += TIMEOUT * 2**timeouts if stands else DIAL_APART
        success = answered if stands else (1 - rate) ** DIAL_PACKETS
        gaps.append(gap)
        chances.append(left * success)
        left *= 1 - success
    return np.array([*gaps, gap + DIAL_APART / success]), np.array([*chances, left])


def in_turn(first: Way, second: Way) -> Way:
    """What comes by one way and goes on by another, each silent in its own time: the ages of what
    is known add up. Coarse by one of `STEPS` steps, on the side of more silence."""

    def silent(seconds: float) -> float:
        if seconds <= 0:
            return 1.0
        ages = [seconds * i / STEPS for i in range(STEPS + 1)]
        steps = itertools.pairwise(ages)
        among = sum((first(a) - first(b)) * second(seconds - b) for a, b in steps)
        return min(1.0, first(seconds) + among)

    return silent


def side_by_side(*ways: Way) -> Way:
    """Ways that are silent independently of each other: all of them at once."""
    return lambda seconds: math.prod(way(seconds) for way in ways)


def turning_silent(way: Way, tries: int, spacing: float, *, of: int, least: int) -> float:
    """Probability per try that at least `least` of this many ways alike come to have been silent
    for `tries` tries, and were not before. Each is silent now and was at the try before with the
    chance of one try more; both counts together are a multinomial, summed exactly."""
    now, both = way(tries * spacing), way((tries + 1) * spacing)
    counts = np.zeros((of + 1, of + 1))  # silent at the try before, and now
    counts[0, 0] = 1.0
    for _ in range(of):
        grown = counts * max(0.0, 1 - 2 * now + both)
        grown[1:, :] += counts[:-1, :] * (now - both)
        grown[:, 1:] += counts[:, :-1] * (now - both)
        grown[1:, 1:] += counts[:-1, :-1] * both
        counts = grown
    return float(counts[:least, least:].sum())


def some_silent(share: float, *, of: int, least: int) -> float:
    """Probability that at least `least` of so many are silent, each with this share."""
    return sum(math.comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(least, of + 1))
