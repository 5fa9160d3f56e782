"""Rollouts, freezes and dry runs as Rich tables. Every state is a word and a mark; colour only
repeats it."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stationkeep.node.cli.rendering import rollout_wording as words
from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.tables import facts, grid

Json = dict[str, Any]

SHOWN_MOMENTS = 10
SHOWN_NAMES = 20


def rollouts(items: list[Json]) -> RenderableType:
    """One rollout a line: what, where it stands, and what it becomes by itself."""
    if not items:
        return Text("no rollouts; `stationkeep rollout start VERSION` makes one")
    table = grid("UPDATED", "AGE", wrapped=("ROLLOUT", "WHAT", "STATE", "STAGE", "NEXT"))
    table.columns[0].justify = table.columns[1].justify = "right"
    for item in items:
        table.add_row(
            f"{item['updated']:,}",
            wording.ago(item["age_s"]),
            item["rollout"],
            words.what(item),
            state_text(item["state"]),
            words.standing(item),
            words.exit_of(item),
        )
    return table


def rollout(item: Json) -> RenderableType:
    """Everything about one rollout, with the newest of what happened."""
    parts: list[RenderableType] = [facts(_facts(item)), Text(), stages(item["stages"])]
    sentences = [gate["sentence"] for stage in _judged(item) for gate in stage["gates"]]
    if sentences:
        parts += [Text(), Text("GATES", style="dim"), *map(Text, sentences)]
    for title, named in (
        ("FAILURES", words.failures(item["stages"])),
        ("TURNED BAD, and where they are now", words.turned_bad(item["stages"])),
    ):
        if named:
            more = [f"… and {len(named) - SHOWN_NAMES} more"] * (len(named) > SHOWN_NAMES)
            shown = [*named[:SHOWN_NAMES], *more]
            parts += [Text(), Text(title, style="dim"), Text(", ".join(shown))]
    parts += [Text(), Text("TIMELINE, the newest first", style="dim")]
    return Group(*parts, *map(_moment, item["timeline"][: -SHOWN_MOMENTS - 1 : -1]))


def _judged(item: Json) -> list[Json]:
    """The stages whose gates are of interest: those that are not over, or did not pass."""
    return [stage for stage in item["stages"] if stage["state"] not in ("pending", "passed")]


def _facts(item: Json) -> Json:
    comment = f": {item['comment']}" if item["comment"] else ""
    back = words.way_back(item["rollback"])
    granted = [approval["actor"] for approval in item["approvals"] if not approval["stage"]]
    waits = f", {len(granted)} of {item['needed']} approvals" if item["needed"] else ""
    return {
        "rollout": f"{item['rollout']}, {words.why(item)}",
        "for": wording.ago(item["since_s"]),
        **({"next": words.exit_of(item)} if words.exit_of(item) else {}),
        **({"besides": words.besides(item)} if words.besides(item) else {}),
        "installs": words.what(item),
        "devices": f"{item['updated']:,} updated of {item['members']:,} in its stages so far, "
        f"{item['in_flight']:,} at it",
        **({"way back": back} if back else {}),
        "given": f"{wording.ago(item['age_s'])} ago by {item['author'] or 'nobody named'}"
        f"{waits}{comment}",
        "on fail": f"{item['on_fail']}, priority {item['priority']}",
        "digest": f"{item['digest']}, revision {item['revision']}",
        "you may": ", ".join(item["orders"]) or "-",
    }


def stages(items: list[Json]) -> RenderableType:
    """One stage a line: how far, and each gate beside its limit."""
    table = grid("DONE", "OK", "FAIL", "FAILURES", "EVIDENCE", wrapped=("STAGE", "STATE", "NEXT"))
    for column in (1, 2):
        table.columns[column].justify = "right"
    for item in items:
        failed = words.count(item, *words.FAILED)
        table.add_row(
            words.done(item),
            f"{words.count(item, 'succeeded'):,}",
            Text(f"{failed:,}", style="bold red" if failed else ""),
            words.beside(words.gate(item, "failures")),
            words.evidence(words.gate(item, "health")),
            item["name"],
            state_text(item["state"]),
            words.exit_of(item),
        )
    return table


def timeline(items: list[Json]) -> RenderableType:
    """One sentence a line, the oldest first."""
    return Group(*map(_moment, items)) if items else Text("nothing has happened yet")


def _moment(item: Json) -> Text:
    return Text.assemble((f"{wording.clock(item['wall_ms'])} ", "dim"), item["sentence"])


def explained(item: Json) -> RenderableType:
    """Sentences, one a line."""
    return Group(*map(Text, item["summary"]))


def report(item: Json) -> RenderableType:
    """A variant a line, and what may be concluded."""
    table = grid(
        "SHARE", "ASSIGNED", "REACHED", "OK", "FAILED", "ODDS OF SUCCESS",
        wrapped=("VARIANT", "VERSION"),
    )  # fmt: skip
    for column in range(5):
        table.columns[column].justify = "right"
    for arm in item["variants"]:
        table.add_row(
            words.share(arm["share"]),
            *(f"{arm[field]:,}" for field in ("assigned", "reached", "succeeded", "failed")),
            _interval(arm["odds"]),
            arm["name"],
            arm["version"],
        )
    head = f"{item['rollout']}, {words.marked(item['state'])}"
    parts: list[RenderableType] = [Text(head)]
    if item["variants"]:
        parts += [Text(), table, *map(Text, map(_say_arm, item["variants"]))]
    if item["controls"]:
        parts.append(Text(f"left as they are: {', '.join(item['controls'])}"))
    if item["hazard"] is not None:
        parts.append(Text(f"hazard of updated devices to their twins: {_interval(item['hazard'])}"))
    said = [*item["conclusions"], *([item["withheld"]] if item["withheld"] else [])]
    return Group(*parts, Text(), *map(Text, said or ["nothing to conclude yet"]))


def _say_arm(arm: Json) -> str:
    """How the devices of a variant are: `A: 2 of 430 turned bad …`."""
    against = f" (odds against the first {_interval(arm['bad_odds'])})" if arm["bad_odds"] else ""
    told = [
        f"{arm['name']}: {arm['turned_bad']:,} of {arm['watched']:,} turned bad{against}",
        f"hazard to their twins {_interval(arm['hazard'])}",
        f"{arm['device_hours']:,.3g} device-hours",
        *(f"{m['metric']} {m['median']:.3g} ({m['low']:.3g} to {m['high']:.3g})"
          for m in arm["metrics"]),
    ]  # fmt: skip
    return " · ".join(told)


def _interval(found: Json | None) -> str:
    """`1.2 (0.8 to 2.1)`; an ellipsis where an end is open."""
    if found is None:
        return "-"
    ratio, low, high = ("…" if found[k] is None else f"{found[k]:.3g}" for k in INTERVAL)
    return f"{ratio} ({low} to {high})"


INTERVAL = ("ratio", "low", "high")


def freezes(items: list[Json]) -> RenderableType:
    """One freeze a line: what it lies on, and until when."""
    if not items:
        return Text("no freezes")
    table = grid("ENDS IN", "AGE", wrapped=("FREEZE", "RINGS", "DEVICES", "BY", "WHY"))
    for item in items:
        table.add_row(
            wording.ago(item["ends_s"]),
            wording.ago(item["age_s"]),
            item["freeze"],
            ", ".join(item["rings"]) or "all",
            item["selector"] or "all",
            item["actor"] or "nobody named",
            item["reason"],
        )
    return table


def preview(item: Json) -> RenderableType:
    """What a rollout would do: whom each stage reaches, for how long, and what its gates see."""
    table = grid(
        "MEMBERS", "ALREADY", "NEWER", "OFFLINE", "FIRST", "≥ TIME", wrapped=("STAGE", "GATES")
    )
    for column in range(6):
        table.columns[column].justify = "right"
    for stage in item["stages"]:
        members = stage["members"]
        table.add_row(
            "–" if members is None else f"{members:,}",
            *(f"{stage[name]:,}" for name in ("already", "newer", "offline", "first")),
            wording.ago(stage["at_least_s"]),
            stage["name"],
            ", ".join(stage["gates"]),
        )
    parts: list[RenderableType] = [_scope(item), Text(), table, Text(), *_powers(item["stages"])]
    parts += [Text(f"refused when it starts: {said}") for said in item["refusals"]]
    parts += [Text(overlap["sentence"]) for overlap in item["overlaps"]]
    parts += [
        Text(f"freeze {each['freeze']} lies on {each['devices']:,} of them for {_left(each)}")
        for each in item["freezes"]
    ]
    if item["window"]:
        parts.append(_window(item["window"]))
    return Group(*parts, Text("nothing was created"))


def _left(freeze: Json) -> str:
    return f"another {wording.ago(freeze['ends_s'])}"


def _window(window: Json) -> Text:
    opens = window["opens_s"]
    when = "opens" if opens is None else f"opens in {wording.ago(opens)}" if opens else "is open"
    clock = "of each device" if window["timezone"] == "device" else f"of {window['timezone']}"
    return Text(f"window {window['hours']}, by the clock {clock}: {when}")


def _scope(item: Json) -> Text:
    incapable = f" ({item['incapable']:,} incapable)" if item["incapable"] else ""
    reach = f"scope {item['scope']:,} of {item['devices']:,} devices{incapable}"
    return Text(f"{item['rollout']}: {words.what(item)}   {reach}   digest {item['digest']}")


def _powers(items: list[Json]) -> Iterator[RenderableType]:
    """How often each stage stops a version, by the share of its devices that this makes ill."""
    table = grid(wrapped=("STAGE", "OF ROLLOUTS THAT MAKE ILL SO MANY, IT STOPS (IN DOUBT)"))
    for stage in items:
        seen = "   ".join(
            f"{power['ill']:.0%}: {power['stopped']:.0%} ({power['doubted']:.0%})"
            for power in stage["power"]
        )
        said = "; ".join(filter(None, [seen, stage["note"]]))
        if said:
            table.add_row(stage["name"], said)
    if table.rows:
        yield from (table, Text())


def state_text(state: str) -> Text:
    """The state of a rollout or a stage: mark, word, colour."""
    return Text(f"{words.mark(state)} {state.replace('_', ' ')}", style=words.STYLES.get(state, ""))
