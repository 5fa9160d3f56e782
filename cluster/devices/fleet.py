"""The fleet as one replica knows it, and what may be asked of it. Only apply writes it."""

import functools
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from stationkeep.cluster.devices.credentials import NO_CREDENTIAL, Credential
from stationkeep.cluster.devices.moves import REASONS, MoveLog, MoveReason, origin_of
from stationkeep.cluster.devices.policies import NO_POLICY, RingPolicy
from stationkeep.cluster.devices.rings import RINGS, Four, Ring
from stationkeep.cluster.devices.selector import LIVE_KEYS, OWN_KEYS, Term, matches, parse
from stationkeep.cluster.devices.shares import Counts, Shares
from stationkeep.cluster.devices.status import BUILT_IN, MISSING, HealthRule, is_metric
from stationkeep.cluster.devices.table import NEVER, Column, Kind, Spec, Table
from stationkeep.cluster.suggestion import suggestion

SCAN = 65_536
"""Rows looked at for one page at most."""
SCAN_EACH = 4_096
"""The same with terms that are tried device by device, or of each of many kinds: some 10 ms."""


class Pin(msgspec.Struct, frozen=True, array_like=True):
    """A manual assignment; `until` cluster ms, None = until released."""

    actor: str
    reason: str
    at: int
    until: int | None


class Device(msgspec.Struct, frozen=True):
    """Everything known of one device, in units that people read: percent as floats, custom
    metrics as floats, times in cluster ms."""

    row: int
    birth: int
    revision: int
    id: str
    name: str
    os_version: str
    app_version: str
    capabilities: dict[str, str]
    labels: dict[str, str]
    ring: Ring
    ring_since: int
    ring_reason: MoveReason
    pinned: Pin | None
    healthy: bool
    online: bool
    reported: bool  # False: no status with figures was ever received
    battery: int
    charging: bool
    cpu: float
    memory: float
    disk: float
    metrics: dict[str, float]
    session: int
    sequence: int
    seen_at: int
    updated_at: int | None
    healthy_since: int | None  # None: unhealthy now, or healthy ever since it registered
    changed_at: int | None  # when it first reported a version that it runs now; None: as it came
    policy: str  # "" where the fleet's shares rule
    served_by: str
    credential: str  # name of a `Standing`


class RingCounts(msgspec.Struct, frozen=True):
    """One ring's figures. `healthy` and `unhealthy` count online devices only."""

    total: int
    healthy: int
    unhealthy: int
    offline: int
    pinned: int


def _ring_counts(tally: Sequence[Sequence[Sequence[int]]]) -> RingCounts:
    """`tally`: devices by healthy, online and pinned, each first of those that are not."""
    (sick_away, sick), (well_away, well) = tally
    away = sum(sick_away) + sum(well_away)
    return RingCounts(
        total=away + sum(sick) + sum(well),
        healthy=sum(well),
        unhealthy=sum(sick),
        offline=away,
        pinned=sick_away[1] + sick[1] + well_away[1] + well[1],
    )


class Move(msgspec.Struct, frozen=True):
    """One line of a device's ring history; `origin` None: it registered."""

    at: int
    origin: Ring | None
    ring: Ring
    reason: MoveReason
    actor: str


class Page(msgspec.Struct, frozen=True):
    """Rows found, and after which row to go on (None: that was all)."""

    rows: list[int]
    next_row: int | None


class FleetView(msgspec.Struct, frozen=True):
    """Copies of the columns that a plan needs, of the rows ever used."""

    shares: Shares
    checks: int
    braked: bool
    tally: Column
    ring: Column
    policy: Column
    home: Column
    healthy: Column
    movable: Column  # online, not pinned, and no task has it
    ring_since: Column
    turned_at: Column
    revision: Column
    lot: Column


class Fleet:
    """Table, rules, pins, brake and the log of moves."""

    def __init__(self) -> None:
        self.table = Table()
        self.moves = MoveLog()
        self.shares = Shares()
        self.rule = HealthRule()
        self.pins: dict[int, Pin] = {}
        self.pin_due: int | None = None
        """Cluster time (ms) at which the next pin expires."""
        self.nodes: list[str] = []
        """Nodes that ever served a device, in the order in which each first did."""
        self.checks = 0
        """Checks of the rings so far; `checked_at`: when the newest was complete."""
        self.checked_at: int | None = None
        self.requested = False
        """An operator has asked for a check at once."""
        self.moving: dict[str, int] = {}
        """Moves of the check whose further parts are still to come: "from>to>reason"."""
        self.braked = False
        self.turned = 0
        """Devices that turned unhealthy since the newest check, and still are."""
        self.credentials_ended = 0
        """Own credentials of devices that were good and are no more: when this has changed, what
        is open by one is looked at."""

    def __len__(self) -> int:
        """Number of registered devices."""
        return len(self.table)

    @property
    def weights(self) -> Four:
        return self.shares.weights

    @property
    def caps(self) -> Four:
        return self.shares.caps

    @property
    def policies(self) -> tuple[RingPolicy, ...]:
        return self.shares.policies

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the custom metrics known."""
        return tuple(self.table.metrics)

    def unreported(self, rule: HealthRule) -> list[str]:
        """The metrics of a rule that no device has reported, in words."""
        named = dict.fromkeys(c.metric for c in rule.conditions if is_metric(c.metric))
        return [
            f"no device reports {metric}{suggestion(metric, (*BUILT_IN, *self.metrics))}"
            for metric in named
            if metric not in self.table.metrics
        ]

    def meeting(self, rule: HealthRule, rows: Column | None = None) -> Column:
        """By row (of all, or of these), whether the newest status of a device would be judged
        healthy; a device that has reported no figures would be."""
        table = self.table
        of: Any = slice(0, table.used) if rows is None else rows
        found = np.ones(table.used if rows is None else len(rows), bool)
        for condition in rule.conditions:
            if condition.metric in BUILT_IN:
                values = getattr(table, condition.metric)[of]
            elif condition.metric in table.metrics:
                values = table.metrics[condition.metric][of]
            else:
                continue
            below = condition.operator == "<"
            held = values < condition.threshold if below else values > condition.threshold
            held |= values == MISSING
            if condition.metric == "battery" and rule.charging_excuses_battery:
                held |= table.charging[of].astype(bool)
            found &= held
        found |= table.updated_at[of] == NEVER
        return found

    def row(self, device: str) -> int | None:
        """The row of a device, or None."""
        return self.table.rows.get(device)

    def credential(self, device: str) -> Credential:
        """A device's own; that of one that is not known was never good."""
        row = self.row(device)
        return NO_CREDENTIAL if row is None else self.table.credential_of(row)

    def id(self, row: int) -> str:
        """The id of the device in a row that is in use."""
        return self.table.ids[row]

    def spec(self, row: int) -> Spec:
        """What the device in a row said of itself."""
        table = self.table
        kind = table.kinds[int(table.kind[row])]
        return Spec(
            id=table.ids[row],
            name=table.names[row],
            os_version=kind.os_version,
            app_version=kind.app_version,
            capabilities=dict(kind.capabilities),
            labels=dict(kind.labels),
        )

    def policy_of(self, kind: Kind) -> int:
        """The group of devices of this kind: the number of the first policy that matches."""
        return _group_of(kind, self._selectors())

    def regroup(self) -> None:
        """Recomputes the group of every device."""
        table = self.table
        living = np.flatnonzero(table.birth[: table.used])
        group = groups_of(table.kinds.all, self.policies)[table.kind[living]]
        other = group != table.policy[living]
        with table.counted(living[other]):
            table.policy[living[other]] = group[other]

    def _selectors(self) -> list[tuple[Term, ...]]:
        return [parse(policy.selector) for policy in self.policies]

    def quotas(self) -> Counts:
        """How many unpinned devices each group should have in each ring."""
        pinned = self.table.by_class[..., 1].sum(axis=(0, 2, 3))
        return self.shares.quotas_by_group(self.table.standing(), pinned)

    def device(self, row: int) -> Device:
        """All fields of one device; the row must be in use."""
        table, spec = self.table, self.spec(row)
        updated, turned = int(table.updated_at[row]), int(table.turned_at[row])
        healthy, policy = bool(table.healthy[row]), int(table.policy[row])
        return Device(
            row=row,
            birth=int(table.birth[row]),
            revision=int(table.revision[row]),
            id=spec.id,
            name=spec.name,
            os_version=spec.os_version,
            app_version=spec.app_version,
            capabilities=spec.capabilities,
            labels=spec.labels,
            ring=RINGS[table.ring[row]],
            ring_since=int(table.ring_since[row]),
            ring_reason=REASONS[table.reason[row]],
            pinned=self.pins.get(row),
            healthy=healthy,
            online=bool(table.online[row]),
            reported=updated != NEVER,
            battery=int(table.battery[row]),
            charging=bool(table.charging[row]),
            cpu=int(table.cpu[row]) / 100,
            memory=int(table.memory[row]) / 100,
            disk=int(table.disk[row]) / 100,
            metrics=self._metrics_of(row),
            session=int(table.session[row]),
            sequence=int(table.sequence[row]),
            seen_at=int(table.seen_at[row]),
            updated_at=None if updated == NEVER else updated,
            healthy_since=turned if healthy and turned != NEVER else None,
            changed_at=int(table.changed_at[row]) * 1_000 or None,
            policy=self.policies[policy].name if policy != NO_POLICY else "",
            served_by=self.nodes[table.served_by[row]],
            credential=table.credential_of(row).standing.name.lower(),
        )

    def _metrics_of(self, row: int) -> dict[str, float]:
        values = {name: int(column[row]) for name, column in self.table.metrics.items()}
        return {name: value / 1_000 for name, value in values.items() if value != MISSING}

    def counts(self) -> dict[Ring, RingCounts]:
        """Figures by ring; costs nothing that grows with the fleet."""
        rings = self.table.by_class.sum(axis=0).tolist()  # ring, healthy, online, pinned
        return {ring: _ring_counts(rings[ring.code]) for ring in RINGS}

    def quota_by_ring(self) -> dict[Ring, int]:
        """How many unpinned devices each ring should hold."""
        return dict(zip(RINGS, self.quotas().sum(axis=0).tolist(), strict=True))

    def summary(self) -> dict[str, Any]:
        """Totals under the names of the system that this one replaces: `total_slaves,
        healthy_devices, ring_distribution`."""
        counts = self.counts()
        return {
            "total_slaves": len(self),
            "healthy_devices": sum(c.healthy for c in counts.values()),
            "ring_distribution": {ring.value: c.total for ring, c in counts.items()},
        }

    def select(
        self,
        *,
        ring: Ring | None = None,
        healthy: bool | None = None,
        online: bool | None = None,
        pinned: bool | None = None,
        text: str = "",
        terms: Sequence[Term] = (),
        after: int = -1,
        limit: int = 100,
    ) -> Page:
        """Rows after `after` that match, in row order; bounded work, so a page may be short
        or empty although `next_row` says that more may follow. `text`: a part of the id or the
        name, whatever its case."""
        table, start = self.table, max(0, after + 1)
        live = [term for term in terms if term.key in LIVE_KEYS]
        shared = [term for term in terms if term.key not in LIVE_KEYS]
        each = live or text or (shared and len(table.kinds.all) > SCAN_EACH)
        stop = min(table.used, start + (min(SCAN, SCAN_EACH) if each else SCAN))
        wanted = table.birth[start:stop] > 0
        if ring is not None:
            wanted &= table.ring[start:stop] == ring.code
        if healthy is not None:
            wanted &= table.healthy[start:stop] == healthy
        if online is not None:
            wanted &= table.online[start:stop] == online
        if pinned is not None:
            wanted &= table.pinned[start:stop] == pinned
        rows = np.flatnonzero(wanted) + start
        if shared:
            rows = rows[self._of_kinds(table.kind[rows], shared)]
        text = text.casefold()
        found: list[int] = []
        for row in rows.tolist():
            if text and not self._is_called(row, text):
                continue
            if live and not matches(live, functools.partial(self._value_of, row)):
                continue
            if len(found) == limit:
                return Page(found, found[-1] if found else after)
            found.append(row)
        return Page(found, stop - 1 if stop < table.used else None)

    def _is_called(self, row: int, text: str) -> bool:
        ids, names = self.table.ids, self.table.names
        return text in ids[row].casefold() or text in names[row].casefold()

    def _of_kinds(self, numbers: Column, terms: Sequence[Term]) -> Column:
        """Which of these kind numbers match; each kind is tried once."""
        asked, fits = np.zeros((2, len(self.table.kinds.all)), bool)
        asked[numbers] = True
        for kind in np.flatnonzero(asked).tolist():
            fits[kind] = matches(terms, self.table.kinds[kind].value_of)
        found: Column = fits[numbers]
        return found

    def _value_of(self, row: int, key: str) -> str | None:
        """What one of the `LIVE_KEYS` stands for."""
        table = self.table
        match key:
            case "id":
                return table.ids[row]
            case "name":
                return table.names[row]
            case "ring":
                return str(RINGS[int(table.ring[row])])
        if not table.online[row]:
            return "offline"
        return "healthy" if table.healthy[row] else "unhealthy"

    def rows_of(self, terms: Sequence[Term]) -> Column:
        """All rows that a selector matches, in one pass over columns; `select` pages."""
        rows = np.flatnonzero(self.table.birth[: self.table.used])
        return rows[self.matching(rows, terms)]

    def matching(self, rows: Column, terms: Sequence[Term]) -> Column:
        """Which of these rows, all of them in use, a selector matches."""
        shared = [term for term in terms if term.key not in LIVE_KEYS]
        found = np.ones(len(rows), bool)
        if shared:
            found &= self._of_kinds(self.table.kind[rows], shared)
        for term in terms:
            if term.key in LIVE_KEYS:
                found &= np.isin(rows, self._with(term)) != term.negated
        return found

    def _with(self, term: Term) -> Column:
        """The rows of which one of the `LIVE_KEYS` has one of a term's values."""
        table, used = self.table, slice(0, self.table.used)
        match term.key:
            case "id":
                return np.array([table.rows[id] for id in term.values if id in table.rows], np.intp)
            case "name":
                names = enumerate(chain.from_iterable(table.names.chunks()))
                return np.array([row for row, name in names if name in term.values], np.intp)
            case "ring":
                wanted = [ring.code for ring in RINGS if ring.value in term.values]
                return np.flatnonzero(np.isin(table.ring[used], wanted))
        standing = {
            "offline": ~table.online[used],
            "healthy": table.online[used] & table.healthy[used],
            "unhealthy": table.online[used] & ~table.healthy[used],
        }
        found = [standing[value] for value in term.values if value in standing]
        return np.flatnonzero(np.any(found, axis=0)) if found else np.zeros(0, np.intp)

    def history(self, row: int, limit: int = 100) -> list[Move]:
        """The remembered moves of the device in a row, newest first."""
        moves = self.moves.of(row, int(self.table.birth[row]), limit)
        found = []
        for move in moves.tolist():
            _, _, at, origin, target, reason, actor = move
            code = origin_of(origin)
            came = None if code is None else RINGS[code]
            found.append(Move(at, came, RINGS[target], REASONS[reason], self.moves.actors[actor]))
        return found

    def view(self) -> FleetView:
        """Copies the columns that a plan needs, so that it can be made on another thread."""
        table, used = self.table, slice(0, self.table.used)
        return FleetView(
            shares=self.shares,
            checks=self.checks,
            braked=self.braked,
            tally=table.by_class.copy(),
            ring=table.ring[used].copy(),
            policy=table.policy[used].copy(),
            home=table.home[used].copy(),
            healthy=table.healthy[used].copy(),
            movable=table.online[used] & ~table.pinned[used] & (table.task[used] == 0),
            ring_since=table.ring_since[used].copy(),
            turned_at=table.turned_at[used].copy(),
            revision=table.revision[used].copy(),
            lot=table.lot[used].copy(),
        )


def keys_of(kinds: Iterable[Kind | None]) -> set[str]:
    """The keys that a selector may use: those that devices of these kinds have."""
    had = set(OWN_KEYS)
    for kind in filter(None, kinds):
        had.update(name for name, _ in (*kind.labels, *kind.capabilities))
    return had


def absent(keys: Iterable[str], kinds: Iterable[Kind | None]) -> set[str]:
    """Which of these keys no device has. Stops looking as soon as it knows."""
    left = set(keys) - set(OWN_KEYS)
    for kind in filter(None, kinds):
        if not left:
            break
        left.difference_update(name for name, _ in (*kind.labels, *kind.capabilities))
    return left


def unknown_keys(terms: Sequence[Term], had: set[str]) -> list[str]:
    """The keys of a selector that are not among those, in words."""
    keys = dict.fromkeys(term.key for term in terms)
    return [f"no device has {key}{suggestion(key, had)}" for key in keys if key not in had]


def groups_of(kinds: Sequence[Kind | None], policies: Sequence[RingPolicy]) -> Column:
    """By number of the kind, the group of its devices under these policies. Devices with labels of
    their own are each a kind of their own: what the policies ask of them is tried once for all that
    answer the same."""
    selectors = [parse(policy.selector) for policy in policies]
    keys = tuple(dict.fromkeys(term.key for terms in selectors for term in terms))
    tried: dict[tuple[str | None, ...], int] = {}
    groups = []
    for kind in kinds:
        if kind is None:
            groups.append(NO_POLICY)
            continue
        answers = kind.values_of(keys)
        if answers not in tried:
            tried[answers] = _group_of(kind, selectors)
        groups.append(tried[answers])
    return np.array(groups or [NO_POLICY], np.uint8)


def _group_of(kind: Kind, selectors: Sequence[Sequence[Term]]) -> int:
    for number, terms in enumerate(selectors):
        if matches(terms, kind.value_of):
            return number
    return NO_POLICY
