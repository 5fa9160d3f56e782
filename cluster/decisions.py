"""Decisions: what was done or held back, on which evidence, and how to say it in a sentence.

A decision carries codes and figures, never prose: the same record is rendered for a terminal,
filtered by the API and asserted by tests. `sentence` is the only place where it becomes English.
"""

import enum
from typing import Any

import msgspec

from cluster.commands import Change, Observation


class Outcome(enum.StrEnum):
    """What became of the matter."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    OVERTAKEN = "overtaken"  # approved, but the world had changed: refused by apply
    HELD = "held"
    DONE = "done"  # an operator's command
    REFUSED = "refused"  # an operator's command that a rule forbids
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
    QUORUM = "quorum"  # those who stay would be too few
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
    `origin`: whose order it was, and from where.
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
