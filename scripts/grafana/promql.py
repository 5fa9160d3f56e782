"""Expressions over the cluster that a dashboard looks at."""

J = 'job="$job"'
"""Matches the cluster that is looked at."""


def risk(by: str) -> str:
    """Mean risk, as the newest evaluation saw it."""
    return f"avg by ({by}) (job_node_role:stationkeep_node_risk_score:max{{{J}}})"


def grown(series: str, by: str, more: str = "") -> str:
    """Growth of a counter within one step of the graph."""
    return f"sum by ({by}) (increase({series}{{{J}{more}}}[$__rate_interval]))"


def rate(series: str, by: str) -> str:
    """Growth of a counter by the second."""
    return f"sum by ({by}) (rate({series}{{{J}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """A quantile of a histogram of durations, of all nodes or by a label."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({histogram}_bucket{{{J}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"
