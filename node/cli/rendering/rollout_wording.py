"""Figures and phrases about rollouts that tables and `rollout watch` share. Plain text, no colour.

Every state is a word and a mark; colour only repeats them.
"""

from typing import Any

from stationkeep.node.cli.rendering import wording

Json = dict[str, Any]

MARKS = {
    "pending": "·",
    "deploying": "▶",
    "soaking": "▶",
    "validating": "▶",
    "passed": "✔",
    "failed": "✘",
    "inconclusive": "?",
    "stopped": "■",
    "paused": "‖",
    "running": "▶",
    "aborting": "■",
    "aborted": "■",
    "rolling_back": "◀",
    "rolled_back": "◀",
    "succeeded": "✔",
}
LEGEND = "▶ now  ✔ passed  ✘ failed  ? inconclusive  ‖ paused  · to come"
STYLES = {
    "passed": "green",
    "succeeded": "bold green",
    "failed": "bold red",
    "inconclusive": "bold yellow",
    "paused": "bold yellow",
    "deploying": "cyan",
    "soaking": "cyan",
    "validating": "cyan",
    "running": "cyan",
    "rolling_back": "bold red",
    "rolled_back": "bold red",
    "pending": "dim",
    "stopped": "dim",
    "aborting": "bold yellow",
    "aborted": "yellow",
}
FAILED = ("failed", "rejected", "timed_out")


def mark(state: str) -> str:
    """The shape of a state."""
    return MARKS.get(state, "·")


def marked(state: str) -> str:
    """`‖ PAUSED`, `◀ ROLLED BACK`."""
    return f"{mark(state)} {state.upper().replace('_', ' ')}"


def what(rollout: Json) -> str:
    """`app 2.1.0`, `app 2.1.0 | 2.2.0`."""
    return f"{rollout['component']} {' | '.join(rollout['versions'])}".strip()


def count(stage: Json, *states: str) -> int:
    """Its tasks in any of these states."""
    return wording.count(stage, states)


def done(stage: Json) -> str:
    """A bar and how many of how many have come to an end: `██████··  45/60`."""
    members = stage["members"]
    if not members:
        return "-"
    over = wording.done(stage)
    return f"{wording.progress(over / members, 6)} {over:,}/{members:,}"


def gate(stage: Json, name: str) -> Json | None:
    """A gate of a stage, by its name."""
    return next((gate for gate in stage["gates"] if gate["name"] == name), None)


def share(value: float | None) -> str:
    """`2.2%`, `-`."""
    return "-" if value is None else f"{100 * value:.1f}".removesuffix(".0") + "%"


def beside(found: Json | None) -> str:
    """A gate's value beside its limit: `2.2% ≤ 5%`; an ellipsis where none is known yet."""
    if found is None or found["limit"] is None:
        return "-"
    sign = "≥" if found["name"] == "coverage" else "≤"
    value = "…" if found["value"] is None else share(found["value"])
    return f"{value} {sign} {share(found['limit'])}"


def evidence(found: Json | None) -> str:
    """`0.4 of 20`: how much there is, and how much would be proof."""
    if found is None:
        return "off"
    if found["evidence"] is None:
        return "-"
    return f"{found['evidence']:.3g} of {found['needed'] or 0:.3g}"


def twins(stage: Json) -> str:
    """`5 of 1,170 / 22 of 4,680`: updated devices that turned bad, and their twins."""
    found = stage["twins"]
    if found is None or not found["updated"]:
        return ""
    bad, twins = found["bad_twins"], found["twins"]
    return f"{found['bad']:,} of {found['updated']:,} / {bad:,} of {twins:,}"


def exit_of(item: Json) -> str:
    """`passes or not in 3m`, `aborted in 7d`; what holds it comes first."""
    found, held = item["exit"], item["held"]
    if held is not None and item["state"] not in ("paused", "draft", "awaiting_approval"):
        return held_by(held)
    if found is None:
        return ""
    when = "" if found["in_s"] is None else f" in {ago(found['in_s'])}"
    return f"{found['becomes'].replace('_', ' ')}{when}"


def held_by(held: Json) -> str:
    """All that holds it, and when it goes on."""
    if held["until_s"] is not None:
        return f"{held['sentence']}; goes on in {ago(held['until_s'])} at the latest"
    known = [hold["until_s"] for hold in held["holds"] if hold["until_s"] is not None]
    rest = f" and the rest is over, in {ago(max(known))} at the latest" if known else ""
    return f"{held['sentence']}; goes on when {held['when']}{rest}"


def besides(rollout: Json) -> str:
    """What holds a rollout that waits for people, so that their order alone is not enough."""
    waits = rollout["state"] in ("paused", "draft", "awaiting_approval")
    holds = rollout["held"]["holds"] if waits and rollout["held"] else []
    return ", and ".join(hold["sentence"] for hold in holds if hold["reason"] != "paused")


def ago(seconds: float) -> str:
    """`3m10s` would be too exact: `3m`, `7d`."""
    return wording.ago(seconds)


def why(rollout: Json) -> str:
    """Its state with the reason: `‖ PAUSED: stage canary is inconclusive (failures)`."""
    reason = rollout["why"] or rollout["reason"]
    return marked(rollout["state"]) + (f": {reason}" if reason else "")


def way_back(found: Json | None) -> str:
    """`back 12, pending 2, failed 0, stranded 1`; nothing of none."""
    if found is None:
        return ""
    return ", ".join(
        f"{word} {found[word]:,}" for word in ("back", "pending", "failed", "stranded")
    )


def failures(stages: list[Json]) -> list[str]:
    """Equal failures of all stages, the most frequent first: `install 5 (e.g. dev-1: no space)`."""
    groups = [group for stage in stages for group in stage["failures"]]
    groups.sort(key=lambda group: -group["count"])
    return [
        f"{group['reason']} {group['count']:,} (e.g. {group['device'] or '-'}"
        + (f": {group['text']})" if group["text"] else ")")
        for group in groups
    ]


def turned_bad(stages: list[Json]) -> list[str]:
    """Devices that turned bad, with the ring that each is in by now."""
    return [
        f"{each['device']} ({each['ring'] or 'removed'})"
        for stage in stages
        for each in stage["turned_bad"]
    ]


def standing(rollout: Json) -> str:
    """The stage in which it is: `dev, soaking`; or how many have passed."""
    stages = rollout["stages"]
    for stage in stages:
        if stage["state"] not in ("pending", "passed", "stopped"):
            return f"{stage['name']}, {stage['state']}"
    return f"{sum(stage['state'] == 'passed' for stage in stages)} of {len(stages)} passed"
