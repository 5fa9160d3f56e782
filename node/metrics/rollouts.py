"""Metrics of rollouts, from the Raft leader.

Rollouts and stages are labels, so only those that are not over have series: 32 rollouts of up to 18
stages at most. A stage has one series of each kind, and of its tasks those states that there are.
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from stationkeep.cluster.rollouts.gates import MILLI
from stationkeep.cluster.rollouts.lifecycle import RolloutState
from stationkeep.cluster.rollouts.rollout import Rollout, Stage
from stationkeep.cluster.settings import PPM
from stationkeep.cluster.state.state import ROLLBACKS, ClusterState
from stationkeep.node.metrics.families import PREFIX, counters, gauges
from stationkeep.node.views.stages import held_of, tallied


def rollout_families(state: ClusterState, now: int) -> Iterator[Metric]:
    """The families of one scrape, at cluster time `now`."""
    known = dict.fromkeys((each.value for each in RolloutState), 0)
    for rollout in state.rollouts.known.values():
        known[rollout.state.value] += 1
    yield gauges(
        "rollouts", "Rollouts by state; of those that are over the newest.", "state", known
    )
    yield counters(
        "rollbacks",
        "Rollouts that were rolled back: complete, or with devices that were not back by then.",
        "outcome",
        dict.fromkeys(ROLLBACKS, 0) | state.counters.rollbacks,
    )
    yield from _of_stages(state, now)
    yield from _of_gates(state)


def _stages(state: ClusterState) -> Iterator[tuple[Rollout, int, Stage]]:
    for rollout in state.rollouts.open_ones():
        for place, stage in enumerate(rollout.stages):
            yield rollout, place, stage


def _of_stages(state: ClusterState, now: int) -> Iterator[Metric]:
    standing = GaugeMetricFamily(
        PREFIX + "rollout_stage_state",
        "1 for the state that a stage is in, of rollouts that are not over.",
        labels=["rollout", "stage", "state"],
    )
    held = GaugeMetricFamily(
        PREFIX + "rollout_stage_held",
        "1 while nothing of a stage begins, or it is not judged; by reason.",
        labels=["rollout", "stage", "reason"],
    )
    members = GaugeMetricFamily(
        PREFIX + "rollout_members",
        "Tasks of a stage by state.",
        labels=["rollout", "stage", "state"],
    )
    for rollout, place, stage in _stages(state):
        standing.add_metric([rollout.name, stage.name, stage.state], 1.0)
        hold = held_of(state, rollout, place, now)
        for one in () if hold is None else hold.holds:  # whose freeze it is, is no label
            held.add_metric([rollout.name, stage.name, one.reason.partition(":")[0]], 1.0)
        for each, count in tallied(state, stage).items():
            if count:
                members.add_metric([rollout.name, stage.name, each], count)
    yield from (standing, held, members)


def _of_gates(state: ClusterState) -> Iterator[Metric]:
    labels = ["rollout", "stage", "gate"]
    told = {
        "value": "Share of devices that failed, were reached, or turned bad, at the newest check.",
        "limit": "The share that a gate allows, or asks for.",
        "evidence": "Evidence that a gate is broken, at the newest check.",
        "evidence_needed": "Evidence that would be proof.",
    }
    families = {
        field: GaugeMetricFamily(f"{PREFIX}rollout_gate_{field}", help_, labels=labels)
        for field, help_ in told.items()
    }
    for rollout, _, stage in _stages(state):
        for judged in stage.judged:
            figures = {
                "value": (judged.value, PPM), "limit": (judged.limit, PPM),
                "evidence": (judged.evidence, MILLI), "evidence_needed": (judged.needed, MILLI),
            }  # fmt: skip
            for field, (figure, unit) in figures.items():
                if figure is not None:
                    families[field].add_metric(
                        [rollout.name, stage.name, judged.gate], figure / unit
                    )
    yield from families.values()
