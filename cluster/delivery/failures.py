"""Failures of a deployment, equal ones together: what went wrong, how often, and where to look."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from stationkeep.cluster.deployments.deployment import MAX_FAILURES, Deployment, FailureGroup
from stationkeep.cluster.deployments.lifecycle import TASK_REASONS
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.state.step import Step

_MAX_WORDED = MAX_FAILURES - len(TASK_REASONS)
"""Groups told apart by their text; beyond them there is always room for one a reason."""
_NONE: Mapping[int, str] = MappingProxyType({})


def note_failures(
    step: Step, deployment: Deployment, positions: Column, texts: Mapping[int, str] = _NONE
) -> None:
    """Counts tasks that have just failed, by their reasons; `texts`: what some of their devices
    said of it, by place in `positions`."""
    roster = step.state.deployments.rosters[deployment.number]
    codes = roster.reason[positions].tolist()
    keys = [(code, texts.get(n, "")) for n, code in enumerate(codes)]
    first = {key: n for n, key in reversed(list(enumerate(keys)))}
    known = {(group.reason, group.text): group for group in deployment.failures}
    for (code, said), count in Counter(keys).items():
        reason = TASK_REASONS[code]
        text = said if (reason, said) in known or len(known) < _MAX_WORDED else ""
        group = known.get((reason, text))
        if group is None:
            row = int(roster.row[positions[first[code, said]]])
            group = FailureGroup(reason, text, 0, step.state.fleet.id(row))
            known[reason, text] = group
            deployment.failures.append(group)
        group.count += count
