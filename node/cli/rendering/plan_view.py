"""The answer of `plan`, and its table: at most 80 columns, both models side by side."""

import math
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stationkeep.cluster.odds import Lane
from stationkeep.cluster.settings import to_user

if TYPE_CHECKING:
    from stationkeep.cluster.odds import Forecast, Spread

Json = dict[str, Any]
YEAR = 365.25 * 86_400
NEVER_IN_A_YEAR = 1e-5
"""Events an hour that are shown as 0: one in eleven years."""
MODELS = {"links": "each link alone", "uplink": "its uplink at once"}


def answer(figures: "Forecast", source: str) -> Json:
    """The forecast as JSON. Times in s; null: never, or rarer than can be counted."""
    return {
        "source": source,
        "nodes": figures.nodes,
        "loss": {"rate": figures.loss.rate, "mean_burst_s": figures.loss.burst},
        "lane": figures.lane.value,
        "reports_per_evaluation": figures.reports,
        "relays": figures.relays,
        "models": {
            name: {
                "sample_missed": outlook.miss,
                "false_failover_s": _finite(outlook.false_failover),
                "false_safe_mode_s": _finite(outlook.false_safe_mode),
                "no_primary_s_an_hour_at_most": outlook.lapsed,
                "elections_an_hour_at_most": outlook.elections,
                "detection_s": _spread(outlook.detection),
                "failover_s": _spread(outlook.failover),
            }
            for name, outlook in figures.outlooks.items()
        },
        "primary_led_raft_adds_at_most_s": figures.election,
        "settings": to_user(figures.settings),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _spread(spread: "Spread | None") -> Json | None:
    if spread is None:
        return None
    return {name: _finite(value) for name, value in msgspec.structs.asdict(spread).items()}


def table(result: Json) -> RenderableType:
    """The whole answer in 80 columns."""
    parts: list[RenderableType] = [Text(_head(result)), _rates(result)]
    if result["lane"] == Lane.DATAGRAM:
        parts += [Text(), _times(result)]
    if "check" in result:
        parts += [Text(), _check(result["check"])]
    return Group(*parts, Text("\n" + _small_print(result), style="dim"))


def _head(result: Json) -> str:
    loss, settings = result["loss"], result["settings"]
    kind = "independent"
    if loss["mean_burst_s"] is not None:
        kind = f"in bursts of {loss['mean_burst_s']:.3g} s on average"
    return (
        f"{result['nodes']} nodes, {result['source']}\n"
        f"{100 * loss['rate']:.4g} % of packets lost, {kind}\n"
        f"{result['reports_per_evaluation']} reports per evaluation "
        f"({settings['evaluation_interval']}); {settings['failures_to_fail_primary']} missed "
        f"samples fail a PRIMARY, {settings['failures_to_safe_mode']} the others\n"
    )


def grid(*headers: str) -> Table:
    """A table without lines, numbers right-aligned."""
    columns = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, header in enumerate(headers):
        columns.add_column(header, justify="left" if i == 0 else "right", no_wrap=True)
    return columns


def _rates(result: Json) -> Table:
    rows = grid("A HEALTHY NODE, WHEN LOSSES HIT …", *(title for title in MODELS.values()))
    models = [result["models"][name] for name in MODELS]
    rows.add_row("a sample is missed", *(_chance(m["sample_missed"]) for m in models))
    for label, key in (
        ("false failover of the PRIMARY, every", "false_failover_s"),
        ("false SAFE_MODE of one node, every", "false_safe_mode_s"),
    ):
        rows.add_row(label, *(_between(m[key], result["loss"]["rate"]) for m in models))
    for label, key in (
        ("no PRIMARY may act, s an hour, at most", "no_primary_s_an_hour_at_most"),
        ("Raft elections an hour, at most", "elections_an_hour_at_most"),
    ):
        rows.add_row(label, *(few(m[key]) for m in models))
    return rows


def _times(result: Json) -> Table:
    rows = grid("A FAILED PRIMARY", "MEAN", "P50", "P95", "P99", "LONGEST")
    for label, key in (("noticed", "detection_s"), ("replaced", "failover_s")):
        for name, title in MODELS.items():
            figures = result["models"][name][key]
            cells = (_seconds(figures[k]) for k in ("mean", "p50", "p95", "p99", "longest"))
            rows.add_row(f"{label}, {title}", *cells)
    return rows


def _check(checks: list[Json]) -> Table:
    rows = grid("COUNTED OVER THE CORE", "LOSS", "COMPUTED", "COUNTED", "99.9 % INTERVAL", "")
    for row in checks:
        low, high = row["interval_s"]
        rows.add_row(
            row["what"],
            f"{row['loss']:.3g}",
            _seconds(row["computed_s"]),
            _seconds(row["counted_s"]),
            f"{low:.1f}–{high:.1f}s",
            "agrees" if row["agrees"] else "DIFFERS",
        )
    return rows


def _small_print(result: Json) -> str:
    lines = [
        *_LANES[result["lane"]],
        f"Each link alone: peers may relay what the leader misses ({result['relays']} counted).",
        "Its uplink at once: what it sends is lost to all others; the cautious figure.",
        "False alarms are triggers; the vote of two thirds can only make them rarer.",
    ]
    if result["lane"] == Lane.DATAGRAM:
        election = result["primary_led_raft_adds_at_most_s"]
        lines += [
            "Longest replacement: one in 10^9 takes longer. If the PRIMARY led Raft as well,",
            f"add up to {election:g} s.",
        ]
    if any(row["loss"] > result["loss"]["rate"] for row in result.get("check", [])):
        lines.append("False alarms were counted at a loss that makes them frequent enough.")
    return "\n".join(lines)


_LANES = {
    Lane.DATAGRAM: ("Lane: datagrams, one packet each; copies sent by stream are ignored.",),
    Lane.STREAM: (
        "Lane: streams only, as when UDP is blocked; after a loss TCP stalls.",
        "Coarse; replacement is not computed, since votes wait behind lost packets too.",
    ),
}


def few(value: float) -> str:
    """A number; 0 if it is less than `NEVER_IN_A_YEAR`."""
    return "0" if value < NEVER_IN_A_YEAR else f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _chance(value: float) -> str:
    return f"{value:.2g}" if value > 0 else "never"


def _between(seconds: float | None, rate: float) -> str:
    """Time between false alarms; with loss it is never infinite, only too long for a float."""
    return "> 1e270 years" if seconds is None and rate > 0 else long_span(seconds)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}s" if value < 100_000 else f"{value:.2g}s"


def long_span(seconds: float | None) -> str:
    """A time between events in the largest unit that fits: `78 minutes`, `3.6 million years`."""
    if seconds is None:
        return "never"
    years = seconds / YEAR
    if years >= 1e9:
        return f"{years:.1e} years".replace("e+", "e")
    if years >= 1e6:
        return f"{years / 1e6:.3g} million years"
    for unit, length in (("year", YEAR), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            amount = seconds / length
            return f"{amount:,.0f} {unit}s" if amount >= 10 else f"{amount:.1f} {unit}s"
    return f"{seconds:.3g} s"
