"""A second, dumb implementation of the fleet's rules in rings.md, to compare `cluster` with.

Written from the words of "Devices" to "Rebalancing", with one plain object for each device and
the whole past of it at hand. Shares nothing with `cluster` but the names of the rings. Clarity is
its only virtue.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

LOW = ("canary", "dev")
RINGS = ("canary", "dev", "stage", "prod")
DWELL = HOLD = 300_000
BAND = Fraction(2, 100)


@dataclass
class Dumb:
    """One device: everything that was ever said of it."""

    id: str
    statuses: list[bool] = field(default_factory=list)
    first: bool = True  # the verdict it registered with
    turned: int | None = None  # when its verdict last changed
    heard: int = 0
    offline: bool = False
    group: str = ""
    ring: str = ""
    ring_since: int = 0
    pinned: bool = False
    home: str | None = None

    @property
    def healthy(self) -> bool:
        """Two unhealthy in a row make it unhealthy, three healthy ones healthy again."""
        verdict = self.first
        for n in range(len(self.statuses)):
            seen = self.statuses[: n + 1]
            if verdict and len(seen) >= 2 and not any(seen[-2:]):
                verdict = False
            elif not verdict and len(seen) >= 3 and all(seen[-3:]):
                verdict = True
        return verdict

    def says(self, healthy: bool, now: int) -> None:
        """One more status."""
        before = self.healthy
        self.statuses.append(healthy)
        if self.healthy is not before:
            self.turned = now
        self.heard, self.offline = now, False

    def fit(self, now: int) -> bool:
        """Healthy, and for long enough if it was not always."""
        return self.healthy and (self.turned is None or now - self.turned >= HOLD)

    def free(self, now: int) -> bool:
        """May be moved without having to."""
        return not self.pinned and not self.offline and now - self.ring_since >= DWELL


def quota(total: int, weights: Sequence[int]) -> list[int]:
    """Largest remainder; the first ring wins a tie."""
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    found = [int(share) for share in exact]
    by_remainder = sorted(range(4), key=lambda n: (found[n] - exact[n], n))
    for n in by_remainder[: total - sum(found)]:
        found[n] += 1
    return found


@dataclass
class Group:
    """Devices that are shared among rings for themselves."""

    allowed: tuple[str, ...]
    weights: tuple[int, ...]


def standing(devices: Iterable[Dumb]) -> dict[str, int]:
    """Unpinned devices by ring."""
    counts = dict.fromkeys(RINGS, 0)
    for device in devices:
        counts[device.ring] += not device.pinned
    return counts


def off_quota(devices: Sequence[Dumb], group: Group) -> dict[str, int]:
    """Devices above (or, negative, below) the quota of each ring."""
    counts = standing(devices)
    wanted = quota(sum(counts.values()), group.weights)
    return {ring: counts[ring] - wanted[n] for n, ring in enumerate(RINGS)}


def outside_band(devices: Sequence[Dumb], group: Group) -> bool:
    """Whether a ring is off its quota by more than the band, or than one device."""
    total = sum(standing(devices).values())
    return any(abs(off) > max(1, BAND * total) for off in off_quota(devices, group).values())


def may_enter(device: Dumb, ring: str, group: Group, now: int) -> bool:
    """Whether a device may be sent to a ring: healthy ones where their policy says, the others
    to CANARY and DEV, to both where their policy has neither."""
    if device.fit(now):
        return ring in group.allowed
    low = [r for r in LOW if r in group.allowed] or list(LOW)
    return ring in low


def complaints(
    devices: Sequence[Dumb],
    groups: dict[str, Group],
    now: int,
    was: dict[str, str],
    since: dict[str, int],
) -> list[str]:
    """What a check at `now` should not have done or left. `was` and `since`: the ring that each
    device stood in before, and from when on, by id."""
    found = []
    for name, group in groups.items():
        mine = [device for device in devices if device.group == name]
        found += [f"{d.id}: {fault}" for d in mine if (fault := _left(d, group, now))]
        found += _unlevelled(mine, group, now)
        found += _needless(mine, group, now, was, since)
    return found


def _left(device: Dumb, group: Group, now: int) -> str:
    """What the check had to move and did not."""
    if device.pinned or device.offline:
        return ""
    if not device.healthy and device.ring not in LOW:
        return f"unhealthy and left in {device.ring}"
    if device.fit(now) and device.ring not in group.allowed:
        return f"left in {device.ring} against its policy"
    return ""


def _unlevelled(mine: Sequence[Dumb], group: Group, now: int) -> list[str]:
    """Outside the band although somebody could have moved from surplus to deficit."""
    if not outside_band(mine, group):
        return []
    off = off_quota(mine, group)
    return [
        f"{device.id} could have moved from {device.ring} to {ring}"
        for device in mine
        for ring in RINGS
        if off[device.ring] > 0 > off[ring]
        and device.free(now)
        and may_enter(device, ring, group, now)
    ]


def _needless(
    mine: Sequence[Dumb], group: Group, now: int, was: dict[str, str], since: dict[str, int]
) -> list[str]:
    """Moves that nothing called for. A device must move when it is unhealthy in STAGE or PROD or
    its policy says so; it may go home; else only from surplus to deficit outside the band."""
    found = []
    current = {device.id: device.ring for device in mine}
    moved = [device for device in mine if was[device.id] != device.ring]
    dwelt = {device.id for device in moved if now - since[device.id] >= DWELL}
    for device in mine:
        device.ring = was[device.id]
    must = [
        d for d in moved if (not d.healthy and d.ring not in LOW) or d.ring not in group.allowed
    ]
    found += [f"{d.id} is pinned or offline" for d in moved if d.pinned or d.offline]
    for device in must:
        device.ring = current[device.id]
    off, out = off_quota(mine, group), outside_band(mine, group)
    for device in moved:
        if device in must:
            continue
        origin, target = was[device.id], current[device.id]
        surplus_to_deficit = off[origin] > 0 > off[target]
        home = device.home == target and device.fit(now)
        if device.id not in dwelt:
            found.append(f"{device.id} had not dwelt")
        elif not surplus_to_deficit or not (out or home):
            found.append(f"{device.id} moved from {origin} to {target} for nothing")
    for device in mine:
        device.ring = current[device.id]
    return found
