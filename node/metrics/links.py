"""Metrics of a node's links; one series per peer (at most 98).

Lost datagrams are not exported as a counter: one that arrives late undoes a loss, and a counter
that decreases looks like a restart. Datagrams sent by the peer and datagrams received only grow,
and their difference is what was lost.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.metrics.families import PREFIX, counters, gauges
from stationkeep.node.ports import LinkFigures
from stationkeep.node.service.port import Service

GAUGES: dict[str, tuple[str, Callable[[LinkFigures], float]]] = {
    "link_connected": (
        "1 while messages reach the peer, by stream or datagram.",
        lambda link: link.connected,
    ),
    "link_stalled": (
        "1 while the newest stream to the peer has unanswered retransmissions.",
        lambda link: link.stalled,
    ),
    "link_in_doubt": (
        "1 while small messages are sent by stream and datagram, because packets were lost.",
        lambda link: link.in_doubt,
    ),
    "link_longest_silence_seconds": (
        "Longest time without a datagram from the peer, within the last minute.",
        lambda link: link.longest_silence_s,
    ),
}
COUNTERS: dict[str, tuple[str, Callable[[LinkFigures], int]]] = {
    "link_datagrams_sent": (
        "Datagrams sent by the peer, up to the newest that arrived.",
        lambda link: link.received_total + link.lost_total,
    ),
    "link_datagrams_received": (
        "Datagrams received from the peer.",
        lambda link: link.received_total,
    ),
    "link_datagrams_duplicates": (
        "Messages from the peer that arrived more than once; the copies were discarded.",
        lambda link: link.duplicates_total,
    ),
}


class LinksCollector(Collector):
    """This node's links to the other members."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        links = self._service.links()
        for name, (help_, value) in GAUGES.items():
            yield gauges(name, help_, "peer", {link.peer: float(value(link)) for link in links})
        for name, (help_, count) in COUNTERS.items():
            yield counters(name, help_, "peer", {link.peer: count(link) for link in links})
        yield _losses(links)
        yield _refused(links)


def _losses(links: list[LinkFigures]) -> Metric:
    family = GaugeMetricFamily(
        PREFIX + "link_loss_ratio",
        "Share of the peer's datagrams that were lost within the last minute, 0 to 1.",
        labels=["peer"],
    )
    for link in links:
        if (share := link.loss) is not None:
            family.add_metric([link.peer], share)
    return family


def _refused(links: list[LinkFigures]) -> Metric:
    family = CounterMetricFamily(
        PREFIX + "link_datagrams_refused",
        "Datagrams in the peer's sessions that were refused, by reason.",
        labels=["peer", "reason"],
    )
    for link in links:
        for reason, number in link.refused_total.items():
            family.add_metric([link.peer, reason], number)
    return family
