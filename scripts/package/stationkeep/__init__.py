"""Stationkeep: every node of a cluster in its role, every device of a fleet in its ring.

    from stationkeep import DeviceAgent

What `__all__` names is public and keeps its meaning; the packages `stationkeep.cluster` and
`stationkeep.node` are private and change without notice. In a checkout they are the folders
`cluster/` and `node/`, which this one links to.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stationkeep.node.agent import AgentEndedError, DeviceAgent, Readings, Ringed

__all__ = ["AgentEndedError", "DeviceAgent", "Readings", "Ringed"]


def __getattr__(name: str) -> object:
    """Imports what is asked for; a node, which starts here too, needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'stationkeep' has no attribute {name!r}")
    from stationkeep.node import agent  # noqa: PLC0415

    return getattr(agent, name)
