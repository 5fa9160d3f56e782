"""Panels of Grafana, as the dashboards beside want them: dressed alike, with a
title and a description each, and a limit drawn where there is one."""

from collections.abc import Iterable
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    piechart,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.piechart import PieChartLegendValues

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
Query = tuple[str, str]
"""An expression and the legend of its series."""
_NEWEST = common.ReduceDataOptions().calcs(["lastNotNull"])


def _thresholds(bad: float | None, good: float | None = None) -> dashboard.ThresholdsConfig:
    """Green, and red from `bad` on; or red, and green from `good` on."""
    below, limit, above = ("red", good, "green") if bad is None else ("green", bad, "red")
    steps = [Threshold(None, below)]
    if limit is not None:
        steps.append(Threshold(limit, above))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _dress(
    panel: Any, title: str, about: str, queries: Iterable[Query], instant: bool = False, **size: int
) -> Any:
    panel.title(title).description(about).datasource(SOURCE)
    panel.span(size["width"]).height(size["height"])
    for number, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend)
        query = query.instant() if instant else query.range()
        panel.with_target(query.ref_id("ABCDEFGH"[number]))
    return panel


def graph(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    limit: float | None = None,
    bars: bool = False,
    stacked: bool = False,
    width: int = 8,
) -> Any:
    """Lines over time; `limit` is drawn as one; `bars` for counts."""
    panel = _dress(timeseries.Panel(), title, about, queries, width=width, height=7)
    legend = common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    panel.unit(unit).min(0).legend(legend.display_mode(LegendDisplayMode.LIST))
    if bars:
        panel.draw_style(GraphDrawStyle.BARS).fill_opacity(60)
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    if limit is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(limit)).thresholds_style(style)
    return panel


def figure(
    title: str,
    about: str,
    unit: str,
    query: Query,
    *,
    bad: float | None = None,
    good: float | None = None,
    named: bool = False,
    width: int = 4,
    height: int = 4,
) -> Any:
    """One figure, red from `bad` on or below `good`; `named`: the series' name instead of it."""
    panel = _dress(stat.Panel(), title, about, [query], True, width=width, height=height)
    panel.unit(unit).no_value("none").graph_mode(BigValueGraphMode.NONE).reduce_options(_NEWEST)
    if named:
        panel.text_mode(BigValueTextMode.NAME)
    panel.color_mode(BigValueColorMode.VALUE).thresholds(_thresholds(bad, good))
    return panel


def pie(title: str, about: str, query: Query) -> Any:
    """Shares of a whole, with their numbers in the legend."""
    legend = piechart.PieChartLegendOptions().show_legend(True).placement(LegendPlacement.RIGHT)
    panel = _dress(piechart.Panel(), title, about, [query], True, width=8, height=7)
    return panel.unit("short").legend(
        legend.display_mode(LegendDisplayMode.TABLE).values([PieChartLegendValues.VALUE])
    )


def timeline(title: str, about: str, query: Query, width: int = 24) -> Any:
    """When something was what."""
    panel = _dress(statetimeline.Panel(), title, about, [query], width=width, height=7)
    return panel.unit("short").thresholds(_thresholds(1))
