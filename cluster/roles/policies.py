"""Policy arbitration: a node's local policies against what the cluster proposes.

SAFETY beats any other priority; otherwise score x weight; on a tie the newer wins, then the
local one. Source: roles.md, "Policy arbitration".
"""

import re
from collections.abc import Iterable

from stationkeep.cluster.commands import Change, Policy
from stationkeep.cluster.settings import PPM, Settings
from stationkeep.cluster.state.state import Proposal
from stationkeep.cluster.transitions import Role, Rule

PRIORITIES = ("safety", "performance", "availability")
SAFETY = "safety"

GLOBAL_POLICY: dict[Rule, tuple[str, int]] = {
    Rule.SEAT_EMPTY: ("availability", PPM),
    Rule.PRIMARY_FAILED: ("availability", PPM),
    Rule.PRIMARY_NONCOMPLIANT: ("availability", PPM),
    Rule.ISOLATE: ("safety", PPM),
    Rule.RECOVER: ("performance", PPM // 2),
}
"""What each automatic rule stands for: its priority and score (ppm)."""

_ROLE = "|".join(Role)
_PATTERN = re.compile(rf"(?:(?P<node>\*|[A-Za-z0-9_.-]+):)?(?P<a>\*|{_ROLE})->(?P<b>\*|{_ROLE})")
PATTERN_RULE = "[NODE:]ORIGIN->TARGET with role names or *, such as *->PRIMARY"


def is_pattern(pattern: str) -> bool:
    """Whether `forbids` may hold this."""
    return len(pattern) <= 128 and _PATTERN.fullmatch(pattern) is not None


def forbids(pattern: str, change: Change) -> bool:
    """Whether this pattern forbids this change."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        return False
    wanted = (match["node"] or "*", match["a"], match["b"])
    actual = (change.node, change.origin.value, change.target.value)
    return all(w in ("*", a) for w, a in zip(wanted, actual, strict=True))


def _weight(priority: str, settings: Settings) -> int:
    return {
        "safety": settings.safety_weight,
        "performance": settings.performance_weight,
        "availability": settings.availability_weight,
    }[priority]


def beats(policy: Policy, proposal: Proposal, settings: Settings) -> bool:
    """Whether a local policy wins over the proposal that it forbids."""
    priority, score = GLOBAL_POLICY[proposal.rule]
    if (policy.priority == SAFETY) is not (priority == SAFETY):
        return policy.priority == SAFETY
    local = policy.score * _weight(policy.priority, settings)
    wider = score * _weight(priority, settings)
    if local != wider:
        return local > wider
    return policy.set_at >= proposal.opened_at


def arbitrate(
    policies: Iterable[Policy], proposal: Proposal, settings: Settings, now: int
) -> Policy | None:
    """The strongest local policy that forbids the proposal and wins; None when it may pass."""
    winners = [
        policy
        for policy in policies
        if (policy.expires_at is None or now < policy.expires_at)
        and any(forbids(pattern, c) for pattern in policy.forbids for c in proposal.changes)
        and beats(policy, proposal, settings)
    ]
    return min(winners, key=lambda p: _strength(p, settings), default=None)


def _strength(policy: Policy, settings: Settings) -> tuple[bool, int, str]:
    """Sort key, strongest first: by the same measure as `beats`, then by name."""
    weighted = policy.score * _weight(policy.priority, settings)
    return (policy.priority != SAFETY, -weighted, policy.name)
