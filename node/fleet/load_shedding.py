"""How many devices a node should send to others, so that no node serves far more than its share.

A device stays with the node that it found. After a death its devices are with the others, and
nothing leads any to the node that comes back; at the start of a cluster all are with whoever was
up first. So a node with far more than its share lets a few go each minute; they choose anew
among all. Far more, and a few, because a wrong guess must not matter: a node that is alive but
that devices cannot reach would else have the others throw theirs about for nothing.
"""

import math

FAR_MORE = 1.5
"""Times the even share that nobody minds."""
SPARE = 1
"""Devices beyond that: shares of a handful are no even ones."""
PART = 50
"""One in so many goes at a time, and at least one."""


def to_send_away(connected: int, online: int, alive: int) -> int:
    """Devices that a node with so many `connected` lets go now. `online`: devices of the whole
    fleet; those without connections only make shares seem larger. `alive`: members that are."""
    if alive < 2:
        return 0
    bearable = math.ceil(FAR_MORE * online / alive) + SPARE
    return max(0, min(connected - bearable, math.ceil(connected / PART)))
