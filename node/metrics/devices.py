"""What the devices' door counts, for Prometheus: who is connected, why connections ended, and
what was said wrong. Label values are closed sets."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.metrics.families import PREFIX


class AgentsCollector(Collector):
    """The door of one node."""

    def __init__(self, agents: Sessions) -> None:
        self._agents = agents

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        yield GaugeMetricFamily(
            PREFIX + "device_connections",
            "WebSockets of devices at this node.",
            value=len(self._agents),
        )
        ended = CounterMetricFamily(
            PREFIX + "device_connections_ended",
            "WebSockets of devices that ended, by why.",
            labels=["reason"],
        )
        for reason, number in self._agents.ended.items():
            ended.add_metric([reason], number)
        yield ended
        errors = CounterMetricFamily(
            PREFIX + "device_errors",
            "Errors said to devices over WebSockets, by code.",
            labels=["code"],
        )
        for code, number in self._agents.faults.items():
            errors.add_metric([code.value], number)
        yield errors
