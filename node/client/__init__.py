"""The client for Python programs.

asynchronous  `AsyncClient`
blocking      `Client`: the same without `await`
deployments   `AsyncDeployment`, and `rollouts` `AsyncRollout`: what may be done with them
waiting       the wait for their end
results       what they return
errors        what they raise
listing       lists, page by page; the mappings `ring_assignments` and `device_statuses`
nodes         which node a request goes to, and how often it is repeated
problems      problem documents
exchange      one request, limited in bytes and time; the command line uses it too
"""

from stationkeep.cluster.devices.rings import Ring as RingType
from stationkeep.node.client.asynchronous import AsyncClient
from stationkeep.node.client.blocking import Client, Deployment, Rollout
from stationkeep.node.client.deployments import AsyncDeployment
from stationkeep.node.client.errors import (
    AnswerError,
    BusyError,
    NoQuorumError,
    NotAuthorisedError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    StationkeepError,
    StillOpenError,
    UnreachableError,
)
from stationkeep.node.client.results import (
    ClusterStatus,
    DeploymentStatus,
    DeviceStatus,
    Failure,
    GateStatus,
    OperationStatus,
    RolloutStatus,
    StageStatus,
    TaskStatus,
)
from stationkeep.node.client.rollouts import AsyncRollout

__all__ = [
    "AnswerError",
    "AsyncClient",
    "AsyncDeployment",
    "AsyncRollout",
    "BusyError",
    "Client",
    "ClusterStatus",
    "Deployment",
    "DeploymentStatus",
    "DeviceStatus",
    "Failure",
    "GateStatus",
    "NoQuorumError",
    "NotAuthorisedError",
    "NotFoundError",
    "OperationStatus",
    "OutcomeUnknownError",
    "RefusedError",
    "RingType",
    "Rollout",
    "RolloutStatus",
    "StageStatus",
    "StationkeepError",
    "StillOpenError",
    "TaskStatus",
    "UnreachableError",
]
