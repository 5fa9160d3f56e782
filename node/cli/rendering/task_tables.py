"""Deployments and tasks as Rich tables. Every state is a word; colour only repeats it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import facts, grid

Json = dict[str, Any]

STYLES = {
    "succeeded": "green",
    "offered": "cyan",
    "in_progress": "cyan",
    **dict.fromkeys(wording.FAILED, "bold red"),
    "canceled": "dim",
    "already_installed": "dim",
}


def deployments(items: list[Json]) -> RenderableType:
    """One deployment a line: what, to whom, how far."""
    if not items:
        return Text("no deployments; `stationkeep tasks submit` makes one")
    table = grid("N", "STATE", "DONE", "", "FAILED", "AGE", wrapped=("WHAT", "TARGET"))
    for column in (0, 3, 4, 5):
        table.columns[column].justify = "right"
    for item in items:
        done, members = wording.done(item), item["members"]
        failed = wording.count(item, wording.FAILED)
        table.add_row(
            str(item["deployment"]),
            "held" if item["held"] else item["state"],
            wording.progress(done / members if members else 1),
            f"{done:,}/{members:,}",
            Text(f"{failed:,}", style="bold red" if failed else ""),
            wording.ago(item["age_s"]),
            wording.what(item),
            item["target"],
        )
    return table


def deployment(item: Json) -> RenderableType:
    """Everything about one deployment, with the tasks that were asked for."""
    parts: list[RenderableType] = [facts(_facts(item)), Text(), _tallies(item)]
    if item["failures"]:
        parts += [Text(), _failures(item["failures"])]
    if item["tasks"]:
        parts += [Text(), tasks(item["tasks"])]
    return Group(*parts)


def _facts(item: Json) -> Json:
    comment = f": {item['comment']}" if item["comment"] else ""
    return {
        "deployment": f"{item['deployment']}, {_state(item)}",
        "what": wording.what(item),
        **{f"parameter {name}": value for name, value in item["parameters"].items()},
        "target": item["target"],
        "members": _members(item),
        "given": f"{wording.ago(item['age_s'])} ago by {item['actor'] or 'nobody named'}{comment}",
        "limits": ", ".join(_limits(item)),
        "requires": item["require"] or "-",
    }


def _members(item: Json) -> str:
    incapable = item["incapable"]
    more = f"; {incapable:,} more cannot carry out tasks" if incapable else ""
    return f"{item['members']:,}{more}"


def _state(item: Json) -> str:
    if item["closed_s"] is not None:
        return f"{item['state']} ({item['reason']}) {wording.ago(item['closed_s'])} ago"
    if item["held"]:
        return f"{item['state']}, but nothing is offered: {item['held']}"
    return f"{item['state']}, its deadline is in {wording.ago(item['deadline_s'])}"


def _limits(item: Json) -> list[str]:
    pace = item["pace"]
    limits = [f"priority {item['priority']}"]
    limits += [f"{item['max_in_flight']:,} in flight"] if item["max_in_flight"] else []
    limits += [] if item["retries"] is None else [f"{item['retries']} retries"]
    if pace:
        limits.append(f"{pace['now']:,} a minute (from {pace['from']:,} to {pace['to']:,})")
    return limits + (["downgrades allowed"] if item["allow_downgrade"] else [])


def _tallies(item: Json) -> RenderableType:
    """How many tasks are in which state; states without one are left out."""
    table = grid("STATE", "TASKS", "SHARE")
    table.columns[1].justify = "right"
    members = item["members"] or 1
    for state, count in item["tallies"].items():
        if count:
            bar = wording.progress(count / members, 20)
            table.add_row(state_text(state), f"{count:,}", f"{bar} {count / members:.0%}")
    return table


def _failures(items: list[Json]) -> RenderableType:
    """Equal failures, counted."""
    table = grid("FAILURES", "REASON", wrapped=("ONE OF THEM", "DETAIL"))
    table.columns[0].justify = "right"
    for item in items:
        table.add_row(f"{item['count']:,}", item["reason"], item["device"] or "-", item["text"])
    return table


def tasks(items: list[Json]) -> RenderableType:
    """One task a line."""
    if not items:
        return Text("no tasks")
    table = grid("RING", "FOR", wrapped=("TASK", "STATE"))
    for item in items:
        table.add_row(
            item["ring"],
            wording.ago(item["since_s"]),
            item["task_id"],
            Text(wording.task(item), style=STYLES.get(item["state"], "")),
        )
    return table


def state_text(state: str) -> Text:
    """The state of a task as a coloured word."""
    return Text(state, style=STYLES.get(state, ""))
