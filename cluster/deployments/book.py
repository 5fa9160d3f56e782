"""All deployments that are known, open and closed, and what they share. Only apply writes it.

Rosters are what is large. Those of closed deployments go when room is wanted; their tallies stay as
long as the deployment is remembered. Whoever has the most of what is remembered makes room, oldest
first, so that nobody pays for what another uses. Source: tasks.md, "Shares and memory".
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from stationkeep.cluster.deployments.artifacts import Artifact, Artifacts
from stationkeep.cluster.deployments.deployment import Deployment, DeploymentState
from stationkeep.cluster.deployments.roster import Roster
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.names import party

MAX_OPEN_DEPLOYMENTS = 64
MAX_OPEN_ORDERED, MAX_OPEN_OF_ONE = 32, 16
"""Of them those that somebody ordered one by one, and those of one actor: the others are for the
stages of rollouts."""
MAX_TASKS = 4_194_304
"""Tasks of all rosters that are kept: 100 MB."""
MAX_TASKS_ORDERED, MAX_TASKS_OF_ONE = MAX_TASKS // 2, MAX_TASKS // 4
"""Of them in open deployments that were ordered, and in those of one actor: one whole fleet."""
MAX_CLOSED_DEPLOYMENTS = 1_000
MAX_ACCOUNTS = 40
"""Names of actors can be invented, so those that closed deployments remember beyond so many are
reckoned as one: whoever has the most has 25 at least when the memory is full."""
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

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """What a deployment installs."""
        return self.artifacts[deployment.artifact] if deployment.artifact else None

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
        if len(self.closed) > MAX_CLOSED_DEPLOYMENTS:
            self._forget(next(self._in_turn(dict.fromkeys(self.closed, 1))))

    def _forget(self, number: int) -> None:
        self.closed.remove(number)
        del self.known[number]
        self.rosters.pop(number, None)
        self.artifacts.keep_only({known.artifact for known in self.known.values()})

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
        """Whether so many more find room beside those of open deployments."""
        return sum(d.members for d in self.open_ones()) + tasks <= MAX_TASKS

    def make_room(self, tasks: int) -> None:
        """Forgets rosters of closed deployments until so many more find room."""
        over = self.tasks + tasks - MAX_TASKS
        kept = [number for number in self.closed if over > 0 and number in self.rosters]
        for number in self._in_turn({number: len(self.rosters[number]) for number in kept}):
            if over <= 0:
                return
            over -= len(self.rosters.pop(number))

    def _in_turn(self, sizes: dict[int, int]) -> Iterator[int]:
        """Deployments by number, oldest first, of these sizes; as they go: the oldest of whoever
        has the most, again and again."""
        accounts: dict[str, deque[int]] = {}
        for number in sizes:
            whose = party(self.known[number].charged)
            named = whose in accounts or len(accounts) < MAX_ACCOUNTS
            accounts.setdefault(whose if named else "", deque()).append(number)
        used = {name: sum(sizes[number] for number in own) for name, own in accounts.items()}
        while used:
            most = max(used, key=used.__getitem__)
            number = accounts[most].popleft()
            used[most] -= sizes[number]
            if not accounts[most]:
                del used[most]
            yield number
