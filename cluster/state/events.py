"""Facts that apply produces; what a node, its clients and its metrics may react to.

Events are for showing and waking up. Nothing that must happen hangs on receiving one: effects
compare what should be with what is (node/guide/internals.md, "How data flows").
"""

import msgspec

from stationkeep.cluster.state.decisions import Decision
from stationkeep.cluster.transitions import Role, Rule


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of all events."""


class Founded(Event, frozen=True):
    cluster_id: str


class SamplesRecorded(Event, frozen=True):
    """An evaluation's samples are in; the leader may plan."""

    evaluation: int


class LeasesEchoed(Event, frozen=True):
    """Reports of these nodes were echoed by a committed command: (node, boot, seq)."""

    echoes: tuple[tuple[str, int, int], ...]


class RoleChanged(Event, frozen=True):
    node: str
    origin: Role
    target: Role
    rule: Rule
    epoch: int


class SeatActivated(Event, frozen=True):
    """The holder may act now; `failover_ms` since the first unhealthy sample, if it was one."""

    holder: str
    epoch: int
    failover_ms: int | None


class ProposalOpened(Event, frozen=True):
    proposal: int


class VoteCounted(Event, frozen=True):
    proposal: int
    voter: str
    approve: bool


class ProposalClosed(Event, frozen=True):
    proposal: int
    outcome: str


class ActionOpened(Event, frozen=True):
    action: str


class ActionAcknowledged(Event, frozen=True):
    action: str
    node: str
    success: bool


class ActionClosed(Event, frozen=True):
    action: str
    outcome: str
    compliance: int  # ppm


class AlarmRaised(Event, frozen=True):
    """`subject`: the node that it is about; empty when it is about the cluster."""

    name: str
    detail: str
    subject: str = ""


class AlarmCleared(Event, frozen=True):
    name: str
    subject: str = ""


class AlarmAcknowledged(Event, frozen=True):
    name: str
    subject: str
    actor: str
    comment: str


class SettingsChanged(Event, frozen=True):
    fields: tuple[str, ...]


class MemberChanged(Event, frozen=True):
    """Maintenance, priority, policies, vote or addresses of a node."""

    node: str


class MemberJoined(Event, frozen=True):
    """A node is a member now, without a vote in Raft yet."""

    node: str


class MemberLeft(Event, frozen=True):
    node: str


class PauseChanged(Event, frozen=True):
    until: int | None


class Decided(Event, frozen=True):
    decision: Decision


class DevicesRegistered(Event, frozen=True):
    """Devices are known now, or came back with a new session. Columns as in the commands."""

    rows: bytes  # u32
    births: bytes  # u32: a row may have another tenant when this is read


class DevicesMoved(Event, frozen=True):
    """The assignment of these devices has a new revision: ring, pin or both."""

    rows: bytes  # u32
    births: bytes  # u32
    origins: bytes  # u8; `UNSET` for a registration
    rings: bytes  # u8
    reasons: bytes  # u8, `MoveReason` codes


class DevicesTurned(Event, frozen=True):
    """The verdict on these devices changed; `healthy` u8 says to what."""

    rows: bytes  # u32
    births: bytes  # u32
    healthy: bytes  # u8
    turned_healthy: int
    turned_unhealthy: int


class DevicesWentOffline(Event, frozen=True):
    rows: bytes  # u32
    births: bytes  # u32


class DevicesWentOnline(Event, frozen=True):
    rows: bytes  # u32
    births: bytes  # u32


class DeviceRemoved(Event, frozen=True):
    id: str
    row: int


class FleetRulesChanged(Event, frozen=True):
    """What a check of the rings goes by; `what`: "shares", "policies", "health_rule"."""

    what: str


class RebalanceRequested(Event, frozen=True):
    """The leader is to check the rings at once."""


class RingsChecked(Event, frozen=True):
    """A check of the rings is complete; it moved so many devices. None tells of a check that moved
    nothing, unless an operator asked for it: there is one every few seconds."""

    check: int
    moved: int


class DeploymentChanged(Event, frozen=True):
    """A deployment opened, closes or is closed (`DeploymentState`), or opened again. Thousands of
    tasks may have changed with it without another event: code that serves devices compares."""

    deployment: int
    state: str
    reason: str


class TasksChanged(Event, frozen=True):
    """Tasks of one deployment took a step, all by one cause. `count` of them, in columns the first
    `MAX_BATCH`: `origins` and `targets` are codes of `lifecycle.TaskState`, `reasons` of
    `TaskReason`, `attempts` those after it."""

    deployment: int
    count: int
    rows: bytes  # u32
    births: bytes  # u32
    origins: bytes  # u8
    targets: bytes  # u8
    reasons: bytes  # u8
    attempts: bytes  # u8


class RolloutChanged(Event, frozen=True):
    """A rollout is in another state."""

    rollout: str
    state: str
    reason: str


class StageChanged(RolloutChanged, frozen=True):
    """A stage of a rollout is in another state; whoever waits for changes of rollouts waits for
    these, too."""

    stage: str


class GateJudged(Event, frozen=True):
    """A gate of a stage has another verdict than before; figures as `gates.Judgement` has them."""

    rollout: str
    stage: str
    gate: str
    verdict: str
    value: int | None
    limit: int
    evidence: int | None
    needed: int | None


class RolloutsChecked(Event, frozen=True):
    """The stages of all rollouts were judged."""

    check: int


class FreezeChanged(Event, frozen=True):
    """A freeze was set, lifted or has ended; `until` cluster ms, None: it is over."""

    freeze: str
    until: int | None


AnyEvent = (
    Founded
    | SamplesRecorded
    | LeasesEchoed
    | RoleChanged
    | SeatActivated
    | ProposalOpened
    | VoteCounted
    | ProposalClosed
    | ActionOpened
    | ActionAcknowledged
    | ActionClosed
    | AlarmRaised
    | AlarmCleared
    | AlarmAcknowledged
    | SettingsChanged
    | MemberChanged
    | MemberJoined
    | MemberLeft
    | PauseChanged
    | Decided
    | DevicesRegistered
    | DevicesMoved
    | DevicesTurned
    | DevicesWentOffline
    | DevicesWentOnline
    | DeviceRemoved
    | FleetRulesChanged
    | RebalanceRequested
    | RingsChecked
    | DeploymentChanged
    | TasksChanged
    | RolloutChanged
    | StageChanged
    | GateJudged
    | RolloutsChecked
    | FreezeChanged
)
