"""State → how far the replacement of the CA is."""

from typing import Literal

from stationkeep.cluster import ca_rotation
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.views.base import View

Phase = Literal["none", "trusting", "issuing", "over", "aborted"]


class RotationView(View, frozen=True):
    """`GET /v1/tls/rotation`. `second`: the pin of the CA that takes the place of those in `first`.
    `nodes`: how many members are as far as the phase wants them; `lagging`: the others, and
    `waits`: for what, in a sentence. `devices_behind`: devices that have not been told, while that
    matters. `exposed`: nodes that left in foreign hands since the CA was replaced."""

    phase: Phase
    second: str
    first: list[str]
    members: int
    lagging: list[str]
    waits: str
    devices_behind: int
    exposed: list[str]


def rotation_view(state: ClusterState) -> RotationView:
    rotation = state.rotation
    return RotationView(
        phase="none" if rotation is None else rotation.phase.value,
        second="" if rotation is None else rotation.pin,
        first=[] if rotation is None else [*rotation.first],
        members=len(state.members),
        lagging=ca_rotation.lagging(state),
        waits=ca_rotation.say_lagging(state),
        devices_behind=ca_rotation.devices_behind(state),
        exposed=[*state.exposed],
    )
