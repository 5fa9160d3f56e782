"""Answers of the REST API as Rich tables. Every role is a word; colour only repeats it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import (
    Console,  # noqa: TID251 - which a renderable is handed
    ConsoleOptions,
    Group,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from stationkeep.node.cli.rendering import wording

if TYPE_CHECKING:
    pass

Json = dict[str, Any]

UNBOUNDED = 10_000
"""Columns of a terminal on which every table fits."""
ROLE_STYLES = {
    "PRIMARY": "bold green",
    "BACKUP": "cyan",
    "STANDBY": "",
    "SAFE_MODE": "bold red",
    "?": "dim",
}
LEVEL_STYLES = {"ok": "bold green", "attention": "bold yellow", "critical": "bold red"}
"""The style of a link that loses less than this share of its packets."""


def role_text(role: str) -> Text:
    """A role as a coloured word."""
    return Text(role, style=ROLE_STYLES.get(role, ""))


def grid(*headers: str, wrapped: tuple[str, ...] = ()) -> Table:
    """A table whose cells stay on one line, except in the `wrapped` columns, which come last."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(header, no_wrap=True)
    for header in wrapped:
        table.add_column(header, overflow="fold")
    return table


class Fitted:
    """A table that drops columns, those in `spare` one by one, until it fits the terminal."""

    def __init__(self, headers: str, *, spare: str, right: str = "") -> None:
        """Headers are separated by `|`; columns in `right` are right-aligned."""
        self._headers, self._spare = headers.split("|"), spare.split("|")
        self._right = frozenset(right.split("|"))
        self._rows: list[tuple[RenderableType, ...]] = []

    def add_row(self, *cells: RenderableType) -> None:
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=UNBOUNDED)
        for count in range(len(self._spare) + 1):
            table = self._without(self._spare[:count])
            if console.measure(table, options=unbounded).maximum <= options.max_width:
                break
        yield table

    def _without(self, left_out: list[str]) -> Table:
        kept = [n for n, header in enumerate(self._headers) if header not in left_out]
        table = grid(*(self._headers[n] for n in kept))
        for column in table.columns:
            column.justify = "right" if column.header in self._right else "left"
        for row in self._rows:
            table.add_row(*(row[n] for n in kept))
        return table


def nodes(items: list[Json]) -> Fitted:
    """Nodes with roles, health and flags."""
    table = Fitted(
        "NODE|ROLE|ACTS AS|EPOCH|RISK|SAMPLES|LEASE|COOL|HTTP|FLAGS",
        spare="HTTP|SAMPLES|COOL|EPOCH",
    )
    for node in items:
        marks = (["Raft leader"] if node.get("raft_leader") else []) + wording.flags(node)
        table.add_row(
            node["id"],
            role_text(node["role"]),
            role_text(wording.acts_as(node)),
            _figure(node.get("epoch")),
            wording.risk(node),
            wording.bar(node.get("history", [])),
            wording.span(node.get("lease_remaining_s")),
            wording.cooldown(node.get("cooldown_remaining_s")),
            node.get("address", {}).get("http", "-"),
            ", ".join(marks) or "-",
        )
    return table


def level(found: Json) -> RenderableType:
    """The level in a line, and what each member runs."""
    table = grid("NODE", "RELEASE", "HIGHEST LEVEL")
    for member in found["members"]:
        table.add_row(member["node"], member["release"] or "-", _figure(member["highest"]))
    return Group(Text(wording.releases(found)), table)


def verdict(cluster: Json, most: int | None = None) -> list[Text]:
    """The verdict, then a line for each problem, at most `most`."""
    level = cluster["verdict"]
    style = LEVEL_STYLES.get(level, "bold")
    lines = [Text.assemble((level.upper(), style), f"  {cluster['headline']}")]
    needs = cluster["needs"]
    shown = needs if most is None or len(needs) <= most else needs[: max(0, most - 1)]
    for need in shown:
        style = LEVEL_STYLES.get(need["level"], "")
        lines.append(Text(f"  - {need['sentence']}", style=style))
    if len(shown) < len(needs):
        lines.append(Text(f"  - and {len(needs) - len(shown)} more (status)", style="dim"))
    return lines


def status(cluster: Json, items: list[Json]) -> RenderableType:
    """A summary of the cluster, then its nodes."""
    head = Text()
    head.append(f"cluster   {cluster['cluster_id'] or 'not founded yet'}")
    head.append(f"   {wording.when(cluster)}, asked {cluster['node']}\n")
    head.append(f"PRIMARY   {wording.primary_line(cluster)}\n")
    leader = cluster.get("leader") or "none"
    head.append(f"Raft      leader {leader}, term {cluster['term']}, ")
    head.append(f"log {cluster['applied_index']}, {wording.quorum_line(cluster)}\n")
    fleet = cluster.get("fleet")
    if fleet:
        head.append(f"fleet     {wording.fleet_line(fleet)}\n")
    if fleet and fleet["total_slaves"]:
        head.append(f"rings     {wording.ring_line(fleet)}\n")
    return Group(*verdict(cluster), head, nodes(items))


def decisions(items: Iterable[Json]) -> Table:
    """The decision log, one sentence a line."""
    table = grid("ID", "TIME", "CLUSTER", "OUTCOME", wrapped=("DECISION",))
    for item in items:
        table.add_row(
            str(item["id"]),
            wording.clock(item.get("wall_ms")),
            wording.cluster_time(item["at_ms"]),
            item["outcome"],
            item["sentence"],
        )
    return table


def decision_story(item: Json) -> Text:
    """One decision with its samples, the candidates passed over, and the votes."""
    story = Text()
    story.append(f"{wording.clock(item.get('wall_ms'))} ", style="dim")
    story.append(f"{wording.cluster_time(item['at_ms'])} {item['sentence']}\n")
    for node, risks in item.get("evidence", {}).items():
        series = ", ".join(wording.sample(risk) for risk in risks)
        story.append(f"    samples of {node} (newest last): {series}\n", style="dim")
    passed = ", ".join(f"{r['node']} ({_words(r['reason'])})" for r in item.get("rejected", []))
    if passed:
        story.append(f"    passed over: {passed}\n", style="dim")
    for vote in item.get("ballots", []):
        story.append(f"    {vote_line(vote)}\n", style="dim")
    if item.get("actor"):
        comment = f", reason: {item['comment']}" if item.get("comment") else ""
        story.append(f"    by {item['actor']}{comment}\n", style="dim")
    return story


def vote_line(vote: Json) -> str:
    """A vote in words: `sat-003 approves: observations agree; saw sat-001 at 0.45 …`."""
    verdict = "approves" if vote["approve"] else "DENIES"
    grounds = _words(vote.get("grounds") or "")
    policy = f" {vote['policy']}" if vote.get("policy") else ""
    seen = "; ".join(_observation(one) for one in vote.get("evidence", []))
    return f"{vote['voter']} {verdict}: {grounds}{policy}" + (f"; {seen}" if seen else "")


def _observation(seen: Json) -> str:
    if not seen["reports"]:
        return f"no reports from {seen['node']}"
    return f"saw {seen['node']} at {seen['risk']:.2f} ({seen['reports']} reports)"


def explanation(answer: Json) -> RenderableType:
    """Why a node has its role, and why it is not PRIMARY."""
    head = Text()
    head.append(f"{answer['node']} is {answer['role']}\n", style="bold")
    for line in answer.get("summary", []):
        head.append(f"  {line}\n")
    if answer.get("why_not_primary"):
        head.append("\nWhy it is not PRIMARY\n", style="bold")
        for line in answer["why_not_primary"]:
            head.append(f"  {line}\n")
    decisions_ = wording.without_openings(answer.get("decisions", []))
    head.append("\nDecisions about it, newest first\n" if decisions_ else "", style="bold")
    return Group(head, *(decision_story(item) for item in decisions_))


def proposals(items: list[Json]) -> RenderableType:
    """Proposals with every elector's vote."""
    if not items:
        return Text("no proposals yet")
    return Group(*(proposal_story(item) for item in items))


def proposal_story(item: Json) -> Text:
    """One proposal: its changes, outcome and votes."""
    changes = ", ".join(wording.change(change) for change in item["changes"])
    story = Text()
    story.append(f"#{item['id']} {str(item['outcome']).upper()} ", style="bold")
    story.append(f"{_words(item['rule'])}: {changes}  (quorum {item['quorum']} of ")
    story.append(f"{len(item['electorate'])}, opened {wording.cluster_time(item['opened_at_ms'])})")
    votes = {vote["voter"]: vote for vote in ballots(item)}
    for voter in item["electorate"]:
        line = vote_line(votes[voter]) if voter in votes else f"{voter} has not voted"
        story.append(f"\n    {line}", style="dim")
    return story


def ballots(item: Json) -> list[Json]:
    """A proposal's votes; the API may key them by voter."""
    votes = item.get("ballots") or []
    return list(votes.values()) if isinstance(votes, dict) else votes


def roles(items: list[Json]) -> Table:
    """The role in the table and the effective role of every node."""
    table = grid("NODE", "ROLE", "ACTS AS", "SINCE")
    for item in items:
        since = item.get("since_ms")
        table.add_row(
            item["node"],
            role_text(item["role"]),
            role_text(wording.acts_as(item)),
            "joined" if since is None else wording.cluster_time(since),
        )
    return table


def role_history(items: list[Json]) -> Table:
    """Changes of role, newest first."""
    table = grid("TIME", "CLUSTER", "NODE", "FROM", "TO", "RULE", "EPOCH", "PROPOSAL", "BY")
    for item in items:
        table.add_row(
            wording.clock(item.get("wall_ms")),
            wording.cluster_time(item["at_ms"]),
            item["node"],
            role_text(item["origin"]),
            role_text(item["target"]),
            item["rule"],
            str(item["epoch"]),
            f"#{item['proposal']}" if item.get("proposal") else "-",
            item.get("actor") or "-",
        )
    return table


def actions(items: list[Json]) -> Table:
    """Actions with their compliance, and the targets that failed or have not answered."""
    table = grid("ID", "NAME", "OUTCOME", "DONE", wrapped=("FAILED", "NO ANSWER"))
    for item in items:
        acks: Json = item.get("acks", {})
        failed = [f"{n} ({a['detail']})" for n, a in acks.items() if not a["success"]]
        silent = [node for node in item["targets"] if node not in acks]
        table.add_row(
            item["id"],
            item["name"],
            item["outcome"],
            f"{item['compliance']:.0%} of {len(item['targets'])}",
            "\n".join(failed) or "-",
            ", ".join(silent) or "-",
        )
    return table


def alarms(items: list[Json]) -> RenderableType:
    """Raised alarms, and who has acknowledged them."""
    if not items:
        return Text("no alarms")
    table = grid("ALARM", "SEVERITY", "SINCE", "CLUSTER", "SEEN BY", wrapped=("DETAIL",))
    for item in items:
        seen = item.get("acknowledged")
        comment = f": {seen['comment']}" if seen and seen["comment"] else ""
        table.add_row(
            item["id"],
            Text(item["severity"], style="bold red" if item["severity"] == "critical" else ""),
            wording.clock(item.get("wall_ms")),
            wording.cluster_time(item["since_ms"]),
            f"{seen['actor']}{comment}" if seen else "-",
            f"{item['detail']}\n{item['meaning']}",
        )
    return table


def facts(answer: Json) -> Table:
    """A flat object, one `name value` per line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in ("name", "value"):
        table.add_column(overflow="fold")
    for name, value in answer.items():
        table.add_row(name, str(value))
    return table


def settings(answer: Json) -> Table:
    """The settings that all nodes share."""
    return facts(answer["settings"])


def _figure(value: int | None) -> str:
    return "-" if value is None else str(value)


def _words(code: str) -> str:
    return code.replace("_", " ")


def tokens(items: list[Json]) -> RenderableType:
    """Tokens: whose, what they open, until when."""
    if not items:
        return Text("no tokens")
    columns = ("TOKEN", "NAME", "ROLE", "STATE", "EXPIRES", "USED", "CREATED", "BY", "ENROLLED")
    table = grid(*columns, wrapped=("IDS",))
    for item in items:
        style = "yellow" if item.get("ends_soon") else ""
        expires = Text(wording.date(item["expires_wall_ms"]), style=style)
        if item["expires_wall_ms"] is None and item["state"] == "good":
            expires = Text("never", style="red")
        table.add_row(
            item["token"],
            item["name"],
            item["role"],
            Text(item["state"], style="" if item["state"] == "good" else "dim"),
            expires,
            wording.date(item.get("seen_wall_ms")),
            wording.date(item["created_wall_ms"]),
            item["created_by"],
            f"{item.get('used', 0)}/{limit}" if (limit := item.get("limit")) else "",
            item.get("ids", ""),
        )
    return table


def invitations(items: list[Json]) -> RenderableType:
    """Invitations: for whom, until when, and who has come."""
    if not items:
        return Text("no invitations")
    table = grid("INVITATION", "STATE", "FOR", "USED", "EXPIRES", "BY", wrapped=("TAKEN IN",))
    for item in items:
        table.add_row(
            item["invitation"],
            Text(item["state"], style="" if item["state"] == "open" else "dim"),
            item["node"] or "any",
            f"{len(item['taken'])} of {item['uses']}",
            wording.date(item["expires_wall_ms"]),
            item["created_by"],
            ", ".join(item["taken"]),
        )
    return table


def contexts(items: list[Json]) -> RenderableType:
    """Contexts; a star marks the one in use."""
    if not items:
        return Text("no contexts: stationkeep login makes one")
    table = grid("", "NAME", wrapped=("URL",))
    for item in items:
        table.add_row("*" if item["current"] else "", item["name"], item["url"])
    return table
