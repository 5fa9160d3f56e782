"""Decisions: what was done or held back, on which evidence, and how to say it in a sentence.

A decision carries codes and figures, never prose: the same record is rendered for a terminal,
filtered by the API and asserted by tests. `sentence` is the only place where it becomes English.
"""

import enum
from collections import Counter
from typing import Any

import msgspec

from stationkeep.cluster.commands import Change, Observation


class Outcome(enum.StrEnum):
    """What became of the matter."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    OVERTAKEN = "overtaken"  # approved, but the world had changed: refused by apply
    HELD = "held"
    DONE = "done"  # an operator's command
    REFUSED = "refused"  # an operator's command that a rule forbids; only in older logs
    NOTED = "noted"  # the cluster's own book-keeping: escalations, handovers, fencing, alarms


class Reason(enum.StrEnum):
    """Why something was held back, refused, denied or left out."""

    COOLDOWN = "cooldown"
    PAUSED = "paused"  # or swarm_mode off
    BRAKE = "brake"
    MAINTENANCE = "maintenance"
    NO_CANDIDATE = "no_candidate"
    SEAT_BUSY = "seat_busy"  # a proposal already touches the PRIMARY seat
    NODE_BUSY = "node_busy"  # a proposal already touches this node
    HANDOVER = "handover"  # the seat waits for its former holder
    PRIMARY_UNHEALTHY = "primary_unhealthy"
    NOT_ALIVE = "not_alive"
    JOINING = "joining"
    UNHEALTHY = "unhealthy"
    UNABLE = "unable"  # behind, or fenced in its seat
    RISK_ABOVE_CEILING = "risk_above_ceiling"
    PRIORITY_ZERO = "priority_zero"
    ESCALATED = "escalated"  # it failed at the same action
    NOT_A_CANDIDATE_ROLE = "not_a_candidate_role"
    IS_PRIMARY = "is_primary"
    NO_PRIMARY = "no_primary"
    UNKNOWN_NODE = "unknown_node"
    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_ALARM = "unknown_alarm"
    UNKNOWN_DEPLOYMENT = "unknown_deployment"
    UNKNOWN_ACTION = "unknown_action"  # a target has no hook of that name
    STALE_REVISION = "stale_revision"
    STALE_ROLE = "stale_role"
    STALE_EPOCH = "stale_epoch"
    ILLEGAL_TRANSITION = "illegal_transition"
    INVALID = "invalid"
    SETTINGS = "settings"
    NOT_FOUNDED = "not_founded"
    ALREADY_FOUNDED = "already_founded"
    CLOSED = "closed"
    NOT_AN_ELECTOR = "not_an_elector"
    NOT_A_TARGET = "not_a_target"
    DUPLICATE = "duplicate"
    LIMIT = "limit"
    QUOTA = "quota"  # this actor has used up its share of what all need
    NOT_IN_STATE = "not_in_state"  # what it is about is over, or has not begun
    INCAPABLE = "incapable"  # no device of the target can carry out tasks
    ARTIFACT_DIFFERS = "artifact_differs"  # the same version is known with another hash
    UNKNOWN_ROLLOUT = "unknown_rollout"
    UNKNOWN_FREEZE = "unknown_freeze"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - a word
    REVOKED = "revoked"  # who ordered it may do so no more
    UNKNOWN_INVITATION = "unknown_invitation"
    OVERLAPS = "overlaps"  # another rollout does the same to the same devices
    ARTIFACT_BLOCKED = "artifact_blocked"  # a gate was proven broken with it
    DIGEST_CHANGED = "digest_changed"  # another plan was seen than there is
    SELF_APPROVAL = "self_approval"
    FROZEN = "frozen"
    PROMOTE_WHILE_DEPLOYING = "promote_while_deploying"
    ROLLBACK_GONE = "rollback_gone"  # nobody knows any more who ran what
    QUORUM = "quorum"  # those who stay would be too few
    LEVEL = "level"  # not all members have a release that could do it
    # grounds of votes
    OBSERVATIONS_AGREE = "observations_agree"
    HEARD_HEALTHY = "heard_healthy"  # a node said to have failed
    HEARD_NO_HEALTH = "heard_no_health"  # of the node to be promoted
    POLICY = "policy"


class Ballot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A vote as remembered by its proposal and shown in decisions."""

    voter: str
    approve: bool
    grounds: str
    policy: str
    evidence: tuple[Observation, ...]
    at: int


class Decision(msgspec.Struct, frozen=True, gc=False):
    """One line of the decision log.

    `matter`: a `Rule`, or the name of an operator's command or of book-keeping ("pause",
    "escalation", "handover", "fencing", "alarm"). `evidence`: node → risks in ppm, newest
    last (-1: missed). `rejected`: (node, Reason) pairs passed over. Times in ms. `actor`,
    `origin`: whose order it was, and from where; `claim`: on whose behalf, as they say. `kind`: a
    `Kind`; "" in older logs.
    """

    id: int
    index: int
    at: int
    wall: int
    matter: str
    outcome: Outcome
    subjects: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    reason: str = ""
    evidence: dict[str, tuple[int, ...]] = {}
    facts: dict[str, Any] = {}
    rejected: tuple[tuple[str, str], ...] = ()
    ballots: tuple[Ballot, ...] = ()
    proposal: int = 0
    actor: str = ""
    comment: str = ""
    key: str = ""
    origin: str = ""
    kind: str = ""
    claim: str = ""


class Kind(enum.StrEnum):
    """What the log sorts decisions by, so that none can push out all others."""

    ROLES = "roles"  # who holds which role
    ALARMS = "alarms"
    ORDERS = "orders"  # of operators, which change no role
    COUNSEL = "counsel"  # proposals, and what was held back
    ROLLOUTS = "rollouts"  # versions on their way, freezes and blocks
    BOOK = "book"  # everything else: the cluster's own book-keeping


SHARES = {
    Kind.ROLES: 25, Kind.ALARMS: 20, Kind.ORDERS: 15, Kind.COUNSEL: 15, Kind.ROLLOUTS: 15,
    Kind.BOOK: 10,
}  # fmt: skip
"""Percent of the log that a kind cannot lose to others; what one leaves free, others may use."""
_COUNSEL = frozenset(
    {Outcome.PROPOSED, Outcome.DENIED, Outcome.TIMED_OUT, Outcome.OVERTAKEN, Outcome.HELD}
)


OF_ROLLOUTS = frozenset({
    "create_rollout", "rollout", "stage", "approve_rollout", "promote_rollout", "webhook_gate",
    "strays", "set_freeze", "lift_freeze", "unblock_artifact",
})  # fmt: skip


def kind_of(decision: Decision) -> Kind:
    """The kind of a decision."""
    if decision.matter == "alarm":
        return Kind.ALARMS
    if decision.matter in OF_ROLLOUTS:
        return Kind.ROLLOUTS
    done = decision.outcome in (Outcome.APPROVED, Outcome.DONE)
    if decision.matter == "handover" or (done and decision.changes):
        return Kind.ROLES
    if decision.outcome in _COUNSEL:
        return Kind.COUNSEL
    return Kind.ORDERS if decision.actor or decision.key else Kind.BOOK


def make_room(decisions: list[Decision], forgotten: dict[str, int], most: int) -> None:
    """Shortens a log that is longer than `most`: drops the oldest decisions of the kind that is
    farthest above its share. `forgotten` notes the newest one dropped of each kind.

    A hundredth goes at once, because looking for them takes a pass over the whole log. But no more
    than what is above its share, unless it is the kind that just grew: that makes room for itself.
    """
    if len(decisions) <= most:
        return
    kinds = [decision.kind or kind_of(decision).value for decision in decisions]
    count = Counter(kinds)
    above = {kind: count[kind.value] - most * share // 100 for kind, share in SHARES.items()}
    kind = max(above, key=lambda kind: above[kind])
    hundredth = max(1, most // 100)
    enough = hundredth if kinds[-1] == kind.value else min(hundredth, above[kind])
    going = [n for n, of in enumerate(kinds) if of == kind.value][:enough]
    forgotten[kind.value] = decisions[going[-1]].id
    gone = set(going)
    decisions[:] = [decision for n, decision in enumerate(decisions) if n not in gone]
