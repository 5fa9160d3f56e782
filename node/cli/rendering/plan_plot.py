"""The plot of `plan`: two panels of lines, as SVG.

Above: the share of failures detected and repaired within a time. Below: the time between false
failovers by loss, on a logarithmic scale labelled in familiar units.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from stationkeep.cluster.odds.forecast import Model, curve, healing, watch

if TYPE_CHECKING:
    from stationkeep.cluster.odds import Forecast

WIDTH, HEIGHT = 760, 800
LEFT, RIGHT = 92, 726
COLOURS = {Model.LINKS: "#1d4ed8", Model.UPLINK: "#c2410c"}
NAMES = {Model.LINKS: "each link alone", Model.UPLINK: "its uplink at once"}
YEAR = 365.25 * 86_400
TICKS = (
    (60.0, "1 minute"), (3_600.0, "1 hour"), (86_400.0, "1 day"), (30 * 86_400.0, "30 days"),
    (YEAR, "1 year"), (1e3 * YEAR, "1,000 years"), (1e6 * YEAR, "10⁶ years"),
    (1e9 * YEAR, "10⁹ years"), (1e12 * YEAR, "10¹² years"),
)  # fmt: skip
RATES = [i / 100 for i in range(2, 71, 2)]
STEPS = 240
Point = tuple[float, float]


class Panel(NamedTuple):
    """A rectangle of the plot, and the ranges of its axes."""

    top: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> Point:
        """The position of a point in pixels."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (RIGHT - LEFT), self.bottom - up * (self.bottom - self.top)

    def line(self, points: Sequence[Point], colour: str, extra: str = "") -> str:
        """A polyline through points given in the axes' units."""
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        return f'<polyline points="{where}" stroke="{colour}" {extra}/>'

    def grid_x(self, x: float, label: str) -> str:
        """A vertical rule with its label below."""
        (px, _) = self.at(x, self.y[0])
        rule = (
            f'<line class="grid" x1="{px:.1f}" y1="{self.top}" x2="{px:.1f}" y2="{self.bottom}"/>'
        )
        return rule + _text(px, self.bottom + 18, label, "middle")

    def grid_y(self, y: float, label: str) -> str:
        """A horizontal rule with its label on the left."""
        (_, py) = self.at(self.x[0], y)
        rule = f'<line class="grid" x1="{LEFT}" y1="{py:.1f}" x2="{RIGHT}" y2="{py:.1f}"/>'
        return rule + _text(LEFT - 8, py + 4, label, "end")


def picture(figures: "Forecast") -> str:
    """The whole SVG document."""
    loss = figures.loss
    kind = f"bursts of {loss.burst:g} s" if loss.burst is not None else "independent"
    title = f"{figures.nodes} nodes, {100 * loss.rate:.4g} % of packets lost, {kind}"
    body = [
        _text(LEFT, 30, title, "start", "title"),
        *_healing(figures),
        *_alarms(figures),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif" '
            'font-size="12" fill="#334155">',
            "<style>polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round } "
            ".grid { stroke: #e2e8f0; stroke-width: 1 } "
            ".title { font-size: 16px; font-weight: bold } "
            ".head { font-size: 13px; font-weight: bold }</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _healing(figures: "Forecast") -> list[str]:
    """Share of failures detected (dashed) and repaired (solid) within a time."""
    distributions = {
        model: healing(
            figures.settings,
            figures.loss,
            figures.nodes,
            watch(figures.settings, figures.loss, figures.nodes, model),
        )
        for model in Model
    }
    outlooks = figures.outlooks.values()
    healed = [o.failover.p99 for o in outlooks if o.failover is not None]
    noticed_last = [o.detection.longest for o in outlooks if o.detection is not None]
    end = 1.05 * max([*noticed_last, *filter(math.isfinite, healed)])
    panel = Panel(84, 370, (0.0, end), (0.0, 1.0))
    parts = [
        _text(
            LEFT,
            66,
            "Share of failed PRIMARYs noticed and replaced, over the time since the failure",
            "start",
            "head",
        )
    ]
    parts += [panel.grid_x(x, f"{x:g} s") for x in _round_ticks(end)]
    parts += [panel.grid_y(y / 4, f"{25 * y} %") for y in range(5)]
    for model, (detection, failover) in distributions.items():
        dashed = 'stroke-dasharray="5 4" opacity="0.75"'
        parts.append(panel.line(_sampled(detection.by, end), COLOURS[model], dashed))
        parts.append(panel.line(_sampled(failover.by, end), COLOURS[model]))
    entries = [(COLOURS[m], s, f"{w}, {NAMES[m]}") for m in Model for w, s in _STROKES.items()]
    return parts + _legend(RIGHT - 190, 296, entries)


_STROKES = {"noticed": 'stroke-dasharray="5 4" opacity="0.75"', "replaced": ""}


def _alarms(figures: "Forecast") -> list[str]:
    """Time between false failovers by loss; the given loss is marked."""
    loss = figures.loss
    ticks = [(math.log10(seconds), label) for seconds, label in TICKS]
    panel = Panel(470, 746, (0.0, max(RATES)), (ticks[0][0], ticks[-1][0]))
    parts = [
        _text(
            LEFT,
            452,
            "Mean time between false failovers, over the share of packets lost",
            "start",
            "head",
        )
    ]
    parts += [panel.grid_x(x / 10, f"{10 * x} %") for x in range(8)]
    parts += [panel.grid_y(y, label) for y, label in ticks]
    for model in Model:
        times = curve(figures.settings, loss.burst, figures.nodes, model, RATES)
        points = [(r, math.log10(t)) for r, t in zip(RATES, times, strict=True) if t < math.inf]
        parts += [panel.line(run, COLOURS[model]) for run in _inside(points, panel.y)]
        parts += _mark(panel, loss.rate, figures.outlooks[model].false_failover, COLOURS[model])
    entries = [(COLOURS[model], "", NAMES[model]) for model in Model]
    return parts + _legend(RIGHT - 170, 492, entries)


def _mark(panel: Panel, rate: float, seconds: float, colour: str) -> list[str]:
    """A dot at the given loss, if that is within the panel."""
    if not math.isfinite(seconds) or rate > panel.x[1]:
        return []
    height = math.log10(seconds)
    if not panel.y[0] <= height <= panel.y[1]:
        return []
    x, y = panel.at(rate, height)
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" stroke="#ffffff"/>']


def _inside(points: list[Point], span: tuple[float, float]) -> list[list[Point]]:
    """The line cut off at the panel's upper and lower edge."""
    low, high = span
    kept: list[Point] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        for edge in sorted((low, high), reverse=y0 > y1):
            if min(y0, y1) < edge < max(y0, y1):
                kept.append((x0 + (x1 - x0) * (edge - y0) / (y1 - y0), edge))
        if low <= y1 <= high:
            kept.append((x1, y1))
    first = [points[0]] if points and low <= points[0][1] <= high else []
    return [first + kept] if len(first + kept) > 1 else []


def _sampled(by: Callable[[float], float], end: float) -> list[Point]:
    return [(end * i / STEPS, by(end * i / STEPS)) for i in range(STEPS + 1)]


def _round_ticks(end: float) -> list[float]:
    """About six round numbers from 0 to `end`."""
    rough = end / 6
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * f for f in (1, 2, 5, 10) if scale * f >= rough)
    return [step * i for i in range(int(end / step) + 1)]


def _legend(x: float, y: float, entries: list[tuple[str, str, str]]) -> list[str]:
    parts = []
    for i, (colour, extra, label) in enumerate(entries):
        at = y + 18 * i
        parts.append(
            f'<polyline points="{x},{at - 4} {x + 26},{at - 4}" stroke="{colour}" {extra}/>'
        )
        parts.append(_text(x + 34, at, label, "start"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, class_: str = "") -> str:
    kind = f' class="{class_}"' if class_ else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'
