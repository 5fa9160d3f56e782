"""Metrics of a node's certificates, and of handshakes with them."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.metrics.families import PREFIX, counters
from stationkeep.node.security.contexts import Contexts


class TlsCollector(Collector):
    """The certificates of one node that has any."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        expiries = GaugeMetricFamily(
            PREFIX + "certificate_expiry_timestamp_seconds",
            "When a certificate in use expires: the node's, that of its HTTP port, the CA's.",
            labels=["node", "kind"],
        )
        current = self._contexts.current
        for kind, ends in current.expiries.items():
            expiries.add_metric([current.node, kind], ends)
        yield expiries
        handshakes = CounterMetricFamily(
            PREFIX + "tls_handshakes",
            "Handshakes of connections to this node, by how they ended.",
            labels=["listener", "outcome"],
        )
        for listener, outcomes in self._contexts.handshakes.items():
            for outcome, number in outcomes.items():
                handshakes.add_metric([listener, outcome], number)
        yield handshakes
        yield counters(
            "certificate_reloads",
            "Times that changed certificate files were read, by whether they are in use now.",
            "outcome",
            self._contexts.reloads,
        )
