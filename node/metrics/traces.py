"""Metrics of a traced node's spans."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stationkeep.node.metrics.families import counters

if TYPE_CHECKING:
    from stationkeep.node.tracing.spans import Sink


class TracesCollector(Collector):
    """The spans of one node."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink

    def collect(self) -> Iterator[Metric]:
        """The family of one scrape."""
        help_ = "Spans of this node by outcome: exported, failed or dropped."
        yield counters("trace_spans", help_, "outcome", self._sink.results)
