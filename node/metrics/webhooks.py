"""Metrics of webhooks; one series for each that is configured."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.metrics.families import PREFIX, gauges
from stationkeep.node.webhooks.sending import Webhooks


class WebhooksCollector(Collector):
    """The webhooks of one node; only the leader sends."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        deliveries = CounterMetricFamily(
            PREFIX + "webhook_deliveries",
            "Attempts by this node to deliver a message to a webhook, by outcome.",
            labels=["webhook", "outcome"],
        )
        for labels, number in sorted(self._webhooks.results.items()):
            deliveries.add_metric(labels, number)
        yield deliveries
        yield gauges(
            "webhook_pending",
            "Messages that a webhook has not accepted yet; on the leader only.",
            "webhook",
            self._webhooks.pending(),
        )
