"""Which loss explains what was counted on a link.

Of N tries, one each `spacing` s, independent losses at rate p leave a run of k in a row with a
chance of at most N (1-p) p^k. A silence so long that this is below `UNLIKELY` was none of theirs:
then the link loses in bursts. Their mean b is fitted to the longest: in a window W there were about
n = W p / b of them, and the longest of n exponential times is b (ln n + 0.577) on average (Euler's
constant), which rises with b; it is no longer than the silence itself.
"""

import math

from stationkeep.cluster.odds.loss import Loss

UNLIKELY = 1e-3
EULER = 0.5772156649015329
HALVINGS = 60


def longest_explained(rate: float, window: float, spacing: float) -> float:
    """Seconds of silence that independent losses at this rate leave within a window of s."""
    if rate == 0:
        return spacing
    tries = max(1.0, window / spacing)
    run = max(0.0, math.log(tries * (1 - rate) / UNLIKELY) / -math.log(rate))
    return (run + 1) * spacing


def fitted(rate: float, longest: float, window: float, spacing: float) -> Loss:
    """The loss of a link that lost this share, 0 ≤ rate < 1, and was silent for at most `longest`
    of `window` s, with tries `spacing` s apart at the most."""
    if rate == 0 or longest <= longest_explained(rate, window, spacing):
        return Loss(rate)
    low, high = spacing, longest
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        bursts = max(1.0, window * rate / middle)
        low, high = (
            (middle, high) if middle * (math.log(bursts) + EULER) < longest else (low, middle)
        )
    return Loss(rate, high)
