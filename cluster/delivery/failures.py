"""Failures of a deployment, equal ones together: what went wrong, how often, and where to look."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from msgspec.structs import replace

from stationkeep.cluster.deployments.deployment import MAX_FAILURES, Deployment, FailureGroup
from stationkeep.cluster.deployments.lifecycle import TASK_REASONS, TaskReason
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.step import Step

_MAX_WORDED = MAX_FAILURES - len(TASK_REASONS)
"""Groups told apart by their text; beside them there is room for one without a text a reason."""
_NONE: Mapping[int, str] = MappingProxyType({})


def note_failures(
    step: Step, deployment: Deployment, positions: Column, texts: Mapping[int, str] = _NONE
) -> None:
    """Counts tasks that have just failed, by their reasons; `texts`: what some of their devices
    said of it, by place in `positions`."""
    if not len(positions):
        return
    roster = step.state.deployments.rosters[deployment.number]
    known = {(group.reason, group.text): group for group in deployment.failures}
    for (code, text), (first, count) in _equal_ones(roster.reason[positions], texts).items():
        reason = TASK_REASONS[code]
        group = known.get((reason, text))
        if group is None:
            row = int(roster.row[positions[first]])
            group = FailureGroup(reason, text, 0, step.state.fleet.id(row))
        known[reason, text] = replace(group, count=group.count + count)
    _fold(known)
    deployment.failures = list(known.values())


def _fold(known: dict[tuple[TaskReason, str], FailureGroup]) -> None:
    """Of too many texts those that the fewest said are counted without them, the oldest first: who
    invents texts pushes out invented ones."""
    worded = sorted((group for group in known.values() if group.text), key=lambda g: g.count)
    for group in worded[:-_MAX_WORDED]:
        del known[group.reason, group.text]
        plain = known.get((group.reason, ""), replace(group, text="", count=0))
        known[group.reason, ""] = replace(plain, count=plain.count + group.count)


def _equal_ones(codes: Column, texts: Mapping[int, str]) -> dict[tuple[int, str], tuple[int, int]]:
    """By code and text: the place of the first of them, and how many they are. Those with a text
    are few, the others may be a whole fleet."""
    plain = np.ones(len(codes), bool)
    plain[list(texts)] = False
    places = np.flatnonzero(plain)
    found, firsts, counts = np.unique(codes[places], return_index=True, return_counts=True)
    columns = (found.tolist(), places[firsts].tolist(), counts.tolist())
    equal = {(code, ""): (first, count) for code, first, count in zip(*columns, strict=True)}
    for place, said in texts.items():
        key = int(codes[place]), said
        first, count = equal.get(key, (place, 0))
        equal[key] = first, count + 1
    return equal
