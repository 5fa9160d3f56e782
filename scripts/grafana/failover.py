"""Panels that answer: who is PRIMARY, and does failover work?"""

from typing import Any

from scripts.grafana.panels import figure, graph, pie, timeline
from scripts.grafana.promql import J, grown, risk


def now() -> list[Any]:
    """The state at a glance."""
    return [
        figure(
            "PRIMARY",
            "The node that acts as PRIMARY at this instant. None during a failover.",
            "short",
            (f"stationkeep_effective_primary{{{J}}} == 1", "{{node}}"),
            named=True,
            good=1,
        ),
        figure(
            "Raft leader",
            "The node whose evaluations count. It need not be the PRIMARY.",
            "short",
            (f"stationkeep_raft_is_leader{{{J}}} == 1", "{{instance}}"),
            named=True,
            good=1,
        ),
        figure(
            "Nodes down",
            "Nodes that answer no scrape.",
            "short",
            (f"count(up{{{J}}}) - sum(up{{{J}}})", "down"),
            bad=1,
        ),
        figure(
            "Alarms nobody has seen",
            "Raised and not acknowledged: stationkeep alarms list.",
            "short",
            (f"sum(job_name:stationkeep_alarm_unacknowledged:max{{{J}}})", "alarms"),
            bad=1,
        ),
        figure(
            "Failover under way for",
            "Since the first unhealthy sample of a PRIMARY that has no effective successor yet.",
            "s",
            (f"max(stationkeep_failover_pending_seconds{{{J}}})", "pending"),
            bad=300,
        ),
        figure(
            "Automatic changes",
            "1 while an operator's pause of automatic changes of roles lasts.",
            "short",
            (f"max(stationkeep_automatic_changes_paused{{{J}}})", "paused"),
            bad=1,
        ),
    ]


def seeds() -> list[Any]:
    """The panels of the feature's first description."""
    blocked = f"flapping_events_blocked{{{J}}}"
    return [
        pie(
            "Role distribution",
            "Members in each role of the role table.",
            (f"role_distribution{{{J}}}", "{{role}}"),
        ),
        figure(
            "Failover time (p95)",
            "From the first unhealthy sample to an effective successor. Promised: under 5 minutes.",
            "s",
            (f"failover_time_seconds_p95{{{J}}}", "p95"),
            bad=300,
            width=8,
            height=7,
        ),
        figure(
            "Role changes in a day",
            "Every change of every node, automatic and ordered.",
            "short",
            (f"sum(increase(role_changes_total{{{J}}}[1d]))", "changes"),
            width=8,
            height=7,
        ),
        graph(
            "Role changes over time",
            "By the rule that wanted them.",
            "short",
            (grown("role_changes_total", "reason") + " > 0", "{{reason}}"),
            bars=True,
            stacked=True,
            width=12,
        ),
        graph(
            "Health by role",
            "Mean risk of the nodes in each role; above 0.30 a sample counts as unhealthy.",
            "percentunit",
            (risk("role"), "{{role}}"),
            limit=0.3,
            width=12,
        ),
        graph(
            "Health by node",
            "Risk as the leader's evaluations see it; a missed sample counts as 1.",
            "percentunit",
            (risk("node"), "{{node}}"),
            limit=0.3,
            width=12,
        ),
        graph(
            "Flapping prevention",
            "Changes that did not happen: runs that ended before their trigger, and cool-downs.",
            "short",
            (grown("flapping_events_blocked", "reason") + " > 0", "{{reason}}"),
            bars=True,
            stacked=True,
            width=12,
        ),
        figure(
            "Flapping events blocked",
            "Since the cluster was born.",
            "short",
            (f"sum({blocked})", "blocked"),
            width=8,
        ),
        figure(
            "Last flapping event blocked",
            "How long ago, within the last day.",
            "s",
            (
                f"time() - max_over_time(timestamp(sum(increase({blocked}[2m])) > 0)[1d:1m])",
                "ago",
            ),
            width=8,
        ),
        figure(
            "Failovers within 10 s",
            "Share of all failovers since the cluster was born.",
            "percentunit",
            (
                f'sum(job_le:stationkeep_failover_time_seconds_bucket:max{{{J}, le="10.0"}}) / '
                f'sum(job_le:stationkeep_failover_time_seconds_bucket:max{{{J}, le="+Inf"}})',
                "share",
            ),
            width=8,
        ),
        timeline(
            "Alarms",
            "Raised, by name; about members, how many of them.",
            (f"max by (name) (stationkeep_alarm{{{J}}}) > 0", "{{name}}"),
        ),
    ]
