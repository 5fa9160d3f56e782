"""All rollouts that are known, what is frozen and what is blocked. Only apply writes it.

Those that are over are remembered; whoever has the most of them makes room, oldest first. Source:
rollouts.md, "Shares and memory".
"""

from collections.abc import Iterable

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.forgetting import in_turn
from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.cluster.devices.selector import parse
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.rollouts.rollout import Block, Freeze, Rollout, same_artifact
from stationkeep.cluster.rollouts.twins import Twins

MAX_OPEN_ROLLOUTS, MAX_OPEN_OF_ONE = 32, 8
"""Drafts counted in; and those of one actor."""
MAX_ENDED_ROLLOUTS = 1_000
MAX_FREEZES, MAX_FREEZES_OF_ONE = 16, 8
"""And those of one actor."""
MAX_BLOCKS = 1_024


class Rollouts:
    """Rollouts by name, in the order of their creation."""

    def __init__(self) -> None:
        self.created = 0
        """Rollouts ever created."""
        self.known: dict[str, Rollout] = {}
        self.freezes: dict[str, Freeze] = {}
        self.blocks: list[Block] = []
        """The oldest first."""
        self.twins: dict[tuple[str, str], Twins] = {}
        """Of stages that are judged, by the names of rollout and stage."""
        self.checks = 0
        """Checks so far; `checked_at`: when the newest was."""
        self.checked_at = 0
        self.stopped_at: int | None = None
        """Since when automatic changes are paused, and deadlines stand still."""
        self._open: set[str] = set()

    def __len__(self) -> int:
        return len(self.known)

    @property
    def any_open(self) -> bool:
        """Whether any rollout is not over."""
        return bool(self._open)

    def open_ones(self) -> list[Rollout]:
        """Those that are not over, in the order of their creation."""
        return sorted((self.known[name] for name in self._open), key=lambda r: r.number)

    def put(self, rollout: Rollout) -> None:
        """Enters a rollout, or what became of it."""
        self.known[rollout.name] = rollout
        if rollout.ended:
            self._open.discard(rollout.name)
            self._trim(rollout.name)
        else:
            self._open.add(rollout.name)

    def restore(self, rollouts: Iterable[Rollout]) -> None:
        """Enters rollouts as a snapshot has them."""
        for rollout in rollouts:
            self.known[rollout.name] = rollout
            if not rollout.ended:
                self._open.add(rollout.name)

    def _trim(self, newest: str) -> None:
        """By when they ended: the newest to end may be the first that was created, and whoever
        ends it goes on with it."""
        ended = [rollout for rollout in self.known.values() if rollout.ended]
        if len(ended) > MAX_ENDED_ROLLOUTS:
            ended.sort(key=lambda one: (one.name == newest, one.since, one.number))
            sizes = {rollout.name: 1 for rollout in ended}
            del self.known[next(in_turn(sizes, lambda name: self.known[name].author))]

    def blocking(self, artifact: Artifact) -> Block | None:
        """Why an artifact may not be rolled out."""
        return next((b for b in self.blocks if same_artifact(b.artifact, artifact)), None)

    def in_the_way(self, rollout: Rollout) -> Block | None:
        """Why a rollout may not go on, unless it was forced."""
        found = [] if rollout.forced else map(self.blocking, rollout.plan.installed)
        return next((block for block in found if block is not None), None)

    def block(self, block: Block) -> None:
        """Blocks an artifact; the oldest block makes room."""
        if self.blocking(block.artifact) is None:
            self.blocks.append(block)
            del self.blocks[:-MAX_BLOCKS]

    def freeze_over(self, ring: Ring | None, plan: Plan) -> Freeze | None:
        """If freezes that a plan does not override lie on all devices of a ring (None: of all
        rings), that one with whose end this is over."""
        last = [self._last_over(one, plan) for one in (RINGS if ring is None else (ring,))]
        over = [freeze for freeze in last if freeze is not None]
        return min(over, key=_end_of) if len(over) == len(last) else None

    def _last_over(self, ring: Ring, plan: Plan) -> Freeze | None:
        over = (
            freeze
            for freeze in self.freezes.values()
            if not parse(freeze.selector)
            and (not freeze.rings or ring in freeze.rings)
            and freeze.name not in plan.overrides
        )
        return max(over, key=_end_of, default=None)

    def due(self, rollout: Rollout) -> int | None:
        """When a rollout leaves its state by itself; None: never, or not while its deadline stands
        still. A pause that was given an end has that end whatever else is paused."""
        runs = self.stopped_at is None or rollout.resumes
        return rollout.deadline if runs else None

    def left(self, rollout: Rollout, now: int) -> int | None:
        """ms after which it leaves its state, as soon as its deadline runs."""
        if rollout.deadline is None:
            return None
        stopped = self.stopped_at is not None and not rollout.resumes
        return rollout.deadline - (max(self.stopped_at or 0, rollout.since) if stopped else now)

    @property
    def next_due(self) -> int | None:
        """When a rollout leaves its state by itself, or a freeze ends."""
        ends = [due for due in map(self.due, self.open_ones()) if due is not None]
        return min([*ends, *(freeze.until for freeze in self.freezes.values())], default=None)


def _end_of(freeze: Freeze) -> tuple[int, str]:
    return freeze.until, freeze.name
