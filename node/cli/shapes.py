"""The shapes of answers that the command line relies on, checked before use.

They contain only what is used here, so that a newer node may send more and an older one less;
`NotRequired` marks what the tables can do without. Bounds only ensure that values can be computed
with, not that they make sense: 2⁵³ is exact as a float, and dates end with the year 9999.
"""

from typing import Annotated, Any, Generic, NotRequired, TypedDict, TypeVar

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**53)]
Millis = Count
"""Cluster time."""
Wall = Annotated[int, Meta(ge=0, le=253_370_764_800_000)]
"""Milliseconds since 1970."""
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Figure = Annotated[float, Meta(ge=-1e15, le=1e15)]
Names = list[str]


Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: NotRequired[str | None]
    warnings: NotRequired[Names]


class Ca(TypedDict):
    """The CAs that a node trusts."""

    pem: str
    pins: NotRequired[Names]
    issued_by: NotRequired[str]


class CaRotation(TypedDict):
    """`/v1/tls/rotation`"""

    phase: str
    second: str
    first: Names
    members: Count
    lagging: Names
    waits: str
    devices_behind: Count
    exposed: Names


# -- nodes and roles ----------------------------------------------------------------------------


class Primary(TypedDict):
    id: str
    epoch: Count
    active: NotRequired[bool]
    fence_remaining_s: Seconds


class Quorum(TypedDict):
    members: Count
    needed: Count
    connected: Count
    present: bool


class Seen(TypedDict):
    actor: str
    comment: NotRequired[str | None]


class Fleet(TypedDict):
    total_slaves: Count
    healthy_devices: Count
    unhealthy_devices: Count
    offline_devices: Count
    pinned_devices: Count
    ring_distribution: dict[str, Count]


class Need(TypedDict):
    level: str
    sentence: str


class Cluster(TypedDict):
    """`/v1/cluster`"""

    cluster_id: str | None
    node: str
    verdict: str
    headline: str
    needs: list[Need]
    age_ms: Millis
    members: Names
    time_ms: Millis
    wall_ms: NotRequired[Wall | None]
    leader: NotRequired[str | None]
    term: Count
    applied_index: Count
    quorum: Quorum
    primary: NotRequired[Primary | None]
    fleet: NotRequired[Fleet | None]


class Release(TypedDict):
    node: str
    release: str | None
    highest: Count | None


class Level(TypedDict):
    """`/v1/level`"""

    level: Count
    release: str
    hold: Count | None
    next: Count | None
    obstacles: Names
    raises_in_s: Seconds | None
    members: list[Release]


class Sample(TypedDict):
    risk: Share
    missed: NotRequired[bool]


class Maintenance(TypedDict):
    remaining_s: NotRequired[Seconds | None]


class Address(TypedDict):
    http: str


class Node(TypedDict):
    id: str
    role: str
    effective_role: NotRequired[str | None]
    epoch: NotRequired[Count | None]
    known: NotRequired[bool]
    alive: bool
    joining: NotRequired[bool]
    raft_leader: NotRequired[bool]
    risk: NotRequired[Share | None]
    cause: NotRequired[str | None]
    unable: NotRequired[str | None]
    failure_mode: NotRequired[str | None]
    consecutive_unhealthy: NotRequired[Count | None]
    history: NotRequired[list[Sample]]
    cooldown_remaining_s: NotRequired[Seconds | None]
    lease_remaining_s: NotRequired[Seconds | None]
    priority: NotRequired[Count | None]
    maintenance: NotRequired[Maintenance | None]
    escalated_by: NotRequired[str | None]
    policies: NotRequired[list[Any]]
    address: Address


class RoleNow(TypedDict):
    node: str
    role: str
    effective_role: NotRequired[str | None]
    since_ms: NotRequired[Millis | None]


class RoleChange(TypedDict):
    at_ms: Millis
    wall_ms: NotRequired[Wall | None]
    node: str
    origin: str
    target: str
    rule: str
    epoch: Count
    proposal: NotRequired[Count | None]
    actor: NotRequired[str | None]


# -- decisions, proposals, actions --------------------------------------------------------------


class Change(TypedDict):
    node: str
    origin: str
    target: str


class Observation(TypedDict):
    node: str
    reports: Count
    risk: Share


class Vote(TypedDict):
    voter: str
    approve: bool
    grounds: NotRequired[str | None]
    policy: NotRequired[str | None]
    evidence: NotRequired[list[Observation]]


class Rejected(TypedDict):
    node: str
    reason: str


class Decision(TypedDict):
    id: Count
    at_ms: Millis
    wall_ms: NotRequired[Wall | None]
    outcome: str
    sentence: str
    evidence: NotRequired[dict[str, list[Share | None]]]
    rejected: NotRequired[list[Rejected]]
    ballots: NotRequired[list[Vote]]
    proposal: NotRequired[Count | None]
    actor: NotRequired[str | None]
    comment: NotRequired[str | None]


class Explanation(TypedDict):
    """`/v1/nodes/ID/explain`"""

    node: str
    role: str
    summary: NotRequired[Names]
    why_not_primary: NotRequired[Names | None]
    decisions: NotRequired[list[Decision]]


class Proposal(TypedDict):
    id: Count
    rule: str
    changes: list[Change]
    outcome: str
    electorate: Names
    quorum: Count
    opened_at_ms: Millis
    deadline_ms: Millis
    closed_at_ms: NotRequired[Millis | None]
    ballots: NotRequired[list[Vote] | dict[str, Vote] | None]


class Ack(TypedDict):
    success: bool
    detail: str


class Action(TypedDict):
    id: str
    name: str
    targets: Names
    outcome: str
    compliance: Share
    acks: NotRequired[dict[str, Ack]]


class Alarm(TypedDict):
    id: str
    detail: str
    acknowledged: NotRequired[Seen | None]
    severity: str
    meaning: str
    since_ms: Millis
    wall_ms: NotRequired[Wall | None]


class Alarms(TypedDict):
    """`/v1/alarms`"""

    items: list[Alarm]


class Config(TypedDict):
    """`/v1/config`"""

    settings: dict[str, Any]


class Made(TypedDict):
    """What `POST /v1/tasks` made; its answer has no `result`."""

    deployment: NotRequired[Count]
    members: NotRequired[Count]
    already_installed: NotRequired[Count]
    newer_installed: NotRequired[Count]
    incapable: NotRequired[Count]


class Written(Made):
    """The answer to a write, or to a query for an operation."""

    operation: NotRequired[str]
    status: NotRequired[str]
    detail: NotRequired[str | None]
    index: NotRequired[Count | None]
    result: NotRequired[dict[str, Any] | None]


# -- the fleet ----------------------------------------------------------------------------------


class Pin(TypedDict):
    actor: str | None
    reason: str | None
    remaining_s: Seconds | None


class Status(TypedDict):
    battery_level: Count
    battery_charging: bool
    cpu_usage: Figure
    memory_usage: Figure
    disk_usage: Figure
    metrics: NotRequired[dict[str, Figure]]


class Device(TypedDict):
    id: str
    name: str
    os_version: str
    app_version: str
    ring: str
    ring_since_ms: Millis
    ring_sentence: str
    pin: Pin | None
    policy: str | None
    healthy: bool
    online: bool
    status: Status | None
    seen_s: Seconds
    served_by: str | None
    credential: NotRequired[str]
    labels: dict[str, str]
    capabilities: dict[str, str]


class Move(TypedDict):
    at_ms: Millis
    origin: str | None
    target: str
    assigned_by: str
    sentence: str
    comment: str | None


class DeviceExplanation(TypedDict):
    """`/v1/devices/ID/explain`"""

    device: str
    ring: str
    summary: Names
    history: list[Move]


class RingNow(TypedDict):
    ring: str
    devices: Count
    healthy: Count
    unhealthy: Count
    offline: Count
    pinned: Count
    quota: Count
    share: Share
    cap: Count | None


class RingPolicy(TypedDict):
    name: str
    selector: str
    rings: Names
    weights: dict[str, Count] | None
    devices: Count


class Brake(TypedDict):
    since_ms: Millis
    detail: str


class Rings(TypedDict):
    """`/v1/rings`"""

    items: list[RingNow]
    health_rule: str
    charging_excuses_battery: bool
    policies: list[RingPolicy]
    policies_version: str
    brake: Brake | None
    checks: Count
    checked_at_ms: Millis | None


class PlannedMoves(TypedDict):
    devices: Count
    origin: str
    target: str
    sentence: str


class RebalancePlan(TypedDict):
    """`/v1/rings/plan`"""

    total: Count
    devices: Count
    braked: bool
    moves: list[PlannedMoves]


class Ruled(TypedDict):
    name: str
    devices: Count


class PoliciesPlan(TypedDict):
    """`/v1/rings/policies/plan`"""

    devices: Count
    changed: Count
    astray: Count
    policies: list[Ruled]
    warnings: Names


class HealthPlan(TypedDict):
    """`/v1/rings/health-rule/plan`"""

    online: Count
    to_unhealthy: Count
    to_healthy: Count
    warnings: Names


# -- tasks --------------------------------------------------------------------------------------


class PaceNow(TypedDict("PaceNow", {"from": Count})):  # a keyword in Python
    to: Count
    factor: Count
    now: Count


class Failure(TypedDict):
    reason: str
    text: str
    count: Count
    device: str


class Deployment(TypedDict):
    """`/v1/deployments/N`"""

    deployment: Count
    task_type: str
    parameters: dict[str, str]
    component: str | None
    version: str | None
    target: str
    priority: Count
    require: str | None
    allow_downgrade: bool
    max_in_flight: Count | None
    retries: Count | None
    pace: PaceNow | None
    state: str
    reason: str
    held: str | None
    members: Count
    incapable: Count
    tallies: dict[str, Count]
    failures: list[Failure]
    actor: str
    comment: str
    age_s: Seconds
    deadline_s: Seconds
    closed_s: Seconds | None
    rostered: bool


class Task(TypedDict):
    task_id: str
    device: str
    ring: str
    state: str
    attempt: Count
    reason: str
    phase: str | None
    progress: Count
    since_s: Seconds
    previous: str
    canceling: bool
    waits: str | None


class Invitation(TypedDict):
    invitation: str
    state: str
    node: str
    uses: int
    taken: Names
    created_by: str
    created_wall_ms: Wall
    expires_wall_ms: Wall


class Invitations(TypedDict):
    """Of whose CA invitations are."""

    uid: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")] | None
    pin: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")] | None


# -- access -------------------------------------------------------------------------------------


class Token(TypedDict):
    token: str
    name: str
    role: str
    state: str
    ids: NotRequired[str]
    limit: NotRequired[int]
    used: NotRequired[int]
    labels: NotRequired[dict[str, str]]
    created_by: str
    created_wall_ms: Wall
    expires_wall_ms: Wall | None
    ends_soon: NotRequired[bool]
    approves_as: NotRequired[str]
    seen_wall_ms: NotRequired[Wall | None]
    seen_from: NotRequired[list[str]]
