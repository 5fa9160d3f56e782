"""Which webhooks lag. Any node can say it of those in its own file: how far each has been told is
in the replicated state, and so is what it has not been told yet."""

from bisect import bisect_right
from collections.abc import Sequence

from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.config.webhooks import WebhookConfig
from stationkeep.node.webhooks.sending import topic_of

LATE = 30_000
"""Milliseconds of cluster time that a message may wait: a receiver has been tried five times by
then, and has had the time to be restarted."""


def late(webhooks: Sequence[WebhookConfig], state: ClusterState) -> dict[str, int]:
    """For how long the oldest message of each has been waiting, of those that wait for longer
    than `LATE`."""
    waits = {webhook.name: _waits(webhook, state) for webhook in webhooks}
    return {name: waited for name, waited in waits.items() if waited > LATE}


def _waits(webhook: WebhookConfig, state: ClusterState) -> int:
    known = state.deliveries.get(webhook.name)
    if known is None:
        return 0  # it begins with what comes next
    decisions = state.decisions
    first = bisect_right(decisions, known.upto, key=lambda decision: decision.id)
    for place in range(first, len(decisions)):
        if topic_of(decisions[place]) in webhook.topics:
            return max(0, state.time - decisions[place].at)
    return 0
