"""How the fleet's shares become a quota for every ring, policy by policy.

The devices of one policy, and last those that no policy rules, are each a group that is shared
among its rings for itself. Caps are the fleet's: a group takes what those before it, and the
pinned devices, have left. Source: rings.md, "Ring assignment".
"""

import msgspec
import numpy as np
import numpy.typing as npt

from stationkeep.cluster.devices.policies import NO_POLICY, RingPolicy, allowed, weights_within
from stationkeep.cluster.devices.rings import ANY_RING, EVEN, LOW_RINGS, NO_CAPS, Four, quotas
from stationkeep.cluster.devices.table import GROUPS

Counts = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint8]


class Shares(msgspec.Struct, frozen=True):
    """Weights, caps and policies: what operators have set about which devices belong where."""

    weights: Four = EVEN
    caps: Four = NO_CAPS
    policies: tuple[RingPolicy, ...] = ()

    def weights_of(self, group: int) -> Four:
        """The weights by which a group is shared."""
        if group == NO_POLICY:
            return self.weights
        return weights_within(self.policies[group], self.weights)

    def allowed_in(self, group: int) -> int:
        """Mask of the rings in which a group's devices may stand."""
        return ANY_RING if group == NO_POLICY else allowed(self.policies[group])

    def eligible(self, group: int, fit: bool) -> int:
        """Mask of the rings that a device of a group may be moved to. A device that is not fit for
        STAGE and PROD goes to CANARY or DEV, also where its policy has neither: health goes before
        policy until the device is fit again."""
        mask = self.allowed_in(group)
        return mask if fit else (mask & LOW_RINGS or LOW_RINGS)

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups in the order in which they take their places."""
        return (*range(len(self.policies)), NO_POLICY)

    def masks(self, fit: bool) -> Masks:
        """`eligible` by group; every ring where there is no such policy."""
        masks = np.full(GROUPS, ANY_RING, np.uint8)
        for group in self.groups:
            masks[group] = self.eligible(group, fit)
        return masks

    def quotas_by_group(self, standing: Counts, pinned: Counts) -> Counts:
        """Quotas by group and ring for unpinned devices `standing` by group and ring;
        `pinned` devices by ring count against the caps."""
        found = np.zeros((GROUPS, 4), np.int64)
        taken = [int(count) for count in pinned]
        totals = standing.sum(axis=1).tolist()
        for group in self.groups:
            if totals[group]:
                quota = quotas(totals[group], self.weights_of(group), self._room(taken))
                found[group] = quota
                taken = [t + q for t, q in zip(taken, quota, strict=True)]
        return found

    def lacking(self, group: int, standing: Counts, pinned: Counts) -> list[int]:
        """How far each ring is below its share when one more device joins the group: in exact
        proportion, to no common unit, so that equals are equal; in devices where there are caps,
        since only whole devices fit below a cap."""
        counts = standing[group].tolist()
        if not any(self.caps):
            weights, total = self.weights_of(group), sum(counts) + 1
            whole = sum(weights)
            return [total * w - whole * c for w, c in zip(weights, counts, strict=True)]
        with_it = standing.copy()
        with_it[group, 0] += 1
        quota = self.quotas_by_group(with_it, pinned)[group].tolist()
        return [q - c for q, c in zip(quota, counts, strict=True)]

    def _room(self, taken: list[int]) -> list[int | None]:
        """What is left below each cap."""
        return [
            max(0, cap - count) if cap else None
            for cap, count in zip(self.caps, taken, strict=True)
        ]
