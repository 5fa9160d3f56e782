"""Metrics of a node itself, exported by every node, and the route `/metrics`.

`node.metrics.links` has a node's links, `node.metrics.cluster` the replicated state, exported only
by the Raft leader.
"""

import asyncio
from collections.abc import Iterator
from time import monotonic

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stationkeep.cluster.transitions import Role
from stationkeep.node.metrics.cluster import ClusterCollector
from stationkeep.node.metrics.families import PREFIX, Histogram, counter, counters, gauge, gauges
from stationkeep.node.metrics.links import LinksCollector
from stationkeep.node.service.port import Service, Vitals
from stationkeep.node.system import logs
from stationkeep.node.version import VERSION

PATH = "/metrics"
LAG_INTERVAL = 0.25
"""Seconds between two measurements of the event loop's lag."""
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PLAN_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class NodeCollector(Collector):
    """One node's own metrics."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        yield gauges("build_info", "1; labelled with the running release.", "version", {VERSION: 1})
        yield from self._seat()
        yield from self._raft()
        vitals = self._service.vitals()
        yield from self._storage(vitals)
        yield counter(
            "log_lines_dropped", "Log lines that could not be written in time.", logs.dropped()
        )
        yield counters(
            "device_reports",
            "Statuses and heartbeats of devices to this node, by result.",
            "result",
            vitals.device_reports,
        )
        yield counters(
            "task_updates",
            "What devices told this node about their tasks, by what became of it in the log.",
            "result",
            vitals.task_updates,
        )
        yield counters(
            "rollout_gate_questions",
            "Tries of this node, as the leader, to ask the webhook of a stage, by its answer.",
            "answer",
            vitals.gate_questions,
        )

    def _seat(self) -> Iterator[Metric]:
        service = self._service
        acting = service.effective_role(service.node) is Role.PRIMARY
        yield gauges(
            "effective_primary",
            "1 if this node acts as PRIMARY now.",
            "node",
            {service.node: float(acting)},
        )
        yield gauge(
            "primary_lease_remaining_seconds",
            "Seconds that this node may still act as PRIMARY; 0 without the seat or a lease.",
            (service.lease_remaining(service.node) or 0.0)
            if service.state.seat.holder == service.node
            else 0.0,
        )

    def _raft(self) -> Iterator[Metric]:
        consensus = self._service.consensus
        yield gauge("raft_term", "Current Raft term at this node.", consensus.term)
        yield gauge("raft_is_leader", "1 on the Raft leader.", float(consensus.is_leader))
        yield gauge("raft_commit_index", "Newest log index committed.", consensus.commit_index)
        yield gauge("raft_applied_index", "Newest log index applied.", consensus.applied_index)
        yield gauge(
            "raft_has_quorum", "1 while a majority is connected.", float(consensus.has_quorum)
        )
        yield gauge(
            "members_connected",
            "Connected members, including this node.",
            self._service.connected(),
        )

    def _storage(self, vitals: Vitals) -> Iterator[Metric]:
        figures = (
            ("raft_log_entries", "Entries in the journal.", vitals.log_entries),
            ("snapshot_seconds", "Duration of the newest snapshot.", vitals.snapshot_seconds),
            ("pending_proposals", "This node's proposals in flight.", vitals.pending_proposals),
        )
        for name, help_, value in figures:
            if value is not None:
                yield gauge(name, help_, value)
        yield gauge(
            "journal_failing",
            "1 while the journal cannot be written; the node then neither leads nor votes.",
            float(vitals.journal_failing),
        )
        if vitals.leader_changes is not None:
            yield CounterMetricFamily(
                PREFIX + "raft_leader_changes",
                "Changes of the Raft leader that this node has seen.",
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


class Instruments(Collector):
    """The registry of one node, with the histograms that are filled between scrapes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.commits = Histogram(
            "raft_commit_seconds",
            "Time from the proposal of a command at this node until it is applied here.",
            COMMIT_BUCKETS,
        )
        self.syncs = Histogram(
            "journal_sync_seconds", "Duration of a synced journal transaction.", COMMIT_BUCKETS
        )
        self.rebalances = Histogram(
            "rebalance_seconds", "Time to plan one rebalancing, on the leader.", PLAN_BUCKETS
        )
        self.checks = Histogram(
            "rollout_check_seconds", "Time to apply one look at all rollouts.", PLAN_BUCKETS
        )
        self.lag = Histogram(
            "event_loop_lag_seconds", "Delay of timers in the event loop.", LAG_BUCKETS
        )
        self.registry = CollectorRegistry()  # asks for families at the scrape, and not before
        for kind in (ClusterCollector, NodeCollector, LinksCollector):
            self.registry.register(kind(service))
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._watching: asyncio.Task[None] | None = None

    def collect(self) -> Iterator[Metric]:
        """The histograms."""
        self._absorb()
        histograms = (self.commits, self.syncs, self.rebalances, self.checks, self.lag)
        return iter([histogram.family() for histogram in histograms])

    async def _watch(self) -> None:
        """Measures the event loop's lag for ever. Also collects the durations that Raft measured,
        of which it keeps only a limited number."""
        while True:
            due = monotonic() + LAG_INTERVAL  # the loop's own clock is cached during a turn
            await asyncio.sleep(LAG_INTERVAL)
            self.lag.add((max(0.0, monotonic() - due),))
            self._absorb()

    def _absorb(self) -> None:
        taken = self._service.take_durations()
        self.commits.add(taken.commits)
        self.syncs.add(taken.syncs)
        self.rebalances.add(taken.rebalances)
        self.checks.add(taken.checks)

    def route(self) -> Route:
        """`GET /metrics` in Prometheus' text format."""

        async def expose(_: Request) -> Response:
            if self._watching is None:  # a node that is never scraped does not measure
                self._watching = asyncio.create_task(self._watch(), name="metrics")
            text = generate_latest(self.registry)
            headers = {"Cache-Control": "no-store"}
            return Response(text, headers=headers, media_type=CONTENT_TYPE_LATEST)

        return Route(PATH, expose, methods=["GET"], name="metrics")
