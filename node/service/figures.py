"""Figures of a running node for its metrics: what storage, links and intake have counted."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stationkeep.node.loop import NodeLoop
from stationkeep.node.ports import Machine
from stationkeep.node.service.port import Durations, Vitals

if TYPE_CHECKING:
    from stationkeep.node.peers.network import PeerNetwork
    from stationkeep.node.raft import Raft

MAX_REASONS = 32
"""Distinct reasons of refused messages that become label values; the rest are "other"."""


def vitals(loop: NodeLoop, raft: "Raft | None", network: "PeerNetwork | None") -> Vitals:
    """Without `raft` or `network`: a node without files, or without sockets."""
    gossip = loop.gossip
    rejected = {
        ("gossip", "malformed"): gossip.malformed,
        ("gossip", "outdated"): gossip.outdated,
        ("gossip", "implausible"): gossip.implausible.total,
    }
    if network is not None:
        rejected |= bounded("connection", network.rejected)
    reports = dict(loop.intake.results)
    updates = {answer.value: number for answer, number in loop.errands.words.results.items()}
    asked = dict(loop.gatekeeper.results)
    if raft is None:
        return Vitals(
            rejected=rejected, device_reports=reports, task_updates=updates, gate_questions=asked
        )
    return Vitals(
        log_entries=raft.log_entries,
        snapshot_seconds=raft.snapshot_seconds,
        leader_changes=raft.leader_changes,
        pending_proposals=raft.pending_proposals,
        journal_failing=raft.journal_error is not None,
        rejected=rejected | bounded("raft", raft.rejected),
        device_reports=reports,
        task_updates=updates,
        gate_questions=asked,
    )


def machine(data_dir: Path, up_s: float) -> Machine:
    """The disk that has `data_dir`, and this process."""
    try:
        disk = psutil.disk_usage(str(data_dir))
    except OSError:
        disk = None
    total, free = (None, None) if disk is None else (disk.total, disk.free)
    return Machine(up_s, str(data_dir), total, free, psutil.Process().memory_info().rss)


def take_durations(loop: NodeLoop, raft: "Raft | None") -> Durations:
    """What was measured since the previous call."""
    plans, checks = loop.rebalancer.drain_seconds(), loop.conductor.drain_seconds()
    if raft is None:
        return Durations(rebalances=plans, checks=checks)
    return Durations(raft.drain_commit_seconds(), raft.drain_sync_seconds(), plans, checks)


def bounded(link: str, reasons: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Label values are for ever: a reason beyond the first `MAX_REASONS` is "other"."""
    counted: dict[tuple[str, str], int] = {}
    for position, (reason, number) in enumerate(reasons.items()):
        label = (link, reason if position < MAX_REASONS else "other")
        counted[label] = counted.get(label, 0) + number
    return counted
