"""The four rings, and how many devices each of them should hold.

Source: rings.md, "Ring assignment".
"""

from collections.abc import Sequence

from stationkeep.cluster.coded import Coded


class Ring(Coded):
    """Where a device stands in the order of rollouts, which its code follows: 0 to 3."""

    CANARY = "canary"
    DEV = "dev"
    STAGE = "stage"
    PROD = "prod"


RINGS = tuple(Ring)
UNSET = 255
"""Stands in columns where there is no ring: before a registration, and for "never sent away"."""

ANY_RING = 0b1111
LOW_RINGS = 0b0011
"""CANARY and DEV, the only rings for an unhealthy device. Bit n of a mask is ring n."""

Four = tuple[int, int, int, int]
EVEN: Four = (1, 1, 1, 1)
NO_CAPS: Four = (0, 0, 0, 0)
UNLIMITED = (None, None, None, None)
MAX_WEIGHT = 1_000_000


def caps_with(standing: Four, given: Sequence[int | None]) -> Four:
    """The caps that were given; those that were left out stay as they stand."""
    canary, dev, stage, prod = (
        was if cap is None else cap for was, cap in zip(standing, given, strict=True)
    )
    return canary, dev, stage, prod


def mask_of(rings: Sequence[Ring]) -> int:
    """The rings as bits."""
    return sum({1 << ring.code for ring in rings})


def rings_of(mask: int) -> list[int]:
    """Codes of the rings in a mask, ascending."""
    return [code for code in range(4) if mask >> code & 1]


def quotas(total: int, weights: Sequence[int], room: Sequence[int | None] = UNLIMITED) -> Four:
    """How many of `total` devices belong into each ring, by largest remainder.

    A ring of weight 0 gets none. `room` is the most a ring takes, None: any number; what a full
    ring cannot take is spread over the others by weight. Where all the room is not enough every
    ring takes more than it should, by weight: a device must stand somewhere.
    """
    share = [0, 0, 0, 0]
    open_rings = [ring for ring in range(4) if weights[ring] > 0]
    rooms = [room[ring] for ring in open_rings]
    left = total
    if None not in rooms and sum(filter(None, rooms)) < total:
        for ring in open_rings:
            share[ring] = room[ring] or 0
        left = total - sum(share)
        room = UNLIMITED
    while left:
        portions = _largest_remainder(left, [weights[ring] for ring in open_rings])
        given = dict(zip(open_rings, portions, strict=True))
        full = {ring: most for ring in open_rings if (most := room[ring]) is not None}
        full = {ring: most for ring, most in full.items() if given[ring] > most}
        for ring, count in (full or given).items():
            share[ring] += count
            left -= count
        open_rings = [ring for ring in open_rings if ring not in full]
    return share[0], share[1], share[2], share[3]


def _largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Whole portions in proportion to positive weights; the first wins a tie."""
    whole = sum(weights)
    portions = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda n: -(total * weights[n] % whole))
    for n in by_remainder[: total - sum(portions)]:
        portions[n] += 1
    return portions


def furthest_below(lacking: Sequence[int], mask: int, lot: int) -> int:
    """The ring of the mask that lacks most devices; `lot`, a hash, chooses among equals."""
    eligible = rings_of(mask)
    most = max(lacking[ring] for ring in eligible)
    equals = [ring for ring in eligible if lacking[ring] == most]
    return equals[lot % len(equals)]


def fill(count: int, counts: Sequence[int], quota: Sequence[int], mask: int) -> Four:
    """How `count` devices spread over the rings of a mask when each in turn goes to the ring
    furthest below its quota. Takes no longer for a million than for ten."""
    levels = sorted((counts[ring] - quota[ring], ring) for ring in rings_of(mask))
    given = [0, 0, 0, 0]
    for n in range(1, len(levels) + 1):
        ceiling = levels[n][0] if n < len(levels) else None
        room = None if ceiling is None else sum(ceiling - level for level, _ in levels[:n])
        if room is not None and room < count:
            continue
        whole = count + sum(level for level, _ in levels[:n])
        base, extra = divmod(whole, n)
        for place, (level, ring) in enumerate(levels[:n]):
            given[ring] = base + (place < extra) - level
        break
    return given[0], given[1], given[2], given[3]
