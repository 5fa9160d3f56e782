"""Devices and rings as Rich tables. Every state is a word; colour only repeats it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import Fitted, facts, grid

Json = dict[str, Any]

NEWEST_TASKS = 3
"""Of a device that are shown with it."""
HEALTH_STYLES = {"healthy": "green", "unhealthy": "bold red", "offline": "dim"}


def devices(items: list[Json]) -> RenderableType:
    """One device a line."""
    if not items:
        return Text("no such devices")
    table = Fitted(
        "DEVICE|RING|HEALTH|BATT|CPU|MEM|DISK|SEEN|PIN|NAME",
        spare="NAME|DISK|SEEN|MEM|CPU|BATT",
        right="BATT|CPU|MEM|DISK|SEEN",
    )
    for item in items:
        table.add_row(
            item["id"],
            item["ring"],
            health_text(item),
            *readings(item),
            wording.ago(item["seen_s"]),
            "pinned" if item["pin"] else "-",
            item["name"] or "-",
        )
    return table


def readings(item: Json) -> tuple[str, str, str, str]:
    """Battery, CPU, memory and disk, short; `+` means charging."""
    status = item["status"]
    if status is None:
        return ("-", "-", "-", "-")
    battery = f"{status['battery_level']}%{'+' if status['battery_charging'] else ''}"
    shares = (status[f"{name}_usage"] for name in ("cpu", "memory", "disk"))
    return (battery, *(f"{share:.0f}%" for share in shares))  # type: ignore[return-value]


def health_text(item: Json) -> Text:
    """A device's health as a coloured word."""
    word = wording.device_health(item)
    return Text(word, style=HEALTH_STYLES[word])


def device(item: Json) -> RenderableType:
    """Everything that is known about one device."""
    pin = item["pin"]
    status = item["status"] or {}
    shown: Json = {
        "device": item["id"],
        "name": item["name"] or "-",
        "os": item["os_version"] or "-",
        "app": item["app_version"] or "-",
        "ring": f"{item['ring']}, since {wording.cluster_time(item['ring_since_ms'])}",
        "why": item["ring_sentence"],
        "pin": wording.pin(pin) if pin else "-",
        "policy": item["policy"] or "-",
        "health": wording.device_health(item),
        "credential": item.get("credential", "-"),
        "seen": f"{wording.ago(item['seen_s'])} ago, by {item['served_by'] or '-'}",
        **{
            f"task {task['task_id']}": wording.task(task)
            for task in item.get("tasks", [])[:NEWEST_TASKS]
        },
        **{name.replace("_", " "): _figure(status.get(name)) for name in _READINGS},
        **{name: _figure(value) for name, value in status.get("metrics", {}).items()},
        **{f"label {name}": value for name, value in item["labels"].items()},
        **{f"capability {name}": value for name, value in item["capabilities"].items()},
    }
    return facts(shown)


_READINGS = ("battery_level", "battery_charging", "cpu_usage", "memory_usage", "disk_usage")


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}"


def ring_history(items: list[Json]) -> RenderableType:
    """Moves of one device, newest first."""
    if not items:
        return Text("no moves remembered")
    table = grid("CLUSTER", "FROM", "TO", "ASSIGNED BY", wrapped=("WHY",))
    for item in items:
        table.add_row(
            wording.cluster_time(item["at_ms"]),
            item["origin"] or "-",
            item["target"],
            item["assigned_by"],
            item["sentence"] + (f": {item['comment']}" if item["comment"] else ""),
        )
    return table


def device_explanation(answer: Json) -> RenderableType:
    """Why a device is in its ring, with its history."""
    head = Text()
    head.append(f"{answer['device']} is in {answer['ring']}\n", style="bold")
    for line in answer["summary"]:
        head.append(f"  {line}\n")
    head.append("\nIts rings, newest first", style="bold")
    return Group(head, ring_history(answer["history"]))


def rings(answer: Json) -> RenderableType:
    """The rings with their quotas, then the rules for filling them."""
    table = grid("RING", "DEVICES", "HEALTHY", "UNHEALTHY", "OFFLINE", "PINNED", "QUOTA", "SHARE")
    for column in table.columns[1:]:
        column.justify = "right"
    for item in answer["items"]:
        counts = (item[name] for name in ("devices", "healthy", "unhealthy", "offline", "pinned"))
        share = f"{item['share']:.0%}" + (f", cap {item['cap']:,}" if item["cap"] else "")
        table.add_row(item["ring"], *(f"{n:,}" for n in counts), f"{item['quota']:,}", share)
    parts: list[RenderableType] = [table, Text(), facts(_rules(answer))]
    if answer["brake"]:
        parts.append(Text(wording.brake(answer["brake"]), style="bold red"))
    if answer["policies"]:
        parts += [Text(), ring_policies(answer["policies"])]
    return Group(*parts)


def _rules(answer: Json) -> Json:
    excused = " (not the battery, while charging)" if answer["charging_excuses_battery"] else ""
    checked = answer["checked_at_ms"]
    last = f", the last at {wording.cluster_time(checked)}" if checked is not None else ""
    return {
        "healthy is": answer["health_rule"] + excused,
        "checks": f"{answer['checks']:,}{last}",
    }


def ring_policies(items: list[Json]) -> RenderableType:
    """Ring policies in the order in which they are tried."""
    if not items:
        return Text("no ring policies: the shares apply to all devices")
    table = grid("POLICY", "DEVICES", "RINGS", "WEIGHTS", wrapped=("SELECTOR",))
    for item in items:
        weights = item["weights"]
        table.add_row(
            item["name"],
            f"{item['devices']:,}",
            ",".join(item["rings"]),
            " ".join(f"{ring}={weight}" for ring, weight in weights.items()) if weights else "-",
            item["selector"],
        )
    return table


def rebalance_plan(answer: Json) -> RenderableType:
    """What a check would move now, counted by origin, target and reason."""
    head = Text(f"a check now would move {answer['devices']:,} of {answer['total']:,} devices")
    if answer["braked"]:
        head.append("\nthe storm brake prevents it", style="bold red")
    if not answer["moves"]:
        return head
    table = grid("DEVICES", "FROM", "TO", wrapped=("WHY",))
    table.columns[0].justify = "right"
    for move in answer["moves"]:
        table.add_row(f"{move['devices']:,}", move["origin"], move["target"], move["sentence"])
    return Group(head, table)


def health_plan(answer: Json) -> RenderableType:
    """For how many devices a health rule would change the verdict."""
    changed = answer["to_unhealthy"] + answer["to_healthy"]
    return Text(
        f"the verdict would change for {changed:,} of {answer['online']:,} devices online: "
        f"{answer['to_unhealthy']:,} to unhealthy, {answer['to_healthy']:,} to healthy"
    )


def policies_plan(answer: Json) -> RenderableType:
    """How many devices other ring policies would affect."""
    head = Text(
        f"another policy would apply to {answer['changed']:,} of {answer['devices']:,} devices; "
        f"{answer['astray']:,} would be in a ring that they may not be in, and checks move them"
    )
    table = grid("POLICY", "DEVICES")
    table.columns[1].justify = "right"
    for one in answer["policies"]:
        table.add_row(one["name"], f"{one['devices']:,}")
    return Group(head, table) if answer["policies"] else head
