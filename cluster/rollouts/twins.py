"""Sets of twins: each an updated device and up to four like it that were not updated.

A stage has a set for each of its first devices, in columns. Whoever changes a column puts a new one
in its place, so that a snapshot holds them as they were. Source: rollouts.md, "Twins".
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.rollouts.evidence import MAX_TWINS, Look
from stationkeep.cluster.rollouts.gates import Observed, Watched

MAX_SETS = 2_000
"""Of a stage: those of the devices that are told first. Its other devices are watched for failures
alone."""
MAX_SERIES = 256
"""Values of the evidence that are remembered."""
MAX_NAMED = 20
UPDATED = 1 << 0
"""In masks the bit of the updated device; those of its twins follow."""
COLUMNS: dict[str, tuple[str, int]] = {
    "position": ("<u4", 1),  # of the updated device's task in the roster of the stage
    "row": ("<u4", MAX_TWINS),  # of the twins
    "birth": ("<u4", MAX_TWINS),  # of the twins, 0: there is none
    "risk": ("u1", 1),  # mask: who has neither turned bad nor left
    "bad": ("u1", 1),  # mask: who turned bad
    "stage": ("u1", 1),  # `WAITING`, `LOOKED_AT`, `COMPLETE` or `LEFT`
}
WAITING, LOOKED_AT, COMPLETE, LEFT = range(4)
"""The updated device has not settled yet; is watched; was watched for its whole soak, or until it
turned bad; or is of no use any more, as its task failed or another deployment has it."""


class Twins:
    """The sets of one stage, in the order in which their devices were told, and what came of them:
    `found` counts looks by the variant of the device and by what they found, `series` has the
    evidence (ms, thousandths) wherever it changed."""

    position: Column
    row: Column
    birth: Column
    risk: Column
    bad: Column
    stage: Column

    def __init__(
        self,
        columns: dict[str, Column] | None = None,
        found: dict[tuple[int, Look], int] | None = None,
        series: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.found, self.series = found or {}, series
        for name, (dtype, width) in COLUMNS.items():
            shape = (0, width) if width > 1 else 0
            setattr(self, name, columns[name] if columns else np.zeros(shape, dtype))

    def __len__(self) -> int:
        return len(self.position)

    @property
    def table(self) -> dict[Look, int]:
        """Looks by what they found, whatever variant the device got."""
        table: Counter[Look] = Counter()
        for (_, look), count in self.found.items():
            table[look] += count
        return dict(table)

    def columns(self) -> dict[str, Column]:
        """All as they are now, however they change later."""
        return {name: getattr(self, name) for name in COLUMNS}

    def add(self, positions: Column, rows: Column, births: Column) -> None:
        """Sets of devices that are being told, each with its twins."""
        there = births > 0
        masks = UPDATED | (there << np.arange(1, MAX_TWINS + 1)).sum(axis=1)
        zeros = np.zeros(len(positions), np.uint8)
        new = {
            "position": positions, "row": rows, "birth": births, "risk": masks, "bad": zeros,
            "stage": zeros,
        }  # fmt: skip
        for name, (dtype, _) in COLUMNS.items():
            grown = np.concatenate([getattr(self, name), new[name].astype(dtype)])
            setattr(self, name, grown)

    def drop(self, positions: Column) -> None:
        """Forgets the sets of these devices that were left before anything was seen of them."""
        kept = (self.stage != LEFT) | (self.bad > 0) | ~np.isin(self.position, positions)
        if not kept.all():
            for name in COLUMNS:
                setattr(self, name, getattr(self, name)[kept])

    @property
    def open(self) -> Column:
        """By set, whether it is or will be watched."""
        found: Column = self.stage <= LOOKED_AT
        return found

    def serving(self) -> Column:
        """The rows of the twins that are not free for another set."""
        rows: Column = self.row[self._at_risk & self.open[:, None]]
        return rows

    @property
    def _at_risk(self) -> Column:
        """By set and place in it, which twins have neither turned bad nor left."""
        found: Column = self.risk[:, None] >> np.arange(1, MAX_TWINS + 1) & 1 > 0
        return found

    def leave(self, gone: Column) -> None:
        """Twins, by set and place in it, leave their sets."""
        if gone.any():
            masks = (gone << np.arange(1, MAX_TWINS + 1)).sum(axis=1)
            self.risk = (self.risk & ~masks).astype(np.uint8)

    def count(self, sets: Column, bad: Column, variants: Column) -> None:
        """One look at these sets, of which those in the masks `bad` are bad now: whoever is still
        at risk turns bad, and a look that found any is counted for the variant of the device."""
        risk = self.risk[sets]
        found = risk & bad
        looks = np.stack(
            [variants, _ones(risk & ~np.uint8(UPDATED)), _ones(found), found & UPDATED]
        )
        told = (looks[1] > 0) & (looks[2] > 0) & (risk & UPDATED > 0)
        for variant, *figures in looks[:, told].T.tolist():
            key = variant, Look(*figures)
            self.found = {**self.found, key: self.found.get(key, 0) + 1}
        self.risk, self.bad = self.risk.copy(), self.bad.copy()
        self.risk[sets] &= ~found
        self.bad[sets] |= found

    def move_on(self, sets: Column, stage: int) -> None:
        """These sets come to another stage of their lives."""
        self.stage = self.stage.copy()
        self.stage[sets] = stage

    def reopen(self, serving: Column) -> None:
        """Sets whose soak is over are watched on, where the updated device is still well. Twins
        that serve elsewhere by now (rows) are lost to them; one that has served several of these
        sets, one after the other, is the first one's again."""
        over = (self.stage == COMPLETE) & (self.risk & UPDATED > 0)
        gone = np.isin(self.row, serving) & over[:, None]
        wanted = np.flatnonzero(self._at_risk & over[:, None] & ~gone)
        _, first = np.unique(self.row.flat[wanted], return_index=True)
        gone.flat[np.delete(wanted, first)] = True
        self.leave(gone & (self.birth > 0))
        self.move_on(np.flatnonzero(over), LOOKED_AT)

    def note(self, at: int, evidence: int) -> None:
        """Remembers the evidence at a time, if it is another than before."""
        if evidence != (self.series[-1][1] if self.series else 0):
            self.series = (*self.series, (at, evidence))[-MAX_SERIES:]

    @property
    def watched(self) -> Watched:
        """How many devices were looked at, and what was seen."""
        seen = self._seen
        compared = seen & (self.birth > 0).any(axis=1)
        return Watched(
            observed=int(seen.sum()),
            bad=int((self.bad & UPDATED).sum()),
            whole=int((self.stage == COMPLETE).sum()),
            compared=int(compared.sum()),
            twins=int((self.birth > 0).sum()),
        )

    @property
    def _seen(self) -> Column:
        """Which updated devices were looked at."""
        seen: Column = (self.stage == LOOKED_AT) | (self.stage == COMPLETE)
        return seen | (self.bad & UPDATED > 0)

    def by_variant(self, variants: Column, kinds: int) -> tuple[Observed, ...]:
        """The same for each of so many variants, of which these are those of the devices."""
        seen = np.bincount(variants[self._seen], minlength=kinds)
        bad = np.bincount(variants[self.bad & UPDATED > 0], minlength=kinds)
        looks = sorted((*key, count) for key, count in self.found.items())
        return tuple(
            Observed(int(seen[n]), int(bad[n]), tuple((*look, m) for v, look, m in looks if v == n))
            for n in range(kinds)
        )

    def turned(self) -> Iterator[int]:
        """Positions of the updated devices that turned bad."""
        yield from self.position[self.bad & UPDATED > 0].tolist()


def _ones(masks: Column) -> Column:
    """How many bits of each mask are set."""
    ones: Column = np.unpackbits(masks.astype(np.uint8)[:, None], axis=1).sum(axis=1)
    return ones
