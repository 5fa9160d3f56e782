"""The closed union of everything that may enter the replicated log.

A proposer writes a `Draft`; the Raft leader stamps it with cluster time when it appends it
(`codec.stamp`), and every replica reads it back as an `Entry`. Times are integer milliseconds
of cluster time, risks integer parts per million.
Commands are encoded as arrays, and once released they never change (`levels`).
"""

import msgspec

from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import REQUIRE, Limits, Target
from stationkeep.cluster.devices.policies import RingPolicy
from stationkeep.cluster.devices.rings import Four, Ring
from stationkeep.cluster.devices.status import Condition, HealthRule, Reading
from stationkeep.cluster.rollouts.plan import Plan
from stationkeep.cluster.settings import Settings, Stored
from stationkeep.cluster.transitions import Role, Rule

MAX_BATCH = 8_192
"""Rows of one command about devices: a batch of them stays below `codec.MAX_DRAFT_BYTES`."""
MAX_REGISTRATIONS = 256


class Command(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Base of all commands."""


class MemberSpec(msgspec.Struct, frozen=True, array_like=True):
    """A member as configured: id and the addresses (`host:port`) others reach it by."""

    id: str
    raft: str
    """Address at which the other members reach it."""
    http: str
    """Address at which clients reach it."""


class Complaint(msgspec.Struct, frozen=True, array_like=True):
    """A problem of a member that is no risk yet: an alarm's name, and the figures."""

    name: str
    detail: str


class Measured(msgspec.Struct, frozen=True, array_like=True):
    """One node's sample at one evaluation: the median of the reports received, or missed.

    `risk` is ppm; when `reports` is 0 the sample is missed and counts as risk 1.0. `complaints`:
    the problems in the node's newest report (`alarms.SELF_REPORTED`); None when the leader received
    no report from the node itself. `unable`: why it cannot do its part however healthy it is,
    according to most reports; "" when it can. `release`, `highest`: what the node runs, and its
    highest level; 0 when the leader received no report from the node itself.
    """

    node: str
    reports: int
    risk: int
    cause: str = ""
    recurrence: int = 0  # thousandths, 0..10_000
    complaints: tuple[Complaint, ...] | None = None
    unable: str = ""
    release: str = ""
    highest: int = 0


class Echo(msgspec.Struct, frozen=True, array_like=True):
    """The newest report of a node that the leader knows of, directly or through a peer.

    `received_at` is the cluster time at which the leader learned of it, never earlier than the
    moment the node sent it: a lease counted from here ends no sooner than the node's own.
    `renews`: whether it renews the node's lease, or only shows that a report of it arrived.
    """

    node: str
    boot: int
    seq: int
    received_at: int
    renews: bool = True


class FoundCluster(Command, frozen=True):
    """Birth of the cluster, at a `level` that came with `release`; only the first one ever applied
    has an effect. `uid`: 16 hex digits drawn for it, by which it is told from another cluster of
    the same name."""

    cluster_id: str
    members: tuple[MemberSpec, ...]
    settings: Settings
    level: int
    release: str
    uid: str


class RecordEvaluation(Command, frozen=True):
    """The leader's samples of one evaluation. `after` is the count of evaluations it has seen:
    a deposed leader's late samples are refused."""

    after: int
    samples: tuple[Measured, ...]
    echoes: tuple[Echo, ...]


class RenewLeases(Command, frozen=True):
    """Between evaluations: the newest report of each node that the leader knows of."""

    echoes: tuple[Echo, ...]


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One node's change of role."""

    node: str
    origin: Role
    target: Role


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A rule that applied and was held back, with the reason (`decisions.Reason`)."""

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
    """A voter's own view of one node: median risk (ppm) of the reports that it received itself."""

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
    """Advances cluster time, so that what is due is processed (deadlines, handovers, expiries)."""


class Barrier(Command, frozen=True):
    """Changes nothing; a node that has applied it has applied everything committed before it."""


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
    """Its name, by which denials and orders of operators call it."""
    priority: str
    """Safety beats the others; between those the score counts, times the weight of the priority."""
    score: int
    """How much it counts."""
    forbids: tuple[str, ...]
    """The changes that it forbids."""
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

    changes: dict[str, Stored]


class RunAction(Command, frozen=True):
    """Operator: have `targets` (empty: every alive node) run their hook for `name`."""

    name: str
    targets: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    deadline: int = 0  # ms; 0 = the setting


class AnnounceActions(Command, frozen=True):
    """A node: the operators' actions that it has a hook for, by name; replaces its older list."""

    node: str
    names: tuple[str, ...]


class AddMember(Command, frozen=True):
    """Operator: take a node in, as a learner until it has caught up."""

    member: MemberSpec


class RemoveMember(Command, frozen=True):
    """Operator: a node leaves for good; never the PRIMARY, never the majority. `compromised`: its
    machine may be in foreign hands."""

    node: str
    compromised: bool = False


class MoveMember(Command, frozen=True):
    """A member, or an operator: where a member is reached from now on."""

    member: MemberSpec


class RaiseLevel(Command, frozen=True):
    """The leader, or an operator: commands up to this level may be ordered from now on, and no
    release that lacks it can follow. `release`: one that has it, for those to read that have not.
    Its form never changes."""

    level: int
    release: str


class RecordMembers(Command, frozen=True):
    """Raft's new configuration, in the log entry that brings it into force."""

    voters: tuple[str, ...]
    learners: tuple[str, ...]


class Registration(msgspec.Struct, frozen=True, array_like=True):
    """One device as its agent presents it. `session` is the agent's and rises at each of its
    starts, `sequence` rises by message within it (both u32). `healthy`: the node's judgement of
    `reading` by the rule in force; a device without a reading counts as healthy. `credential`: the
    SHA-256 of the secret by which it came, if that is its own; with `enrolment`, the token by which
    it came, that of the secret which is to be its own from now on."""

    id: str
    name: str = ""
    os_version: str = ""
    app_version: str = ""
    capabilities: dict[str, str] = {}
    labels: dict[str, str] = {}
    session: int = 0
    sequence: int = 0
    reading: Reading | None = None
    healthy: bool = True
    credential: bytes = b""
    enrolment: str = ""


class RegisterDevices(Command, frozen=True):
    """A node: devices that registered with it, at most `MAX_REGISTRATIONS`.

    Result, by position: `rows` (-1: refused), `births`, `rings` ("": refused); `refused`:
    position as text → why. A known id keeps its row, ring and pin; an older session of it is
    refused, a repeated (session, sequence) is answered and changes nothing.
    """

    node: str
    devices: tuple[Registration, ...]


class MetricColumn(msgspec.Struct, frozen=True, array_like=True):
    """One custom metric of some rows of a batch: `positions` u32 into the batch, strictly
    ascending, `values` i32 in thousandths."""

    name: str
    positions: bytes
    values: bytes


class ReportDevices(Command, frozen=True):
    """A node: the statuses of its devices since its last flush, as little-endian columns.

    At most `MAX_BATCH` rows, strictly ascending. A row counts when its birth and session are
    those of the table and its sequence is newer; others are left out one by one. `bits`: how the
    statuses of this batch were judged, the newest in the lowest bit, 1 healthy; `counts`: how
    many there were, 0..8 (0: a heartbeat, which tells of presence alone).
    """

    node: str
    rows: bytes  # u32
    births: bytes  # u32
    sessions: bytes  # u32
    sequences: bytes  # u32
    battery: bytes  # u8, percent
    charging: bytes  # u8, 0 or 1
    cpu: bytes  # u16, hundredths of a percent, as the next two
    memory: bytes
    disk: bytes
    bits: bytes  # u8
    counts: bytes  # u8
    metrics: tuple[MetricColumn, ...] = ()


class MarkOffline(Command, frozen=True):
    """The leader: rows (u32, strictly ascending) that have been silent for `device_offline_after`.
    Apply checks each again."""

    rows: bytes
    births: bytes  # u32


class RecordRebalance(Command, frozen=True):
    """The leader: one part of a check of the rings, as an explicit list of moves.

    `after`: the count of checks it was planned on; while `more` is true the check goes on in
    further parts under the same number. Rows u32 strictly ascending within a part, at most
    `MAX_BATCH`; revisions u32; rings u8; reasons u8 (`moves.MoveReason` codes). A move whose
    device changed since is left out.
    """

    after: int
    more: bool
    rows: bytes
    revisions: bytes
    rings: bytes
    reasons: bytes


class AssignRing(Command, frozen=True):
    """Operator: pin a device to a ring; `lifetime` ms, 0 = until released."""

    device: str
    ring: Ring
    lifetime: int = 0


class ReleaseRing(Command, frozen=True):
    """Operator: end a device's pin; it stays where it is until something moves it."""

    device: str


class RemoveDevice(Command, frozen=True):
    """Operator: forget a device; its row is given to another."""

    device: str


class RevokeCredential(Command, frozen=True):
    """Operator: end a device's own credential. The device cannot enrol again until it is reset."""

    device: str


class ResetCredential(Command, frozen=True):
    """Operator: end a device's own credential, if it has one, and take in whoever enrols under its
    id next."""

    device: str


class SetRingShares(Command, frozen=True):
    """Operator: how the fleet is shared among CANARY, DEV, STAGE and PROD. `caps`: the most
    devices that a ring takes, 0 = no cap, None = as it stands."""

    weights: Four
    caps: tuple[int | None, int | None, int | None, int | None] = (0, 0, 0, 0)


class SetHealthRule(Command, frozen=True):
    """Operator: when a status is healthy; statuses judged before keep their judgement.
    `reported_only`: refused when it names a metric that no device has reported."""

    conditions: tuple[Condition, ...]
    charging_excuses_battery: bool = False
    reported_only: bool = False


class SetRingPolicies(Command, frozen=True):
    """Operator: the ordered ring policies, replacing those there were. Refused when those are not
    the ones of `version` (`cluster.devices.policies.version_of`); "": replacing whatever stands."""

    policies: tuple[RingPolicy, ...]
    version: str = ""


class ReleaseBrake(Command, frozen=True):
    """Operator: automatic moves go on although many devices turned unhealthy at once."""


class RequestRebalance(Command, frozen=True):
    """Operator: the leader checks the rings at once."""


class CreateDeployment(Command, frozen=True):
    """Operator: have devices do something, and install `artifact` if there is one. `require`: what
    the newest status of a device must meet when its task is offered, None: nothing. Devices that
    run a newer version are passed over unless `allow_downgrade`.

    Result: `deployment`, its number, and devices by what they begin as: `members`, of them
    `already_installed` and `newer_installed`; `incapable` ones are no members.
    """

    target: Target
    task_type: str = "deployment"
    parameters: dict[str, str] = {}
    artifact: Artifact | None = None
    priority: int = 500
    limits: Limits = Limits()
    require: HealthRule | None = REQUIRE
    allow_downgrade: bool = False


class CancelDeployment(Command, frozen=True):
    """Operator: no task begins any more, and devices that have begun may still cancel."""

    deployment: int


class RetryTasks(Command, frozen=True):
    """Operator: another attempt for tasks that failed, timed out or were unreached; of `devices`,
    or of all (empty). A closed deployment whose roster is kept opens again."""

    deployment: int
    devices: tuple[str, ...] = ()


class OfferTasks(Command, frozen=True):
    """The leader: tasks of one deployment to be offered to devices. `positions` u32 in its roster,
    strictly ascending, at most `MAX_BATCH`; `attempts` u8. Apply checks each again, and leaves out
    those that may not be offered now."""

    deployment: int
    positions: bytes
    attempts: bytes


class ExpireTasks(Command, frozen=True):
    """The leader: tasks of one deployment whose wait is over, as columns of `OfferTasks`. Each is
    checked again."""

    deployment: int
    positions: bytes
    attempts: bytes


class TaskNote(msgspec.Struct, frozen=True, array_like=True):
    """Further details of a few rows of a batch: `position` in it, `detail` of a failure (at most
    200 characters), `retry_after` s of a postponement, 0 if it does not say."""

    position: int
    detail: str = ""
    retry_after: int = 0


class ReportTasks(Command, frozen=True):
    """A node: what its devices say of their tasks, one word a device, as columns like those of
    `ReportDevices`; at most `MAX_BATCH` rows, strictly ascending.

    `words`, `phases`, `reasons`: codes of `lifecycle.Word`, `Phase` and `TaskReason`; `progress`:
    percent. Phase and progress count with `in_progress`, the reason with `failed` and `rejected`.
    Result: `answers`, the code of an `Answer` for each row.
    """

    node: str
    rows: bytes  # u32
    births: bytes  # u32
    deployments: bytes  # u32
    attempts: bytes  # u8
    words: bytes  # u8
    phases: bytes  # u8
    progress: bytes  # u8
    reasons: bytes  # u8
    notes: tuple[TaskNote, ...] = ()


class CreateRollout(Command, frozen=True):
    """Operator: lay down what a rollout is to do; nothing begins. While nothing has begun a name
    may be given again: with another plan, which voids what was approved (`replace`)."""

    rollout: str
    plan: Plan
    replace: bool = False


class RolloutOrder(Command, frozen=True):
    """Base of orders about one rollout. `revision`: refused unless it is still the one that whoever
    orders has seen; None: whatever it is by now."""

    rollout: str
    revision: int | None = None


class StartRollout(RolloutOrder, frozen=True):
    """Operator: begin, once it is approved. `force`: although its artifact is blocked."""

    force: bool = False


class ApproveRollout(RolloutOrder, frozen=True):
    """Operator: grant its start, or what a stage has come to (`stage`). `digest`: of the plan that
    was seen; another voids the approval."""

    digest: str = ""
    stage: str = ""


class PauseRollout(RolloutOrder, frozen=True):
    """Operator: begin nothing more. `duration` ms after which it goes on by itself; 0: until it is
    resumed, and aborted if nobody does for a week."""

    duration: int = 0


class ResumeRollout(RolloutOrder, frozen=True):
    """Operator: go on; stages that are inconclusive are watched for another soak."""


class PromoteRollout(RolloutOrder, frozen=True):
    """Operator: the stage that is judged has passed. `force`: one that still deploys, which then
    goes on beside the next, or one that failed. `variant`: the later stages get this one alone."""

    variant: str = ""
    force: bool = False


class AbortRollout(RolloutOrder, frozen=True):
    """Operator: end it; who is updated stays so."""


class RollBackRollout(RolloutOrder, frozen=True):
    """Operator: have every device run again what it ran before."""


class SetFreeze(Command, frozen=True):
    """Operator: nothing new is installed for `duration` ms on the devices of these rings (none: of
    all) that the selector matches. Replaces the freeze of that name."""

    freeze: str
    duration: int
    rings: tuple[Ring, ...] = ()
    selector: str = ""


class LiftFreeze(Command, frozen=True):
    """Operator: end a freeze."""

    freeze: str


class UnblockArtifact(Command, frozen=True):
    """Operator: allow what a gate was proven broken with; `sha256` "": whatever file it was."""

    component: str
    version: str
    sha256: str = ""


class OpenStage(Command, frozen=True):
    """The leader: the stage at this place opens to whoever belongs to it then. Refused when the
    rollout has changed since `revision`."""

    rollout: str
    revision: int
    stage: int


class AdvanceRollout(Command, frozen=True):
    """The leader: something that the rollout waited for has come about, `progression.advance.Due`.
    Apply looks for itself whether it has, and what follows."""

    rollout: str
    revision: int
    due: str


class CheckRollouts(Command, frozen=True):
    """The leader: look at the devices of all stages, and judge them. `after`: the count of checks
    that it knows of."""

    after: int


class RecordGate(Command, frozen=True):
    """The leader: what a stage's webhook answered."""

    rollout: str
    revision: int
    stage: str
    passed: bool
    detail: str = ""


class AcknowledgeAlarm(Command, frozen=True):
    """Operator: acknowledges an alarm by its id, or all raised alarms of a name."""

    alarm: str


class RecordDelivery(Command, frozen=True):
    """The leader: a webhook has received every decision up to the number `upto`, except some up to
    `missed`, which were forgotten before; it has been informed of those up to `confessed`."""

    webhook: str
    upto: int
    missed: int = 0
    confessed: int = 0


class CreateToken(Command, frozen=True):
    """Operator: whoever proves to have the secret of which `hash` is the SHA-256 may do from now on
    what `role` (one of `Access`) may. `lifetime` ms of wall time, 0: until it is revoked. `ids`:
    for which devices a token of that role speaks, or which it enrols, `limit` of them at most, with
    these `labels`.
    `replaces`: the token of the same name and role that ends `overlap` ms later."""

    token: str
    name: str
    role: str
    hash: bytes
    lifetime: int = 0
    ids: str = ""
    replaces: str = ""
    overlap: int = 0
    limit: int = 0
    labels: dict[str, str] = {}


class RevokeToken(Command, frozen=True):
    """Operator: end a token."""

    token: str


class Use(msgspec.Struct, frozen=True, array_like=True):
    """Of a token, and the address from which; of IPv6 the network, of which one machine has all."""

    token: str
    address: str


class NoteAccess(Command, frozen=True):
    """A member: tokens that were used, each from one address once a day, and an address from which
    wrong ones were shown again and again."""

    uses: tuple[Use, ...]
    guesses: tuple[str, ...] = ()


class RevokeCertificate(Command, frozen=True):
    """Operator: no member accepts the certificate with this serial number (hexadecimal) any more.
    For good: its node, if it stays a member, has another one issued."""

    serial: str


class TrustCa(Command, frozen=True):
    """Operator: a second CA is to take the place of others, the `first`. All are named by their
    pins, the SHA-256 of their public keys (`sha256:…`); `pem`: the certificate of the second."""

    pin: str
    pem: str
    first: tuple[str, ...]


class FollowCa(Command, frozen=True):
    """A member: whether it `trusts` the second CA, and can issue by it if it could by the first; or
    `shows` a certificate of it; "": neither, any more."""

    node: str
    pin: str
    step: str


class SwitchCa(Command, frozen=True):
    """Operator: the second CA issues from now on, and the first goes when no member needs it any
    more. `leave_behind`: devices that may not have been told. `pin` "": whichever it is."""

    pin: str = ""
    leave_behind: int = 0


class AbortCa(Command, frozen=True):
    """Operator: one step back from replacing the CA."""

    pin: str = ""


class Invite(Command, frozen=True):
    """Operator: whoever proves to have the secret of which `hash` is the SHA-256 may become a
    member, so many (`uses`) within `lifetime` ms of wall time. `node`: the only id under which one
    may, "": any that is free."""

    invitation: str
    hash: bytes
    uses: int
    lifetime: int
    node: str = ""


class AcceptInvitation(Command, frozen=True):
    """A newcomer that has proven an invitation's secret becomes a member. `key`: the SHA-256 of its
    public key; who comes again with it is the same, and uses up nothing. `lowest`, `highest`: the
    levels that its release has."""

    invitation: str
    member: MemberSpec
    key: bytes
    lowest: int
    highest: int


class RevokeInvitation(Command, frozen=True):
    """Operator: end an invitation. Who was taken in by it stays."""

    invitation: str


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
    | AnnounceActions
    | AddMember
    | RemoveMember
    | MoveMember
    | RaiseLevel
    | RecordMembers
    | RegisterDevices
    | ReportDevices
    | MarkOffline
    | RecordRebalance
    | AssignRing
    | ReleaseRing
    | RemoveDevice
    | RevokeCredential
    | ResetCredential
    | SetRingShares
    | SetHealthRule
    | SetRingPolicies
    | ReleaseBrake
    | RequestRebalance
    | CreateDeployment
    | CancelDeployment
    | RetryTasks
    | OfferTasks
    | ExpireTasks
    | ReportTasks
    | CreateRollout
    | StartRollout
    | ApproveRollout
    | PauseRollout
    | ResumeRollout
    | PromoteRollout
    | AbortRollout
    | RollBackRollout
    | SetFreeze
    | LiftFreeze
    | UnblockArtifact
    | OpenStage
    | AdvanceRollout
    | CheckRollouts
    | RecordGate
    | AcknowledgeAlarm
    | RecordDelivery
    | CreateToken
    | RevokeToken
    | NoteAccess
    | RevokeCertificate
    | TrustCa
    | FollowCa
    | SwitchCa
    | AbortCa
    | Invite
    | AcceptInvitation
    | RevokeInvitation
)


class Draft(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A command on its way to the leader.

    `key`: idempotency key and operation id, "" for internal commands (which are idempotent by
    their own preconditions). `actor` and `reason`: who asked, and why, for operators' commands;
    `origin`: from where, as the node saw it that took the order. `claim`: on whose behalf, where a
    token says who asks; it is what the client says, and nobody has checked it.
    """

    command: AnyCommand
    key: str = ""
    actor: str = ""
    reason: str = ""
    origin: str = ""
    claim: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A draft as it stands in the log: stamped by the leader that appended it.

    `at`: cluster ms. `wall`: Unix ms of the leader, for display alone.
    """

    at: int
    wall: int
    draft: Draft
