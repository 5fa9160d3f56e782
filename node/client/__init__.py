"""Programs' side of the API: asks the nodes of a cluster, and gives them orders.

asynchronous  `AsyncClient`, where all of it is written
blocking      `Client`, the same for a program without an event loop
errors        how a call ends when it does not end well
results       what is returned, and the answers that it is made of
listing       lists page by page, and the mappings `ring_assignments` and `device_statuses`
nodes         which node is asked, and how often; a change is made once however often it is sent
problems      problem documents of nodes
exchange      one request, bounded in bytes and in time; the command line uses it too
"""

from stationkeep.cluster.devices.rings import Ring as RingType
from stationkeep.node.client.asynchronous import AsyncClient, AsyncDeployment
from stationkeep.node.client.blocking import Client, Deployment
from stationkeep.node.client.errors import (
    AnswerError,
    BusyError,
    NoQuorumError,
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
    OperationStatus,
    TaskStatus,
)

__all__ = [
    "AnswerError",
    "AsyncClient",
    "AsyncDeployment",
    "BusyError",
    "Client",
    "ClusterStatus",
    "Deployment",
    "DeploymentStatus",
    "DeviceStatus",
    "NoQuorumError",
    "NotFoundError",
    "OperationStatus",
    "OutcomeUnknownError",
    "RefusedError",
    "RingType",
    "StationkeepError",
    "StillOpenError",
    "TaskStatus",
    "UnreachableError",
]
