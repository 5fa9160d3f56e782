"""Panels for whoever looks after the nodes."""

from typing import Any

from scripts.grafana.panels import graph, timeline
from scripts.grafana.promql import J, grown, quantile, rate


def votes() -> list[Any]:
    """Whether the nodes agree with their leader."""
    return [
        graph(
            "Proposals",
            "By outcome. Many denied: nodes see each other differently.",
            "short",
            (grown("job_outcome:stationkeep_proposals:max", "outcome") + " > 0", "{{outcome}}"),
            bars=True,
            stacked=True,
        ),
        graph(
            "Votes",
            "By verdict, of all observers.",
            "short",
            (grown("stationkeep_votes_total", "verdict") + " > 0", "{{verdict}}"),
            bars=True,
            stacked=True,
        ),
        graph(
            "Compliance",
            "Acknowledged successes / targets of the newest action; below 90 % it escalates.",
            "percentunit",
            (f"max(stationkeep_action_compliance_ratio{{{J}}})", "newest action"),
        ),
        graph(
            "Lease of the PRIMARY",
            "Seconds that it may still act without another echo; at 0 it fences itself.",
            "s",
            (f"stationkeep_primary_lease_remaining_seconds{{{J}}} > 0", "{{instance}}"),
        ),
        graph(
            "Members connected",
            "As each node sees it, itself included.",
            "short",
            (f"stationkeep_members_connected{{{J}}}", "{{instance}}"),
        ),
        graph(
            "Messages refused",
            "Of other nodes, by link and reason.",
            "ops",
            (rate("stationkeep_messages_rejected_total", "link, reason"), "{{link}} {{reason}}"),
        ),
    ]


def raft() -> list[Any]:
    """The log and what carries it."""
    return [
        graph(
            "Commit",
            "From the proposal at a node to its application there.",
            "s",
            (quantile(0.5, "stationkeep_raft_commit_seconds"), "median"),
            (quantile(0.99, "stationkeep_raft_commit_seconds"), "p99"),
            limit=1,
        ),
        graph(
            "Journal sync (p99)",
            "One synced transaction, by node.",
            "s",
            (quantile(0.99, "stationkeep_journal_sync_seconds", "instance"), "{{instance}}"),
            limit=0.5,
        ),
        graph(
            "Event loop lag (p99)",
            "How late a sleeper is woken, by node; a healthy loop stays below 0.05 s.",
            "s",
            (quantile(0.99, "stationkeep_event_loop_lag_seconds", "instance"), "{{instance}}"),
            limit=0.25,
        ),
        graph(
            "Entries committed",
            "By the second, as the fastest node sees it.",
            "ops",
            (f"max(deriv(stationkeep_raft_commit_index{{{J}}}[$__rate_interval]))", "entries"),
        ),
        graph(
            "Behind the log",
            "Entries that the furthest node has committed and this one has not applied.",
            "short",
            (
                f"scalar(max(stationkeep_raft_commit_index{{{J}}})) "
                f"- stationkeep_raft_applied_index{{{J}}}",
                "{{instance}}",
            ),
        ),
        graph(
            "Changes of leader",
            "As each node saw them; 4 in a quarter of an hour are too many.",
            "short",
            (grown("stationkeep_raft_leader_changes_total", "instance") + " > 0", "{{instance}}"),
            bars=True,
        ),
        graph(
            "Term",
            "A term that rises while the leader stays: elections that failed.",
            "short",
            (f"max(stationkeep_raft_term{{{J}}})", "term"),
        ),
        graph(
            "Journal",
            "Entries since the newest snapshot, by node.",
            "short",
            (f"stationkeep_raft_log_entries{{{J}}}", "{{instance}}"),
        ),
        graph(
            "Newest snapshot took",
            "By node.",
            "s",
            (f"stationkeep_snapshot_seconds{{{J}}}", "{{instance}}"),
        ),
        graph(
            "Proposals that wait",
            "Of each node, for an answer.",
            "short",
            (f"stationkeep_pending_proposals{{{J}}}", "{{instance}}"),
        ),
        graph(
            "Quorum",
            "1 while a majority is connected, as each node sees it.",
            "short",
            (f"stationkeep_raft_has_quorum{{{J}}}", "{{instance}}"),
        ),
        timeline(
            "Journal cannot be written",
            "1: the node neither leads nor votes.",
            (f"stationkeep_journal_failing{{{J}}}", "{{instance}}"),
            width=8,
        ),
    ]


def links() -> list[Any]:
    """What the network between the nodes does to their packets."""
    ends = "{{peer}} → {{instance}}"
    return [
        graph(
            "Packets lost by link",
            "Datagrams that did not arrive, by who sent and who missed them; above 0.30 an alert.",
            "percentunit",
            (f"stationkeep_link_loss_ratio{{{J}}}", ends),
            limit=0.3,
        ),
        graph(
            "Longest silence by link",
            "Without a datagram of the peer, within the last minute; one is sent every second.",
            "s",
            (f"stationkeep_link_longest_silence_seconds{{{J}}}", ends),
        ),
        graph(
            "Packets lost in each step",
            "By the counters: a short burst is not spread over a minute.",
            "percentunit",
            (
                f"1 - rate(stationkeep_link_datagrams_received_total{{{J}}}[$__rate_interval])"
                f" / rate(stationkeep_link_datagrams_sent_total{{{J}}}[$__rate_interval])",
                ends,
            ),
        ),
        timeline(
            "Links down",
            "1: no way to the peer, by stream or by datagram.",
            (f"1 - stationkeep_link_connected{{{J}}}", ends),
            width=8,
        ),
        graph(
            "Links in doubt",
            "Of each node: to so many peers small messages travel twice; and streams that stand.",
            "short",
            (f"sum by (instance) (stationkeep_link_in_doubt{{{J}}})", "{{instance}} in doubt"),
            (f"sum by (instance) (stationkeep_link_stalled{{{J}}})", "{{instance}} stalled"),
        ),
        graph(
            "Datagrams doubled and refused",
            "Taken once though they came on both lanes; refused: late, forged or too many.",
            "ops",
            (rate("stationkeep_link_datagrams_duplicates_total", "instance"), "{{instance}} twice"),
            (rate("stationkeep_link_datagrams_refused_total", "reason"), "{{reason}}"),
        ),
    ]


def tellings() -> list[Any]:
    """Messages to others: webhooks, traces, answers to orders."""
    return [
        graph(
            "Messages waiting",
            "That a webhook has not accepted yet.",
            "short",
            (f"job_webhook:stationkeep_webhook_pending:max{{{J}}}", "{{webhook}}"),
            width=12,
        ),
        graph(
            "Attempts to deliver",
            "By webhook; abandoned: refused, or too old; lost: dropped from the log before.",
            "short",
            (
                grown("stationkeep_webhook_deliveries_total", "webhook, outcome") + " > 0",
                "{{webhook}} {{outcome}}",
            ),
            (
                grown("stationkeep_rollout_gate_questions_total", "answer") + " > 0",
                "gate of a stage: {{answer}}",
            ),
            bars=True,
            stacked=True,
            width=12,
        ),
        graph(
            "Spans of traces",
            "By outcome; dropped or failed: the collector is down or too slow.",
            "short",
            (grown("stationkeep_trace_spans_total", "outcome") + " > 0", "{{outcome}}"),
            bars=True,
            stacked=True,
            width=12,
        ),
        graph(
            "Orders refused, operations remembered",
            "By rule; quota: one actor used up its share of what is remembered for all.",
            "short",
            (grown("stationkeep_orders_refused_total", "reason") + " > 0", "{{reason}}"),
            (f"max(stationkeep_operations_remembered{{{J}}})", "remembered"),
            (
                grown("stationkeep_authentications_total", "outcome") + " > 0",
                "who asked: {{outcome}}",
            ),
            width=12,
        ),
    ]


def processes() -> list[Any]:
    """What the nodes use of their machines."""
    return [
        graph(
            "CPU",
            "Cores used, by node.",
            "short",
            (rate("process_cpu_seconds_total", "instance"), "{{instance}}"),
        ),
        graph(
            "Memory",
            "Resident, by node.",
            "bytes",
            (f"process_resident_memory_bytes{{{J}}}", "{{instance}}"),
        ),
        graph(
            "Releases",
            "Nodes that run each.",
            "short",
            (f"count by (version) (stationkeep_build_info{{{J}}})", "{{version}}"),
        ),
        graph(
            "Log lines dropped",
            "The node's stderr was not read in time.",
            "short",
            (rate("stationkeep_log_lines_dropped_total", "instance"), "{{instance}}"),
        ),
        graph(
            "TLS",
            "Handshakes by how they ended, and files that were read anew; nothing without `tls:`.",
            "short",
            (
                grown("stationkeep_tls_handshakes_total", "listener, outcome") + " > 0",
                "{{listener}} {{outcome}}",
            ),
            (
                grown("stationkeep_certificate_reloads_total", "outcome") + " > 0",
                "files {{outcome}}",
            ),
        ),
        graph(
            "Certificates",
            "Until each expires; nothing without `tls:`.",
            "s",
            (
                f"stationkeep_certificate_expiry_timestamp_seconds{{{J}}} - time()",
                "{{node}} {{kind}}",
            ),
        ),
    ]
