"""`plan --measured`: plans with the loss that the members measure on their links.

Every member is asked for its own view (`GET /v1/links`); one that gives no valid answer is named
and left out. The result is one or two models of loss: independent losses at the rate of the worst
link, and, if a link was silent for longer than these explain, that link's bursts.
"""

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from stationkeep.cluster.settings import Settings
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.links_seen import ask_each
from stationkeep.node.cli.rendering.plan_view import grid
from stationkeep.node.ports import LinkFigures

if TYPE_CHECKING:
    from stationkeep.cluster.odds import Loss

Json = dict[str, Any]
WORST_SHOWN = 5
PROBE = 1.0
"""Seconds within which each node sends each peer at least one datagram."""


class Link(NamedTuple):
    """One direction of a link, and the loss that explains its figures; None if all was lost."""

    origin: str
    target: str
    seen: LinkFigures
    loss: "Loss | None"

    @property
    def lost(self) -> float:
        """The share of datagrams that did not arrive."""
        return max(0.0, 1 - self.seen.heard / self.seen.sent)


class Measured(NamedTuple):
    """All links with datagrams, the worst first, and why some members did not answer."""

    links: list[Link]
    unanswered: dict[str, str]

    def losses(self) -> "list[Loss]":
        """Independent losses at the rate of the worst link, then the longest bursts, if any."""
        from stationkeep.cluster.odds import Loss  # noqa: PLC0415

        found = [link.loss for link in self.links if link.loss is not None]
        if not found:
            raise CommandError("no datagram arrived on any link: there is nothing to plan with")
        bursts = [loss for loss in found if loss.burst is not None]
        longest = max(bursts, key=lambda loss: loss.burst or 0.0, default=None)
        return [Loss(found[0].rate), *([longest] if longest else [])]


def measure(cluster: Client, settings: Settings) -> Measured:
    """Asks every member of the cluster."""
    seen, unanswered = ask_each(cluster)
    links = [_link(one.node, link, settings) for one in seen for link in one.links if link.sent > 0]
    return Measured(sorted(links, key=lambda link: -link.lost), unanswered)


def _link(target: str, seen: LinkFigures, settings: Settings) -> Link:
    from stationkeep.cluster.odds.fitting import fitted  # noqa: PLC0415

    if seen.heard == 0:
        return Link(seen.peer, target, seen, None)
    report = settings.report_interval / 1_000
    rate = max(0.0, 1 - seen.heard / seen.sent)
    loss = fitted(rate, seen.longest_silence_s, seen.window_s, min(report, PROBE))
    if loss.burst is not None and loss.burst < report:
        loss = msgspec.structs.replace(loss, burst=report)
    return Link(seen.peer, target, seen, loss)


def answer(measured: Measured) -> Json:
    """Every link for programs, the worst first."""
    return {
        "links": [
            {
                "from": link.origin,
                "to": link.target,
                "sent": link.seen.sent,
                "heard": link.seen.heard,
                "loss": link.lost,
                "longest_silence_s": link.seen.longest_silence_s,
                "mean_burst_s": None if link.loss is None else link.loss.burst,
            }
            for link in measured.links
        ],
        "median_loss": statistics.median(link.lost for link in measured.links),
        "unanswered": measured.unanswered,
    }


def table(measured: Json) -> RenderableType:
    """The worst links in 80 columns. A link on which nothing arrived is cut, rather than lossy."""
    worst = grid("WORST LINKS", "SENT", "HEARD", "LOST", "LONGEST SILENCE", "BURSTS")
    for link in measured["links"][:WORST_SHOWN]:
        burst = link["mean_burst_s"]
        worst.add_row(
            f"{link['from']} to {link['to']}",
            f"{link['sent']:,}",
            f"{link['heard']:,}",
            f"{100 * link['loss']:.1f} %",
            f"{link['longest_silence_s']:.1f}s",
            "cut" if link["heard"] == 0 else f"{burst:.1f}s" if burst else "-",
        )
    median = 100 * measured["median_loss"]
    lines = [f"{len(measured['links'])} links, median {median:.1f} % lost."]
    lines += [f"{node} did not answer: {why}" for node, why in measured["unanswered"].items()]
    return Group(worst, Text("\n".join(lines) + "\n"))
