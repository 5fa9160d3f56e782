"""Ring policies: which rings the devices of a selector may stand in.

Ordered rules, the first match rules a device; what no rule matches follows the fleet's shares.
The devices of one policy are shared among its rings by its own weights, or by the fleet's
restricted to those rings: each policy is balanced for itself, so that a rule for some devices
never has to be paid for by the others. Source: rings.md, "Ring assignment".
"""

import json
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from stationkeep.cluster.devices.rings import EVEN, MAX_WEIGHT, RINGS, Four, Ring, mask_of
from stationkeep.cluster.devices.selector import LIVE_KEYS, SelectorError, parse

MAX_RING_POLICIES = 32
NO_POLICY = MAX_RING_POLICIES
"""Stands in the policy column for a device that no rule matches."""


class RingPolicy(msgspec.Struct, frozen=True, array_like=True):
    """`selector` → `rings` (empty: any), and `weights` among them (None: the fleet's)."""

    name: str
    selector: str
    rings: tuple[Ring, ...] = ()
    weights: Four | None = None


def allowed(policy: RingPolicy) -> int:
    """Mask of the rings that a policy lets its devices stand in; a weight of 0 forbids too."""
    mask = mask_of(policy.rings or RINGS)
    if policy.weights is not None:
        mask &= sum(1 << code for code, weight in enumerate(policy.weights) if weight > 0)
    return mask


def weights_within(policy: RingPolicy, fleet: Four) -> Four:
    """Weights of the policy's rings, 0 for other rings; even where the fleet gives the policy's
    rings none."""
    mask = allowed(policy)
    base = policy.weights if policy.weights is not None else fleet
    if not any(base[code] for code in range(4) if mask >> code & 1):
        base = EVEN
    within = [base[code] if mask >> code & 1 else 0 for code in range(4)]
    return within[0], within[1], within[2], within[3]


def version_of(policies: Sequence[RingPolicy]) -> str:
    """A short hash of these policies in this order, the same on every node and in every release: if
    two operators change the list at once, the second is refused instead of undoing the change of
    the first."""
    said = [[p.name, p.selector, [ring.value for ring in p.rings], p.weights] for p in policies]
    return blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


def policy_fault(policy: RingPolicy) -> str | None:
    """What is wrong with a policy, or None."""
    try:
        terms = parse(policy.selector)
    except SelectorError as error:
        return f"selector: {error}"
    live = [term.key for term in terms if term.key in LIVE_KEYS]
    if live:
        return f"selector: a policy cannot go by {live[0]}, only by what devices have in common"
    if len(set(policy.rings)) < len(policy.rings):
        return "rings: a ring is named twice"
    if policy.weights is not None:
        fault = weights_fault(policy.weights)
        if fault is not None:
            return f"weights: {fault}"
    return None if allowed(policy) else "weights: every ring it names has weight 0"


def weights_fault(weights: Four) -> str | None:
    """What is wrong with four weights, or None."""
    if not all(0 <= weight <= MAX_WEIGHT for weight in weights):
        return f"{list(weights)} are not all between 0 and {MAX_WEIGHT}"
    return None if any(weights) else "at least one ring has a weight above 0"
