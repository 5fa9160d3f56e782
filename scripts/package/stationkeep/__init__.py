"""Stationkeep: every node of a cluster in its role, every device of a fleet in its ring.

    from stationkeep import AsyncClient, Client, DeviceAgent

What `__all__` names is public and keeps its meaning; the packages `stationkeep.cluster` and
`stationkeep.node` are private and change without notice. In a checkout they are the folders
`cluster/` and `node/`, which this one links to.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stationkeep.node.agent import (
        AgentEndedError,
        DeviceAgent,
        Postpone,
        Readings,
        Rejected,
        Ringed,
        SpoolError,
        Task,
    )
    from stationkeep.node.client import (
        AnswerError,
        AsyncClient,
        AsyncDeployment,
        AsyncRollout,
        BusyError,
        Client,
        ClusterStatus,
        Deployment,
        DeploymentStatus,
        DeviceStatus,
        Failure,
        GateStatus,
        NoQuorumError,
        NotAuthorisedError,
        NotFoundError,
        OperationStatus,
        OutcomeUnknownError,
        RefusedError,
        RingType,
        Rollout,
        RolloutStatus,
        StageStatus,
        StationkeepError,
        StillOpenError,
        TaskStatus,
        UnreachableError,
    )

__all__ = [
    "AgentEndedError",
    "AnswerError",
    "AsyncClient",
    "AsyncDeployment",
    "AsyncRollout",
    "BusyError",
    "Client",
    "ClusterStatus",
    "Deployment",
    "DeploymentStatus",
    "DeviceAgent",
    "DeviceStatus",
    "Failure",
    "GateStatus",
    "NoQuorumError",
    "NotAuthorisedError",
    "NotFoundError",
    "OperationStatus",
    "OutcomeUnknownError",
    "Postpone",
    "Readings",
    "RefusedError",
    "Rejected",
    "RingType",
    "Ringed",
    "Rollout",
    "RolloutStatus",
    "SpoolError",
    "StageStatus",
    "StationkeepError",
    "StillOpenError",
    "Task",
    "TaskStatus",
    "UnreachableError",
]

_OF_AGENTS = {
    "AgentEndedError",
    "DeviceAgent",
    "Postpone",
    "Readings",
    "Rejected",
    "Ringed",
    "SpoolError",
    "Task",
}


def __getattr__(name: str) -> object:
    """Imports what is asked for; a node, which starts here too, needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'stationkeep' has no attribute {name!r}")
    room = "agent" if name in _OF_AGENTS else "client"
    return getattr(import_module(f"stationkeep.node.{room}"), name)
