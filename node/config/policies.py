"""`policies:` in a node's file: what lets it deny a change of role when it votes."""

from stationkeep.cluster.commands import Policy
from stationkeep.cluster.roles.policies import PATTERN_RULE, PRIORITIES, is_pattern
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import MAX_POLICIES_PER_NODE
from stationkeep.node.config.yaml_document import Value


def read_policies(value: Value | None) -> tuple[Policy, ...]:
    """The policies that a file configures; errors go into its document."""
    if value is None:
        return ()
    items = value.items(MAX_POLICIES_PER_NODE, "policies")
    policies = [_policy(item) for item in items]
    for position, (item, policy) in enumerate(zip(items, policies, strict=True)):
        if policy.name and any(policy.name == earlier.name for earlier in policies[:position]):
            item.refuse("every policy has its own name", policy.name)
    return tuple(policies)


def _policy(value: Value) -> Policy:
    value.known(("name", "priority", "score", "forbids"))
    name = value.required("name", "how denials name it")
    priority = value.required("priority", f"one of {', '.join(PRIORITIES)}")
    score = value.required("score", "a number between 0 and 1")
    forbids = value.required("forbids", 'patterns such as ["*->PRIMARY"]')
    patterns = forbids.items() if forbids else ()
    for pattern in patterns:
        if not isinstance(pattern.raw, str) or not is_pattern(pattern.raw):
            pattern.refuse(f"a pattern {PATTERN_RULE}")
    return Policy(
        name=name.name() if name else "",
        priority=priority.choice(PRIORITIES) if priority else "",
        score=round(score.number(0, 1) * PPM) if score else 0,
        forbids=tuple(str(pattern.raw) for pattern in patterns),
    )
