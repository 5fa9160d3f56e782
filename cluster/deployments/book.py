"""All deployments that are known, open and closed, and what they share. Only apply writes it.

Rosters are what is large. Those of closed deployments go when room is wanted; their tallies stay as
long as the deployment is remembered. Whoever has the most of what is remembered makes room, oldest
first, so that nobody pays for what another uses. Source: tasks.md, "Shares and memory".
"""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from stationkeep.cluster.deployments.artifacts import Artifact, Artifacts
from stationkeep.cluster.deployments.deployment import Deployment, DeploymentState
from stationkeep.cluster.deployments.forgetting import in_turn
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.devices.table import Column

MAX_OPEN_DEPLOYMENTS = 128
MAX_OPEN_ORDERED, MAX_OPEN_OF_ONE = 32, 16
"""Of them those that somebody ordered one by one, and those of one actor: the others are for
rollouts, for what they install and what they take back."""
MAX_TASKS = 4_194_304
"""Tasks of all rosters that are kept: 100 MB."""
MAX_TASKS_ORDERED, MAX_TASKS_OF_ONE = MAX_TASKS // 2, MAX_TASKS // 4
"""Of them in open deployments that were ordered, and in those of one actor: one whole fleet."""
MAX_CLOSED_DEPLOYMENTS = 1_000
MAX_VERSIONS = 65_535


class Versions:
    """Versions that rosters refer to, by number; 0 is unknown, or none."""

    def __init__(self, texts: Iterable[str] = ("",)) -> None:
        self.texts = list(texts)
        self._numbers = {text: n for n, text in enumerate(self.texts) if text or n == 0}

    def __getitem__(self, number: int) -> str:
        return self.texts[number]

    def numbers(self, texts: Collection[str], rosters: Iterable[Roster]) -> dict[str, int]:
        """The number of each of these; 0 where all are in use, also after a look at what
        `rosters` still refer to."""
        new = [text for text in dict.fromkeys(texts) if text not in self._numbers]
        free: list[int] = []
        if len(self.texts) + len(new) > MAX_VERSIONS + 1:
            asked = {self._numbers[text] for text in texts if text in self._numbers}
            free = [number for number in self._unused(rosters) if number not in asked]
        for text in new:
            if free:
                number = free.pop()
                self._numbers.pop(self.texts[number], None)
                self.texts[number] = text
            elif len(self.texts) <= MAX_VERSIONS:
                number = len(self.texts)
                self.texts.append(text)
            else:
                continue
            self._numbers[text] = number
        return {text: self._numbers.get(text, 0) for text in texts}

    def _unused(self, rosters: Iterable[Roster]) -> list[int]:
        used = np.zeros(MAX_VERSIONS + 1, bool)
        for roster in rosters:
            used[roster.version] = True
        used[0] = True
        free: list[int] = np.flatnonzero(~used[: len(self.texts)])[::-1].tolist()
        return free


class Book:
    """Deployments by number, in the order of their opening."""

    def __init__(self) -> None:
        self.opened = 0
        """Deployments ever opened; the number of the newest."""
        self.known: dict[int, Deployment] = {}
        self.rosters: dict[int, Roster] = {}
        self.closed: list[int] = []
        """Those closed and remembered, by when they closed."""
        self.artifacts = Artifacts()
        self.versions = Versions()
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.known)

    @property
    def any_open(self) -> bool:
        """Whether any deployment is not closed."""
        return bool(self._slots)

    def open_ones(self) -> list[Deployment]:
        """Those that are not closed, as they take precedence: by priority, then by age."""
        mine = [self.known[number] for number in self._slots.values()]
        return sorted(mine, key=lambda d: (-d.priority, d.number))

    def in_slot(self, slot: int) -> Deployment:
        """The deployment that the device table means by a slot."""
        return self.known[self._slots[slot]]

    def artifact_of(self, deployment: Deployment, variant: int = 0) -> Artifact | None:
        """What a deployment installs on the devices of a variant."""
        number = deployment.artifacts[variant]
        return self.artifacts[number] if number else None

    def by_artifact(
        self, deployment: Deployment, positions: Column
    ) -> Iterator[tuple[Artifact, Column]]:
        """These tasks of a deployment, by what they install; none of those that install nothing."""
        if not len(positions):
            return
        if not deployment.variants:
            artifact = self.artifact_of(deployment)
            if artifact is not None:
                yield artifact, positions
            return
        variants = self.rosters[deployment.number].variant[positions]
        for variant in np.unique(variants).tolist():
            artifact = self.artifact_of(deployment, variant)
            if artifact is not None:
                yield artifact, positions[variants == variant]

    def taken(self, births: Column) -> Column:
        """By row of the device table, whose `births` these are: the slot whose task has the
        device, 0 none. Raises `ValueError` for a roster with rows beyond them, and for a device
        that two tasks have, or one of a device that is gone."""
        for number, roster in self.rosters.items():
            if len(roster) and int(roster.row[-1]) >= len(births):
                raise ValueError(f"deployment {number} has rows that no table has")
        found = np.zeros(len(births), np.uint16)
        for deployment in self.open_ones():
            roster = self.rosters[deployment.number]
            rows = roster.row[roster.active]
            if found[rows].any() or (births[rows] != roster.birth[roster.active]).any():
                raise ValueError(f"deployment {deployment.number} has a device that is not its own")
            found[rows] = deployment.slot
        return found

    def free_slot(self) -> int | None:
        """A slot that no open deployment has."""
        slots = range(1, MAX_OPEN_DEPLOYMENTS + 1)
        return next((slot for slot in slots if slot not in self._slots), None)

    def add(self, deployment: Deployment, roster: Roster) -> None:
        """Enters a deployment that opens; there is room for it."""
        self.opened = deployment.number
        self.known[deployment.number] = deployment
        self.rosters[deployment.number] = roster
        self._slots[deployment.slot] = deployment.number

    def close(self, deployment: Deployment) -> None:
        """Its slot is free again; another closed one may be forgotten for it."""
        del self._slots[deployment.slot]
        deployment.slot, deployment.state = 0, DeploymentState.CLOSED
        self.closed.append(deployment.number)
        self.trim()

    def trim(self) -> None:
        """Forgets closed deployments beyond those that are remembered."""
        closed = self._forgettable()
        for number in self._in_turn(dict.fromkeys(closed, 1)):
            if len(closed) <= MAX_CLOSED_DEPLOYMENTS:
                return
            closed.remove(number)
            self._forget(number)

    def _forgettable(self) -> list[int]:
        return [number for number in self.closed if not self.known[number].kept]

    def _forget(self, number: int) -> None:
        self.closed.remove(number)
        del self.known[number]
        self.rosters.pop(number, None)
        used = {number for known in self.known.values() for number in known.artifacts}
        self.artifacts.keep_only(used)

    def reopen(self, deployment: Deployment, slot: int) -> None:
        """A closed deployment, whose roster is kept, goes on."""
        self.closed.remove(deployment.number)
        deployment.slot, deployment.state = slot, DeploymentState.OPEN
        self._slots[slot] = deployment.number

    def restore(self, deployment: Deployment) -> None:
        """Enters a deployment as a snapshot has it."""
        self.known[deployment.number] = deployment
        if deployment.slot:
            self._slots[deployment.slot] = deployment.number

    # -- room -----------------------------------------------------------------------------------

    @property
    def tasks(self) -> int:
        """Tasks of all rosters that are kept."""
        return sum(map(len, self.rosters.values()))

    def has_room(self, tasks: int) -> bool:
        """Whether so many more find room beside those that are not forgotten."""
        kept = [self.known[number].members for number in self.closed if self.known[number].kept]
        return sum(d.members for d in self.open_ones()) + sum(kept) + tasks <= MAX_TASKS

    def make_room(self, tasks: int) -> None:
        """Forgets rosters of closed deployments until so many more find room."""
        over = self.tasks + tasks - MAX_TASKS
        closed = self._forgettable() if over > 0 else []
        there = [number for number in closed if number in self.rosters]
        for number in self._in_turn({number: len(self.rosters[number]) for number in there}):
            if over <= 0:
                return
            over -= len(self.rosters.pop(number))

    def _in_turn(self, sizes: dict[int, int]) -> Iterator[int]:
        return in_turn(sizes, lambda number: self.known[number].charged)
