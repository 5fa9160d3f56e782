"""Prometheus metrics: read from the node at the moment of the scrape.

What the cluster agrees on (roles, proposals, risks, alarms) is exported by the Raft leader
alone, so that a sum over all nodes counts nothing twice; what a node knows of itself by every
node. Label values come from closed sets or from the members (at most 99). Counters of the
replicated state go on under a new leader.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from time import monotonic

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cluster.decisions import Outcome
from cluster.fleet.storm import PINNED_UNHEALTHY, STORM
from cluster.roles.transitions import Role
from cluster.settings import PPM
from cluster.state import FAILOVER_BUCKETS, ClusterState
from node.api.port import Service, Vitals

PATH = "/metrics"
PREFIX = "stationkeep_"
LAG_INTERVAL = 0.25
"""Seconds between two measurements of the event loop's lag."""
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PLAN_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
ALARMS = ("no_candidate", "no_primary", STORM, PINNED_UNHEALTHY)
"""Alarms exported as 0 while they are silent, so that an alert rule always has a series."""
_CLOSED = (Outcome.APPROVED, Outcome.DENIED, Outcome.TIMED_OUT, Outcome.OVERTAKEN)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help_, value=value)


def _gauges(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, help_, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, help_, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least `share` (0..1) of at least one value do not exceed."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


class ClusterCollector(Collector):
    """What the cluster agrees on; silent on a follower."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the scrape: the families depend on who leads then."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        if self._service.consensus.is_leader:
            state = self._service.state
            yield from _roles(state)
            yield from _votes(state)
            yield from _failovers(state)
            yield from _fleet(state)


def _roles(state: ClusterState) -> Iterator[Metric]:
    changes = CounterMetricFamily(
        PREFIX + "role_changes",
        "Changes of roles since the cluster was born.",
        labels=["from", "to", "reason"],
    )
    for key, number in sorted(state.counters.role_changes.items()):
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
    yield _gauges("role_distribution", "Members in each role of the role table.", "role", holding)
    yield risks
    raised = {**dict.fromkeys(ALARMS, 0), **dict.fromkeys(sorted(state.alarms), 1)}
    yield _gauges("alarm", "1 while the alarm is raised.", "name", raised)


def _votes(state: ClusterState) -> Iterator[Metric]:
    counters = state.counters
    yield _counters(
        "proposals",
        "Proposals by what became of them.",
        "outcome",
        {**dict.fromkeys((o.value for o in _CLOSED), 0), **counters.proposals},
    )
    yield _counters(
        "votes",
        "Votes by verdict.",
        "verdict",
        {"approve": 0, "deny": 0, **counters.votes},
    )
    yield _counters(
        "flapping_events_blocked",
        "Role changes that did not happen: a run that ended before its trigger, or a cool-down.",
        "reason",
        {"hysteresis": 0, "cooldown": 0, **counters.flapping_blocked},
    )
    if state.closed_actions:
        yield _gauge(
            "action_compliance_ratio",
            "Acknowledged successes / targets of the newest closed action, 0 to 1.",
            state.closed_actions[-1].compliance / PPM,
        )


def _failovers(state: ClusterState) -> Iterator[Metric]:
    counters = state.counters
    buckets = [
        (f"{float(bound)}", float(counters.failover_buckets.get(str(bound), 0)))
        for bound in FAILOVER_BUCKETS
    ]
    yield HistogramMetricFamily(
        PREFIX + "failover_time_seconds",
        "From a PRIMARY's first unhealthy sample to its successor being effective.",
        buckets=[*buckets, ("+Inf", float(counters.failovers))],
        sum_value=counters.failover_ms_total / 1_000,
    )
    if counters.failover_ms:
        yield _gauge(
            "failover_time_seconds_p95",
            "95th percentile of the newest (at most 1,000) failover times.",
            percentile(counters.failover_ms, 0.95) / 1_000,
        )


def _fleet(state: ClusterState) -> Iterator[Metric]:
    devices = GaugeMetricFamily(
        PREFIX + "devices",
        "Devices in each ring by health; of those that are offline nobody knows it.",
        labels=["ring", "health"],
    )
    for ring, counts in state.fleet.counts().items():
        for health in ("healthy", "unhealthy", "offline"):
            devices.add_metric([ring.value, health], getattr(counts, health))
    yield devices
    moves = CounterMetricFamily(
        PREFIX + "ring_moves",
        "Devices moved from one ring to another since the cluster was born; from none: registered.",
        labels=["from", "to", "reason"],
    )
    for key, number in sorted(state.counters.ring_moves.items()):
        moves.add_metric(key.split(">"), number)
    yield moves


class NodeCollector(Collector):
    """What a node knows of itself."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the scrape, which reads a node that may still be starting."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        yield from self._seat()
        yield from self._raft()
        vitals = self._service.vitals()
        yield from self._storage(vitals)
        yield _counters(
            "device_reports",
            "Words of devices to this node (statuses, heartbeats), by what became of them.",
            "result",
            vitals.device_reports,
        )

    def _seat(self) -> Iterator[Metric]:
        service = self._service
        acting = service.effective_role(service.node) is Role.PRIMARY
        yield _gauges(
            "effective_primary",
            "1 when this node acts as PRIMARY at this instant.",
            "node",
            {service.node: float(acting)},
        )
        yield _gauge(
            "primary_lease_remaining_seconds",
            "Seconds that this node may still act as PRIMARY; 0 without the seat or a lease.",
            (service.lease_remaining(service.node) or 0.0)
            if service.state.seat.holder == service.node
            else 0.0,
        )

    def _raft(self) -> Iterator[Metric]:
        consensus = self._service.consensus
        yield _gauge("raft_term", "Raft term that this node knows.", consensus.term)
        yield _gauge("raft_is_leader", "1 on the Raft leader.", float(consensus.is_leader))
        yield _gauge("raft_commit_index", "Newest log index committed.", consensus.commit_index)
        yield _gauge("raft_applied_index", "Newest log index applied.", consensus.applied_index)
        yield _gauge(
            "raft_has_quorum", "1 while a majority is connected.", float(consensus.has_quorum)
        )
        yield _gauge(
            "members_connected",
            "Members with a connection, this node included.",
            self._service.connected(),
        )

    def _storage(self, vitals: Vitals) -> Iterator[Metric]:
        figures = (
            ("raft_log_entries", "Entries in the journal.", vitals.log_entries),
            ("snapshot_seconds", "Duration of the newest snapshot.", vitals.snapshot_seconds),
            ("pending_proposals", "Own proposals not answered yet.", vitals.pending_proposals),
        )
        for name, help_, value in figures:
            if value is not None:
                yield _gauge(name, help_, value)
        yield _gauge(
            "journal_failing",
            "1 while the journal cannot be written and the node leads and votes for nothing.",
            float(vitals.journal_failing),
        )
        if vitals.leader_changes is not None:
            yield CounterMetricFamily(
                PREFIX + "raft_leader_changes",
                "Times that this node saw another Raft leader than before.",
                value=vitals.leader_changes,
            )
        rejected = CounterMetricFamily(
            PREFIX + "messages_rejected",
            "Messages of other nodes that were refused.",
            labels=["link", "reason"],
        )
        for (link, reason), number in sorted(vitals.rejected.items()):
            rejected.add_metric([link, reason], number)
        yield rejected


class Tally:
    """A histogram of durations in seconds, filled in batches; `prometheus_client`'s own takes a
    lock for each value, which a scrape cannot afford for thousands."""

    def __init__(self, name: str, help_: str, bounds: tuple[float, ...]) -> None:
        self._name, self._help, self._bounds = PREFIX + name, help_, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Counts each value in its bucket."""
        for value in values:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def family(self) -> Metric:
        """The histogram as it stands."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        return HistogramMetricFamily(self._name, self._help, buckets=buckets, sum_value=self._sum)


class Instruments(Collector):
    """The registry of one node, and the figures that are measured as they happen."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.commits = Tally(
            "raft_commit_seconds",
            "From the proposal of a command at this node to its application here.",
            COMMIT_BUCKETS,
        )
        self.syncs = Tally(
            "journal_sync_seconds", "Duration of a journal transaction, synced.", COMMIT_BUCKETS
        )
        self.rebalances = Tally(
            "rebalance_seconds", "Planning of one check of the rings, on the leader.", PLAN_BUCKETS
        )
        self.lag = Tally(
            "event_loop_lag_seconds", "How late the event loop wakes a sleeper.", LAG_BUCKETS
        )
        self.registry = CollectorRegistry()
        for collector in (ClusterCollector(service), NodeCollector(service), self):
            self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        self._watching: asyncio.Task[None] | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The histograms."""
        self._absorb()
        tallies = (self.commits, self.syncs, self.rebalances, self.lag)
        return iter([tally.family() for tally in tallies])

    async def _watch(self) -> None:
        """Measures the event loop's lag until the loop ends; meanwhile takes in what Raft
        measured, which remembers only so much between two scrapes."""
        while True:
            due = monotonic() + LAG_INTERVAL  # the loop's own clock may stand still in a turn
            await asyncio.sleep(LAG_INTERVAL)
            self.lag.add((max(0.0, monotonic() - due),))
            self._absorb()

    def _absorb(self) -> None:
        taken = self._service.take_timings()
        self.commits.add(taken.commits)
        self.syncs.add(taken.syncs)
        self.rebalances.add(taken.rebalances)

    def route(self) -> Route:
        """`GET /metrics` in Prometheus' text format."""

        async def expose(_: Request) -> Response:
            if self._watching is None:  # a node that nobody scrapes measures nothing for it
                self._watching = asyncio.create_task(self._watch(), name="metrics")
            text = generate_latest(self.registry)
            headers = {"Cache-Control": "no-store"}
            return Response(text, headers=headers, media_type=CONTENT_TYPE_LATEST)

        return Route(PATH, expose, methods=["GET"], name="metrics")
