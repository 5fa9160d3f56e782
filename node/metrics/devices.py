"""Metrics of device connections: how many there are, why they ended, and errors sent to devices.
Label values are closed sets."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.metrics.families import PREFIX


class AgentsCollector(Collector):
    """The connections of one node."""

    def __init__(self, agents: Sessions) -> None:
        self._agents = agents

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        yield GaugeMetricFamily(
            PREFIX + "device_connections",
            "Devices connected to this node by WebSocket.",
            value=len(self._agents),
        )
        ended = CounterMetricFamily(
            PREFIX + "device_connections_ended",
            "WebSockets of devices that ended, by cause.",
            labels=["reason"],
        )
        for reason, number in self._agents.ended.items():
            ended.add_metric([reason], number)
        yield ended
        errors = CounterMetricFamily(
            PREFIX + "device_errors",
            "Errors sent to devices by WebSocket, by code.",
            labels=["code"],
        )
        for code, number in self._agents.errors.items():
            errors.add_metric([code.value], number)
        yield errors
