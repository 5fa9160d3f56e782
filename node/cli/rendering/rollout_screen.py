"""One frame of `rollout watch`: a rollout as text that fits a given width and height.

Pure, so that frames can be compared in tests. Every state is a word and a mark; colour only repeats
it. From top to bottom, and by priority if there is little room: state and reason, the stages, what
failed and who turned bad, the newest of what happened.
"""

import textwrap
from typing import Any

from rich.text import Text

from stationkeep.node.cli.rendering import rollout_wording as words
from stationkeep.node.cli.rendering import wording
from stationkeep.node.cli.rendering.screen import Picture

Json = dict[str, Any]

HEADERS = (
    "  STAGE", "STATE", "DONE", "OK", "FAIL", "WAIT", "OFF", "FAILURES", "EVIDENCE",
    "BAD/TWINS BAD", "NEXT",
)  # fmt: skip
SPARE = (9, 6, 5, 3, 7)
"""Columns that are left out one by one where the terminal is narrow."""
RIGHT = frozenset({3, 4, 5, 6})
LONGEST_NAME = 20
LEGEND = f"Ctrl-C leaves   {words.LEGEND}"
LEAST_MOMENTS = 3


def frame(picture: Picture, width: int, height: int) -> Text:
    """At most `height` lines of at most `width` columns."""
    rollout = picture.rollout
    assert rollout is not None
    lines = _header(picture, rollout, width, max(2, height // 3))
    room = max(2, height - len(lines) - LEAST_MOMENTS - 4)
    lines += [Text(), *_stages(rollout["stages"], width, room)]
    lines += _named(rollout["stages"], height - len(lines) - LEAST_MOMENTS - 3)
    lines += _timeline(rollout["timeline"], width, height - len(lines) - 3)
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines)) + [Text(LEGEND, style="dim")]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def _named(stages: list[Json], room: int) -> list[Text]:
    """What failed, and which devices turned bad, if there is room for it."""
    named = {"FAILURES  ": words.failures(stages), "TURNED BAD  ": words.turned_bad(stages)}
    lines = [Text.assemble((t, "bold"), "   ".join(found)) for t, found in named.items() if found]
    blank = [Text()] if lines and room > len(lines) else []
    return [*blank, *lines][: max(0, room)]


def _header(picture: Picture, rollout: Json, width: int, most: int) -> list[Text]:
    """What it is, why, what comes next; the reason as long as `most` lines."""
    style = words.STYLES.get(rollout["state"], "")
    more = words.besides(rollout)
    state = f"{rollout['rollout']}  {words.why(rollout)}" + f"; besides, {more}" * bool(more)
    head = [Text(line, style=f"bold {style}") for line in _wrapped(state, width)[:most]]
    coming = words.exit_of(rollout)
    parts = [
        words.what(rollout),
        f"by {_given(rollout)}",
        f"for {wording.ago(rollout['since_s'])}",
        *([f"next: {coming}"] if coming else []),
    ]
    lines = [*head, Text("   ".join(parts))]
    back = words.way_back(rollout["rollback"])
    if back:
        lines.append(Text(f"way back: {back}", style="bold"))
    may = " · ".join(rollout["orders"]) or "nothing"
    asked = f"on fail: {rollout['on_fail']}   priority {rollout['priority']}   you may: {may}"
    lines.append(Text(asked, style="dim"))
    if picture.silent:
        said = f"NO NODE ANSWERS since {picture.silent:.0f} s; this is the last known state"
        lines.insert(0, Text(said, style="bold reverse"))
    elif picture.notice:
        lines.append(Text(picture.notice, style="yellow"))
    else:
        lines[-1].append(f"   {picture.cluster['node']} answers")
    return lines


def _given(rollout: Json) -> str:
    """`olaf, approved by ines`."""
    granted = [approval["actor"] for approval in rollout["approvals"] if not approval["stage"]]
    author = str(rollout["author"] or "nobody named")
    if granted:
        return f"{author}, approved by {', '.join(granted)}"
    return f"{author}, 0 of {rollout['needed']} approvals" if rollout["needed"] else author


def _stages(stages: list[Json], width: int, room: int) -> list[Text]:
    """A line for each stage; those that have passed long ago make room."""
    cells = [_cells(stage) for stage in stages]
    left_out = 0
    if len(stages) > room - 1:
        first = next((n for n, s in enumerate(stages) if s["state"] != "passed"), len(stages) - 1)
        left_out = min(max(0, first - 1), len(stages) - (room - 1))
    shown = list(zip(stages, cells, strict=True))[left_out : left_out + room - 1]
    kept = _fitting([HEADERS, *(row for _, row in shown)], width)
    lines = [_row(HEADERS, kept, "dim")]
    for stage, row in shown:
        lines.append(_row(row, kept, words.STYLES.get(stage["state"], "")))
    return lines


def _cells(stage: Json) -> tuple[str, ...]:
    """A stage as texts, by column."""
    name = stage["name"]
    if len(name) > LONGEST_NAME:
        name = name[: LONGEST_NAME - 1] + "…"
    begun = stage["state"] not in ("pending", "stopped") or stage["members"] > 0
    failures, health = words.gate(stage, "failures"), words.gate(stage, "health")
    return (
        f"{words.mark(stage['state'])} {name}",
        stage["state"],
        words.done(stage) if begun else "",
        *(f"{words.count(stage, *states):,}" if begun else "" for states in COUNTED),
        words.beside(failures) if begun else "",
        words.evidence(health) if begun else "",
        words.twins(stage),
        words.exit_of(stage),
    )


COUNTED = (("succeeded",), words.FAILED, wording.UNFINISHED, ("unreached",))
"""The states of the tasks in each column of counts."""
Columns = dict[int, int]
"""The width of each column that is shown."""


def _fitting(rows: list[tuple[str, ...]], width: int) -> Columns:
    """As many columns as fit beside the last, which takes what is left."""
    widths = {n: max(len(row[n]) for row in rows) for n in range(len(HEADERS))}
    for spare in (None, *SPARE):
        if spare is not None:
            del widths[spare]
        if sum(widths.values()) + 2 * (len(widths) - 1) <= width:
            break
    return widths


def _row(cells: tuple[str, ...], kept: Columns, style: str) -> Text:
    padded = (
        cells[n].rjust(width) if n in RIGHT else cells[n].ljust(width) for n, width in kept.items()
    )
    return Text("  ".join(padded).rstrip(), style=style)


def _timeline(moments: list[Json], width: int, room: int) -> list[Text]:
    """The newest of what happened, in at most `room` lines and a title."""
    if room < 1:
        return []
    lines: list[Text] = []
    for moment in reversed(moments):
        time = wording.clock(moment["wall_ms"])
        first, *rest = _wrapped(moment["sentence"], width - len(time) - 1)
        lines.append(Text.assemble((f"{time} ", "dim"), first))
        lines += [Text(" " * (len(time) + 1) + line) for line in rest]
        if len(lines) >= room:
            break
    return [Text(), Text("TIMELINE, the newest first", style="bold"), *lines[:room]]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width)) or [""]
