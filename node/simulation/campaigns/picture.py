"""A run as a picture: one line for each node, coloured by the role it acted in, and one for each
rollout, by its state; SVG.

Colours are told apart without colour vision by their brightness, and PRIMARY is the tallest bar,
so that two at once, or none, can be seen at a glance.
"""

from collections.abc import Iterable
from html import escape

from stationkeep.node.simulation.campaigns.summary import PRIMARY, Span

WIDTH, LEFT, TOP, ROW = 1_100, 90, 64, 30
COLOURS = {
    "PRIMARY": "#1a4f9c",
    "BACKUP": "#6aa5d8",
    "STANDBY": "#cfe0ee",
    "SAFE_MODE": "#e8a33d",
    "paused": "#9a9a9a",
    "down": "#3b3b3b",
}
STATES = {
    "draft": "#cfe0ee",
    "awaiting_approval": "#cfe0ee",
    "running": "#6aa5d8",
    "paused": "#9a9a9a",
    "aborting": "#e8a33d",
    "rolling_back": "#b3261e",
}
_HEIGHTS = {"PRIMARY": 20, "BACKUP": 14, "STANDBY": 10, "SAFE_MODE": 14, "paused": 6, "down": 3}
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)


def draw(
    names: list[str],
    found: Iterable[Span],
    *,
    end: float,
    title: str,
    leaders: Iterable[tuple[float, str, int]] = (),
    rollouts: Iterable[Span] = (),
) -> str:
    """The timeline from 0 to `end` seconds; `leaders`: when, who, term of each election."""
    scale = (WIDTH - LEFT - 20) / max(end, 1e-9)
    courses = list(rollouts)
    lines = len(names) + 1 + len({span.node for span in courses})
    height = TOP + ROW * lines + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
        *_legend(),
        *_grid(end, scale, lines),
    ]
    rows = {name: TOP + ROW * i for i, name in enumerate(names)}
    for name, y in rows.items():
        parts.append(f'<text x="12" y="{y + 19}">{escape(name)}</text>')
    spans = list(found)
    parts.extend(_bar(span, rows[span.node], scale) for span in spans)
    parts.extend(_seat(spans, TOP + ROW * len(names), scale))
    parts.extend(_courses(courses, TOP + ROW * (len(names) + 1), scale))
    for moment, name, term in leaders:
        x = LEFT + moment * scale
        parts.append(
            f'<path d="M{x:.1f} {rows[name] + 2} l-4 -6 h8 z" fill="#b3261e">'
            f"<title>{escape(name)} leads term {term} at {moment:.1f} s</title></path>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    parts, x = [], LEFT
    for what, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="44">{what}</text>')
        x += 34 + 8 * len(what)
    parts.append(f'<path d="M{x + 6} 44 l-4 -6 h8 z" fill="#b3261e"/>')
    parts.append(f'<text x="{x + 17}" y="44">takes Raft leadership</text>')
    return parts


def _grid(end: float, scale: float, rows: int) -> list[str]:
    step = next((s for s in _STEPS if end / s <= 12), _STEPS[-1])
    bottom = TOP + ROW * rows + 6
    parts = []
    for number in range(int(end / step) + 1):
        x = LEFT + number * step * scale
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#e2e2e2"/>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">'
            f"{_moment(number * step)}</text>"
        )
    return parts


def _moment(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    if seconds < 7_200:
        return f"{seconds / 60:g} min"
    return f"{seconds / 3_600:g} h"


def _bar(span: Span, y: float, scale: float) -> str:
    height, colour = _HEIGHTS.get(span.what, 10), COLOURS.get(span.what) or STATES[span.what]
    x, width = LEFT + span.start * scale, max(0.4, (span.end - span.start) * scale)
    return (
        f'<rect x="{x:.2f}" y="{y + 15 - height / 2:.1f}" width="{width:.2f}" height="{height}" '
        f'fill="{colour}"><title>{escape(span.node)}: {span.what}, '
        f"{span.start:.1f} to {span.end:.1f} s</title></rect>"
    )


def _courses(courses: list[Span], top: float, scale: float) -> list[str]:
    """The lines of rollouts, in the order in which they were laid down."""
    parts = []
    for place, name in enumerate(dict.fromkeys(span.node for span in courses)):
        y = top + ROW * place
        parts.append(f'<text x="12" y="{y + 19}">{escape(name)}</text>')
        parts.extend(_bar(span, y, scale) for span in courses if span.node == name)
    return parts


def _seat(spans: list[Span], y: float, scale: float) -> list[str]:
    """The last line: when the seat was served, by whomever."""
    parts = [f'<text x="12" y="{y + 19}" font-weight="600">PRIMARY</text>']
    parts.extend(_bar(span, y, scale) for span in spans if span.what == PRIMARY)
    return parts
