"""`plan --measured`: the loss that the members saw of each other's numbered datagrams.

Every member is asked for its own view (`GET /v1/links`); one that does not answer, or answers
nonsense, is named and left out. Two losses come of it: that of the worst link, as independent
losses, and, where some link was silent for longer than those explain, that link's bursts.
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
"""Seconds within which each node sends each peer some datagram, whatever else it says."""


class Link(NamedTuple):
    """One direction, and the loss that explains it; None when nothing at all came through."""

    origin: str
    target: str
    seen: LinkFigures
    loss: "Loss | None"

    @property
    def lost(self) -> float:
        """The share that did not arrive."""
        return max(0.0, 1 - self.seen.heard / self.seen.sent)


class Measured(NamedTuple):
    """All links that carried numbered datagrams, the worst first, and who did not tell, and why."""

    links: list[Link]
    unanswered: dict[str, str]

    def losses(self) -> "list[Loss]":
        """Independent losses at the rate of the worst link, then the longest bursts, if any."""
        from stationkeep.cluster.odds import Loss  # noqa: PLC0415

        found = [link.loss for link in self.links if link.loss is not None]
        if not found:
            raise CommandError("no link was heard: there is nothing to plan with")
        bursts = [loss for loss in found if loss.burst is not None]
        longest = max(bursts, key=lambda loss: loss.burst or 0.0, default=None)
        return [Loss(found[0].rate), *([longest] if longest else [])]


def measure(cluster: Client, settings: Settings) -> Measured:
    """Asks every member that the cluster names."""
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
    """For programs: every link, the worst first."""
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


def table(told: Json) -> RenderableType:
    """The worst links on 80 columns; those that nothing came through are cut, not lossy."""
    worst = grid("WORST LINKS", "SENT", "HEARD", "LOST", "LONGEST SILENCE", "BURSTS")
    for link in told["links"][:WORST_SHOWN]:
        burst = link["mean_burst_s"]
        worst.add_row(
            f"{link['from']} to {link['to']}",
            f"{link['sent']:,}",
            f"{link['heard']:,}",
            f"{100 * link['loss']:.1f} %",
            f"{link['longest_silence_s']:.1f}s",
            "cut" if link["heard"] == 0 else f"{burst:.1f}s" if burst else "-",
        )
    lines = [f"{len(told['links'])} links, median {100 * told['median_loss']:.1f} % lost."]
    lines += [f"{node} did not tell: {why}" for node, why in told["unanswered"].items()]
    return Group(worst, Text("\n".join(lines) + "\n"))
