"""The role transition table: the only place that says which change of role exists, and why.

Everything else (the check in `apply`, the diagram in the README, the `explain` command) is
derived from `TRANSITIONS`, so that text, picture and behaviour cannot drift apart.
Source of the rules: roles.md, "What the leader does at each evaluation" and "Operator's hand".
"""

import enum

import msgspec


class Role(enum.StrEnum):
    """What a node does in the constellation; independent of who leads Raft."""

    PRIMARY = "PRIMARY"
    BACKUP = "BACKUP"
    STANDBY = "STANDBY"
    SAFE_MODE = "SAFE_MODE"


class Rule(enum.StrEnum):
    """Why a change of role is wanted. The first five are automatic and need votes."""

    SEAT_EMPTY = "seat_empty"
    PRIMARY_FAILED = "primary_failed"
    PRIMARY_NONCOMPLIANT = "primary_noncompliant"
    ISOLATE = "isolate"
    RECOVER = "recover"
    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    MAINTENANCE = "maintenance"


OPERATOR_RULES = frozenset({Rule.SWITCHOVER, Rule.FAILOVER, Rule.MAINTENANCE})


class Transition(msgspec.Struct, frozen=True):
    """One legal change: `origin` → `target` under `rule`, with its condition in words."""

    origin: Role
    target: Role
    rule: Rule
    condition: str


_P, _B, _S, _X = Role.PRIMARY, Role.BACKUP, Role.STANDBY, Role.SAFE_MODE

TRANSITIONS: tuple[Transition, ...] = (
    Transition(_B, _P, Rule.SEAT_EMPTY, "no PRIMARY; best candidate"),
    Transition(_S, _P, Rule.SEAT_EMPTY, "no PRIMARY, no fit BACKUP; best candidate"),
    Transition(_P, _B, Rule.PRIMARY_FAILED, "failures_to_fail_primary unhealthy samples in a row"),
    Transition(_B, _P, Rule.PRIMARY_FAILED, "best candidate, together with the demotion"),
    Transition(_S, _P, Rule.PRIMARY_FAILED, "best candidate where no BACKUP is fit"),
    Transition(_P, _S, Rule.PRIMARY_NONCOMPLIANT, "escalated: compliance missed at a deadline"),
    Transition(_B, _P, Rule.PRIMARY_NONCOMPLIANT, "best candidate, together with the demotion"),
    Transition(_S, _P, Rule.PRIMARY_NONCOMPLIANT, "best candidate where no BACKUP is fit"),
    Transition(_B, _X, Rule.ISOLATE, "failures_to_safe_mode unhealthy samples in a row"),
    Transition(_S, _X, Rule.ISOLATE, "failures_to_safe_mode unhealthy samples in a row"),
    Transition(_X, _S, Rule.RECOVER, "below promotable_below for promotion_hold"),
    Transition(_S, _B, Rule.RECOVER, "the same; PRIMARY healthy, too few healthy BACKUPs"),
    Transition(_P, _B, Rule.SWITCHOVER, "operator; graceful"),
    Transition(_B, _P, Rule.SWITCHOVER, "operator; fit target"),
    Transition(_S, _P, Rule.SWITCHOVER, "operator; fit target"),
    Transition(_P, _B, Rule.FAILOVER, "operator; also with an unhealthy PRIMARY"),
    Transition(_B, _P, Rule.FAILOVER, "operator"),
    Transition(_S, _P, Rule.FAILOVER, "operator"),
    Transition(_X, _P, Rule.FAILOVER, "operator, with --force only"),
    Transition(_P, _S, Rule.MAINTENANCE, "operator drains the node"),
    Transition(_B, _P, Rule.MAINTENANCE, "best candidate, when the PRIMARY is drained"),
    Transition(_S, _P, Rule.MAINTENANCE, "best candidate where no BACKUP is fit"),
    Transition(_B, _S, Rule.MAINTENANCE, "operator drains the node"),
)

_LEGAL = frozenset((t.origin, t.target, t.rule) for t in TRANSITIONS)


def is_legal(origin: Role, target: Role, rule: Rule) -> bool:
    """Whether the table knows this change under this rule."""
    return (origin, target, rule) in _LEGAL


def mermaid() -> str:
    """The table as a mermaid state diagram; one edge per pair of roles, its rules as label."""
    rules: dict[tuple[Role, Role], list[str]] = {}
    for t in TRANSITIONS:
        rules.setdefault((t.origin, t.target), []).append(t.rule.value)
    edges = [f"    {a} --> {b}: {', '.join(labels)}" for (a, b), labels in rules.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> STANDBY: joins", *edges])
