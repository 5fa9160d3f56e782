"""The HTTP API of one node: assembled here, told apart by concern in the modules beside."""

import asyncio
from collections.abc import Collection
from functools import partial

from fastapi import FastAPI
from prometheus_client.registry import Collector

from node import metrics
from node.addresses import split_address
from node.api import (
    events,
    fleet_operations,
    fleet_reads,
    guide,
    health,
    me,
    operations,
    pages,
    problems,
    reads,
    reports,
    schema,
    snapshot,
)
from node.api.agent_metrics import AgentsCollector
from node.api.agents import Agents
from node.api.batches import MAX_BATCH_BYTES
from node.api.door import Door
from node.api.elsewhere import Elsewhere
from node.api.limits import Limits
from node.api.origin import Origin
from node.api.port import Service
from node.api.trace_metrics import TracesCollector
from node.api.version import VERSION
from node.api.webhook_metrics import WebhooksCollector
from node.service import NodeService

DESCRIPTION = """
Every node answers every request. Reads are local and say how old they are
(`X-Stationkeep-Applied-Index`, `X-Stationkeep-Staleness-Ms`); `?consistency=strong` passes a
read barrier first. Writes go through the replicated log; with an `Idempotency-Key` a repetition
returns the first outcome. Errors are RFC 9457 problem documents.
"""


def create_app(service: NodeService, agents: Agents) -> FastAPI:
    """The application of a running node; `agents`: its WebSockets, which are beside it."""
    collectors: list[Collector] = [AgentsCollector(agents)]
    collectors.append(WebhooksCollector(service.loop.webhooks))
    if service.tracing is not None:
        collectors.append(TracesCollector(service.tracing.spans.sink))
    config = service.config
    founders = [split_address(member.http)[0].lower() for member in config.members]
    return build(Door(service), *collectors, hosts={*config.http_hosts, *founders})


def build(service: Service, *collectors: Collector, hosts: Collection[str] = ()) -> FastAPI:
    """The application that speaks for `service`; `collectors`: what else it exports; `hosts`:
    under which names it answers, beside those of the members."""
    app = FastAPI(
        title="Stationkeep",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,  # `pages` has one of ours
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.snapshots = snapshot.Slots()
    app.state.planning = asyncio.Lock()
    app.state.elsewhere = Elsewhere()
    app.state.guide = {}
    app.router.routes[:0] = health.routes(service)
    instruments = metrics.Instruments(service)
    for collector in collectors:
        instruments.registry.register(collector)
    app.router.routes.append(instruments.route())
    for part in (reads, operations, fleet_reads, fleet_operations, reports, events, snapshot, me):
        app.include_router(part.router)
    app.include_router(pages.routes(pages.load()))
    app.include_router(guide.router)
    problems.install(app)
    app.add_middleware(
        Limits,
        scrapes=(metrics.PATH,),
        follows=(events.PATH,),
        rescues=(*operations.RESCUES, fleet_operations.RELEASE_BRAKE),
        exempt=health.PROBES,
        bodies=dict.fromkeys((reports.REPORT, reports.REGISTER), MAX_BATCH_BYTES),
    )
    app.add_middleware(
        Origin,
        members=lambda: [member.http for member in service.state.members.values()],
        hosts=hosts,
        probes=health.PROBES,
    )
    app.openapi = partial(schema.describe, app)  # type: ignore[method-assign]
    _prepare(app)
    return app


def _prepare(app: FastAPI) -> None:
    """FastAPI works out what a route depends on when a request first comes by it: 0.1 s for all of
    them, in one turn of the event loop. So one comes by here, before anybody asks."""
    by = {"type": "http", "method": "GET", "path": "/nowhere", "root_path": "", "headers": []}
    for route in app.router.routes:
        route.matches(by)
