"""Metrics of who asks, and whether they may."""

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stationkeep.node.http.access import Admission
from stationkeep.node.metrics.families import counters


class AccessCollector(Collector):
    """The admission of one node."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        help_ = "Requests and connections that were to show a token, by what came of it."
        yield counters("authentications", help_, "outcome", self._admission.outcomes)
