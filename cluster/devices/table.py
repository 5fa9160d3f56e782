"""The device table: one row of columns for each device.

Columns are numpy arrays with explicit types and byte order, so that every machine computes and
writes the same; they grow by doubling. A row that is given up is given to a later device, and
`birth`, the number of the registration that filled it, tells the two apart. What devices have in
common (versions, capabilities, labels) is kept once for all of a kind.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stationkeep.cluster.devices.credentials import Credential, Standing
from stationkeep.cluster.devices.policies import MAX_RING_POLICIES
from stationkeep.cluster.devices.status import MAX_METRICS, MISSING

MAX_DEVICES = 1_048_576
_FIRST_CAPACITY = 64
GROUPS = MAX_RING_POLICIES + 1
"""Groups that are balanced each for itself: the policies, and last what none of them rules."""
TALLY = (GROUPS, 4, 2, 2, 2)
"""Axes of the tally: group, ring, healthy, online, pinned."""
NEVER = -(1 << 62)
"""Stands for the time of something that has not happened."""

COLUMNS: dict[str, str] = {
    "birth": "<u4",  # 0: the row is free
    "revision": "<u4",  # of the assignment: rises with every change of ring or pin
    "ring": "u1",
    "reason": "u1",  # why it stands there
    "pinned": "?",
    "home": "u1",  # the ring its ill health sent it away from, UNSET: none
    "policy": "u1",
    "healthy": "?",  # the verdict
    "bits": "u1",  # the last judgements, newest lowest
    "known": "u1",  # how many of `bits` were made, at most 8
    "online": "?",
    "ring_since": "<i8",
    "turned_at": "<i8",  # when the verdict last changed; NEVER: as at registration
    "seen_at": "<i8",
    "updated_at": "<i8",  # newest status with figures
    "session": "<u4",
    "sequence": "<u4",
    "battery": "u1",
    "charging": "?",
    "cpu": "<u2",
    "memory": "<u2",
    "disk": "<u2",
    "served_by": "<u2",  # place in `Fleet.nodes`
    "kind": "<u4",
    "lot": "<u4",  # keyed hash of the id: decides ties and cohorts
    "task": "<u2",  # slot of the deployment whose task has it (OFFERED, IN_PROGRESS), 0 none
    "changed_at": "<u4",  # s; when it first reported a version that it runs now, 0: as it came
    "credential": "u1",  # `Standing` of its own
    "proof": "V32",  # SHA-256 of the secret of that
}
LATER = {"task", "changed_at"}
"""Columns that older snapshots lack: zero there."""
RARE = {"credential", "proof"}
"""Columns that a snapshot has only where a device has a credential: they are a third of it."""
Column = npt.NDArray[Any]


Properties = tuple[tuple[str, str], ...]


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What devices have in common; tuples sorted by name, so that equal kinds are equal. `imposed`:
    of the labels those that an enrolment token has given, whatever the device says."""

    os_version: str
    app_version: str
    capabilities: Properties
    labels: Properties
    imposed: Properties = ()

    def value_of(self, key: str) -> str | None:
        """What a selector's key stands for; a label goes before a capability of its name."""
        if key == "os":
            return self.os_version
        if key == "app":
            return self.app_version
        for name, value in (*self.labels, *self.capabilities):
            if name == key:
                return value
        return None

    def values_of(self, keys: Sequence[str]) -> tuple[str | None, ...]:
        """What several keys stand for, as `value_of` says of one."""
        had = dict((*self.capabilities, *self.labels))
        had["os"], had["app"] = self.os_version, self.app_version
        return tuple(map(had.get, keys))


class Spec(msgspec.Struct, frozen=True):
    """What a device said of itself when it registered."""

    id: str
    name: str
    os_version: str
    app_version: str
    capabilities: dict[str, str]
    labels: dict[str, str]


class Table:
    """The columns, the ids and names beside them, and who has which row."""

    birth: Column
    revision: Column
    ring: Column
    reason: Column
    pinned: Column
    home: Column
    policy: Column
    healthy: Column
    bits: Column
    known: Column
    online: Column
    ring_since: Column
    turned_at: Column
    seen_at: Column
    updated_at: Column
    session: Column
    sequence: Column
    battery: Column
    charging: Column
    cpu: Column
    memory: Column
    disk: Column
    served_by: Column
    kind: Column
    lot: Column
    task: Column
    changed_at: Column
    credential: Column
    proof: Column

    def __init__(self) -> None:
        self.used = 0
        """Rows below this one have been given out at some time; the others never."""
        self.free: list[int] = []
        """Rows given up, the last one is given out next."""
        self.births = 0
        """Registrations of new devices so far."""
        self.revised = 0
        """The highest revision of any device that was removed."""
        self.rows: dict[str, int] = {}
        self.ids = Texts()  # "" where the row is free, as in the next one
        self.names = Texts()
        self.kinds = Kinds()
        self.metrics: dict[str, Column] = {}
        """Custom metrics (i32 thousandths), in the order in which they came to be known."""
        self.tally = np.zeros(np.prod(TALLY), np.int64)
        """How many devices there are of each combination of `TALLY`; flat."""
        for name, dtype in COLUMNS.items():
            setattr(self, name, np.zeros(_FIRST_CAPACITY, dtype))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def capacity(self) -> int:
        return len(self.birth)

    def add(self, device: str, name: str, kind: Kind) -> int:
        """A row for a new device, every column at zero but its birth, its kind and the revision.
        The revision continues from the highest of any removed device: this may be one of them, and
        takes the higher of two revisions for the newer. Not yet in the tally: see `count`."""
        row = self.free.pop() if self.free else self._unused_row()
        self.births += 1
        self.birth[row], self.revision[row] = self.births, self.revised
        self.kind[row] = self.kinds.take(kind)
        self.ids[row], self.names[row] = device, name
        self.rows[device] = row
        return row

    def _unused_row(self) -> int:
        if self.used == self.capacity:
            self.grow(self.used + 1)
        self.ids.append("")
        self.names.append("")
        self.used += 1
        return self.used - 1

    def grow(self, rows: int) -> None:
        """Makes room for at least so many rows."""
        capacity = self.capacity
        while capacity < rows:
            capacity *= 2
        for name, dtype in COLUMNS.items():
            column = np.zeros(capacity, dtype)
            column[: self.used] = getattr(self, name)[: self.used]
            setattr(self, name, column)
        for name, old in self.metrics.items():
            self.metrics[name] = _missing(capacity)
            self.metrics[name][: self.used] = old[: self.used]

    def remove(self, row: int) -> None:
        """Gives up a row that the tally no longer counts."""
        self.revised = max(self.revised, int(self.revision[row]))
        self.kinds.give_back(int(self.kind[row]))
        for name, dtype in COLUMNS.items():
            getattr(self, name)[row] = np.zeros((), dtype)
        self._forget_metrics(row)
        del self.rows[self.ids[row]]
        self.ids[row] = self.names[row] = ""
        self.free.append(row)

    def _forget_metrics(self, row: int) -> None:
        """A metric goes with the last device that reported it: another name may take its place."""
        for name, column in list(self.metrics.items()):
            if column[row] != MISSING:
                column[row] = MISSING
                if bool((column[: self.used] == MISSING).all()):
                    del self.metrics[name]

    def describe(self, row: int, name: str, kind: Kind) -> None:
        """What a device says of itself when it registers again."""
        former = int(self.kind[row])
        self.names[row] = name
        self.kind[row] = self.kinds.take(kind)
        self.kinds.give_back(former)

    def credential_of(self, row: int) -> Credential:
        """The own credential of the device in a row."""
        return Credential(Standing(int(self.credential[row])), bytes(self.proof[row]))

    @property
    def written(self) -> list[str]:
        """The columns that a snapshot has."""
        rare = bool(self.credential[: self.used].any())
        return [name for name in COLUMNS if rare or name not in RARE]

    def knows_metric(self, name: str) -> bool:
        """Whether a metric has a column or may have one."""
        return name in self.metrics or len(self.metrics) < MAX_METRICS

    def metric(self, name: str) -> Column:
        """The column of a custom metric, made when it is new."""
        if name not in self.metrics:
            self.metrics[name] = _missing(self.capacity)
        return self.metrics[name]

    # -- the tally ------------------------------------------------------------------------------

    def codes(self, rows: Column) -> Column:
        """The place of each row's device in the flat tally."""
        code = self.policy[rows].astype(np.intp)
        for column, width in (
            (self.ring, 4),
            (self.healthy, 2),
            (self.online, 2),
            (self.pinned, 2),
        ):
            code *= width
            code += column[rows]
        return code

    def count(self, rows: Column, sign: int) -> None:
        """Adds (1) these rows to the tally, or takes them out (-1)."""
        self.tally += sign * np.bincount(self.codes(rows), minlength=self.tally.size)

    @contextmanager
    def counted(self, rows: Column) -> Iterator[None]:
        """While the block changes rings, verdicts, presence, pins or policies of these rows."""
        self.count(rows, -1)
        yield
        self.count(rows, 1)

    def contents(self) -> list[list[Any]]:
        """The objects that it holds by the million, in chunks of a few thousand."""
        return [*self.ids.chunks(), *self.names.chunks(), *self.kinds.chunks()]

    @property
    def by_class(self) -> Column:
        """The tally by `TALLY`."""
        return self.tally.reshape(TALLY)

    def standing(self) -> Column:
        """Unpinned devices by group and ring."""
        counts: Column = self.by_class[..., 0].sum(axis=(2, 3))
        return counts


class Texts:
    """One text for each row, in chunks: a copy of all shares them until one is written to."""

    CHUNK = 8_192

    def __init__(self, texts: Iterable[str] = ()) -> None:
        whole = list(texts)
        self._chunks = [whole[n : n + self.CHUNK] for n in range(0, len(whole), self.CHUNK)]
        self._shared = [False] * len(self._chunks)

    def __len__(self) -> int:
        return (len(self._chunks) - 1) * self.CHUNK + len(self._chunks[-1]) if self._chunks else 0

    def __getitem__(self, row: int) -> str:
        return self._chunks[row // self.CHUNK][row % self.CHUNK]

    def __setitem__(self, row: int, text: str) -> None:
        self._own(row // self.CHUNK)[row % self.CHUNK] = text

    def append(self, text: str) -> None:
        if not self._chunks or len(self._chunks[-1]) == self.CHUNK:
            self._chunks.append([])
            self._shared.append(False)
        self._own(len(self._chunks) - 1).append(text)

    def _own(self, number: int) -> list[str]:
        if self._shared[number]:
            self._chunks[number] = list(self._chunks[number])
            self._shared[number] = False
        return self._chunks[number]

    @classmethod
    def of_chunks(cls, chunks: list[list[str]]) -> "Texts":
        """The texts that `chunks` gave; raises `ValueError` for what it never gives."""
        made = cls()
        if any(len(chunk) != cls.CHUNK for chunk in chunks[:-1]) or [] in chunks[-1:]:
            raise ValueError("texts are not in chunks")
        made._chunks, made._shared = chunks, [False] * len(chunks)
        return made

    def chunks(self) -> list[list[str]]:
        """The texts as they are now, `CHUNK` at a time, however they change later."""
        self._shared = [True] * len(self._chunks)
        return list(self._chunks)


def _missing(capacity: int) -> Column:
    return np.full(capacity, MISSING, "<i4")


class Kinds:
    """The kinds of devices there are, each kept once; forgotten with its last device."""

    def __init__(self) -> None:
        self.all: list[Kind | None] = []
        self.free: list[int] = []
        self._numbers: dict[Kind, int] = {}
        self._devices: list[int] = []

    def __getitem__(self, number: int) -> Kind:
        kind = self.all[number]
        assert kind is not None, "a row refers to a kind that is in use"
        return kind

    def chunks(self) -> list[list[Kind | None]]:
        """All as they are now, a thousand at a time."""
        return [self.all[n : n + 1_024] for n in range(0, len(self.all), 1_024)]

    def take(self, kind: Kind) -> int:
        """The number of this kind, which has one device more now."""
        number = self._numbers.get(kind)
        if number is None:
            number = self._place(kind)
        self._devices[number] += 1
        return number

    def _place(self, kind: Kind) -> int:
        if self.free:
            number = self.free.pop()
            self.all[number] = kind
        else:
            number = len(self.all)
            self.all.append(kind)
            self._devices.append(0)
        self._numbers[kind] = number
        return number

    def give_back(self, number: int) -> None:
        """This kind has one device less now."""
        self._devices[number] -= 1
        if self._devices[number] == 0:
            del self._numbers[self[number]]
            self.all[number] = None
            self.free.append(number)

    @classmethod
    def of_image(cls, kinds: list[Kind | None], free: list[int], numbers: Column) -> "Kinds":
        """The kinds as a snapshot lists them; `numbers`: those of every device. Raises
        `ValueError` when they do not fit together."""
        made = cls()
        made.all, made.free = kinds, free
        made._devices = np.bincount(numbers, minlength=len(kinds)).tolist()
        made._numbers = {kind: n for n, kind in enumerate(kinds) if kind is not None}
        unused = {n for n, devices in enumerate(made._devices) if devices == 0}
        gone = [n for n, kind in enumerate(kinds) if kind is None]
        if unused != set(gone) or sorted(free) != gone or len(made._devices) > len(kinds):
            raise ValueError("devices and kinds do not fit together")
        if len(made._numbers) + len(gone) != len(kinds):
            raise ValueError("a kind is listed twice")
        return made
