"""The closed union of everything that may enter the replicated log.

A proposer writes a `Draft`; the Raft leader stamps it with cluster time when it appends it
(`codec.stamp`), and every replica reads it back as an `Entry`. Times are integer milliseconds
of cluster time, risks integer parts per million.
Commands are encoded as arrays: fields may be appended (with defaults), never moved or removed.
"""

import msgspec

from cluster.roles.transitions import Role, Rule
from cluster.settings import Settings


class Command(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Base of all commands."""


class MemberSpec(msgspec.Struct, frozen=True, array_like=True):
    """A member as configured: id and the addresses (`host:port`) others reach it by."""

    id: str
    raft: str
    http: str


class Measured(msgspec.Struct, frozen=True, array_like=True):
    """One node's sample at one evaluation: the median of the reports heard, or missed.

    `risk` is ppm; when `reports` is 0 the sample is missed and counts as risk 1.0.
    """

    node: str
    reports: int
    risk: int
    cause: str = ""
    recurrence: int = 0  # thousandths, 0..10_000


class Echo(msgspec.Struct, frozen=True, array_like=True):
    """The newest report of a node that the leader knows of, directly or through a peer.

    `received_at` is the cluster time at which the leader learned of it, never earlier than the
    moment the node sent it: a lease counted from here ends no sooner than the node's own.
    """

    node: str
    boot: int
    seq: int
    received_at: int


class FoundCluster(Command, frozen=True):
    """Birth of the cluster; only the first one ever applied has an effect."""

    cluster_id: str
    members: tuple[MemberSpec, ...]
    settings: Settings


class RecordEvaluation(Command, frozen=True):
    """The leader's samples of one evaluation. `after` is the count of evaluations it has seen:
    a deposed leader's late samples are refused."""

    after: int
    samples: tuple[Measured, ...]
    echoes: tuple[Echo, ...]


class RenewLeases(Command, frozen=True):
    """Between evaluations: what the leader heard last of everyone."""

    echoes: tuple[Echo, ...]


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One node's change of role."""

    node: str
    origin: Role
    target: Role


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A rule that wanted to fire and was held back, with the reason (`decisions.Reason`)."""

    rule: Rule
    node: str
    reason: str
    facts: dict[str, int | str] = {}
    rejected: tuple[tuple[str, str], ...] = ()


class Motion(msgspec.Struct, frozen=True, array_like=True):
    """What the leader proposes to vote on: changes applied together or not at all.

    `evidence`: node → the risks of its history in ppm, newest last (-1 where missed).
    `epoch`: the seat epoch it was planned on. `rejected`: candidates passed over, with reasons.
    """

    rule: Rule
    changes: tuple[Change, ...]
    epoch: int
    evidence: dict[str, tuple[int, ...]]
    facts: dict[str, int | str] = {}
    rejected: tuple[tuple[str, str], ...] = ()


class AdoptPlan(Command, frozen=True):
    """What `evaluate_roles` returned on `revision`; refused when the state has moved on."""

    revision: int
    motions: tuple[Motion, ...]
    held: tuple[Held, ...]


class Observation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A voter's own view of one node: median risk (ppm) of the reports that it heard itself."""

    node: str
    reports: int
    risk: int


class CastVote(Command, frozen=True):
    """One elector's verdict. `grounds` names what decided it (`decisions.Reason` or a policy)."""

    proposal: int
    voter: str
    approve: bool
    grounds: str
    policy: str = ""
    evidence: tuple[Observation, ...] = ()


class Acknowledge(Command, frozen=True):
    """A target's answer to an action: enacted, or failed with a detail."""

    action: str
    node: str
    success: bool
    detail: str = ""


class AdvanceTime(Command, frozen=True):
    """Moves cluster time alone, so that what is due falls due (deadlines, handovers, expiries)."""


class Barrier(Command, frozen=True):
    """Changes nothing; whoever sees it applied has read everything committed before it."""


class Switchover(Command, frozen=True):
    """Operator: planned change of PRIMARY to a fit target (None: the best candidate)."""

    target: str | None = None


class Failover(Command, frozen=True):
    """Operator: change of PRIMARY even when it is unhealthy; `force` accepts an unfit target."""

    target: str
    force: bool = False


class Pause(Command, frozen=True):
    """Operator: no automatic changes for `duration` ms; always expires."""

    duration: int


class Resume(Command, frozen=True):
    """Operator: ends a pause."""


class SetMaintenance(Command, frozen=True):
    """Operator: drain a node for `duration` ms, or end its maintenance with 0."""

    node: str
    duration: int


class SetPriority(Command, frozen=True):
    """Operator: candidate order of a node, higher first; 0 = never PRIMARY. 0..1000."""

    node: str
    priority: int


class Policy(msgspec.Struct, frozen=True, array_like=True):
    """A node's local policy. `forbids`: patterns `[NODE:]ORIGIN->TARGET`, `*` for any part.

    `score` ppm; `expires_at` cluster ms or None; `set_at` cluster ms (0: from configuration).
    """

    name: str
    priority: str  # "safety" | "performance" | "availability"
    score: int
    forbids: tuple[str, ...]
    expires_at: int | None = None
    set_at: int = 0


class PutPolicy(Command, frozen=True):
    """Operator: add or replace, by name, a policy of one node; `lifetime` ms, 0 = no expiry."""

    node: str
    name: str
    priority: str
    score: int
    forbids: tuple[str, ...]
    lifetime: int = 0


class RemovePolicy(Command, frozen=True):
    """Operator: remove a policy of one node."""

    node: str
    name: str


class ChangeSettings(Command, frozen=True):
    """Operator: parsed changes (ms, ppm); refused as a whole when a relation would break."""

    changes: dict[str, int | bool]


class RunAction(Command, frozen=True):
    """Operator: have `targets` (empty: every alive node) run their hook for `name`."""

    name: str
    targets: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    deadline: int = 0  # ms; 0 = the setting


class AddMember(Command, frozen=True):
    """Operator: take a node in, as a learner until it has caught up."""

    member: MemberSpec


class RemoveMember(Command, frozen=True):
    """Operator: a node leaves for good; never the PRIMARY, never the majority."""

    node: str


class RecordMembers(Command, frozen=True):
    """Raft's new configuration, in the log entry that brings it into force."""

    voters: tuple[str, ...]
    learners: tuple[str, ...]


AnyCommand = (
    FoundCluster
    | RecordEvaluation
    | RenewLeases
    | AdoptPlan
    | CastVote
    | Acknowledge
    | AdvanceTime
    | Barrier
    | Switchover
    | Failover
    | Pause
    | Resume
    | SetMaintenance
    | SetPriority
    | PutPolicy
    | RemovePolicy
    | ChangeSettings
    | RunAction
    | AddMember
    | RemoveMember
    | RecordMembers
)


class Draft(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A command on its way to the leader.

    `key`: idempotency key and operation id, "" for internal commands (which are idempotent by
    their own preconditions). `actor` and `reason`: who asked, and why, for operators' commands.
    """

    command: AnyCommand
    key: str = ""
    actor: str = ""
    reason: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A draft as it stands in the log: stamped by the leader that appended it.

    `at`: cluster ms. `wall`: Unix ms of the leader, for display alone.
    """

    at: int
    wall: int
    draft: Draft
