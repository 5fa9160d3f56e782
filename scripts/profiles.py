"""How each profile was chosen: what `plan` says of it, as the tables of the README.

.venv/bin/python -m scripts.readme profiles
"""

from collections.abc import Callable, Iterator, Sequence

from stationkeep.cluster.odds import Forecast, Loss, Model, Outlook, forecast
from stationkeep.cluster.settings import DEFAULT_PROFILE, PROFILES, Settings, format_duration, merge
from stationkeep.node.cli.rendering.plan_view import few, long_span

NODES = 5
ALONE, BURSTS, NONE = Loss(0.2), Loss(0.2, 2.0), Loss(0.0)
INTERVALS = (1_400, 1_800, 2_000, 2_200, 2_600, 3_000, 4_000)
"""ms of `evaluation_interval`, around the default's."""
Figure = Callable[[Outlook], str]


def tables() -> str:
    """Both tables, in Markdown."""
    return "\n".join([*_table("", _names(), _rows()), "", *_trade_off()])


def _names() -> list[str]:
    return [f"{name} (default)" if name == DEFAULT_PROFILE else name for name in PROFILES]


def _table(corner: str, heads: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join([corner, *heads])} |"
    yield "| --- " * (len(heads) + 1) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rows() -> Iterator[list[str]]:
    for name, of in _TIMINGS.items():
        yield [name, *(of(settings) for settings in PROFILES.values())]
    for loss, words in ((ALONE, "independent"), (BURSTS, "bursts of 2 s")):
        told = [_told(settings, loss) for settings in PROFILES.values()]
        for model, where in ((Model.LINKS, "each link alone"), (Model.UPLINK, "its uplink")):
            what = f"20 % lost, {words}, {where}: "
            for name, of in _PROMISES.items():
                yield [what + name, *(_said(f, model, of) for f in told)]
    for loss, words in ((NONE, "nothing lost"), (ALONE, "20 % lost")):
        told = [_told(settings, loss) for settings in PROFILES.values()]
        for name, of in _TIMES.items():
            yield [f"{words}: {name}", *(_said(f, Model.LINKS, of) for f in told)]


def _told(settings: Settings, loss: Loss) -> Forecast | None:
    """None: bursts shorter than what lies between two reports are independent losses."""
    if loss.burst is not None and loss.burst * 1_000 < settings.report_interval:
        return None
    return forecast(settings, loss, NODES)


def _said(figures: Forecast | None, model: Model, of: Figure) -> str:
    return "as independent" if figures is None else of(figures.outlooks[model])


def _trade_off() -> Iterator[str]:
    """Why the default is not quicker: its evaluation interval varied, all else in proportion."""
    default = PROFILES[DEFAULT_PROFILE]
    rows = (_traded(default, interval) for interval in INTERVALS)
    heads = ["replaced, median", "false failover, each link alone", "its uplink"]
    yield f"`{DEFAULT_PROFILE}` with another `evaluation_interval`, bursts of 2 s:"
    yield ""
    yield from _table("evaluation_interval", heads, rows)


def _traded(default: Settings, interval: int) -> list[str]:
    share = interval / default.evaluation_interval
    fields = ("primary_lease", "heartbeat_timeout", "hysteresis_window", "election_timeout_min")
    changed = {field: round(getattr(default, field) * share) for field in fields}
    varied = merge(default, changed | {"evaluation_interval": interval})
    quiet = forecast(varied, NONE, NODES).outlooks[Model.LINKS]
    bursts = forecast(varied, BURSTS, NODES).outlooks
    return [format_duration(interval), _TIMES["replaced, median"](quiet)] + [
        long_span(bursts[model].false_failover) for model in Model
    ]


_TIMINGS: dict[str, Callable[[Settings], str]] = {
    "report, evaluation every": lambda s: (
        f"{format_duration(s.report_interval)}, {format_duration(s.evaluation_interval)}"
    ),
    "missed samples that fail a PRIMARY": lambda s: str(s.failures_to_fail_primary),
    "lease of the PRIMARY": lambda s: format_duration(s.primary_lease),
    "Raft: heartbeat; election time-out": lambda s: (
        f"{format_duration(s.raft_heartbeat)}; {format_duration(s.election_timeout_min)} to "
        f"{format_duration(s.election_timeout_max)}"
    ),
}
_PROMISES: dict[str, Figure] = {
    "a false failover every": lambda o: long_span(o.false_failover),
    "s an hour without an acting PRIMARY, at most": lambda o: few(o.lapsed),
    "elections an hour, at most": lambda o: few(o.elections),
}


def _seconds(of: Callable[[Outlook], float]) -> Figure:
    return lambda outlook: f"{of(outlook):.1f} s"


def _spread(which: str, quantile: str) -> Figure:
    return _seconds(lambda outlook: float(getattr(getattr(outlook, which), quantile)))


_TIMES: dict[str, Figure] = {
    f"{word}, {name}": _spread(which, quantile)
    for which, word in (("detection", "noticed"), ("failover", "replaced"))
    for quantile, name in (("p50", "median"), ("p99", "p99"))
}
