"""Metrics of the replicated state; `node.metrics.node` has those of a single node.

Only the Raft leader exports these, so that a sum over nodes counts nothing twice. They are read
from the replicated state, so a new leader's counters continue where the old one's ended. Every
label value that is known in advance is exported from the start, as 0: otherwise the series of the
first role change would begin at 1, and not show as an increase. Label values come from closed sets
or from the members (at most 99); no device ever has its own series.
"""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stationkeep.cluster.alarms import raised_by_name, unacknowledged_by_name
from stationkeep.cluster.deployments import lifecycle
from stationkeep.cluster.deployments.deployment import DeploymentState
from stationkeep.cluster.deployments.lifecycle import TaskState
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.operations import MAX_OPERATIONS
from stationkeep.cluster.state.state import FAILOVER_BUCKETS, ClusterState
from stationkeep.cluster.transitions import TRANSITIONS, Role
from stationkeep.node.metrics.families import PREFIX, counters, gauge, gauges
from stationkeep.node.metrics.rollouts import rollout_families
from stationkeep.node.service.port import Service

_CLOSED = (Outcome.APPROVED, Outcome.DENIED, Outcome.TIMED_OUT, Outcome.OVERTAKEN)
_TRANSITIONS = {f"{t.origin}>{t.target}>{t.rule}": 0 for t in TRANSITIONS}
_STEPS = {
    f"{origin}>{step.target}>": 0
    for step in lifecycle.TRANSITIONS.values()
    for origin in step.origins
    if origin is not step.target
}
"""Of those that come without a reason; so a first one is a rise, and no panel is blank."""


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least `share` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


class ClusterCollector(Collector):
    """The replicated state's metrics; none on a follower."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        if self._service.consensus.is_leader:
            state = self._service.state
            yield from _roles(state)
            yield from _votes(state)
            yield from _failovers(state)
            yield _pending(state, self._service.cluster_time())
            yield from _orders(state)
            yield from _fleet(state)
            yield from _tasks(state)
            yield from rollout_families(state, self._service.cluster_time())


def _roles(state: ClusterState) -> Iterator[Metric]:
    changes = CounterMetricFamily(
        PREFIX + "role_changes",
        "Role changes since the cluster was founded.",
        labels=["from", "to", "reason"],
    )
    for key, number in sorted((_TRANSITIONS | state.counters.role_changes).items()):
        changes.add_metric(key.split(">"), number)
    yield changes
    holding = dict.fromkeys((role.value for role in Role), 0)
    risks = GaugeMetricFamily(
        PREFIX + "node_risk_score",
        "Risk of a node's newest sample, 0 to 1; a missed sample counts as 1.",
        labels=["node", "role"],
    )
    for member in state.members.values():
        holding[member.role.value] += 1
        if member.history:
            risks.add_metric([member.id, member.role.value], member.risk / PPM)
    yield gauges("role_distribution", "Members in each role of the role table.", "role", holding)
    yield risks
    yield gauge(
        "automatic_changes_paused",
        "1 while an operator has paused automatic role changes.",
        float(state.pause is not None),
    )
    yield gauges(
        "alarm",
        "Raised alarms of this name; an alarm about members counts once per member.",
        "name",
        raised_by_name(state),
    )
    yield gauges(
        "alarm_unacknowledged",
        "Raised alarms that no operator has acknowledged.",
        "name",
        unacknowledged_by_name(state),
    )


def _votes(state: ClusterState) -> Iterator[Metric]:
    totals = state.counters
    yield counters(
        "proposals",
        "Closed proposals by outcome.",
        "outcome",
        {**dict.fromkeys((o.value for o in _CLOSED), 0), **totals.proposals},
    )
    yield counters(
        "votes",
        "Votes by verdict.",
        "verdict",
        {"approve": 0, "deny": 0, **totals.votes},
    )
    yield counters(
        "flapping_events_blocked",
        "Role changes prevented: the node recovered before the threshold, or a cool-down held.",
        "reason",
        {"hysteresis": 0, "cooldown": 0, **totals.flapping_blocked},
    )
    if state.closed_actions:
        yield gauge(
            "action_compliance_ratio",
            "Acknowledged successes / targets of the newest closed action, 0 to 1.",
            state.closed_actions[-1].compliance / PPM,
        )


def _failovers(state: ClusterState) -> Iterator[Metric]:
    totals = state.counters
    buckets = [
        (f"{float(bound)}", float(totals.failover_buckets.get(str(bound), 0)))
        for bound in FAILOVER_BUCKETS
    ]
    yield HistogramMetricFamily(
        PREFIX + "failover_time_seconds",
        "Time from a PRIMARY's first unhealthy sample until its successor is effective.",
        buckets=[*buckets, ("+Inf", float(totals.failovers))],
        sum_value=totals.failover_ms_total / 1_000,
    )
    if totals.failover_ms:
        yield gauge(
            "failover_time_seconds_p95",
            "95th percentile of the newest failover times (at most 1,000).",
            percentile(totals.failover_ms, 0.95) / 1_000,
        )


def failing_since(state: ClusterState) -> int | None:
    """Cluster time (ms) since when there may be no working PRIMARY: the first unhealthy sample of
    the one in the seat, or of the one being replaced, else the first evaluation that found the
    seat empty."""
    seat, primary = state.seat, state.primary
    if seat.failing_since is not None:
        return seat.failing_since
    if primary is None:
        return seat.vacant_since
    return primary.run_since if primary.run else None


def _pending(state: ClusterState, now: int) -> Metric:
    since = failing_since(state)
    return gauge(
        "failover_pending_seconds",
        "How long the PRIMARY has been unhealthy, or the seat empty, without an effective "
        "successor; 0 while a healthy PRIMARY is in the seat.",
        0.0 if since is None else max(0, now - since) / 1_000,
    )


def _orders(state: ClusterState) -> Iterator[Metric]:
    yield counters(
        "orders_refused",
        "Orders of clients that a rule refused.",
        "reason",
        {**dict.fromkeys((reason.value for reason in Reason), 0), **state.counters.refused},
    )
    yield gauge(
        "operations_remembered",
        f"Outcomes of orders kept for retries with the same key, at most {MAX_OPERATIONS}.",
        float(len(state.operations)),
    )


def _fleet(state: ClusterState) -> Iterator[Metric]:
    devices = GaugeMetricFamily(
        PREFIX + "devices",
        "Devices in each ring by health; the health of offline devices is unknown.",
        labels=["ring", "health"],
    )
    for ring, counts in state.fleet.counts().items():
        for health in ("healthy", "unhealthy", "offline"):
            devices.add_metric([ring.value, health], getattr(counts, health))
    yield devices
    moves = CounterMetricFamily(
        PREFIX + "ring_moves",
        "Moves of devices between rings since the cluster was founded; from none: registrations.",
        labels=["from", "to", "reason"],
    )
    for key, number in sorted(state.counters.ring_moves.items()):
        moves.add_metric(key.split(">"), number)
    yield moves


def _tasks(state: ClusterState) -> Iterator[Metric]:
    tasks = dict.fromkeys((each.value for each in TaskState), 0)
    for deployment in state.deployments.open_ones():
        for each, number in deployment.tallied().items():
            tasks[each] += number
    yield gauges("tasks", "Tasks of deployments that are not closed, by state.", "state", tasks)
    known = dict.fromkeys((each.value for each in DeploymentState), 0)
    for deployment in state.deployments.known.values():
        known[deployment.state.value] += 1
    yield gauges("deployments", "Deployments by state; of closed ones the newest.", "state", known)
    steps = CounterMetricFamily(
        PREFIX + "task_transitions",
        "Steps of tasks from state to state since the cluster was founded.",
        labels=["from", "to", "reason"],
    )
    for key, number in sorted((_STEPS | state.counters.task_transitions).items()):
        steps.add_metric(key.split(">"), number)
    yield steps
