"""What ring policies would do to the devices there are, before they are set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cluster.fleet.fleet import Fleet
from cluster.fleet.policies import MAX_RING_POLICIES, NO_POLICY, RingPolicy, allowed
from cluster.fleet.rings import ANY_RING
from cluster.fleet.selector import parse

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


def regrouping(fleet: Fleet, policies: Sequence[RingPolicy]) -> Regrouping:
    """What these policies, in the place of those that stand, would change."""
    table = fleet.table
    living = np.flatnonzero(table.birth[: table.used])
    before, after = table.policy[living], fleet.grouping(policies)[living]
    counted = np.bincount(after, minlength=NO_POLICY + 1).tolist()
    ruled = tuple(counted[: len(policies)])
    other = np.array(
        [[_rule(fleet.policies, old) != _rule(policies, new) for new in _GROUPS] for old in _GROUPS]
    )
    masks = [_rule(policies, group) for group in _GROUPS]
    mask = np.array([ANY_RING if rule is None else allowed(rule) for rule in masks], np.uint8)
    allowed_there = (mask[after] >> table.ring[living]) & 1
    astray = (allowed_there == 0) & (table.pinned[living] == 0)
    return Regrouping(
        devices=len(living),
        ruled=ruled,
        changed=int(other[before, after].sum()),
        astray=int(astray.sum()),
        warnings=idle(fleet, policies, ruled),
    )


def idle(fleet: Fleet, policies: Sequence[RingPolicy], ruled: Sequence[int]) -> list[str]:
    """Policies that rule no device, and keys that no device has."""
    found = []
    for policy, devices in zip(policies, ruled, strict=True):
        if not devices:
            found.append(f"{policy.name} rules no device now")
        found += [f"{policy.name}: {what}" for what in fleet.unknown_keys(parse(policy.selector))]
    return found[:MAX_NAMED]


_GROUPS = range(MAX_RING_POLICIES + 1)


def _rule(policies: Sequence[RingPolicy], group: int) -> RingPolicy | None:
    return policies[group] if group < len(policies) else None
