"""The cluster at a glance, and this node's links."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from msgspec.structs import replace
from starlette.responses import Response

from stationkeep.cluster.state.codec import FrozenState
from stationkeep.node.api.consistency import Reading, Threaded
from stationkeep.node.api.openapi import answers
from stationkeep.node.views import links as link_views
from stationkeep.node.views import machine as machine_views
from stationkeep.node.views import nodes as views

router = APIRouter()


@router.get("/v1/cluster", responses=answers(views.ClusterView))
async def get_cluster(
    read: Reading,
    worker: Threaded,
    digest: Annotated[bool, Query(description="Also the digest of the state.")] = False,
) -> Response:
    """The cluster at a glance: time, leader, quorum, PRIMARY, pause, alarms."""
    if not digest:
        return read.answer(views.cluster_view(read.service))

    def take() -> Callable[[], tuple[views.ClusterView, dict[str, str]]]:
        state, view = FrozenState(read.state), views.cluster_view(read.service)
        headers = read.headers()
        return lambda: (replace(view, digest=state.digest()), headers)

    return read.answer(*await worker.run(take))


@router.get("/v1/links", responses=answers(link_views.LinksView))
async def list_links(read: Reading) -> Response:
    """The links to the other members as this node alone sees them: loss, longest silence."""
    service = read.service
    return read.answer(link_views.links_view(service.node, service.links()))


@router.get("/v1/machine", responses=answers(machine_views.MachineView))
async def get_machine(read: Reading) -> Response:
    """The node that answers: its release, how long it has run, its disk, where its log is."""
    service = read.service
    return read.answer(machine_views.machine_view(service.node, service.machine()))
