"""What a node measured of its links, as Prometheus metrics; one series a peer (at most 98).

How many datagrams were lost is not exported as a counter: one that comes late takes a loss back,
and a counter that falls looks like a restart. What the peer sent and what arrived only grow, and
their difference is what was lost.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stationkeep.node.metrics.families import PREFIX, counters, gauges
from stationkeep.node.ports import LinkFigures
from stationkeep.node.service.port import Service

GAUGES: dict[str, tuple[str, Callable[[LinkFigures], float]]] = {
    "link_connected": (
        "1 while messages reach the peer, on either lane.",
        lambda link: link.connected,
    ),
    "link_standing": (
        "1 while the newest stream to the peer has unanswered retransmissions.",
        lambda link: link.standing,
    ),
    "link_in_doubt": (
        "1 while small messages to the peer travel on both lanes, since packets were lost.",
        lambda link: link.in_doubt,
    ),
    "link_longest_silence_seconds": (
        "Longest time without a datagram of the peer, within the last minute.",
        lambda link: link.longest_silence_s,
    ),
}
COUNTERS: dict[str, tuple[str, Callable[[LinkFigures], int]]] = {
    "link_datagrams_sent": (
        "Datagrams that the peer numbered, up to the newest that arrived.",
        lambda link: link.received_total + link.lost_total,
    ),
    "link_datagrams_received": (
        "Datagrams of the peer that arrived.",
        lambda link: link.received_total,
    ),
    "link_datagrams_duplicates": (
        "Messages of the peer that arrived on both lanes, or twice, and were taken once.",
        lambda link: link.duplicates_total,
    ),
}


class LinksCollector(Collector):
    """The links to the other members, as this node sees them."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of the scrape: the peers are those of then."""
        return iter(())

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
        "Share of the peer's datagrams that did not arrive, within the last minute, 0 to 1.",
        labels=["peer"],
    )
    for link in links:
        if (share := link.loss) is not None:
            family.add_metric([link.peer], share)
    return family


def _refused(links: list[LinkFigures]) -> Metric:
    family = CounterMetricFamily(
        PREFIX + "link_datagrams_refused",
        "Datagrams of the peer's sessions that were dropped, by reason.",
        labels=["peer", "reason"],
    )
    for link in links:
        for reason, number in link.refused_total.items():
            family.add_metric([link.peer, reason], number)
    return family
