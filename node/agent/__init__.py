"""Devices' side of the fleet: what runs on a phone, in a car, or a thousand times in one process.

client        `DeviceAgent`, to be embedded; `ring_command` makes `stationkeep agent` of it
device        who it is, what it says of itself, and the ring that it hears of
link          a device's tie to the cluster over any number of connections: all the rules
channel       one of these connections, and whether the node takes in what it is sent
connection    the WebSocket of a channel
addresses     which nodes there are, and which to turn to next
turned_away   a node that will not speak with a device, and what may come of another try
tasks         what the device is told to do: `on_tasks` ties them to the client
host          what a real machine says of itself; `readings` is the form of it
behaviour     what simulated devices say instead; `updates`: how they take updates
"""

from stationkeep.node.agent.client import AgentEndedError, DeviceAgent
from stationkeep.node.agent.device import Ringed
from stationkeep.node.agent.readings import Readings
from stationkeep.node.agent.tasks.handler import Postpone, Rejected, Task
from stationkeep.node.agent.tasks.spool import SpoolError

__all__ = [
    "AgentEndedError",
    "DeviceAgent",
    "Postpone",
    "Readings",
    "Rejected",
    "Ringed",
    "SpoolError",
    "Task",
]
