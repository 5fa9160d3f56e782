"""Links as tables, and what `doctor` and `config diff` found."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import LEVEL_STYLES, Fitted, grid

if TYPE_CHECKING:
    from stationkeep.node.cli.links_seen import Seen
    from stationkeep.node.ports import LinkFigures

Json = dict[str, Any]
LOSS_STYLES = ((0.05, "green"), (0.3, "yellow"), (float("inf"), "bold red"))


def links(nodes: "Iterable[Seen]") -> RenderableType:
    """Links, grouped by the node that measured them; each is from a peer to that node."""
    items = [(one.node, link) for one in nodes for link in one.links]
    if not items:
        return Text("no links: this node has no peers")
    table = Fitted(
        "FROM|TO|LOSS|SILENCE|HEARD|STREAMS|FLAGS",
        spare="STREAMS|HEARD",
        right="LOSS|SILENCE|HEARD|STREAMS",
    )
    for node, link in items:
        table.add_row(
            Text(link.peer),
            Text(node),
            _loss(link),
            wording.span(link.longest_silence_s),
            f"{link.heard}/{link.sent}",
            str(link.streams),
            ", ".join(wording.link_flags(link)) or "-",
        )
    return table


def _loss(link: "LinkFigures") -> Text:
    lost = link.loss
    if lost is None:
        return Text("?", style="dim")
    return Text(f"{lost:.0%}", style=next(s for limit, s in LOSS_STYLES if lost < limit))


def topology(nodes: "list[Seen]") -> RenderableType:
    """Who hears whom: a row for each node that was asked, and in it what it loses of each peer."""
    peers = sorted({link.peer for one in nodes for link in one.links} | {one.node for one in nodes})
    table = grid("HEARS", *peers)
    for one in nodes:
        of = {link.peer: link for link in one.links}
        cells = (_heard(of.get(peer), own=peer == one.node) for peer in peers)
        table.add_row(one.node, *cells)
    return table


def _heard(link: "LinkFigures | None", *, own: bool) -> Text:
    if link is None:
        return Text("·" if own else "?", style="dim")
    return _loss(link) if link.connected else Text(link.error or "no link", style="bold red")


def settings_differing(answer: Json) -> Table:
    """Settings that are not as in a profile."""
    table = grid("SETTING", "HERE", answer["profile"].upper())
    for name, values in answer["settings"].items():
        table.add_row(name, str(values["here"]), str(values["profile"]))
    return table


def findings(items: list[Json]) -> Table:
    """What was looked at, and what to do."""
    table = grid("ABOUT", "STATE", wrapped=("FOUND", "WHAT TO DO"))
    for item in items:
        level = Text(item["level"], style=LEVEL_STYLES.get(item["level"], ""))
        table.add_row(item["about"], level, item["found"], item["remedy"] or "-")
    return table
