"""What a client returns, and the shapes of the answers that it is made from.

Answers are checked against these shapes; fields that a newer node adds are ignored. Names in `_s`
are seconds, names in `_ms` milliseconds of cluster time.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import msgspec

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.client.errors import AnswerError
from stationkeep.node.client.exchange import Answer
from stationkeep.node.system.printable import printable

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is returned."""


# -- the cluster and its devices ----------------------------------------------------------------


class FleetTotals(TypedDict):
    """Numbers of devices: total = healthy + unhealthy + offline."""

    total_slaves: Count
    healthy_devices: Count
    unhealthy_devices: Count
    offline_devices: Count
    pinned_devices: Count
    ring_distribution: dict[str, Count]


class ClusterStatus(FleetTotals):
    """State of the cluster and totals of its fleet."""

    verdict: str
    """`ok` if nothing needs attention; `headline` says it in words."""
    headline: str
    primary: str | None
    """The node that acts as PRIMARY."""
    leader: str | None
    members: list[str]


class DeviceStatus(Result, frozen=True, kw_only=True):
    """A device as the cluster knows it. Readings are percentages, `math.nan` before the first
    report."""

    slave_id: str
    device_name: str
    os_version: str
    app_version: str
    assigned_ring: Ring
    battery_level: float
    battery_charging: bool
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    metrics: Mapping[str, float]
    """Other readings by name."""
    online: bool
    healthy: bool
    """The verdict of the cluster's health rule. It means nothing unless `online`."""
    pinned: bool
    policy: str | None
    """Name of the ring policy that applies to it."""
    labels: Mapping[str, str]
    capabilities: Mapping[str, str]
    seen_s: float
    """Seconds since its last message."""

    def is_healthy(self) -> bool:
        """Whether it is online and healthy."""
        return self.online and self.healthy


class OperationStatus(Result, frozen=True, kw_only=True):
    """The outcome of a write. `status`: `done`, or `refused` with `rule` and `detail`."""

    operation: str
    status: str
    actor: str
    at_ms: Count
    rule: str = ""
    detail: str = ""
    result: Mapping[str, Any] = {}


# -- deployments and their tasks ----------------------------------------------------------------


class TaskStatus(Result, frozen=True, kw_only=True):
    """The task of one device. `task_id`: DEPLOYMENT/DEVICE/ATTEMPT."""

    task_id: str
    deployment: Count
    device: str
    state: str
    attempt: Count
    reason: str
    phase: str | None
    progress: Count
    """Percent, while it is in progress."""
    since_s: float
    waits: str | None
    """Why it is not offered to the device yet."""
    stage: str | None = None
    variant: str | None = None
    """Of a rollout."""


class Failure(Result, frozen=True, kw_only=True):
    """Equal failures. `device`: one of those that had it."""

    reason: str
    text: str
    count: Count
    device: str


class DeploymentStatus(Result, frozen=True, kw_only=True):
    """State of a deployment. `tallies`: state of a task → how many are in it."""

    deployment: Count
    task_type: str
    parameters: Mapping[str, str]
    version: str | None
    target: str
    state: str
    """`open`; `closing` when canceled; `closed`, for the `reason` `completed` or `canceled`."""
    reason: str
    held: str | None
    """Why none of its tasks is offered at present."""
    members: Count
    incapable: Count
    tallies: Mapping[str, Count]
    failures: list[Failure]

    @property
    def is_over(self) -> bool:
        """Whether none of its tasks will change any more."""
        return self.state == "closed"


# -- rollouts -----------------------------------------------------------------------------------


class GateStatus(Result, frozen=True, kw_only=True):
    """A gate of a stage. `value`, `limit`: 0..1, of devices; `evidence` of harm, and how much would
    be proof (`needed`)."""

    name: str
    value: float | int | None
    limit: float | int | None
    evidence: float | int | None
    needed: float | int | None
    verdict: str | None
    """`passed`, `inconclusive` or `failed`; None: not judged yet."""
    sentence: str


class StageStatus(Result, frozen=True, kw_only=True):
    """A stage of a rollout. `tallies`: state of a task → how many are in it."""

    name: str
    ring: Ring | None
    state: str
    reason: str
    members: Count
    tallies: Mapping[str, Count]
    gates: list[GateStatus]


class Exit(Result, frozen=True, kw_only=True):
    """What something becomes by itself, and in how many seconds; None: nobody can say."""

    becomes: str
    reason: str
    in_s: float | int | None


class RolloutStatus(Result, frozen=True, kw_only=True):
    """State of a rollout."""

    rollout: str
    state: str
    reason: str
    why: str
    """The reason in words."""
    exit: Exit | None
    """What becomes of it if nothing happens."""
    revision: Count
    digest: str
    author: str
    versions: list[str]
    members: Count
    updated: Count
    """Devices that run what it installed, or did when their stage ended."""
    orders: list[str]
    """What may be ordered of it now."""
    stages: list[StageStatus]

    @property
    def is_over(self) -> bool:
        """Whether it goes no further by itself."""
        return self.state in {"succeeded", "aborted", "rolled_back"}

    @property
    def succeeded(self) -> bool:
        """Whether every stage has passed."""
        return self.state == "succeeded"


# -- what nodes answer --------------------------------------------------------------------------


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list, and the cursor of the next one."""

    items: list[T]
    next: str | None = None


class Written(msgspec.Struct, frozen=True):
    operation: str
    status: str
    result: dict[str, Any] = {}


class Submitted(msgspec.Struct, frozen=True):
    deployment: Count
    members: Count


class LaidDown(msgspec.Struct, frozen=True):
    rollout: str
    digest: str
    revision: Count


class PrimaryAnswer(msgspec.Struct, frozen=True):
    id: str
    active: bool


class ClusterAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/cluster`"""

    verdict: str
    headline: str
    leader: str | None
    members: list[str]
    primary: PrimaryAnswer | None
    fleet: FleetTotals

    def status(self) -> ClusterStatus:
        primary = self.primary
        return {
            **self.fleet,
            "verdict": self.verdict,
            "headline": self.headline,
            "primary": primary.id if primary and primary.active else None,
            "leader": self.leader,
            "members": self.members,
        }


class ReadingsAnswer(msgspec.Struct, frozen=True):
    battery_level: float | int = math.nan
    battery_charging: bool = False
    cpu_usage: float | int = math.nan
    memory_usage: float | int = math.nan
    disk_usage: float | int = math.nan
    metrics: dict[str, float] = {}


class DeviceAnswer(msgspec.Struct, frozen=True):
    """`GET /v1/devices/ID`, and an item of `GET /v1/devices`"""

    id: str
    name: str
    os_version: str
    app_version: str
    capabilities: dict[str, str]
    labels: dict[str, str]
    ring: Ring
    pin: dict[str, Any] | None
    policy: str | None
    healthy: bool
    online: bool
    status: ReadingsAnswer | None
    seen_s: float

    def device(self) -> DeviceStatus:
        readings = self.status or ReadingsAnswer()
        return DeviceStatus(
            slave_id=self.id,
            device_name=self.name,
            os_version=self.os_version,
            app_version=self.app_version,
            assigned_ring=self.ring,
            pinned=self.pin is not None,
            policy=self.policy,
            online=self.online,
            healthy=self.healthy,
            labels=self.labels,
            capabilities=self.capabilities,
            seen_s=self.seen_s,
            **msgspec.structs.asdict(readings),
        )


def understood(answer: Answer, shape: type[T]) -> T:
    """The content of an answer. Raises `AnswerError` unless it has this shape."""
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except UNREADABLE as error:
        why = printable(str(explain(error, "json")))
        raise AnswerError(f"{answer.url}: {why}; is that a Stationkeep node?") from error
