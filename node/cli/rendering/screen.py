"""One frame of `watch`: the cluster as text that fits a given width and height.

Pure, so that frames can be compared in tests. Every role and verdict is a word; colour only
repeats it. From top to bottom, and by priority if there is little room: what needs attention, the
nodes, the fleet, proposals and their votes, the newest decisions.
"""

import textwrap
from typing import Any, NamedTuple

from rich.text import Text

from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import ROLE_STYLES, ballots, verdict

Json = dict[str, Any]

LOW = 16
"""Height below which the fleet is not shown."""
WIDE = 118
"""Width from which the failure mode and the cause of a risk are shown."""
RECENT_MS = 15_000
"""How long (cluster time) a closed proposal stays in view; in profile demo votes take 20 ms."""
MOST_PROPOSALS = 2
MOST_VOTE_LINES = 3
LEGEND = "◆ leads Raft   × missed sample   ? unknown   Ctrl-C quits"


class Picture(NamedTuple):
    """What one node answered. `notice`: a remark about the connection; `silent`: seconds since
    the last answer, 0 if the picture is current. `rollout`: in the picture of one."""

    cluster: Json
    nodes: list[Json]
    proposals: list[Json]
    decisions: list[Json]
    url: str
    notice: str = ""
    silent: float = 0.0
    rollout: Json | None = None


class _Column(NamedTuple):
    title: str
    width: int


def frame(picture: Picture, width: int, height: int) -> Text:
    """At most `height` lines of at most `width` columns."""
    lines = _header(picture, max(1, height // 4))
    rest = min(9, height // 4)  # lines for proposals and decisions
    fleet = _fleet(picture.cluster.get("fleet"), height)
    room = max(3, height - len(lines) - len(fleet) - rest)
    lines += [Text(), *_node_rows(picture, width, room), *fleet]
    proposals = _proposals(picture, width)
    if proposals and height - len(lines) > len(proposals) + 6:
        lines += [Text(), Text("PROPOSALS", style="bold"), *proposals]
    room = height - len(lines) - 3  # a blank line, the title, the legend
    if room > 0:
        lines += [Text(), Text("DECISIONS, newest first", style="bold")]
        lines += _decisions(picture.decisions, width, room)
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines)) + [Text(LEGEND, style="dim")]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def lost(urls: list[str], notice: str) -> Text:
    """The frame before the first answer."""
    return Text(f"{notice}\ntrying {', '.join(urls)} …")


def _header(picture: Picture, most: int) -> list[Text]:
    """The verdict in at most `most` lines, the PRIMARY and the Raft leader."""
    cluster = picture.cluster
    first = Text(cluster["cluster_id"] or "not founded yet", style="bold")
    first.append(f"   {wording.clock(cluster.get('wall_ms'))}", style="not bold")
    first.append(f"   {wording.when(cluster)}", style="not bold")
    first.append(f"   dashboard {picture.url}/", style="not bold dim")
    seat = Text(f"PRIMARY {wording.primary_line(cluster)}")
    quorum = cluster["quorum"]
    seat.append(f"   Raft leader {cluster.get('leader') or 'none'}, term {cluster['term']}")
    seat.append(f"   {cluster['node']} sees {quorum['connected']}/{quorum['members']}")
    lines = verdict(cluster, most)
    if picture.silent:  # the verdict is outdated
        text = f"NO NODE ANSWERS since {picture.silent:.0f} s; this is the last known state"
        old = (Text(line.plain, style="dim") for line in lines)
        lines = [Text(text, style="bold reverse"), *old]
    lines += [first, seat]
    if picture.notice:
        lines.append(Text(picture.notice, style="yellow"))
    return lines


def _columns(picture: Picture, width: int) -> list[_Column]:
    longest = max([len(node["id"]) for node in picture.nodes] + [4])
    columns = [
        _Column("  NODE", min(longest, 20) + 3),
        _Column("ROLE", 10),
        _Column("ACTS AS", 10),
        _Column("EPOCH", 6),
        _Column("RISK", 5),
        _Column("LAST TEN", 11),
        _Column("LEASE", 6),
        _Column("COOL", 5),
    ]
    if width >= WIDE:
        columns += [_Column("MODE", 13), _Column("CAUSE", 26)]
    return [*columns, _Column("FLAGS", width)]


def _node_rows(picture: Picture, width: int, room: int) -> list[Text]:
    columns = _columns(picture, width)
    lines = [Text("".join(c.title.ljust(c.width) for c in columns).rstrip(), style="dim")]
    shown = picture.nodes
    if len(shown) > room - 1:
        # No room for all: the PRIMARY comes first, then nodes that are not healthy STANDBYs.
        shown = sorted(shown, key=lambda n: (_rank(n), n["id"]))
        shown = shown[: room - 2]
    lines += [_node_row(node, columns) for node in shown]
    if len(shown) < len(picture.nodes):
        lines.append(Text(f"  … and {len(picture.nodes) - len(shown)} more", style="dim"))
    return lines


def _rank(node: Json) -> int:
    if node["role"] == "PRIMARY":
        return 0
    return 2 if node["role"] == "STANDBY" and node["alive"] else 1


def _node_row(node: Json, columns: list[_Column]) -> Text:
    acts = wording.acts_as(node)
    mark = "◆ " if node.get("raft_leader") else "  "
    missed = bool(node.get("history")) and node["history"][-1].get("missed")
    risk = "miss" if missed and node.get("known", True) else wording.risk(node)
    cells = [
        (mark + node["id"], ""),
        (node["role"], ROLE_STYLES.get(node["role"], "")),
        (acts, ROLE_STYLES.get(acts, "")),
        ("-" if node.get("epoch") is None else str(node["epoch"]), ""),
        (risk, "bold red" if node.get("consecutive_unhealthy") else ""),
        (wording.bar(node.get("history", [])), ""),
        (wording.span(node.get("lease_remaining_s")), ""),
        (wording.cooldown(node.get("cooldown_remaining_s")), ""),
    ]
    if len(columns) > len(cells) + 1:
        cells += [(str(node.get("failure_mode") or "-"), ""), (str(node.get("cause") or "-"), "")]
    cells.append((", ".join(wording.flags(node)), "bold"))
    row = Text()
    for column, (text, style) in zip(columns, cells, strict=True):
        room = column.width - 1
        row.append((text if len(text) <= room else text[: room - 1] + "…").ljust(room), style=style)
        row.append(" ")
    row.rstrip()
    row.highlight_words([wording.MISSED], "bold red")
    return row


def _fleet(fleet: Json | None, height: int) -> list[Text]:
    """Devices by health and by ring; nothing if there are none, or no room."""
    if not fleet or not fleet["total_slaves"] or height < LOW:
        return []
    head = Text.assemble(("FLEET ", "bold"), wording.fleet_line(fleet))
    if fleet["unhealthy_devices"]:
        head.highlight_words([f"{fleet['unhealthy_devices']:,} unhealthy"], "bold red")
    return [Text(), head, Text(f"      {wording.ring_line(fleet)}")]


def _proposals(picture: Picture, width: int) -> list[Text]:
    """Open and recently closed proposals, with their votes."""
    now = picture.cluster["time_ms"]
    lines: list[Text] = []
    recent = [p for p in picture.proposals if _is_recent(p, now)][:MOST_PROPOSALS]
    for item in recent:
        changes = ", ".join(wording.change(change) for change in item["changes"])
        rule = item["rule"].replace("_", " ")
        lines.append(Text(f"#{item['id']} {rule}: {changes}"))
        wrapped = textwrap.wrap(_votes(item, now), max(20, width - 3))
        lines += [Text(f"   {line}") for line in wrapped[:MOST_VOTE_LINES]]
    return lines


def _is_recent(item: Json, now: int) -> bool:
    closed = item.get("closed_at_ms")
    return closed is None or now - closed <= RECENT_MS


def _votes(item: Json, now: int) -> str:
    """`APPROVED, needed 3 of 4. yes: a, b, c. no: d (heard healthy). not yet: e`."""
    votes = {vote["voter"]: vote for vote in ballots(item)}
    yes = [voter for voter, vote in votes.items() if vote["approve"]]
    no = [
        f"{voter} ({vote.get('policy') or str(vote.get('grounds', '')).replace('_', ' ')})"
        for voter, vote in votes.items()
        if not vote["approve"]
    ]
    silent = [voter for voter in item["electorate"] if voter not in votes]
    state = str(item["outcome"]).upper().replace("_", " ")
    if item.get("closed_at_ms") is None:
        state += f" {wording.span(max(0, item['deadline_ms'] - now) / 1_000)} left"
    parts = [f"{state}, needs {item['quorum']} of {len(item['electorate'])}"]
    for word, names in (("yes", yes), ("no", no), ("no vote", silent)):
        if names:
            parts.append(f"{word}: {' '.join(names)}")
    return "; ".join(parts)


def _decisions(decisions: list[Json], width: int, room: int) -> list[Text]:
    """As many lines of sentences as there is room for, newest first."""
    lines: list[Text] = []
    for item in wording.without_openings(decisions):
        time = wording.clock(item.get("wall_ms"))
        indent = len(time) + 1
        first, *rest = textwrap.wrap(item["sentence"], max(20, width - indent)) or [""]
        lines.append(Text.assemble((f"{time} ", "dim"), first))
        lines += [Text(" " * indent + text) for text in rest]
        if len(lines) >= room:
            break
    return lines[:room] or [Text("none yet", style="dim")]
