"""What is under a node, and what it remembers → what clients see of it. The node's own, not
replicated: another one's differ."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from stationkeep.cluster.devices.rings import RINGS, Ring
from stationkeep.node.ports import Machine, Moment
from stationkeep.node.version import VERSION
from stationkeep.node.views.base import View

LOG = "standard error"
"""Where every node writes its log: what keeps it is for the service manager to say."""


class MachineView(View, frozen=True):
    """`GET /v1/machine`: the node that answers, and what is under it."""

    node: str
    release: str
    up_s: Annotated[float, Meta(ge=0, description="Seconds since the process began.")]
    data_dir: str
    disk_total_bytes: Annotated[int | None, Meta(description="Of the disk that has `data_dir`.")]
    disk_free_bytes: int | None
    memory_bytes: Annotated[int, Meta(ge=0, description="Resident, of the process.")]
    log: str


class MomentView(View, frozen=True):
    """The rings at one moment: devices in each, and how many of all were unhealthy, or offline."""

    at_ms: int
    wall_ms: int
    rings: dict[Ring, int]
    unhealthy: int
    offline: int


class RingMemoryView(View, frozen=True):
    """`GET /v1/rings/history`: a moment each minute, for a day, as far as this node remembers; the
    oldest first."""

    items: list[MomentView]


def machine_view(node: str, machine: Machine) -> MachineView:
    """The machine under `node`."""
    return MachineView(
        node=node,
        release=VERSION,
        up_s=round(machine.up_s, 1),
        data_dir=machine.data_dir,
        disk_total_bytes=machine.disk_total,
        disk_free_bytes=machine.disk_free,
        memory_bytes=machine.memory,
        log=LOG,
    )


def memory_view(moments: Iterable[Moment]) -> RingMemoryView:
    """What was remembered of the rings."""
    return RingMemoryView(
        [
            MomentView(
                one.at,
                one.wall,
                dict(zip(RINGS, one.rings, strict=True)),
                one.unhealthy,
                one.offline,
            )
            for one in moments
        ]
    )
