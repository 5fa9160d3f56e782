"""What ring policies would do to the devices there are, before they are set."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from stationkeep.cluster.devices.fleet import (
    Fleet,
    absent,
    groups_of,
    keys_of,
    unknown_keys,
)
from stationkeep.cluster.devices.policies import MAX_RING_POLICIES, NO_POLICY, RingPolicy, allowed
from stationkeep.cluster.devices.rings import ANY_RING
from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.devices.table import Column, Kind

MAX_NAMED = 20


class Regrouping(NamedTuple):
    """`ruled`: devices of each policy; `changed`: devices that another rule than now would rule,
    be it one of the same name; `astray`: those that would stand where they may not and are not
    pinned, so that checks move them when they are online; `warnings`: what is likely mistyped."""

    devices: int
    ruled: tuple[int, ...]
    changed: int
    astray: int
    warnings: list[str]


class Grouped(NamedTuple):
    """Copies of the columns that the judgement needs, of the rows ever used. There may be as many
    kinds as devices, and each is tried against each policy: that takes seconds, on another
    thread."""

    policies: tuple[RingPolicy, ...]
    kinds: tuple[Kind | None, ...]
    living: Column
    kind: Column
    group: Column
    ring: Column
    pinned: Column


def grouped(fleet: Fleet) -> Grouped:
    """The devices as they are now."""
    table, used = fleet.table, slice(0, fleet.table.used)
    return Grouped(
        policies=fleet.policies,
        kinds=tuple(table.kinds.all),
        living=table.birth[used] != 0,
        kind=table.kind[used].copy(),
        group=table.policy[used].copy(),
        ring=table.ring[used].copy(),
        pinned=table.pinned[used].copy(),
    )


def regrouping(devices: Grouped, policies: Sequence[RingPolicy]) -> Regrouping:
    """What these policies, in the place of those that stand, would change."""
    living = devices.living
    after = groups_of(devices.kinds, policies)[devices.kind[living]]
    counted = np.bincount(after, minlength=NO_POLICY + 1).tolist()
    ruled = tuple(counted[: len(policies)])
    standing = devices.policies
    other = np.array(
        [[_rule(standing, old) != _rule(policies, new) for new in _GROUPS] for old in _GROUPS]
    )
    masks = [_rule(policies, group) for group in _GROUPS]
    mask = np.array([ANY_RING if rule is None else allowed(rule) for rule in masks], np.uint8)
    allowed_there = (mask[after] >> devices.ring[living]) & 1
    astray = (allowed_there == 0) & (devices.pinned[living] == 0)
    return Regrouping(
        devices=len(after),
        ruled=ruled,
        changed=int(other[devices.group[living], after].sum()),
        astray=int(astray.sum()),
        warnings=idle(devices.kinds, policies, ruled),
    )


def idle(
    kinds: Collection[Kind | None], policies: Sequence[RingPolicy], ruled: Sequence[int]
) -> list[str]:
    """Policies that rule no device, and keys that no device has."""
    found = []
    asked = {term.key for policy in policies for term in parse(policy.selector)}
    had = keys_of(kinds) if absent(asked, kinds) else asked
    for policy, devices in zip(policies, ruled, strict=True):
        if not devices:
            found.append(f"{policy.name} rules no device now")
        found += [f"{policy.name}: {what}" for what in unknown_keys(parse(policy.selector), had)]
    return found[:MAX_NAMED]


_GROUPS = range(MAX_RING_POLICIES + 1)


def _rule(policies: Sequence[RingPolicy], group: int) -> RingPolicy | None:
    return policies[group] if group < len(policies) else None
