"""The replicated state and its read-only queries. Only `apply` writes it.

Times are cluster milliseconds, risks parts per million. Every list and table has a limit, named
beside it. Mutable structs are owned by the state; frozen ones are records that never change.
Records kept by the ten thousand are of no concern to the garbage collector (`gc=False`): they
can be in no cycle, and looking at all of them at every full collection would hold up the loop.
"""

import enum
from typing import Any

import msgspec

from stationkeep.cluster.commands import Change, Policy
from stationkeep.cluster.deployments.book import Book
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.names import party
from stationkeep.cluster.rollouts.book import Rollouts
from stationkeep.cluster.settings import Settings
from stationkeep.cluster.state.decisions import Ballot, Decision
from stationkeep.cluster.state.operations import Operations
from stationkeep.cluster.transitions import Role, Rule

MAX_MEMBERS = 99
MAX_DECISIONS = 10_000
MAX_ROLE_CHANGES = 1_000
MAX_CLOSED_PROPOSALS = 200
MAX_CLOSED_ACTIONS = 200
MAX_OPEN_ACTIONS, MAX_OPEN_ACTIONS_OF_ONE = 100, 50
MAX_POLICIES_PER_NODE = 32
MAX_ACTIONS_PER_NODE = 64
"""Operators' actions that a node may have hooks for."""
MAX_EVIDENCE = 60
"""Newest samples of a node that a proposal or a decision quotes; a history may hold 1,000."""
MAX_WEBHOOKS = 32
MAX_TOKENS, MAX_TOKENS_OF_ONE = 1_000, 500
MAX_ADDRESSES = 8
"""From which a token was used."""
"""Ended ones counted in, which make room; and those of one actor, which are good."""
MAX_INVITATIONS, MAX_INVITATIONS_OF_ONE = 100, 50
"""The same of invitations; those of one actor, which are open."""
OVER = bytes(32)
"""Among those whom an invitation took in: in place of the key of one that is not answered again. No
key has this SHA-256."""
MAX_REVOKED = 1_000
"""Certificates that are revoked."""
MAX_CA_PEM = 8_192
"""Characters of a CA's certificate."""
MAX_DROPPED = 64
"""CAs that are trusted no more; the oldest is forgotten first."""
MAX_EXPOSED = 99
"""Members that left in foreign hands; the oldest is forgotten first."""
DEFAULT_PRIORITY = 100
MISSED = -1
"""Stands in evidence for a sample without reports (which counts as risk 1.0)."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One evaluation's view of one node. A missed sample has no reports and risk 1.0."""

    at: int
    risk: int
    reports: int
    cause: str = ""

    @property
    def missed(self) -> bool:
        return self.reports == 0

    @property
    def figure(self) -> int:
        """The risk as evidence shows it: ppm, or `MISSED`."""
        return MISSED if self.missed else self.risk


class Member(msgspec.Struct):
    """A member. `last_heard is None` means never heard of yet; a learner has no vote in Raft
    yet. Both are joining."""

    id: str
    raft: str
    http: str
    role: Role = Role.STANDBY
    role_changed_at: int | None = None  # None: never changed since it joined
    role_rule: str = ""
    history: list[Sample] = []  # newest last, at most settings.history_length
    run: int = 0  # consecutive unhealthy samples up to the newest
    run_since: int | None = None  # time of the run's first sample
    good_since: int | None = None  # first sample of the unbroken row below promotable_below
    healthy_since: int | None = None  # first sample of the unbroken healthy row
    last_heard: int | None = None
    boot: int = 0
    seq: int = 0
    lease_until: int = 0  # by then every lease echoed to this node is over, drift included
    recurrence: int = 0  # thousandths
    maintenance_until: int | None = None
    priority: int = DEFAULT_PRIORITY
    policies: dict[str, Policy] = {}
    escalated_by: str = ""  # action whose deadline it missed
    actions: tuple[str, ...] | None = None  # those it has hooks for, sorted; None: not said yet
    learner: bool = False
    unable: str = ""  # why it cannot do its part, by the newest sample that tells
    unable_since: int | None = None  # first sample of the unbroken row that said so
    doubts: dict[str, int] = {}  # alarm → evaluations in a row that speak against what it is
    release: str = ""  # what it runs, by its newest report that an evaluation counted
    highest: int = 0  # the highest level of that; 0: not reported yet
    upgraded_at: int | None = None  # evaluation that found another highest level than before

    @property
    def joining(self) -> bool:
        return self.last_heard is None or self.learner

    @property
    def risk(self) -> int:
        """Newest sample's risk; 1.0 when there is none."""
        return self.history[-1].risk if self.history else 1_000_000

    @property
    def evidence(self) -> tuple[int, ...]:
        """The newest samples as decisions quote them: ppm, or `MISSED`; newest last."""
        return tuple(sample.figure for sample in self.history[-MAX_EVIDENCE:])


class Seat(msgspec.Struct):
    """The PRIMARY seat. `epoch` rises by one at every change of holder and fences its orders.

    While `active` is false the holder waits: for `predecessor` to acknowledge its demotion, or
    for `fence_until`, when the predecessor's lease must be over.
    """

    holder: str | None = None
    epoch: int = 0
    active: bool = False
    predecessor: str | None = None
    fence_until: int = 0
    since: int = 0
    vacant_since: int | None = None  # first evaluation that found the seat empty
    failing_since: int | None = None  # first unhealthy sample of the failure being healed


class ProposalOutcome(enum.StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    OVERTAKEN = "overtaken"


class Proposal(msgspec.Struct):
    """A motion being voted on, or the record of one."""

    id: int
    rule: Rule
    changes: tuple[Change, ...]
    epoch: int
    evidence: dict[str, tuple[int, ...]]
    facts: dict[str, Any]
    rejected: tuple[tuple[str, str], ...]
    electorate: tuple[str, ...]
    quorum: int
    opened_at: int
    deadline: int
    ballots: dict[str, Ballot] = {}
    outcome: ProposalOutcome = ProposalOutcome.OPEN
    closed_at: int | None = None
    refusal: str = ""


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """One target's answer to an action."""

    success: bool
    detail: str
    at: int


class ActionOutcome(enum.StrEnum):
    OPEN = "open"
    COMPLIANT = "compliant"
    NONCOMPLIANT = "noncompliant"
    SUPERSEDED = "superseded"  # a later change of the same nodes came before the deadline


ROLE_CHANGE = "role_change"
"""Name of the action by which a change of roles is propagated."""


class Action(msgspec.Struct):
    """Something that `targets` must enact and acknowledge before `deadline`.

    A role change goes to every alive node: those in `changes` run their hook, the others
    acknowledge that they know. `epoch` is the seat epoch after the change.
    """

    id: str
    name: str
    targets: tuple[str, ...]
    epoch: int
    opened_at: int
    deadline: int
    changes: tuple[Change, ...] = ()
    parameters: dict[str, str] = {}
    reason: str = ""
    actor: str = ""
    acks: dict[str, Ack] = {}
    outcome: ActionOutcome = ActionOutcome.OPEN
    closed_at: int | None = None

    @property
    def compliance(self) -> int:
        """Acknowledged successes / targets, in ppm."""
        done = sum(ack.success for ack in self.acks.values())
        return 1_000_000 * done // len(self.targets) if self.targets else 1_000_000


class RoleChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the role history."""

    at: int
    wall: int
    index: int
    node: str
    origin: Role
    target: Role
    rule: Rule
    epoch: int
    proposal: int
    actor: str
    window: int  # the cool-down in force


class Acknowledgement(msgspec.Struct, frozen=True, array_like=True):
    """The operator who acknowledged an alarm, and the comment."""

    actor: str
    at: int
    comment: str


def alarm_id(name: str, subject: str = "") -> str:
    """`name`, or `name@node` of an alarm about a node."""
    return f"{name}@{subject}" if subject else name


class Alarm(msgspec.Struct, frozen=True):
    """Something an operator should look at; raised once, cleared once. `subject`: the node that
    it is about, empty when it is about the cluster. `wall`: Unix ms of its raising, for display."""

    name: str
    since: int
    detail: str
    subject: str = ""
    wall: int = 0
    acknowledged: Acknowledgement | None = None

    @property
    def id(self) -> str:
        return alarm_id(self.name, self.subject)


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """How far a webhook has received the decision log: the number of a decision, and when.

    `missed`: the newest decision that was forgotten before the webhook received it; `confessed`: up
    to which decision it has been informed that it missed some.
    """

    upto: int
    at: int
    missed: int = 0
    confessed: int = 0


class Access(enum.StrEnum):
    """What a token opens: of the first three each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    METRICS = "metrics"
    DEVICE = "device"
    ENROL = "enrol"


class Token(msgspec.Struct, frozen=True):
    """Whoever proves to have the secret of which `hash` is the SHA-256 is `actor`, and may do what
    `role` may. `created_at`: cluster ms; `wall`, `expires_wall`: Unix ms, since it is good for a
    time of people; None: until it is revoked. `ids`: the device that it speaks for or enrols, or
    those whose ids begin so (`begin*`); "" where the role has none. `person`: as whom it approves.
    `limit`: how many devices one enrols at most, `used`: how many it has, `labels`: what they have
    from it. `seen`: from where it was used, and when last (Unix ms), to the day. An ended one is
    kept to be told apart from one that never was.
    """

    id: str
    name: str
    role: Access
    hash: bytes
    created_at: int
    wall: int
    created_by: str
    expires_wall: int | None = None
    ids: str = ""
    revoked_at: int | None = None
    person: str = ""
    limit: int = 0
    used: int = 0
    labels: dict[str, str] = {}
    seen: dict[str, int] = {}

    @property
    def actor(self) -> str:
        return f"{self.name}#{self.id}"

    def expired(self, wall: int) -> bool:
        """Whether its time is over at `wall`, Unix ms."""
        return self.expires_wall is not None and self.expires_wall <= wall

    def good(self, wall: int) -> bool:
        """Whether it opens anything at `wall`, Unix ms."""
        return self.revoked_at is None and not self.expired(wall)


def person(state: "ClusterState", actor: str) -> str:
    """As whom an actor approves, to be compared with others: whoever makes a token by one of theirs
    sees its secret, and could use it as well. So it approves as they do; made on the machine of a
    node, or by its own name, as itself."""
    token = state.tokens.get(actor.partition("#")[2])
    return party(token.person if token is not None else actor)


class Invitation(msgspec.Struct, frozen=True):
    """Whoever proves to have the secret of which `hash` is the SHA-256 may become a member. `uses`:
    how many may; `taken`: who did, by id, and the SHA-256 of the public key of each. `node`: the
    only id under which one may come, "" for any. `created_at`: cluster ms; `wall`, `expires_wall`:
    Unix ms. One that has ended is kept as long as there is room: who was taken in by it may have to
    ask again."""

    id: str
    hash: bytes
    uses: int
    node: str
    created_at: int
    wall: int
    created_by: str
    expires_wall: int
    taken: dict[str, bytes] = {}
    revoked_at: int | None = None

    @property
    def actor(self) -> str:
        return f"invitation#{self.id}"

    def expired(self, wall: int) -> bool:
        """Whether its time is over at `wall`, Unix ms."""
        return self.expires_wall <= wall

    @property
    def used_up(self) -> bool:
        return len(self.taken) >= self.uses

    def open(self, wall: int) -> bool:
        """Whether it takes in anybody else at `wall`, Unix ms."""
        return self.revoked_at is None and not self.expired(wall) and not self.used_up


class CaPhase(enum.StrEnum):
    """How far the replacement of a CA is."""

    TRUSTING = "trusting"
    ISSUING = "issuing"
    OVER = "over"
    ABORTED = "aborted"


class CaStep(enum.StrEnum):
    """How far a member is with it."""

    TRUSTS = "trusts"
    SHOWS = "shows"


class CaRotation(msgspec.Struct, frozen=True):
    """A second CA, its pin and its certificate, that takes the place of the `first`, by their pins.
    `began_at`, `trusted_at`: cluster ms; the latter when all members trusted both for the first
    time. `reached`: how far each member is. The last one is kept when it is over: a member that was
    away has to catch up with it."""

    pin: str
    pem: str
    first: tuple[str, ...]
    phase: CaPhase = CaPhase.TRUSTING
    began_at: int = 0
    trusted_at: int | None = None
    reached: dict[str, CaStep] = {}

    @property
    def under_way(self) -> bool:
        return self.phase in (CaPhase.TRUSTING, CaPhase.ISSUING)


class PauseWindow(msgspec.Struct, frozen=True):
    """No automatic changes before `until`, cluster ms."""

    until: int
    actor: str
    reason: str


class Counters(msgspec.Struct):
    """Totals since the cluster was born; replicated, so that a new leader continues them."""

    role_changes: dict[str, int] = {}  # "ORIGIN>TARGET>rule"
    proposals: dict[str, int] = {}  # outcome
    votes: dict[str, int] = {}  # "approve" | "deny"
    flapping_blocked: dict[str, int] = {}  # "hysteresis" | "cooldown"
    failover_ms: list[int] = []  # newest last, at most MAX_FAILOVERS
    failovers: int = 0
    failover_ms_total: int = 0
    failover_buckets: dict[str, int] = {}  # cumulative, upper bound in seconds as text
    ring_moves: dict[str, int] = {}  # "from>to>reason", "" as from: a registration
    refused: dict[str, int] = {}  # orders, by `decisions.Reason`
    task_transitions: dict[str, int] = {}  # "from>to>reason" of `lifecycle`
    rollbacks: dict[str, int] = {}  # `ROLLBACKS`


ROLLBACKS = ("complete", "incomplete")
"""How rollbacks end: every device is back, or some were not."""
FAILOVER_BUCKETS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 30, 60, 120, 180, 240, 300, 600)
MAX_FAILOVERS = 1_000


class ClusterState(msgspec.Struct):
    """Everything the nodes agree on."""

    cluster_id: str = ""
    uid: str = ""  # drawn at the founding: tells it from others of its name
    level: int = 1  # of the commands that may be ordered, and of snapshots (`levels`)
    release: str = ""  # one that has that level
    time: int = 0
    wall: int = 0
    index: int = 0  # applied index
    revision: int = 0  # rises whenever something that a plan looks at has changed
    evaluations: int = 0
    evaluated_at: int | None = None
    settings: Settings = Settings()
    members: dict[str, Member] = {}
    seat: Seat = msgspec.field(default_factory=Seat)
    proposals: dict[int, Proposal] = {}  # open ones
    closed_proposals: list[Proposal] = []
    proposals_opened: int = 0
    actions: dict[str, Action] = {}  # open ones
    closed_actions: list[Action] = []
    actions_opened: int = 0
    decisions: list[Decision] = []
    decisions_made: int = 0
    forgotten: dict[str, int] = {}  # `decisions.Kind` → newest decision that made room
    role_changes: list[RoleChange] = []
    operations: Operations = msgspec.field(default_factory=Operations)
    alarms: dict[str, Alarm] = {}  # by id, in the order of their raising
    holds: dict[str, str] = {}  # "rule|node" → reason, of the episodes going on
    pause: PauseWindow | None = None
    braked: bool = False
    counters: Counters = msgspec.field(default_factory=Counters)
    fleet: Fleet = msgspec.field(default_factory=Fleet)
    deliveries: dict[str, Delivery] = {}  # webhook → how far it has been told
    deployments: Book = msgspec.field(default_factory=Book)
    rollouts: Rollouts = msgspec.field(default_factory=Rollouts)
    tokens: dict[str, Token] = {}  # by id, in the order of their creation
    invitations: dict[str, Invitation] = {}  # the same
    revoked: dict[str, int] = {}  # serial numbers of certificates, and cluster ms
    rotation: CaRotation | None = None  # of the CA
    dropped: dict[str, int] = {}  # pins of CAs that nobody trusts any more, and cluster ms
    exposed: dict[str, int] = {}  # who left in foreign hands, and cluster ms, until another CA

    @property
    def founded(self) -> bool:
        return bool(self.cluster_id)

    @property
    def primary(self) -> Member | None:
        return self.members[self.seat.holder] if self.seat.holder is not None else None
