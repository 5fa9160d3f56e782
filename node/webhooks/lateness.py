"""Which webhooks are late. Any node can tell for those in its own file, because both the cursor of
a webhook and the decisions after it are in the replicated state."""

from bisect import bisect_right
from collections.abc import Sequence

from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.config.webhooks import WebhookConfig
from stationkeep.node.webhooks.sending import topic_of

LATE = 30_000
"""Milliseconds of cluster time that a message may wait: by then the receiver has been tried five
times, and has had time to restart."""


def late(webhooks: Sequence[WebhookConfig], state: ClusterState) -> dict[str, int]:
    """By webhook, how long its oldest message has been waiting, if that is longer than `LATE`."""
    waits = {webhook.name: _waits(webhook, state) for webhook in webhooks}
    return {name: waited for name, waited in waits.items() if waited > LATE}


def _waits(webhook: WebhookConfig, state: ClusterState) -> int:
    known = state.deliveries.get(webhook.name)
    if known is None:
        return 0  # a new webhook starts with the next decision
    decisions = state.decisions
    first = bisect_right(decisions, known.upto, key=lambda decision: decision.id)
    for place in range(first, len(decisions)):
        if topic_of(decisions[place]) in webhook.topics:
            return max(0, state.time - decisions[place].at)
    return 0
