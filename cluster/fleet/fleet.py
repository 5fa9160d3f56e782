"""The fleet as one replica knows it, and what may be asked of it. Only apply writes it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.fleet.moves import MoveLog, MoveReason
from cluster.fleet.policies import RingPolicy
from cluster.fleet.rings import EVEN, NO_CAPS, Four, Ring
from cluster.fleet.selector import Term
from cluster.fleet.status import HealthRule
from cluster.fleet.table import Spec, Table


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
    healthy_since: int | None  # None while unhealthy; its registration if it always was healthy
    policy: str  # "" where the fleet's shares rule
    served_by: str


class RingCounts(msgspec.Struct, frozen=True):
    """One ring's figures. `healthy` and `unhealthy` count online devices only."""

    total: int
    healthy: int
    unhealthy: int
    offline: int
    pinned: int
    quota: int


class Move(msgspec.Struct, frozen=True):
    """One line of a device's ring history; `origin` None: it registered."""

    at: int
    origin: Ring | None
    ring: Ring
    reason: MoveReason
    actor: str


class Page(msgspec.Struct, frozen=True):
    """Rows found, and from which row to go on (None: that was all)."""

    rows: list[int]
    next_row: int | None


class FleetView(msgspec.Struct, frozen=True):
    """The columns that a plan looks at, as they were."""


class Fleet:
    """Table, rules, pins, brake, counters and the log of moves."""

    def __init__(self) -> None:
        self.table = Table()
        self.moves = MoveLog()
        self.weights: Four = EVEN
        self.caps: Four = NO_CAPS
        self.rule = HealthRule()
        self.policies: tuple[RingPolicy, ...] = ()
        self.metrics: list[str] = []
        self.pins: dict[int, Pin] = {}
        self.nodes: list[str] = []
        self.checks = 0
        self.checked_at: int | None = None
        self.requested = False
        self.braked = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fleet)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """Devices known."""
        return len(self.table)

    def row(self, device: str) -> int | None:
        """The row of a device, or None."""
        return self.table.rows.get(device)

    def id(self, row: int) -> str:
        """The id of the device in a row that is in use."""
        return self.table.ids[row]

    def spec(self, row: int) -> Spec:
        """What the device in a row said of itself."""
        raise NotImplementedError

    def device(self, row: int) -> Device:
        """Everything of one device; the row must be in use."""
        raise NotImplementedError

    def counts(self) -> dict[Ring, RingCounts]:
        """Figures by ring; costs nothing that grows with the fleet."""
        raise NotImplementedError

    def select(
        self,
        *,
        ring: Ring | None = None,
        healthy: bool | None = None,
        online: bool | None = None,
        terms: Sequence[Term] = (),
        after: int = -1,
        limit: int = 100,
    ) -> Page:
        """Rows after `after` that match, in row order; bounded work, so a page may be short
        or empty although `next_row` says that more may follow."""
        raise NotImplementedError

    def history(self, row: int, limit: int = 100) -> list[Move]:
        """The remembered moves of the device in a row, newest first."""
        raise NotImplementedError

    def view(self) -> "FleetView":
        """What a plan looks at, copied: it may be planned on elsewhere while this goes on."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """The seed's words for the whole: `total_slaves, healthy_devices, ring_distribution`."""
        counts = self.counts()
        return {
            "total_slaves": len(self),
            "healthy_devices": sum(c.healthy for c in counts.values()),
            "ring_distribution": {ring.value: c.total for ring, c in counts.items()},
        }
