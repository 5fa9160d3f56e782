"""Figures and phrases that tables, `status` and `watch` share. Plain text, no colour."""

import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stationkeep.node.ports import LinkFigures

BARS = "▁▂▃▄▅▆▇█"
MISSED = "×"
SHOWN_SAMPLES = 10
FRESH = 2.0
"""Seconds of age that are not mentioned."""

Json = dict[str, Any]


def bar(history: list[Json], length: int = SHOWN_SAMPLES) -> str:
    """The newest samples as one character each, oldest first; × for a missed one."""
    return "".join(
        MISSED if sample.get("missed") else level(sample["risk"]) for sample in history[-length:]
    ).rjust(length)


def level(risk: float) -> str:
    """One of eight heights for a risk between 0 and 1."""
    return BARS[min(len(BARS) - 1, max(0, int(risk * len(BARS))))]


def sample(risk: float | None) -> str:
    """A sample of a decision's evidence; None stands for a missed one."""
    return "missed" if risk is None else f"{risk:.2f}"


def without_openings(decisions: list[Json]) -> list[Json]:
    """`decisions` without the openings of proposals whose outcome is also in the list."""
    closed = {d.get("proposal") for d in decisions if d["outcome"] != "proposed"}
    return [d for d in decisions if d["outcome"] != "proposed" or d.get("proposal") not in closed]


def span(seconds: float | None) -> str:
    """A remaining time, short: `2.4s`, `85s`, `12m`, `3h`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7_200 else f"{seconds / 3_600:.0f}h"


def releases(found: dict[str, Any]) -> str:
    """The cluster's level, and what will become of it."""
    text = f"level {found['level']}, which release {found['release']} has"
    if found["next"] is None:
        return text
    if found["obstacles"]:
        return f"{text}; not {found['next']} yet: {'; '.join(found['obstacles'])}"
    after = f", in {span(found['raises_in_s'])}" if found["raises_in_s"] is not None else ""
    return f"{text}; {found['next']} is next{after} (stationkeep level raise: now)"


def cooldown(seconds: float | None) -> str:
    """The rest of a cool-down; `-` when it is over."""
    return span(seconds) if seconds else "-"


def cluster_time(milliseconds: int) -> str:
    """Cluster time as `T+123.4s`."""
    return f"T+{milliseconds / 1_000:.1f}s"


def clock(wall_ms: int | None) -> str:
    """Local time of day, for display."""
    if not wall_ms:
        return "--:--:--"
    return datetime.datetime.fromtimestamp(wall_ms / 1_000).strftime("%H:%M:%S")


def date(wall_ms: int | None) -> str:
    """Local day, for display."""
    if not wall_ms:
        return "-"
    return datetime.datetime.fromtimestamp(wall_ms / 1_000).strftime("%Y-%m-%d")


def acts_as(node: Json) -> str:
    """The effective role, or `?` if the answering node has no recent report."""
    effective = node.get("effective_role")
    return str(effective) if effective else "?"


def flags(node: Json) -> list[str]:
    """What is unusual about a node, most important first."""
    found = []
    if node.get("joining"):
        found.append("joining")
    elif not node.get("alive"):
        found.append("dead" if node.get("known", True) else "not heard")
    if node["role"] == "PRIMARY" and node.get("effective_role") == "SAFE_MODE":
        found.append("fenced")
    elif node.get("unable"):
        found.append("behind")
    if node.get("maintenance"):
        found.append(f"maintenance {span(node['maintenance'].get('remaining_s'))}")
    if node.get("escalated_by"):
        found.append("escalated")
    if node.get("priority") == 0:
        found.append("never PRIMARY")
    if node.get("policies"):
        found.append("policy")
    run = node.get("consecutive_unhealthy") or 0
    if run and node.get("alive") and node.get("known", True):
        found.append(f"{run} unhealthy")
    return found


def link_flags(link: "LinkFigures") -> list[str]:
    """What is unusual about a link."""
    marks = {
        "down": not link.connected,
        "UDP blocked?": link.connected and not link.heard,
        "in doubt": link.in_doubt,
        "stalled": link.stalled and link.error is None,  # which says why no other replaces it
    }
    found = [mark for mark, is_so in marks.items() if is_so]
    return [*found, link.error] if link.error else found


def change(item: Json) -> str:
    """`sat-001 PRIMARY→BACKUP`."""
    return f"{item['node']} {item['origin']}→{item['target']}"


def primary_line(cluster: Json) -> str:
    """Who holds the seat, in words."""
    primary = cluster.get("primary")
    if not primary:
        return "none"
    line = f"{primary['id']}, epoch {primary['epoch']}"
    waits = f", not yet effective (waits up to {span(primary['fence_remaining_s'])})"
    return line if primary.get("active") else line + waits


def quorum_line(cluster: Json) -> str:
    """`5 of 5 connected, 3 needed`."""
    quorum = cluster["quorum"]
    return f"{quorum['connected']} of {quorum['members']} connected, {quorum['needed']} needed"


def when(cluster: Json) -> str:
    """Cluster time, with its age if it is outdated: `T+62.4s (25s ago)`."""
    age = cluster["age_ms"] / 1_000
    time = cluster_time(cluster["time_ms"])
    return time if age < FRESH else f"{time} ({span(age)} ago)"


def risk(node: Json) -> str:
    """A node's risk; `?` if the answering node cannot know it, `-` before the first sample."""
    if not node.get("known", True):
        return "?"
    return "-" if node.get("risk") is None else f"{node['risk']:.2f}"


def device_health(item: Json) -> str:
    """A device's health as a word; that of an offline device is unknown."""
    if not item["online"]:
        return "offline"
    return "healthy" if item["healthy"] else "unhealthy"


def ago(seconds: float) -> str:
    """How long since something was seen: `0.4s`, `3m`, `2d`."""
    return span(seconds) if seconds < 172_800 else f"{seconds / 86_400:.0f}d"


def pin(item: Json) -> str:
    """`by ann@ground for another 90s: drill`."""
    left = item["remaining_s"]
    how_long = "until released" if left is None else f"for another {span(left)}"
    why = f": {item['reason']}" if item["reason"] else ""
    return f"by {item['actor'] or 'nobody named'} {how_long}{why}"


def brake(item: Json) -> str:
    """The active storm brake, and how to release it."""
    since = cluster_time(item["since_ms"])
    return f"STORM BRAKE since {since}: {item['detail']} (rings release-brake ends it)"


def fleet_line(fleet: Json) -> str:
    """`12 devices: 11 healthy, 1 unhealthy, 0 offline`."""
    parts = [f"{fleet[f'{word}_devices']:,} {word}" for word in ("healthy", "unhealthy", "offline")]
    if fleet["pinned_devices"]:
        parts.append(f"{fleet['pinned_devices']:,} pinned")
    total = fleet["total_slaves"]
    return f"{total:,} device{'s' * (total != 1)}: {', '.join(parts)}"


def ring_line(fleet: Json) -> str:
    """`canary 3   dev 3   stage 3   prod 3`."""
    return "   ".join(f"{ring} {count:,}" for ring, count in fleet["ring_distribution"].items())


def task(item: Json) -> str:
    """Where a task stands: `in_progress, installing 40%`, `queued: the device is offline …`."""
    if item["waits"]:
        return f"{item['state']}: {item['waits']}"
    canceling = ", told to cancel" if item["canceling"] else ""
    if item["phase"]:
        return f"{item['state']}, {item['phase']} {item['progress']}%{canceling}"
    why = "" if item["reason"] in ("", item["state"]) else f" ({item['reason']})"
    return f"{item['state']}{why}"


def what(deployment: Json) -> str:
    """What a deployment has devices do: `app 2.0.0`, `restart`, `flash os 14`."""
    type_, version = deployment["task_type"], deployment["version"]
    if not version:
        return str(type_)
    artifact = f"{deployment['component']} {version}"
    return artifact if type_ == "deployment" else f"{type_} {artifact}"


UNFINISHED = ("queued", "offered", "in_progress")
FAILED = ("failed", "rejected", "timed_out", "unreached")


def count(deployment: Json, states: tuple[str, ...]) -> int:
    """Tasks of a deployment in any of these states."""
    tallies: dict[str, int] = deployment["tallies"]
    return sum(tallies.get(state, 0) for state in states)


def done(deployment: Json) -> int:
    """Tasks of a deployment that have come to an end, good or bad."""
    members: int = deployment["members"]
    return max(0, members - count(deployment, UNFINISHED))


def deployment_line(deployment: Json) -> str:
    """`9 of 12 done, 1 failed, 2 in_progress`."""
    tallies = deployment["tallies"]
    failed = count(deployment, FAILED)
    parts = [f"{done(deployment):,} of {deployment['members']:,} done"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{tallies[state]:,} {state}" for state in UNFINISHED if tallies.get(state)]
    return ", ".join(parts) + (f"; {deployment['held']}" if deployment["held"] else "")


def progress(share: float, length: int = 10) -> str:
    """A bar that is filled to a share."""
    full = min(length, max(0, int(share * length)))
    return "█" * full + "·" * (length - full)
