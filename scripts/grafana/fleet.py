"""Panels for whoever looks after the devices."""

from typing import Any

from scripts.grafana.panels import graph
from scripts.grafana.promql import J, grown, quantile, rate


def devices() -> list[Any]:
    """Where they are, how they are, and what they say."""
    found = f"job_ring_health:stationkeep_devices:max{{{J}}}"
    return [
        graph(
            "Devices by ring",
            "Offline ones keep their ring.",
            "short",
            (f"sum by (ring) ({found})", "{{ring}}"),
            stacked=True,
        ),
        graph(
            "Devices by health",
            "The health of offline devices is unknown.",
            "short",
            (f"sum by (health) ({found})", "{{health}}"),
            stacked=True,
        ),
        graph(
            "Moves",
            "From ring to ring, by reason.",
            "short",
            (grown("stationkeep_ring_moves_total", "reason", ', from!=""') + " > 0", "{{reason}}"),
            bars=True,
            stacked=True,
        ),
        graph(
            "Messages of devices",
            "Statuses and heartbeats, by result.",
            "ops",
            (rate("stationkeep_device_reports_total", "result"), "{{result}}"),
            stacked=True,
        ),
        graph(
            "Connections",
            "WebSockets of devices, by node.",
            "short",
            (f"stationkeep_device_connections{{{J}}}", "{{instance}}"),
            stacked=True,
        ),
        graph(
            "Connections that ended, errors",
            "By cause, and by code.",
            "ops",
            (rate("stationkeep_device_connections_ended_total", "reason"), "ended: {{reason}}"),
            (rate("stationkeep_device_errors_total", "code"), "error: {{code}}"),
        ),
    ]


def deployments() -> list[Any]:
    """Tasks, deployments and rollouts, and what holds them."""
    return [
        graph(
            "Tasks",
            "Of deployments that are not closed, by state.",
            "short",
            (f"max by (state) (stationkeep_tasks{{{J}}})", "{{state}}"),
            stacked=True,
        ),
        graph(
            "Steps of tasks",
            "To which state they came, by reason.",
            "short",
            (
                grown("stationkeep_task_transitions_total", "to, reason") + " > 0",
                "{{to}} {{reason}}",
            ),
            bars=True,
            stacked=True,
        ),
        graph(
            "Deployments, updates of their tasks",
            "Deployments that are not closed; and what devices say of their tasks, by result.",
            "short",
            (f'max by (state) (stationkeep_deployments{{{J}, state!="closed"}})', "{{state}}"),
            (rate("stationkeep_task_updates_total", "result"), "{{result}}/s"),
        ),
        graph(
            "Rollouts",
            "Those that are not over, by state; and those that were rolled back.",
            "short",
            (
                f"max by (state) (stationkeep_rollouts{{{J}, "
                'state!~"succeeded|aborted|rolled_back"})',
                "{{state}}",
            ),
            (grown("stationkeep_rollbacks_total", "outcome") + " > 0", "rolled back {{outcome}}"),
        ),
        graph(
            "Stages",
            "By state; and those that something holds, by reason.",
            "short",
            (
                "max by (state) (count by (instance, state) "
                f'(stationkeep_rollout_stage_state{{{J}, state!~"pending|passed"}}))',
                "{{state}}",
            ),
            (
                "max by (reason) (count by (instance, reason) "
                f"(stationkeep_rollout_stage_held{{{J}}}))",
                "held: {{reason}}",
            ),
        ),
        graph(
            "Stages: tasks that are over",
            "Share of the tasks of each stage that deploys or is judged.",
            "percentunit",
            (
                "max by (rollout, stage) (sum by (instance, rollout, stage) "
                f'(stationkeep_rollout_members{{{J}, state!~"queued|offered|in_progress"}}) '
                "/ sum by (instance, rollout, stage) "
                f"(stationkeep_rollout_members{{{J}}}))",
                "{{rollout}} {{stage}}",
            ),
        ),
        graph(
            "Gates: figures",
            "Share of what is allowed, or asked for (coverage), of each gate.",
            "percentunit",
            (
                "max by (rollout, stage, gate) "
                f"(stationkeep_rollout_gate_value{{{J}}} / stationkeep_rollout_gate_limit{{{J}}})",
                "{{rollout}} {{stage}} {{gate}}",
            ),
        ),
        graph(
            "Gates: evidence",
            "Share of what would be proof that a gate is broken: 1 stops the rollout.",
            "percentunit",
            (
                "max by (rollout, stage, gate) "
                f"(stationkeep_rollout_gate_evidence{{{J}}} "
                f"/ stationkeep_rollout_gate_evidence_needed{{{J}}})",
                "{{rollout}} {{stage}} {{gate}}",
            ),
        ),
        graph(
            "Time of a check (p99)",
            "Of the rings, planned on the leader; of rollouts, applied everywhere.",
            "s",
            (quantile(0.99, "stationkeep_rebalance_seconds"), "rings"),
            (quantile(0.99, "stationkeep_rollout_check_seconds"), "rollouts"),
        ),
    ]
