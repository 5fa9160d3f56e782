"""The plan of one check of the rings: a pure, vectorised pass over the fleet.

In this order, for each group of devices (`shares`):

1. Devices that must move: unhealthy ones in PROD and STAGE, those in a ring that their policy
   forbids.
2. Devices that were moved for their health and are fit again return where a place is free.
3. Where a ring is off its quota by more than the band, surplus goes to deficit, longest dwelt
   first; into STAGE and PROD only devices that have been healthy for `recovery_hold`.
4. Redistribution, as the settings say; drawn from `draw`, which the leader gives.

Nothing else moves a device, and none moves twice in one check. A million devices are rows of a few
columns here, never objects. Source: rings.md, "Rebalancing".
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stationkeep.cluster.devices.fleet import FleetView
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.rings import LOW_RINGS, UNSET, Ring, fill, rings_of
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.settings import PPM, Redistribution, Settings

UPPER = Ring.STAGE.code
UPPER_RINGS = 0b1100


class RebalancePlan(msgspec.Struct, frozen=True):
    """Moves, ascending by row. `facts`: moves by reason, the mode, whether the brake is on."""

    rows: npt.NDArray[np.uint32]
    revisions: npt.NDArray[np.uint32]
    rings: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    facts: dict[str, Any] = {}


def plan_rebalance(
    view: FleetView, settings: Settings, now: int, draw: "np.random.Generator"
) -> RebalancePlan:
    """Plans the moves of a check at cluster time `now`."""
    check = _Check(view, settings, now, draw)
    if not view.braked and len(view.ring):
        check.send_where_they_must()
        check.return_the_recovered()
        check.level()
        check.redistribute()
    return check.plan()


class _Check:
    """One check: who may be moved still, how the rings stand by now, and the moves so far."""

    def __init__(
        self, view: FleetView, settings: Settings, now: int, draw: "np.random.Generator"
    ) -> None:
        self.view, self.settings, self.draw = view, settings, draw
        self.place = view.policy * np.uint8(4) + view.ring
        """Group and ring of each row in one number."""
        self.fit = view.healthy & (view.turned_at <= now - settings.recovery_hold)
        self.free = view.movable & (view.ring_since <= now - settings.ring_dwell)
        """Who may be moved without having to: online, not pinned, dwelt, not moved yet."""
        shares = view.shares
        self.allowed, self.low = shares.masks(True), shares.masks(False)
        self.counts = view.tally[..., 0].sum(axis=(2, 3))
        pinned = view.tally[..., 1].sum(axis=(0, 2, 3))
        self.quota = shares.quotas_by_group(self.counts, pinned)
        totals = self.counts.sum(axis=1)
        self.groups = [group for group in shares.groups if totals[group]]
        self.tolerance = np.maximum(1, totals * settings.ring_band // PPM)
        """Devices by which a ring may be off its quota: the band, but never less than one, or
        the rings would be levelled for a rounding."""
        self.moves: list[tuple[Column, Column, MoveReason]] = []

    def plan(self) -> RebalancePlan:
        """The moves in the order of rows."""
        rows = np.concatenate([rows for rows, _, _ in self.moves] or [np.zeros(0, np.intp)])
        rings = np.concatenate([rings for _, rings, _ in self.moves] or [np.zeros(0, np.uint8)])
        codes = [np.full(len(rows), reason.code, np.uint8) for rows, _, reason in self.moves]
        reasons = np.concatenate(codes or [np.zeros(0, np.uint8)])
        order = np.argsort(rows, kind="stable")
        facts: dict[str, Any] = {"mode": self.settings.redistribution, "braked": self.view.braked}
        for moved, _, reason in self.moves:
            facts[reason.value] = facts.get(reason.value, 0) + len(moved)
        rows = rows[order]
        return RebalancePlan(
            rows=rows.astype("<u4"),
            revisions=self.view.revision[rows],
            rings=rings[order],
            reasons=reasons[order],
            facts=facts,
        )

    def move(self, rows: Column, rings: Column, reason: MoveReason) -> None:
        """Plans these moves; the rings stand as if they were made."""
        if not len(rows):
            return
        rings = rings.astype(np.uint8)
        self.moves.append((rows, rings, reason))
        self.free[rows] = False
        groups = self.view.policy[rows]
        np.subtract.at(self.counts, (groups, self.view.ring[rows]), 1)
        np.add.at(self.counts, (groups, rings), 1)

    # -- 1: must --------------------------------------------------------------------------------

    def send_where_they_must(self) -> None:
        """Moves unhealthy devices out of STAGE and PROD, then those in a forbidden ring."""
        view = self.view
        sick = view.movable & ~view.healthy & (view.ring >= UPPER)
        self._spread(np.flatnonzero(sick), self.low, MoveReason.UNHEALTHY)
        outside = _table(~_inside(self.allowed))[self.place] & view.movable & ~sick
        rows = np.flatnonzero(outside)
        fit = self.fit[rows]
        self._spread(rows[fit], self.allowed, MoveReason.POLICY)
        # Who is not fit goes to the low rings of its policy, if it has any.
        down = rows[~fit]
        low = self.allowed & LOW_RINGS
        self._spread(down[low[view.policy[down]] > 0], low, MoveReason.POLICY)

    def _spread(self, rows: Column, masks: Column, reason: MoveReason) -> None:
        """Sends these rows to the rings of their group's mask, furthest below quota first."""
        groups = self.view.policy[rows]
        for group in np.unique(groups).tolist():
            mine = rows[groups == group]
            # They have left where they were before the first of them arrives.
            standing = self.counts[group] - np.bincount(self.view.ring[mine], minlength=4)
            given = fill(
                len(mine), standing.tolist(), self.quota[group].tolist(), int(masks[group])
            )
            self.move(mine, np.repeat(np.arange(4), given), reason)

    # -- 2: back --------------------------------------------------------------------------------

    def return_the_recovered(self) -> None:
        """Moves devices that are fit again back to the ring that they were moved out of, if that
        lacks a device and their present ring has one too many; inside the band as well."""
        view = self.view
        away = np.flatnonzero((view.home != UNSET) & self.free & self.fit)
        routes = view.policy[away].astype(np.intp) * 16 + view.ring[away] * 4 + view.home[away]
        for route in np.unique(routes).tolist():
            group, ring, home = route // 16, route // 4 % 4, route % 4
            surplus = self.counts[group, ring] - self.quota[group, ring]
            deficit = self.quota[group, home] - self.counts[group, home]
            count = int(min(surplus, deficit))
            if count > 0:
                waiting = away[routes == route]
                first = _smallest(view.turned_at[waiting], count)
                self.move(waiting[first], np.full(len(first), home), MoveReason.RECOVERED)

    # -- 3: level -------------------------------------------------------------------------------

    def level(self) -> None:
        """Outside the band: surplus to deficit, those that dwelt longest first."""
        for group in self.groups:
            off = np.abs(self.counts[group] - self.quota[group])
            if (off > self.tolerance[group]).any():
                self._transfer(group, int(off.sum()), MoveReason.SURPLUS)

    def _transfer(self, group: int, most: int, reason: MoveReason) -> None:
        """Moves at most so many devices of a group from surplus to deficit.

        STAGE and PROD are filled first, since only fit devices may go there; CANARY and DEV take
        any. Each move takes one from the surplus of its ring whichever device it is, so no other
        order would fill more.
        """
        for mask, only_fit in ((UPPER_RINGS, True), (LOW_RINGS, False)):
            lacking = np.maximum(0, self.quota[group] - self.counts[group])
            lacking[[ring for ring in range(4) if not mask >> ring & 1]] = 0
            wanted = min(most, int(lacking.sum()))
            if not wanted:
                continue
            rows = self._surplus(group, wanted, only_fit, reason)
            given = fill(
                len(rows), self.counts[group].tolist(), self.quota[group].tolist(), _mask(lacking)
            )
            self.move(rows, self._shuffled(np.repeat(np.arange(4), given)), reason)
            most -= len(rows)

    def _surplus(self, group: int, wanted: int, only_fit: bool, reason: MoveReason) -> Column:
        """At most `wanted` rows of a group that its rings can spare: for the budget drawn at
        random, else those that dwelt longest."""
        spare = np.maximum(0, self.counts[group] - self.quota[group]).tolist()
        found, keys = [], []
        for ring in range(4):
            if not spare[ring]:
                continue
            here = self.free & (self.place == group * 4 + ring)
            rows = np.flatnonzero(here & self.fit if only_fit else here)
            if reason is MoveReason.BUDGET:
                key = self.draw.permutation(len(rows))
            else:
                key = self.view.ring_since[rows]
            first = _smallest(key, min(spare[ring], wanted))
            found.append(rows[first])
            keys.append(key[first])
        if not found:
            return np.zeros(0, np.intp)
        rows, key = np.concatenate(found), np.concatenate(keys)
        return np.sort(rows[_smallest(key, wanted)])

    def _shuffled(self, rings: Column) -> Column:
        return self.draw.permutation(rings)

    # -- 4: redistribute ------------------------------------------------------------------------

    def redistribute(self) -> None:
        """Moves inside the band, of the kind and as many as the settings allow."""
        fraction = self.settings.redistribution_fraction
        if not fraction:
            return
        match Redistribution(self.settings.redistribution):
            case Redistribution.BUDGET:
                if self.draw.integers(PPM) < fraction:
                    self._spend(fraction)
            case Redistribution.ROTATE:
                cohorts = max(1, round(PPM / fraction))
                turn = self.view.lot % np.uint32(cohorts) == self.view.checks % cohorts
                self._redraw(np.flatnonzero(turn & self.free), MoveReason.ROTATE)
            case Redistribution.RANDOM:
                chosen = self.draw.integers(PPM, size=len(self.free), dtype=np.int32) < fraction
                self._redraw(np.flatnonzero(chosen & self.free), MoveReason.RANDOM)

    def _spend(self, fraction: int) -> None:
        """A fraction of each group's surplus, at least one device where there is any."""
        for group in self.groups:
            surplus = int(np.maximum(0, self.counts[group] - self.quota[group]).sum())
            self._transfer(group, -(-surplus * fraction // PPM), MoveReason.BUDGET)

    def _redraw(self, rows: Column, reason: MoveReason) -> None:
        """Draws a new ring for each of these rows, by its group's weights (rotate) or any that its
        policy allows (random). A device that is not fit for STAGE and PROD draws only if it is in
        CANARY or DEV, and only between these."""
        rows = rows[self.fit[rows] | (self.view.ring[rows] < UPPER)]
        groups, fit = self.view.policy[rows], self.fit[rows]
        for group in np.unique(groups).tolist():
            for only_fit in (True, False):
                mine = rows[(groups == group) & (fit == only_fit)]
                rings = self._drawn(group, only_fit, len(mine), reason)
                leaves = rings != self.view.ring[mine]
                self.move(mine[leaves], rings[leaves], reason)

    def _drawn(self, group: int, fit: bool, count: int, reason: MoveReason) -> Column:
        """So many rings drawn for devices of a group."""
        weights = np.array(self.view.shares.weights_of(group), np.float64)
        eligible = rings_of(int((self.allowed if fit else self.low)[group]))
        weights = weights[eligible]
        if reason is MoveReason.RANDOM or not weights.any():
            weights = np.ones(len(eligible))
        bounds = np.cumsum(weights) / weights.sum()
        drawn = np.searchsorted(bounds[:-1], self.draw.random(count), side="right")
        rings: Column = np.array(eligible)[drawn]
        return rings


def _inside(masks: Column) -> Column:
    """Whether a ring is in a group's mask, by group and ring."""
    inside: Column = (masks[:, None] >> np.arange(4) & 1).astype(bool)
    return inside


def _table(by_group_and_ring: Column) -> Column:
    """A table that a place looks itself up in."""
    return np.ascontiguousarray(by_group_and_ring.reshape(-1))


def _mask(lacking: Column) -> int:
    return sum(1 << ring for ring in range(4) if lacking[ring])


def _smallest(keys: Column, count: int) -> Column:
    """Places of the `count` smallest keys, in no particular order."""
    if count >= len(keys):
        return np.arange(len(keys))
    return np.argpartition(keys, count)[:count]
